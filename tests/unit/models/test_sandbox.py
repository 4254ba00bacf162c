"""An untrusted model can neither reach the network nor write outside its folder while it is built."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from tests.support.image_server import ImageServer
from tools import ROOT

_PROGRAM = """
import sys, urllib.request
from pathlib import Path
from tools.models import sandbox

inside, outside, url = Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3]
gaps = sandbox.confine(inside)
(inside / "new" / "folder").mkdir(parents=True)
(inside / "new" / "file").write_text("written")
(inside / "new" / "file").rename(inside / "new" / "folder" / "file")
Path("/dev/null").write_text("nothing")
print(gaps, (outside / "secret").read_text())
for attempt in (
    lambda: (outside / "file").write_text("x"),
    lambda: (outside / "secret").write_text("x"),
    lambda: (outside / "secret").unlink(),
    lambda: (outside / "folder").mkdir(),
    lambda: (outside / "secret").rename(inside / "stolen"),
    lambda: urllib.request.urlopen(url, timeout=5),
):
    try:
        attempt()
        print("done")
    except OSError as error:
        print("refused")
"""


def test_writing_and_network_are_cut_off(tmp_path: Path, image_server: ImageServer) -> None:
    inside, outside = tmp_path / "inside", tmp_path / "outside"
    inside.mkdir()
    outside.mkdir()
    (outside / "secret").write_text("readable")
    url = image_server.add("/reached", b"x")
    done = subprocess.run(
        [sys.executable, "-c", _PROGRAM, str(inside), str(outside), url],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    gaps, *attempts = done.stdout.splitlines()
    if "Landlock" in gaps or "network" in gaps:  # a kernel without them: the gap is reported
        assert "done" in attempts
        return
    assert gaps == "[] readable"
    assert attempts == ["refused"] * 6
    assert image_server.requests["/reached"] == 0
    assert [path.name for path in outside.iterdir()] == ["secret"]
    assert (inside / "new" / "folder" / "file").read_text() == "written"
