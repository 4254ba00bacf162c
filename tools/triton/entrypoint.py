"""Starts Triton as a container's one process, over a model repository that `birds models prepare` has filled.

python -m tools.triton.entrypoint [--tritonserver-option …]

This process becomes tritonserver: a signal to the container is a signal to Triton, and its end is the container's.
Needs the standard library alone.
"""

from __future__ import annotations

import os
import secrets
import sys
from collections.abc import Sequence
from pathlib import Path

from tools.triton.arguments import Ports, models_in, restricting_arguments, triton_arguments

_REPOSITORY = Path("/models")


def main(arguments: Sequence[str]) -> int:
    models = models_in(_REPOSITORY)
    if not models:
        print(f"entrypoint: {_REPOSITORY} holds no models: run birds models prepare first", file=sys.stderr)
        return 1
    command = [
        "tritonserver",
        # Beyond loopback, because a container's loopback is its own: who may connect is the network's business.
        *triton_arguments(_REPOSITORY, models, Ports(), "0.0.0.0"),  # noqa: S104
        # With a key that nobody knows. Versions come with the volume and a new start: several Tritons may share it.
        *restricting_arguments(secrets.token_urlsafe(32)),
        *arguments,
    ]
    return os.execvp(command[0], command)  # noqa: S606


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
