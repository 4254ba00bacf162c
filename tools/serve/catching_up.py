"""Serves what was published while a Triton was starting: nobody could tell it then."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

from tools.models.publishing import PublishingError, catch_up
from tools.models.repository import configurations
from tools.serve.supervisor import Check
from tools.triton.control import ControlError, TritonControl

_PATIENCE_SECONDS = 1200  # for a change that is under way, and then for loading


class CatchingUp:
    """Compares `repository` once with the `configurations` of when the Triton behind `control` was started."""

    def __init__(self, repository: Path, configurations: dict[Path, bytes], control: TritonControl) -> None:
        self._repository = repository
        self._before: dict[Path, bytes] | None = configurations
        self._control = control

    def check(self) -> Check:
        return Check(self._once, _PATIENCE_SECONDS, "what was published meanwhile is not loaded")

    def _once(self) -> None:
        before, self._before = self._before, None
        if before is not None and before != configurations(self._repository):
            # What cannot be loaded is no reason for a restart: the versions of before are served.
            with suppress(ControlError, PublishingError):
                catch_up(self._repository, self._control)
