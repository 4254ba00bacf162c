"""A child process that answers each line of JSON with a line of JSON, so that one start serves many measurements."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Mapping
from typing import Any

from tools import ROOT
from tools.errors import ToolError

_STOP_SECONDS = 5


class WorkerEnded(ToolError):
    """The child ended instead of answering; its own messages are on standard error."""


class JsonWorker:
    """Runs a module of ours. The child ends when its standard input does, so it never outlives this process."""

    def __init__(self, module: str, *arguments: str) -> None:
        self._name = module
        self._process = subprocess.Popen(
            [sys.executable, "-m", module, *arguments],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,  # Ctrl-C reaches only this process
        )
        assert self._process.stdin
        assert self._process.stdout
        self._questions, self._answers = self._process.stdin, self._process.stdout
        self.pid = self._process.pid

    def __enter__(self) -> JsonWorker:
        return self

    def __exit__(self, *_: object) -> None:
        self._answers.close()
        try:
            self._questions.close()
        except BrokenPipeError:
            pass  # it has ended already
        try:
            self._process.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def send(self, question: Mapping[str, Any]) -> None:
        try:
            print(json.dumps(question), file=self._questions, flush=True)
        except BrokenPipeError as error:
            raise WorkerEnded(f"{self._name} ended") from error

    def receive(self) -> Any:
        """The next answer. Raises WorkerEnded if there will be none."""
        if not (line := self._answers.readline()):
            raise WorkerEnded(f"{self._name} ended with exit code {self._process.wait()}")
        return json.loads(line)

    def ask(self, question: Mapping[str, Any]) -> Any:
        self.send(question)
        return self.receive()


def answer_lines(answer: Callable[[dict[str, Any]], Any]) -> None:
    """The child's side: answer every line of standard input."""
    for line in sys.stdin:
        print(json.dumps(answer(json.loads(line))), flush=True)
