"""A version of the classifier is published into the volume and retired, as docs/deployment.md describes."""

from __future__ import annotations

import httpx

from tests.compose.service import Service
from tests.support.processes import eventually

BUILDER = ("run", "--rm", "-T", "model-builder", "birds", "models")


def versions(service: Service) -> dict[str, bool]:
    """The versions that are served, and which is the default; none while HAProxy has no healthy frontend."""
    answer = httpx.get(f"{service.url}models", timeout=60)
    return {v["version"]: v["default"] for v in answer.json()["versions"]} if answer.status_code == 200 else {}


def test_published_version_is_served_after_a_restart(service: Service) -> None:
    before = versions(service)
    service.compose(*BUILDER, "publish", "--repository", "/models", "--source", "imagenet-birds", "--not-default")
    restart(service)
    assert eventually(lambda: versions(service) == {**before, "2": False}, 30)
    service.compose(*BUILDER, "retire", "2", "--repository", "/models")
    restart(service)
    assert eventually(lambda: versions(service) == before, 30)


def restart(service: Service) -> None:
    service.compose("restart", "triton")
    service.wait_until("healthy", service.container("triton"))
