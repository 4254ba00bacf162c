"""Prometheus' configuration, rules and the dashboard, against a real Prometheus that scrapes the real service."""

from __future__ import annotations

import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from frontend.settings import Settings
from tests.support.expressions import CONFIGURATION, DASHBOARD, DASHBOARDS, PANEL_EXPRESSIONS, PANELS, RULES, series_of
from tests.support.frontend_server import running_frontend
from tests.support.image_server import ImageServer
from tests.support.images import BLUE, RED, flat
from tests.support.network import LOOPBACK
from tests.support.processes import eventually
from tools import ROOT
from tools.serve.child_process import ChildProcess
from tools.serve.ports import free_port
from tools.serve.triton_process import TritonServer

pytestmark = pytest.mark.needs("prometheus")


def program(name: str) -> str:
    """Prometheus and promtool come with the same package."""
    found = shutil.which(name)
    assert found
    return found


@pytest.mark.parametrize(
    "arguments",
    [["check", "config", "prometheus.yml"], ["check", "rules", "alerts.yml"], ["test", "rules", "alerts.test.yml"]],
    ids=" ".join,
)
def test_promtool_agrees(arguments: list[str]) -> None:
    ended = subprocess.run(
        [program("promtool"), *arguments], cwd=CONFIGURATION, capture_output=True, text=True, timeout=60, check=False
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr


def test_every_alert_is_tried_and_explained() -> None:
    tried = (CONFIGURATION / "alerts.test.yml").read_text()
    explained = (ROOT / "docs" / "observability.md").read_text(encoding="utf-8")
    for rule in RULES:
        assert f"alertname: {rule['alert']}\n        exp_alerts:" in tried
        assert f"| `{rule['alert']}` |" in explained


class Prometheus:
    """Answers queries over what it scraped."""

    def __init__(self, url: str) -> None:
        self.url = url

    def query(self, expression: str) -> list[dict[str, Any]]:
        response = httpx.get(f"{self.url}/api/v1/query", params={"query": expression}, timeout=30)
        answer = response.raise_for_status().json()
        assert answer["status"] == "success", answer
        result: list[dict[str, Any]] = answer["data"]["result"]
        return result

    def is_up(self) -> bool:
        try:
            return {sample["metric"]["job"] for sample in self.query("up == 1")} == {"frontend", "triton", "haproxy"}
        except httpx.HTTPError:  # while it starts, it refuses connections and then answers 503
            return False


@pytest.fixture(scope="module")
def prometheus(triton: TritonServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Prometheus]:
    """The configuration of deploy/ with the addresses of this machine, after some traffic of all kinds."""
    folder, port = tmp_path_factory.mktemp("prometheus"), free_port()
    proxy_metrics = f"127.0.0.1:{free_port()}"
    settings = Settings(triton_url=triton.grpc_url, download_allow_networks=LOOPBACK)
    without_triton = Settings(triton_url=f"127.0.0.1:{free_port()}", download_allow_networks=LOOPBACK)
    with running_frontend(settings) as frontend, running_frontend(without_triton) as alone:
        targets = {
            "frontend": [frontend.removeprefix("http://"), alone.removeprefix("http://")],
            "triton": [f"127.0.0.1:{triton.ports.metrics}"],
            "haproxy": [proxy_metrics],
        }
        command = [
            program("prometheus"),
            f"--config.file={write_configuration(folder, targets)}",
            f"--storage.tsdb.path={folder / 'data'}",
            f"--web.listen-address=127.0.0.1:{port}",
        ]
        with (folder / "log").open("wb") as log:
            proxy = ChildProcess(
                [program("haproxy"), "-db", "-f", str(ROOT / "deploy" / "haproxy" / "haproxy.cfg")],
                {
                    "BIRDS_PROXY_LISTEN": f"127.0.0.1:{free_port()}",
                    "BIRDS_PROXY_METRICS": proxy_metrics,
                    "BIRDS_PROXY_FRONTENDS": "localhost:1",
                },
                log,
            )
            server = ChildProcess(command, {}, log)
            found = Prometheus(f"http://127.0.0.1:{port}")
            try:
                assert eventually(found.is_up), (folder / "log").read_text()
                for _ in range(3):  # a rate is between scrapes
                    make_traffic(frontend, alone)
                    time.sleep(1)
                yield found
            finally:
                server.stop(10)
                proxy.stop(10)


def write_configuration(folder: Path, targets: dict[str, list[str]]) -> Path:
    configuration = yaml.safe_load((CONFIGURATION / "prometheus.yml").read_text())
    configuration["global"] = {"scrape_interval": "500ms", "evaluation_interval": "500ms"}
    assert [job["job_name"] for job in configuration["scrape_configs"]] == list(targets)
    for job in configuration["scrape_configs"]:
        del job["dns_sd_configs"]
        job["static_configs"] = [{"targets": targets[job["job_name"]]}]
    shutil.copy(CONFIGURATION / "alerts.yml", folder)
    (folder / "prometheus.yml").write_text(yaml.safe_dump(configuration))
    return folder / "prometheus.yml"


def make_traffic(frontend: str, alone: str) -> None:
    with ImageServer() as images:
        urls = [images.add("/red.png", flat(RED)), images.add("/blue.png", flat(BLUE))]
        bad = [images.url("/missing.png"), images.add("/cut.jpg", flat(RED, "JPEG")[:300])]
        httpx.post(frontend, json={"images": urls + bad}, timeout=30).raise_for_status()
        httpx.post(f"{frontend}/files", files={"files": flat(RED)}, timeout=30).raise_for_status()
        assert httpx.post(alone, json={"images": urls}, timeout=30).status_code == 503


@pytest.mark.parametrize("expression", PANEL_EXPRESSIONS.values(), ids=PANEL_EXPRESSIONS)
def test_every_panel_shows_something(prometheus: Prometheus, expression: str) -> None:
    result = prometheus.query(expression)
    assert result
    assert any(sample["value"][1] != "NaN" for sample in result)


@pytest.mark.parametrize("rule", [pytest.param(rule, id=rule["alert"]) for rule in RULES])
def test_every_alert_uses_existing_series(prometheus: Prometheus, rule: dict[str, Any]) -> None:
    prometheus.query(rule["expr"])
    for series in series_of(rule["expr"]):
        assert prometheus.query(series), f"{series} has no data"


def test_prometheus_has_read_every_rule(prometheus: Prometheus) -> None:
    groups = httpx.get(f"{prometheus.url}/api/v1/rules", timeout=30).json()["data"]["groups"]
    healthy = {rule["name"] for group in groups for rule in group["rules"] if rule["health"] != "err"}
    assert healthy == {rule["alert"] for rule in RULES}


def test_a_frontend_without_its_triton_raises_the_alarm(prometheus: Prometheus) -> None:
    sick = 'ALERTS{alertname="BirdsTritonSick"}'
    assert eventually(lambda: bool(prometheus.query(sick)))


def test_the_dashboard_is_one_that_grafana_finds() -> None:
    ids = [panel["id"] for panel in DASHBOARD["panels"]]
    assert len(set(ids)) == len(ids)
    datasource = yaml.safe_load((DASHBOARDS / "provisioning/datasources/prometheus.yml").read_text())["datasources"][0]
    for panel in PANELS:
        assert panel["datasource"] == {"type": datasource["type"], "uid": datasource["uid"]}
        assert panel["title"]
        assert panel["fieldConfig"]["defaults"]["unit"]
    cells = [
        (x, y)
        for panel in DASHBOARD["panels"]
        for x in range(panel["gridPos"]["x"], panel["gridPos"]["x"] + panel["gridPos"]["w"])
        for y in range(panel["gridPos"]["y"], panel["gridPos"]["y"] + panel["gridPos"]["h"])
    ]
    assert len(set(cells)) == len(cells)  # no panel covers another
    assert max(x for x, _ in cells) < 24
