"""`birds models` on the files of a repository that no Triton serves, and a check that the files stay the same."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.support.model_repository import copy_templates, install_classifier
from tests.support.tiny_model import LABELS
from tools.cli.main import main
from tools.models import publishing
from tools.serve.ports import free_port
from tools.triton.settings import TritonSettings

NOBODY = f"http://127.0.0.1:{free_port()}"  # where no Triton is


def stopped_repository(repository: Path, savedmodel: Path) -> Path:
    """Make a repository with one version, as a Triton that has been started and stopped leaves it."""
    copy_templates(repository)
    install_classifier(repository, savedmodel, LABELS)
    publishing.prepare(repository, TritonSettings())
    return repository


def run(repository: Path, *arguments: str) -> int:
    """Run `birds models` and return its exit code."""
    return main(["models", *arguments, "--repository", str(repository), "--triton", NOBODY])


def contents(repository: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in repository.rglob("*") if path.is_file()}


@contextmanager
def stays_unchanged(repository: Path) -> Iterator[None]:
    before = contents(repository)
    yield
    assert contents(repository) == before
    assert not (repository / ".publishing").exists()
