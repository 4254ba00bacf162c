"""Signals while the model repository changes."""

from __future__ import annotations

import os
import signal

import pytest

from tools.errors import Stopped
from tools.models.stop_signals import stoppable


def test_a_signal_undoes_what_was_begun() -> None:
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(Stopped, match="nothing was changed"), stoppable():
        os.kill(os.getpid(), signal.SIGTERM)
    assert signal.getsignal(signal.SIGTERM) is before


def test_an_ignored_signal_stays_ignored() -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with stoppable():
            os.kill(os.getpid(), signal.SIGHUP)
    finally:
        signal.signal(signal.SIGHUP, before)
