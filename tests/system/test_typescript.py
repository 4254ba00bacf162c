"""The OpenAPI document makes a typed client in TypeScript that works: examples/birds.ts."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import httpx
import pytest

from tests.support.image_server import ImageServer
from tests.support.images import GREEN, RED, flat
from tests.support.programs import NODE_MODULES, path_of
from tools import ROOT

STRICT = ["--strict", "--skipLibCheck", "--noUncheckedIndexedAccess", "--exactOptionalPropertyTypes", "--types", "node"]


def run(command: list[str], folder: Path, **variables: str) -> str:
    environment = {**os.environ, **variables}
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.needs("openapi-typescript")
def test_generated_typescript_client_works(frontend: httpx.Client, image_server: ImageServer, tmp_path: Path) -> None:
    (tmp_path / "openapi.json").write_text(frontend.get("/openapi.json").text, encoding="utf-8")
    (tmp_path / "package.json").write_text('{"type": "module"}')
    (tmp_path / "node_modules").symlink_to(NODE_MODULES)
    (tmp_path / "birds.ts").write_text((ROOT / "examples" / "birds.ts").read_text(encoding="utf-8"), encoding="utf-8")
    run([path_of("openapi-typescript"), "openapi.json", "--output", "birds-api.ts"], tmp_path)
    compiler = str(NODE_MODULES / ".bin" / "tsc")
    run([compiler, *STRICT, "--module", "nodenext", "--target", "es2022", "birds.ts"], tmp_path)
    (tmp_path / "red.png").write_bytes(flat(RED))
    (tmp_path / "broken.png").write_bytes(b"broken")
    url = image_server.add("/green.png", flat(GREEN))
    shown = run(["node", "birds.js", "red.png", "broken.png", url], tmp_path, BIRDS_URL=str(frontend.base_url))
    lines = shown.splitlines()
    assert lines[0].startswith(f"{url}: ")
    assert "red.png: Great Red 0.9" in shown
    assert lines[-1] == "broken.png: The file is not an image, or it is damaged (not_an_image)"
