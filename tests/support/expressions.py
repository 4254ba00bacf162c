"""The Prometheus expressions in deploy/: the panels of the dashboard and the rules of the alerts."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import yaml

from tools import ROOT

CONFIGURATION = ROOT / "deploy" / "prometheus"
DASHBOARDS = ROOT / "deploy" / "grafana"
RULES: list[dict[str, Any]] = yaml.safe_load((CONFIGURATION / "alerts.yml").read_text())["groups"][0]["rules"]
DASHBOARD: dict[str, Any] = json.loads(Path(DASHBOARDS / "dashboards" / "birds.json").read_text())
PANELS: list[dict[str, Any]] = [panel for panel in DASHBOARD["panels"] if panel["type"] != "row"]
# Each expression of the dashboard, by its title there.
PANEL_EXPRESSIONS = {
    f"{panel['title']} {target['refId']}": target["expr"].replace("$__rate_interval", "1m")
    for panel in PANELS
    for target in panel["targets"]
}
# Of Triton since 26.01. The tests' Triton, 2.51, accepts the option and exports nothing.
_NEWER_TRITON = {"nv_inference_first_response_histogram_ms_bucket"}
_SERIES = re.compile(r"\b((?:birds|nv|haproxy|process)_\w+|up)\b(\{[^}]*\})?")


def series_of(expression: str) -> list[str]:
    """Selectors of the series that an alert reads, with any value of the labels `status` and `outcome`.

    Which statuses and outcomes exist depends on what went wrong; the series themselves always exist.
    """
    found = [(name, labels) for name, labels in _SERIES.findall(expression) if name != "up"] or [("up", "")]
    return [
        name + re.sub(r'(status|outcome)(=~|=)"[^"]*"', r'\1!=""', labels)
        for name, labels in found
        if name not in _NEWER_TRITON
    ]
