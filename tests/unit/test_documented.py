"""The documents agree with the code: settings, codes, tensors, limits."""

from __future__ import annotations

import re
import subprocess

import pytest
import yaml

from frontend import VERSION, errors
from frontend.app import create_app
from frontend.errors import BirdsError, DownloadFailed, ImageError, ServiceError
from frontend.i18n.messages import failure_message
from frontend.inference.client import MODEL
from frontend.settings import Settings
from tools import ROOT
from tools.models.repository import read_config
from tools.triton.settings import TritonSettings

SETTINGS = (ROOT / "docs" / "settings.md").read_text(encoding="utf-8")
API = (ROOT / "docs" / "api.md").read_text(encoding="utf-8")
_VERSION = re.compile(r"^(?:version: |__version__ = \"|## \[)([\d.]+)", re.MULTILINE)
ENGLISH = yaml.safe_load((ROOT / "frontend" / "i18n" / "locales" / "en.yaml").read_text(encoding="utf-8"))


def test_make_help_and_openapi_show_the_version() -> None:
    shown = subprocess.run(
        ["make", "--no-print-directory", "help"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout
    assert shown.splitlines()[0] == f"birds {VERSION}"
    assert create_app(Settings()).openapi()["info"]["version"] == VERSION


@pytest.mark.parametrize("path", ["client/birds_client/version.py", "deploy/chart/Chart.yaml", "CHANGELOG.md"])
def test_version_is_the_same_everywhere(path: str) -> None:
    written = _VERSION.search((ROOT / path).read_text(encoding="utf-8"))
    assert written
    assert written[1] == VERSION


def kinds(base: type[BirdsError]) -> list[type[BirdsError]]:
    return [
        kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, base) and kind != base
    ]


@pytest.mark.parametrize("name", TritonSettings.model_fields)
def test_every_setting_of_triton_is_documented(name: str) -> None:
    assert f"| `BIRDS_{name.upper()}` |" in SETTINGS


@pytest.mark.parametrize("name", Settings.model_fields)
def test_every_setting_is_documented_with_its_default(name: str) -> None:
    default = Settings.model_fields[name].default
    written = ",".join(map(str, default)) if isinstance(default, tuple) else "" if default is None else str(default)
    row = re.search(rf"^\| `BIRDS_{name.upper()}` \| (.*?) \|", SETTINGS, re.MULTILINE)
    assert row, f"BIRDS_{name.upper()} is not in docs/settings.md"
    assert row[1].strip("`").replace(" ", "").replace("—", "") == written


@pytest.mark.parametrize("kind", kinds(ImageError))
def test_every_code_has_a_message_and_is_documented(kind: type[BirdsError]) -> None:
    assert kind.code in ENGLISH["failures"]
    assert f"| `{kind.code}` |" in API


@pytest.mark.parametrize("kind", kinds(ServiceError))
def test_every_service_error_has_a_message(kind: type[BirdsError]) -> None:
    assert kind.code in ENGLISH["errors"]


@pytest.mark.parametrize("reason", ENGLISH["download_reasons"])
def test_every_download_reason_makes_a_message(reason: str) -> None:
    message = failure_message(DownloadFailed(reason=reason, status=500), "en")
    assert message.startswith("The download failed: ")
    assert "{" not in message


def test_ensemble_tensors_match_its_steps() -> None:
    ensemble = read_config(MODEL)
    produced = {tensor.name for tensor in ensemble.input}
    for step in ensemble.ensemble_scheduling.step:
        member = read_config(step.model_name)
        assert set(step.input_map) == {tensor.name for tensor in member.input}
        assert set(step.output_map) <= {tensor.name for tensor in member.output}
        assert set(step.input_map.values()) <= produced
        assert member.max_batch_size >= ensemble.max_batch_size
        produced |= set(step.output_map.values())
    assert {tensor.name for tensor in ensemble.output} <= produced


def test_both_models_batch_dynamically_and_count_their_instances() -> None:
    for model in ("preprocess", "classifier"):
        config = read_config(model)
        assert config.HasField("dynamic_batching")
        assert all(group.count for group in config.instance_group)
