"""No link in the documents is dead, and every command in docs/use.md works as written."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from tests.support.image_server import ImageServer
from tests.support.images import GREEN, RED, flat
from tools import ROOT
from tools.serve.triton_process import TritonServer

DOCUMENTS = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
USE, TRITON, README = (
    path.read_text(encoding="utf-8")
    for path in (ROOT / "docs" / "use.md", ROOT / "docs" / "triton.md", ROOT / "README.md")
)
_LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
_HEADING = re.compile(r"^#+ (.+)$", re.MULTILINE)


def blocks(kind: str, document: str = USE) -> list[str]:
    return re.findall(rf"^```{kind}\n(.*?)^```$", document, re.MULTILINE | re.DOTALL)


def anchor(heading: str) -> str:
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_no_link_is_dead(document: Path) -> None:
    for link in _LINK.findall(document.read_text(encoding="utf-8")):
        if link.startswith(("http://", "https://")):
            continue
        name, _, wanted = link.partition("#")
        target = (document.parent / name).resolve() if name else document
        assert target.exists(), f"{document.name} leads to {link}"
        if wanted:
            headings = _HEADING.findall(target.read_text(encoding="utf-8"))
            assert wanted in map(anchor, headings), f"{document.name} leads to {link}"


@pytest.fixture
def reader(
    frontend: httpx.Client, triton: TritonServer, image_server: ImageServer, tmp_path: Path
) -> tuple[Path, dict[str, str], dict[str, str]]:
    """A folder as the document's reader has it, an environment with `birds`, and what stands for its addresses."""
    photos, programs = tmp_path / "photos", tmp_path / "bin"
    photos.mkdir()
    programs.mkdir()
    (photos / "blackbird.jpg").write_bytes(flat(RED, "JPEG"))
    (photos / "owl.png").write_bytes(flat(GREEN))
    url = image_server.add("/parrot.jpg", flat(RED, "JPEG"))
    (tmp_path / "parrot.jpg").write_bytes(flat(RED, "JPEG"))
    (tmp_path / "owl.jpg").write_bytes(flat(GREEN, "JPEG"))
    (tmp_path / "urls.txt").write_text(f"{url}\n")
    birds = programs / "birds"
    birds.write_text(f'#!/bin/sh\nexec {sys.executable} -m tools.cli "$@"\n')
    birds.chmod(0o755)
    frontend_url = str(frontend.base_url).rstrip("/")
    environment = {
        **os.environ,
        "PATH": f"{programs}:{os.environ['PATH']}",
        "PYTHONPATH": str(ROOT),
        "BIRDS_URL": frontend_url,
        "BIRDS_DOWNLOAD_ALLOW_NETWORKS": "127.0.0.0/8",
    }
    addresses = {
        "http://127.0.0.1:8000": frontend_url,
        "127.0.0.1:8010": triton.http_url.removeprefix("http://"),
        "127.0.0.1:8011": triton.grpc_url,
        ".venv/bin/birds": "birds",
        "~/photos": str(photos),
        "https://example.org/parrot.jpg": url,
    }
    return tmp_path, environment, addresses


def run(command: list[str], code: str, reader: tuple[Path, dict[str, str], dict[str, str]]) -> str:
    folder, environment, addresses = reader
    for shown, real in addresses.items():
        code = code.replace(shown, real)
    done = subprocess.run([*command, code], cwd=folder, env=environment, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, f"{code}\n{done.stderr}"
    assert "Traceback" not in done.stderr
    return done.stdout


@pytest.mark.parametrize("code", blocks("sh"), ids=lambda code: code.splitlines()[0])
def test_guide_commands_work(code: str, reader: tuple[Path, dict[str, str], dict[str, str]]) -> None:
    output = run(["bash", "-euo", "pipefail", "-c"], code, reader)
    written = [reader[0] / name for name in ("birds.csv", "results.jsonl") if (reader[0] / name).exists()]
    assert output or written
    if '"images": []' not in code:
        assert "Rubra maxima" in output + "".join(path.read_text(encoding="utf-8") for path in written)


@pytest.mark.parametrize("code", blocks("python"))
def test_guide_python_works(code: str, reader: tuple[Path, dict[str, str], dict[str, str]]) -> None:
    output = run([sys.executable, "-c"], code, reader)
    assert "Rubra maxima" in output
    assert "Viridis minor" in output


@pytest.mark.parametrize(
    "code",
    [code for code in blocks("sh", README) if code.startswith(("curl -s http://127.0.0.1:8000", ".venv/bin/birds"))],
    ids=lambda code: code.split()[0],
)
def test_readme_commands_work(code: str, reader: tuple[Path, dict[str, str], dict[str, str]]) -> None:
    assert "Rubra maxima" in run(["bash", "-euo", "pipefail", "-c"], code, reader)


@pytest.mark.parametrize("protocol", ["http", "grpc"])
def test_triton_python_names_each_photo(protocol: str, reader: tuple[Path, dict[str, str], dict[str, str]]) -> None:
    (code,) = blocks("python", TRITON)
    if protocol == "grpc":
        code = code.replace("tritonclient.http", "tritonclient.grpc").replace(":8010", ":8011")
    first, second = run([sys.executable, "-c"], code, reader).splitlines()
    assert "Rubra maxima" in first.partition(", ")[0]
    assert "Viridis minor" in second.partition(", ")[0]


def test_plain_post_to_triton_lists_best_labels(
    tiny_repository: Path, reader: tuple[Path, dict[str, str], dict[str, str]]
) -> None:
    (code,) = [code for code in blocks("sh", TRITON) if "Inference-Header-Content-Length" in code]
    labels = tiny_repository / "classifier" / "1" / "labels.txt"
    code = code.replace("965", str(len(labels.read_text().splitlines())))
    code = code.replace("model_repository/classifier/1/labels.txt", str(labels))
    best = run(["bash", "-euo", "pipefail", "-c"], code, reader).splitlines()[0]
    assert best.endswith("Rubra maxima (Great Red)")


def test_the_guide_has_commands() -> None:
    assert len(blocks("sh")) >= 7
    assert blocks("python")
