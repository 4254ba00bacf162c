"""`python -m frontend`: the frontend alone, beside a Triton that is already running."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from tempfile import TemporaryDirectory

import uvicorn
from pydantic import ValidationError

from frontend.server.descriptors import raise_limit
from frontend.settings import Settings
from frontend.telemetry.logging import log_config
from frontend.telemetry.tracing import TracingError, exporter_name

PROTOCOL = "frontend.server.slow_clients:SlowClientProtocol"  # by name, too
_GRACEFUL_SHUTDOWN_SECONDS = 8  # for requests under way
_FROZEN_AFTER_SECONDS = 15  # a worker that does not move for so long is replaced


def main() -> int:
    names = ", ".join(f"BIRDS_{name.upper()}" for name in Settings.model_fields)
    epilog = f"Settings are environment variables: {names}; for traces OpenTelemetry's OTEL_*."
    argparse.ArgumentParser(prog="python -m frontend", description=__doc__, epilog=epilog).parse_args()
    try:
        settings = Settings()
        exporter_name(os.environ)
    except ValidationError as error:
        for problem in error.errors():
            print(f"BIRDS_{str(problem['loc'][0]).upper()}: {problem['msg']}", file=sys.stderr)
        return 2
    except TracingError as error:
        print(error, file=sys.stderr)
        return 2
    raise_limit()
    with _shared_metrics(settings.workers):
        # By name: workers are new processes, which import this module. It stays light, so that they are there soon.
        uvicorn.run(
            "frontend.server.asgi:application",
            factory=True,
            host=settings.host,
            port=settings.port,
            workers=settings.workers,
            timeout_worker_healthcheck=_FROZEN_AFTER_SECONDS,
            timeout_graceful_shutdown=_GRACEFUL_SHUTDOWN_SECONDS,
            http=PROTOCOL,
            server_header=False,
            log_config=log_config(settings.log_format, settings.log_level),
            proxy_headers=False,  # BIRDS_TRUSTED_PROXIES says whom to believe
            access_log=False,  # each request has a line of its own
        )
    return 0


@contextmanager
def _shared_metrics(workers: int) -> Iterator[None]:
    """A private folder in which several workers put their counters together."""
    if workers == 1:
        yield
        return
    with TemporaryDirectory(prefix="birds-metrics-") as folder:
        os.environ["PROMETHEUS_MULTIPROC_DIR"] = folder  # prometheus-client's own
        yield


if __name__ == "__main__":
    sys.exit(main())
