"""`birds serve`: both processes in the foreground."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from tools.cli.numbers import whole_number
from tools.triton.arguments import Ports

_DEFAULTS = Ports()


def _port(text: str) -> Any:
    return typer.Option(parser=whole_number(1, 65535), metavar="PORT", help=text)


def serve(
    triton_http_port: Annotated[int, _port("Triton's HTTP port.")] = _DEFAULTS.http,
    triton_grpc_port: Annotated[int, _port("Triton's gRPC port.")] = _DEFAULTS.grpc,
    triton_metrics_port: Annotated[int, _port("Triton's port for Prometheus.")] = _DEFAULTS.metrics,
) -> None:
    """Run the service: build the classifier if there is none, start Triton and the frontend, until Ctrl-C.

    \b
    birds serve
    BIRDS_PORT=9000 birds serve --triton-http-port 9010

    The frontend listens on BIRDS_HOST and BIRDS_PORT (127.0.0.1:8000). A process that dies or hangs is started again.
    """
    from tools.serve.service import run

    run(Ports(triton_http_port, triton_grpc_port, triton_metrics_port))
