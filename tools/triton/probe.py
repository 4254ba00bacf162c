"""A container's health check: classifies one image with Triton. Standard library only.

python -m tools.triton.probe                   exit code 0 if Triton answered, else 1 (readiness)
python -m tools.triton.probe --live            also 0 while the entrypoint is starting Triton (liveness)
python -m tools.triton.probe --end-container   if it fails and is not starting, also stop process 1, for a restart

Triton's own health endpoint answers 200 even if every Python process of its models is dead, and it never restarts them.
"""

from __future__ import annotations

import argparse
import http.client
import json
import os
import signal
import struct
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Sequence
from pathlib import Path

from frontend.inference.contract import PROBE_PRIORITY, STUB_DEAD, probe_image
from tools.triton.arguments import Ports
from tools.triton.direct_http import open_directly

STARTING = Path("/tmp/triton-is-starting")  # exists while the entrypoint starts or restarts Triton
_ATTEMPTS = 3
_TIMEOUT_SECONDS = 15  # a probe overtakes everything in the queue, but not a batch of huge images that is executing
_PAUSE_SECONDS = 1


class Dead(Exception):
    """A Python process of a model is dead, so Triton will never answer again; the text is its own reason."""


def main(arguments: Sequence[str] | None = None) -> int:
    options = _parse(arguments)
    try:
        problem = _problem(options.url)
    except Dead as dead:
        problem = str(dead)
    if problem is None:
        return 0
    print(f"probe: {problem}", file=sys.stderr)
    if STARTING.exists():
        return 0 if options.live else 1
    if options.end_container:
        os.kill(1, signal.SIGTERM)
    return 1


def _problem(url: str) -> str | None:
    """Return why the last of a few attempts failed, or None if one was answered. Raises Dead."""
    problem = ""
    for attempt in range(_ATTEMPTS):
        if attempt:
            time.sleep(_PAUSE_SECONDS)
        try:
            ask(url)
        except (OSError, http.client.HTTPException) as error:
            problem = str(error) or type(error).__name__
        else:
            return None
    return problem


def probe_request() -> tuple[bytes, dict[str, str]]:
    """Return the body and headers of an HTTP request to classify one tiny image, ahead of the users' images."""
    pixel = probe_image()
    tensor = struct.pack("<I", len(pixel)) + pixel
    image = {"name": "IMAGE", "shape": [1, 1], "datatype": "BYTES", "parameters": {"binary_data_size": len(tensor)}}
    head = json.dumps({"inputs": [image], "parameters": {"priority": PROBE_PRIORITY}}).encode()
    return head + tensor, {"Inference-Header-Content-Length": str(len(head))}


def ask(url: str) -> bool:
    """Classify one image. Return False if Triton is too busy for it: it works, as far as anyone can tell.

    Raises Dead if a Python process of a model is dead, and OSError or HTTPException for every other failure.
    """
    body, headers = probe_request()
    request = urllib.request.Request(f"{url}/v2/models/birds/infer", body, headers, method="POST")
    try:
        with open_directly(request, _TIMEOUT_SECONDS) as response:
            response.read()
    except urllib.error.HTTPError as error:
        reason = error.read()
        if STUB_DEAD.encode() in reason:
            raise Dead(reason.decode(errors="replace")) from error
        if error.code != http.client.SERVICE_UNAVAILABLE:
            error.msg = f"{error.msg}: {reason.decode(errors='replace')}"
            raise
        return False
    return True


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m tools.triton.probe", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--url", default=f"http://127.0.0.1:{Ports().http}", help="default: %(default)s")
    parser.add_argument("--live", action="store_true", help="succeed while Triton is starting")
    parser.add_argument("--end-container", action="store_true", help="stop process 1 if Triton has stopped answering")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(main())
