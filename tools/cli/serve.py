"""`birds serve`: both processes in the foreground."""

from __future__ import annotations

from typing import Annotated

import typer


def serve(
    triton_http_port: Annotated[int, typer.Option(min=1, max=65535, metavar="PORT", help="Triton's HTTP port.")] = 8010,
    triton_grpc_port: Annotated[int, typer.Option(min=1, max=65535, metavar="PORT", help="Triton's gRPC port.")] = 8011,
    triton_metrics_port: Annotated[
        int, typer.Option(min=1, max=65535, metavar="PORT", help="Triton's port for Prometheus.")
    ] = 8012,
) -> None:
    """Run the service: build the classifier if there is none, start Triton and the frontend, until Ctrl-C.

    The frontend listens on BIRDS_HOST and BIRDS_PORT (127.0.0.1:8000). A process that dies or hangs is started again.
    """
    from tools.serve.service import run
    from tools.triton.arguments import Ports

    run(Ports(triton_http_port, triton_grpc_port, triton_metrics_port))
