"""A child process that answers every line of JSON with a line of JSON, so that one start serves many measurements."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Mapping
from typing import Any

from tools import ROOT

_PATIENCE_SECONDS = 5


class WorkerEnded(Exception):
    """The child ended instead of answering; its own messages are on standard error."""


class JsonWorker:
    """Runs a module of ours; it ends by itself when its standard input does, so never outlives us."""

    def __init__(self, module: str, *arguments: str) -> None:
        self._name = module
        self._process = subprocess.Popen(
            [sys.executable, "-m", module, *arguments],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,  # Ctrl-C reaches us alone
        )

    @property
    def pid(self) -> int:
        return self._process.pid

    def __enter__(self) -> JsonWorker:
        return self

    def __exit__(self, *_: object) -> None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdout.close()
        try:
            self._process.stdin.close()
        except BrokenPipeError:
            pass  # it has ended already
        try:
            self._process.wait(_PATIENCE_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def send(self, question: Mapping[str, Any]) -> None:
        assert self._process.stdin is not None
        try:
            print(json.dumps(question), file=self._process.stdin, flush=True)
        except BrokenPipeError as error:
            raise WorkerEnded(f"{self._name} ended") from error

    def receive(self) -> Any:
        """The next answer. Raises WorkerEnded if there will be none."""
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise WorkerEnded(f"{self._name} ended with exit code {self._process.wait()}")
        return json.loads(line)

    def ask(self, question: Mapping[str, Any]) -> Any:
        self.send(question)
        return self.receive()


def answer_lines(answer: Callable[[dict[str, Any]], Any]) -> None:
    """The child's side: answer every line of standard input."""
    for line in sys.stdin:
        print(json.dumps(answer(json.loads(line))), flush=True)
