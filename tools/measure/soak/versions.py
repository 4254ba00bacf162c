"""A second version of the classifier that comes and goes during a soak, and which version may answer when."""

from __future__ import annotations

import dataclasses
import math
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from tools.measure.soak.answers import Answer
from tools.models import publishing
from tools.models.repository import labels_path, read_default, savedmodel_path, version_numbers
from tools.triton.control import TritonControl

_LABEL_PREFIX = "Second "  # of each label of the second version
# A frontend asks Triton for its versions once per second; that call may take as long as any other.
_FRONTEND_LEARNS_WITHIN_SECONDS = 3


@dataclass
class Default:
    """A version, and the time.monotonic() span in which requests that name no version may get it."""

    version: str
    since: float
    until: float = math.inf


class Versions:
    """Publishes, rolls back and retires the second version: the weights of the first under other labels.

    Every answer therefore shows which of the two it comes from. The changes repeat in this order: publish, roll back,
    retire.
    """

    def __init__(self, repository: Path, control: TritonControl) -> None:
        self._repository = repository
        self._control = control
        first, numbers = read_default(repository), version_numbers(repository)
        assert first is not None, "a service that runs has a default version"
        self.first, self.second = first, max(numbers) + 1
        self._defaults = [Default(str(first), 0)]
        self._retiring: list[Default] = []

    def birds(self, bird: str) -> dict[str, str]:
        """The best label of an image in each version, where it is `bird` in the first."""
        return {str(self.first): bird, str(self.second): f"{_LABEL_PREFIX}{bird}"}

    def publish(self) -> None:
        """Publish the second version, which becomes the default. Raises PublishingError or ControlError."""
        self._switch(
            self.second,
            lambda: publishing.publish(self._repository, self._build, self.second, control=self._control),
        )

    def roll_back(self) -> None:
        """Make the first version the default again. Raises PublishingError or ControlError."""
        self._switch(self.first, lambda: publishing.set_default(self._repository, self.first, self._control))

    def retire(self) -> None:
        """Take the second version out of service. Raises PublishingError or ControlError."""
        retiring = Default(str(self.second), time.monotonic())
        self._retiring.append(retiring)
        publishing.retire(self._repository, self.second, self._control)
        retiring.until = time.monotonic()

    def judge(self, answer: Answer) -> Answer:
        """The answer, with the verdict `wrong` if its versions were not the default, or if it has several.

        A request that still runs when its version is retired gets its other images from the default.
        """
        until = answer.at + answer.seconds
        since = answer.at - _FRONTEND_LEARNS_WITHIN_SECONDS
        allowed = {default.version for default in self._defaults if default.since <= until and since <= default.until}
        is_retired = any(retiring.since <= until and answer.at <= retiring.until for retiring in self._retiring)
        if answer.versions <= allowed and (len(answer.versions) <= 1 or is_retired):
            return answer
        named = " and ".join(sorted(answer.versions))
        return dataclasses.replace(
            answer, verdict="wrong", detail=f"answered by version {named}, expected {' or '.join(sorted(allowed))}"
        )

    def _switch(self, number: int, change: Callable[[], object]) -> None:
        """While the default changes, either version may answer."""
        before = self._defaults[-1]
        self._defaults.append(Default(str(number), time.monotonic()))
        change()
        before.until = time.monotonic()

    def _build(self, folder: Path) -> None:
        shutil.copytree(savedmodel_path(self._repository, self.first), folder / "model.savedmodel")
        labels = labels_path(self._repository, self.first).read_text(encoding="utf-8").splitlines()
        (folder / "labels.txt").write_text("".join(f"{_LABEL_PREFIX}{label}\n" for label in labels), encoding="utf-8")
