"""What `birds classify` and `birds evaluate` say when the service does not answer."""

from __future__ import annotations

from pathlib import Path

import pytest
from aiohttp import web

from tests.support.image_server import ImageServer
from tests.support.images import RED, flat
from tools.cli.main import main
from tools.serve.ports import free_port

HINT = "Start it with: birds serve"


@pytest.fixture(params=["classify", "evaluate"])
def command(request: pytest.FixtureRequest, tmp_path: Path) -> list[str]:
    (tmp_path / "Rubra maxima").mkdir()
    (tmp_path / "Rubra maxima" / "a.png").write_bytes(flat(RED))
    return [request.param, str(tmp_path), "--url"]


def test_nothing_listens_on_this_machine(command: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    url = f"http://127.0.0.1:{free_port()}"
    assert main([*command, url]) == 4
    reason = f"nothing listens at {url.removeprefix('http://')}"
    assert capsys.readouterr().err == f"birds: The service at {url} does not answer: {reason}. {HINT}\n"


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_starting_does_not_help_against_others(
    command: list[str], scheme: str, image_server: ImageServer, capsys: pytest.CaptureFixture[str]
) -> None:
    async def page(_: web.Request) -> web.StreamResponse:
        return web.Response(text="<html></html>")

    for path in ("/files?k=3", "/models"):
        image_server.add(path, page)
    assert main([*command, image_server.url("/").replace("http:", f"{scheme}:")]) == 4
    error = capsys.readouterr().err
    assert HINT not in error
    assert ("another program answers" if scheme == "http" else "does not use TLS: try http://") in error
    assert error.count("\n") == 1
