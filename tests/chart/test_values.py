"""values.yaml, its schema and the settings: wrong values are refused with a message that says where they are."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from typing import Any

import pytest
import yaml
from jsonschema import Draft202012Validator

from frontend import __main__ as frontend_command
from tests.chart.helm import CHART, HelmRefused, render
from tests.chart.settings_schema import SCHEMA, up_to_date
from tools.triton.arguments import EXIT_TIMEOUT_SECONDS

VALUES = yaml.safe_load((CHART / "values.yaml").read_text(encoding="utf-8"))
SCHEMA_OBJECT = json.loads(SCHEMA.read_text(encoding="utf-8"))

REFUSED = {
    "an unknown name": ("frontend.setings.max_k=3", r"/frontend'.*'setings' not allowed"),
    "an unknown setting": ("frontend.settings.max_image=3", r"/frontend/settings'.*'max_image' not allowed"),
    "a setting of the chart's own": ("frontend.settings.triton_url=x", r"'triton_url' not allowed"),
    "a setting out of bounds": ("frontend.settings.max_k=0", r"/frontend/settings/max_k': minimum: got 0, want 1"),
    "a setting of another type": ("frontend.settings.max_k=three", r"max_k': got string, want integer"),
    "an unknown device": ("triton.settings.device=tpu", r"device': value must be one of 'auto', 'cpu', 'gpu'"),
    "an unknown source": ("model.source=git", r"/model/source': value must be one of"),
    "a volume without one": ("model.source=volume", r"/model/volume': minProperties"),
    "a bucket without a container": ("model.source=bucket", r"/model/bucket/image'"),
    "an ingress without a host": ("ingress.enabled=true", r"/ingress/hosts': minItems"),
    "a route without a gateway": ("gateway.enabled=true", r"/gateway/parentRefs': minItems"),
    "one rate limit for all clients of the Ingress": (
        "ingress.enabled=true,ingress.hosts[0]=birds.example.org,frontend.settings.rate_limit=60/minute",
        r"name its network in frontend.settings.trusted_proxies",
    ),
    "keys twice": ("apiKeys.file=x,apiKeys.existingSecret=y", r"/apiKeys/existingSecret': maxLength"),
    "half a key for the test": ("apiKeys.testKey.secret=x", r"/apiKeys/testKey'.*'key'"),
    "no replica": ("triton.replicas=0", r"/triton/replicas': minimum"),
    "no limit of memory": ("frontend.resources.limits.memory=null", r"/frontend/resources/limits'"),
    "a budget of nothing": ("triton.maxUnavailable=0", r"/triton/maxUnavailable'"),
    "an invalid quantity": ("triton.sharedMemory=lots", r"/triton/sharedMemory': .*pattern"),
    "an image without a fixed version": (
        "triton.image.tag=latest",
        "birds-triton:latest names another image every day",
    ),
    "a minimum above the maximum": (
        "triton.autoscaling.minReplicas=30",
        r"minReplicas \(30\) is more than maxReplicas",
    ),
    "too little time to stop": ("triton.terminationGracePeriodSeconds=59", r"\(59\) is too short: .* make 60"),
    "too little time for a frontend": ("frontend.preStopSeconds=25", r"frontend\.terminationGracePeriod.* make 35"),
    "more shared memory than memory": ("triton.sharedMemory=3Gi", "counts as memory of the container"),
    "keys in the settings": ("frontend.settings.api_keys=x", r"'api_keys' not allowed"),
    "a rollout that cannot begin": ("triton.rollingUpdate.maxSurge=0", "no pod could ever be replaced"),
}


@pytest.mark.parametrize(("setting", "words"), REFUSED.values(), ids=REFUSED)
def test_wrong_values_get_a_helpful_message(setting: str, words: str) -> None:
    with pytest.raises(HelmRefused, match=words):
        render(None, setting)


def test_schema_is_up_to_date_with_settings() -> None:
    text = SCHEMA.read_text(encoding="utf-8")
    assert text == up_to_date(text), "write it again: .venv/bin/python -m tests.chart.settings_schema"


def test_schema_is_valid() -> None:
    Draft202012Validator.check_schema(SCHEMA_OBJECT)


def test_schema_is_strict_and_covers_all_values() -> None:
    def compare(values: dict[str, Any], schema: dict[str, Any], where: str) -> None:
        if "$ref" in schema:
            schema = SCHEMA_OBJECT["$defs"][schema["$ref"].rpartition("/")[2]]
        if "properties" not in schema:
            return
        assert schema["additionalProperties"] is False, where
        if "ettings" not in where:
            assert set(schema["properties"]) - {"global"} >= set(values), where
        for name, value in values.items():
            if isinstance(value, dict):
                compare(value, schema["properties"][name], f"{where}.{name}")

    compare(VALUES, SCHEMA_OBJECT, "values")


def test_every_block_of_values_is_explained() -> None:
    text = (CHART / "values.yaml").read_text(encoding="utf-8")
    assert len(re.findall(r"#", text)) > 40


def test_chart_allows_for_the_exit_times() -> None:
    (seconds,) = re.findall(r"\$exitSeconds := (\d+)", (CHART / "templates" / "checks.yaml").read_text())
    assert int(seconds) >= max(EXIT_TIMEOUT_SECONDS, frontend_command._GRACEFUL_SHUTDOWN_SECONDS)


def test_yaml_files_pass_yamllint() -> None:
    files = [str(path) for path in (CHART / "values.yaml", CHART / "Chart.yaml")]
    rules = "{extends: default, rules: {line-length: {max: 120}, document-start: disable, braces: disable, "
    rules += "comments: {min-spaces-from-content: 1}}}"
    done = subprocess.run(
        [sys.executable, "-m", "yamllint", "--strict", "-d", rules, *files], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout) == (0, "")
