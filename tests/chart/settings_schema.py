"""The part of the chart's schema that is generated from the settings: names, types and bounds.

After a setting was added, removed or changed, write it again: python -m tests.chart.settings_schema
"""

from __future__ import annotations

import json
from typing import Any

from pydantic_settings import BaseSettings

from frontend.settings import Settings
from tools import ROOT
from tools.triton.settings import TritonSettings

SCHEMA = ROOT / "deploy" / "chart" / "values.schema.json"
# Settings that the templates set from other values.
SET_BY_THE_CHART = {"host", "port", "triton_url", "model_mirror", "api_keys", "api_keys_file"}
_FIRST_LINE = '    "frontendSettings": {\n'


def generated() -> str:
    """The end of the schema's text, from the definition `frontendSettings` on."""
    definitions: dict[str, type[BaseSettings]] = {"frontendSettings": Settings, "tritonSettings": TritonSettings}
    return ",\n".join(f'    "{name}": {_definition(kind)}' for name, kind in definitions.items()) + "\n  }\n}\n"


def up_to_date(text: str) -> str:
    """Return `text`, a whole schema, with its generated end updated to the present settings."""
    before, first, _ = text.partition(_FIRST_LINE)
    assert first, f"{SCHEMA} lacks the line {_FIRST_LINE!r}, with which its generated part begins"
    return before + generated()


def _definition(settings: type[BaseSettings]) -> str:
    properties = settings.model_json_schema()["properties"]
    lines = [
        f"        {json.dumps(name)}: {json.dumps(_without_pydantics_extras(schema), ensure_ascii=False)}"
        for name, schema in properties.items()
        if name not in SET_BY_THE_CHART
    ]
    head = '{\n      "type": "object",\n      "additionalProperties": false,\n      "properties": {\n'
    return head + ",\n".join(lines) + "\n      }\n    }"


def _without_pydantics_extras(schema: dict[str, Any]) -> dict[str, Any]:
    """None means "not set", which a value expresses by its absence. Defaults are those of the setting."""
    kept = {key: value for key, value in schema.items() if key not in ("title", "default", "anyOf")}
    options = [option for option in schema.get("anyOf", []) if option != {"type": "null"}]
    return {**kept, **options[0]} if len(options) == 1 else {**kept, **({"anyOf": options} if options else {})}


if __name__ == "__main__":
    SCHEMA.write_text(up_to_date(SCHEMA.read_text(encoding="utf-8")), encoding="utf-8")
    print(f"{SCHEMA} is up to date")
