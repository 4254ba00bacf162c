"""How perf_analyzer is run."""

from __future__ import annotations

from pathlib import Path

import pytest

from tools.measure.perf.analyzer import PerfAnalyzerFailed, _run
from tools.measure.perf.binary import PerfAnalyzer


def test_perf_analyzer_sees_no_proxy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It measures services of this machine; a proxy cannot reach them."""
    for name in ("http_proxy", "HTTPS_PROXY", "ALL_PROXY", "no_proxy"):
        monkeypatch.setenv(name, "http://proxy.example:3128")
    monkeypatch.setenv("KEPT", "yes")
    program = tmp_path / "perf_analyzer"
    program.write_text("#!/bin/sh\nenv | grep -i -e _proxy= -e ^KEPT=\nexit 1\n")
    program.chmod(0o700)
    with pytest.raises(PerfAnalyzerFailed, match=r"^exit code 1: KEPT=yes$"):
        _run(PerfAnalyzer(program), [], 1)
