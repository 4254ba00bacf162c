"""The image servers of the measurements do not outlive a start that is interrupted."""

from __future__ import annotations

import http.server
from typing import Any

import pytest

from tools.measure import image_program
from tools.measure.image_program import start_image_program
from tools.serve.child_process import ChildProcess
from tools.serve.ports import free_port


def test_ctrl_c_during_the_start_stops_it(monkeypatch: pytest.MonkeyPatch) -> None:
    started = []

    class Recorded(ChildProcess):
        def __init__(self, *arguments: Any, **options: Any) -> None:
            super().__init__(*arguments, **options)
            started.append(self)

    def interrupted(port: int) -> bool:
        raise KeyboardInterrupt

    monkeypatch.setattr(image_program, "ChildProcess", Recorded)
    monkeypatch.setattr(image_program, "_listens", interrupted)
    with pytest.raises(KeyboardInterrupt):
        start_image_program(http.server.__name__, free_port(), seconds=60)
    assert [process.poll() for process in started] != [None]
