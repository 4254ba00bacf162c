"""The frontend as a child process: started, asked whether it is alive, ended."""

from __future__ import annotations

import http.client
import os
import sys

from frontend.settings import Settings
from tools.serve.child_process import ChildProcess
from tools.serve.supervisor import Check, Member

_SILENT_AFTER_SECONDS = 15
_ANY = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104


class FrontendProcess(Member):
    """`python -m frontend` before the Triton at `triton_url`."""

    name = "The frontend"

    def __init__(self, settings: Settings, triton_url: str) -> None:
        self._address = (_ANY.get(settings.host, settings.host), settings.port)
        self._environment = {**os.environ, "BIRDS_TRITON_URL": triton_url}
        self._process: ChildProcess | None = None
        self._connection: http.client.HTTPConnection | None = None

    def start(self) -> None:
        self._process = ChildProcess([sys.executable, "-m", "frontend"], self._environment)

    def halt(self, patience_seconds: float) -> None:
        if self._process is not None:
            self._process.stop(patience_seconds)

    def poll(self) -> int | None:
        return self._process.poll() if self._process else None

    def is_ready(self) -> bool:
        """Whether it answers; that it can do its work depends on Triton as well."""
        return self._is_answered("/health/live", 2)

    def serves(self) -> bool:
        """Whether an inference through it succeeds."""
        return self._is_answered("/health/ready", 10)

    def failure(self) -> str:
        return "see its messages above"

    def checks(self) -> list[Check]:
        silence = f"no sign of life for {_SILENT_AFTER_SECONDS} s"
        return [Check(self.not_live, _SILENT_AFTER_SECONDS, silence)]

    def not_live(self) -> str | None:
        """Ask over one connection that is kept: a frontend that has no descriptor left for another one is busy, not
        dead, and answers those it has."""
        for fresh in (self._connection is None, True):
            if fresh:
                self._connection = http.client.HTTPConnection(*self._address, timeout=2 * _SILENT_AFTER_SECONDS)
            assert self._connection is not None
            try:
                self._connection.request("GET", "/health/live")
                self._connection.getresponse().read()
                return None
            except (OSError, http.client.HTTPException) as error:
                self._connection.close()
                self._connection, problem = None, error
            if fresh:
                break
        return f"it does not answer ({problem!r})"

    def _is_answered(self, path: str, timeout_seconds: float) -> bool:
        connection = http.client.HTTPConnection(*self._address, timeout=timeout_seconds)
        try:
            connection.request("GET", path)
            return connection.getresponse().status == 200
        except (OSError, http.client.HTTPException):
            return False
        finally:
            connection.close()
