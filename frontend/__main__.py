"""`python -m frontend` runs the frontend alone. It expects a Triton that is already running."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from tempfile import TemporaryDirectory
from typing import Any

import uvicorn
from pydantic import ValidationError

from frontend.server.connection_limit import TooFewOpenFiles, raise_open_files_limit
from frontend.settings import Settings
from frontend.telemetry.logging import log_config
from frontend.telemetry.tracing import TracingError, exporter_name

# The options of uvicorn on which the application depends. Tests use them too.
SERVER_OPTIONS: dict[str, Any] = {
    # A name, not the class: worker processes import this module, and it must stay light so that they start quickly.
    "http": "frontend.server.slow_clients:SlowClientProtocol",
    "ws": "none",
    "server_header": False,
    "proxy_headers": False,  # BIRDS_TRUSTED_PROXIES decides whose headers are used
    "reset_contextvars": True,  # otherwise a pipelined request inherits the context, such as the trace, of the last one
}
_GRACEFUL_SHUTDOWN_SECONDS = 8  # for requests in progress
_WORKER_HEALTHCHECK_SECONDS = 15  # a worker that does not respond for this long is replaced


def main() -> int:
    names = ", ".join(f"BIRDS_{name.upper()}" for name in Settings.model_fields)
    epilog = f"Settings are environment variables: {names}. OpenTelemetry's OTEL_* variables turn traces on."
    argparse.ArgumentParser(prog="python -m frontend", description=__doc__, epilog=epilog).parse_args()
    try:
        settings = Settings()
        exporter_name(os.environ)  # raises TracingError
        raise_open_files_limit()
    except ValidationError as error:
        for problem in error.errors():
            print(f"BIRDS_{str(problem['loc'][0]).upper()}: {problem['msg']}", file=sys.stderr)
        return 2
    except (TracingError, TooFewOpenFiles) as error:
        print(error, file=sys.stderr)
        return 2
    with _shared_metrics(settings.workers):
        uvicorn.run(
            "frontend.server.asgi:application",
            factory=True,
            host=settings.host,
            port=settings.port,
            workers=settings.workers,
            timeout_worker_healthcheck=_WORKER_HEALTHCHECK_SECONDS,
            timeout_graceful_shutdown=_GRACEFUL_SHUTDOWN_SECONDS,
            log_config=log_config(settings.log_format, settings.log_level),
            access_log=False,  # AccessLogMiddleware writes the access log
            **SERVER_OPTIONS,
        )
    return 0


@contextmanager
def _shared_metrics(workers: int) -> Iterator[None]:
    """Give several workers a common private folder for their metrics, so that each can report the metrics of all."""
    if workers == 1:
        yield
        return
    with TemporaryDirectory(prefix="birds-metrics-") as folder:
        os.environ["PROMETHEUS_MULTIPROC_DIR"] = folder  # read by prometheus-client
        yield


if __name__ == "__main__":
    sys.exit(main())
