"""`python -m frontend`: the frontend alone, beside a Triton that is already running."""

from __future__ import annotations

import argparse
import sys

import uvicorn
from pydantic import ValidationError

from frontend.app import create_app
from frontend.settings import Settings

_GRACEFUL_SHUTDOWN_SECONDS = 8  # for requests under way


def main() -> int:
    names = ", ".join(f"BIRDS_{name.upper()}" for name in Settings.model_fields)
    epilog = f"Settings are environment variables: {names}."
    argparse.ArgumentParser(prog="python -m frontend", description=__doc__, epilog=epilog).parse_args()
    try:
        settings = Settings()
    except ValidationError as error:
        for problem in error.errors():
            print(f"BIRDS_{str(problem['loc'][0]).upper()}: {problem['msg']}", file=sys.stderr)
        return 2
    uvicorn.run(
        create_app(settings),
        host=settings.host,
        port=settings.port,
        timeout_graceful_shutdown=_GRACEFUL_SHUTDOWN_SECONDS,
        server_header=False,
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
