"""Does Triton classify? Asks it for one image, as a container's health check. Needs the standard library alone.

python -m tools.triton.probe                   exit code 0 if it answered, 1 if not
python -m tools.triton.probe --end-container   … and if it did before, ask process 1 to end, so that it is restarted

Triton's own health says 200 although every Python process of its models is dead, and it never starts them again.
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

_HAS_SERVED = Path("/tmp/triton-has-served")  # a starting Triton must not be ended: gone with the container's /tmp
_ATTEMPTS = 3
_TIMEOUT_SECONDS = 15  # a probe passes all that is queued, but not a batch of huge images that has begun
_PAUSE_SECONDS = 1


class Dead(Exception):
    """Triton will never answer again; the text is its own reason."""


def main(arguments: Sequence[str] | None = None) -> int:
    options = _parse(arguments)
    try:
        problem = _first_answer(options.url)
        beyond_hope = problem is not None
    except Dead as dead:
        problem, beyond_hope = str(dead), True
    if problem is None:
        if options.end_container:
            _HAS_SERVED.touch()
        return 0
    print(f"triton_probe: {problem}", file=sys.stderr)
    if beyond_hope and options.end_container and _HAS_SERVED.exists():
        os.kill(1, signal.SIGTERM)
    return 1


def _first_answer(url: str) -> str | None:
    """None if one of a few attempts was answered, else why the last was not. Raises Dead when no attempt can be."""
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
    """The body and headers that ask for one tiny image over HTTP, ahead of the users' images."""
    pixel = probe_image()
    tensor = struct.pack("<I", len(pixel)) + pixel
    image = {"name": "IMAGE", "shape": [1, 1], "datatype": "BYTES", "parameters": {"binary_data_size": len(tensor)}}
    head = json.dumps({"inputs": [image], "parameters": {"priority": PROBE_PRIORITY}}).encode()
    return head + tensor, {"Inference-Header-Content-Length": str(len(head))}


def ask(url: str) -> None:
    """Have one image classified. A full queue counts as an answer: it belongs to a server that works.

    Raises Dead when a Python process of a model is gone, and OSError or HTTPException for every other failure.
    """
    body, headers = probe_request()
    request = urllib.request.Request(f"{url}/v2/models/birds/infer", body, headers, method="POST")
    try:
        with urllib.request.urlopen(request, timeout=_TIMEOUT_SECONDS) as response:
            response.read()
    except urllib.error.HTTPError as error:
        reason = error.read()
        if STUB_DEAD.encode() in reason:
            raise Dead(reason.decode(errors="replace")) from error
        if error.code != http.client.SERVICE_UNAVAILABLE:
            raise


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m tools.triton.probe", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--url", default=f"http://127.0.0.1:{Ports().http}", help="default: %(default)s")
    parser.add_argument("--end-container", action="store_true", help="end process 1 if Triton has stopped answering")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(main())
