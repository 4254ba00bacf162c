"""The frontend as a child process: started, checked, stopped."""

from __future__ import annotations

import http.client
import os
import sys

from frontend.settings import Settings
from tools.serve.child_process import ChildProcess
from tools.serve.health_check import HealthCheck
from tools.serve.supervisor import SupervisedProcess

_LIVE_TIMEOUT_SECONDS = 15
_LIVE_INTERVAL_SECONDS = 5  # a request takes an idle frontend 1 to 2 ms of CPU time
_WILDCARDS = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104
_NO_ANSWER = (ConnectionError, TimeoutError, http.client.HTTPException)


class FrontendProcess(SupervisedProcess):
    """`python -m frontend`, connected to the Triton at `triton_url`."""

    name = "The frontend"

    def __init__(self, settings: Settings, triton_url: str, workers: int = 1) -> None:
        self._address = (_WILDCARDS.get(settings.host, settings.host), settings.port)
        # Log lines contain callers' text, which an ASCII or Latin-1 terminal cannot show.
        encoding = os.environ.get("PYTHONIOENCODING", "").partition(":")[0]
        self._environment = {
            **os.environ,
            "BIRDS_TRITON_URL": triton_url,
            "BIRDS_WORKERS": str(workers),
            "PYTHONIOENCODING": f"{encoding}:backslashreplace",
        }
        self._process: ChildProcess | None = None
        self._connection: http.client.HTTPConnection | None = None

    def start(self) -> None:
        self._process = ChildProcess([sys.executable, "-m", "frontend"], self._environment)

    def stop(self, grace_seconds: float) -> None:
        if self._process is not None:
            self._process.stop(grace_seconds)

    def poll(self) -> int | None:
        return self._process.poll() if self._process else None

    def is_ready(self) -> bool:
        """Return whether it answers; whether it can classify depends on Triton as well."""
        return self._answers_200("/health/live", 2)

    def serves(self) -> bool:
        """Return whether an inference through it succeeds."""
        return self._answers_200("/health/ready", 10)

    def failure_reason(self) -> str:
        return "see its messages above"

    def health_checks(self) -> list[HealthCheck]:
        silent = f"no answer to /health/live for {_LIVE_TIMEOUT_SECONDS} s"
        return [HealthCheck(self.not_live, _LIVE_TIMEOUT_SECONDS, silent, _LIVE_INTERVAL_SECONDS)]

    def not_live(self) -> str | None:
        """Ask over one connection that stays open.

        A frontend without a free descriptor for a new connection is busy, not dead, and answers on those it has.
        Raises OSError if this process itself cannot connect, for instance without a free descriptor of its own.
        """
        if self._connection is not None:
            try:
                _ask_live(self._connection)
                return None
            except _NO_ANSWER:
                self._connection.close()
                self._connection = None  # a worker that was replaced closes its connections: ask a new one
        connection = http.client.HTTPConnection(*self._address, timeout=2 * _LIVE_TIMEOUT_SECONDS)
        try:
            _ask_live(connection)
        except _NO_ANSWER as error:
            connection.close()
            return f"it does not answer ({error!r})"
        self._connection = connection
        return None

    def _answers_200(self, path: str, timeout_seconds: float) -> bool:
        connection = http.client.HTTPConnection(*self._address, timeout=timeout_seconds)
        try:
            connection.request("GET", path)
            return connection.getresponse().status == 200
        except (OSError, http.client.HTTPException):
            return False
        finally:
            connection.close()


def _ask_live(connection: http.client.HTTPConnection) -> None:
    connection.request("GET", "/health/live")
    connection.getresponse().read()
