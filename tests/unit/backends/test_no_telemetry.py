"""OpenVINO's telemetry neither looks up a host nor writes a client id."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from tools import ROOT

PROGRAM = """
import sys
def record(event, arguments):
    if event in ("socket.getaddrinfo", "socket.gethostbyname", "socket.connect", "urllib.Request"):
        print(event, arguments, flush=True)
sys.addaudithook(record)
sys.path.insert(0, sys.argv[1])
from pathlib import Path
from placement import Device
from savedmodel_engines import OpenVINOEngine
OpenVINOEngine(Path(sys.argv[2]), Device(1))
"""


def test_openvino_contacts_nobody(tiny_savedmodel: Path, tmp_path: Path) -> None:
    """In an environment without CI, which would switch it off."""
    environment = {name: value for name, value in os.environ.items() if name != "CI"} | {"HOME": str(tmp_path)}
    ended = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(ROOT / "backends" / "tensorflow"), str(tiny_savedmodel)],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (ended.returncode, ended.stdout) == (0, ""), ended.stderr
    assert list(tmp_path.iterdir()) == []
