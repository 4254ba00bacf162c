"""The second version of a soak: published, rolled back and retired, and which answers that allows."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any, cast

import pytest

from tests.support.model_repository import copy_templates, install_classifier
from tools.measure.soak import versions as module
from tools.measure.soak.answers import Answer
from tools.measure.soak.faults import Faults
from tools.measure.soak.versions import Versions
from tools.models.repository import labels_path, read_default, version_numbers

NOTHING = cast("Any", None)


class Clock:
    """A clock that only the test moves."""

    def __init__(self) -> None:
        self.now = 100.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(module, "time", clock)
    return clock


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    repository, savedmodel = tmp_path / "models", tmp_path / "model.savedmodel"
    copy_templates(repository)
    savedmodel.mkdir()
    (savedmodel / "saved_model.pb").write_bytes(b"a model")
    install_classifier(repository, savedmodel, ["Ara macao (Scarlet Macaw)", "background"])
    return repository


@pytest.fixture
def soaked(repository: Path, clock: Clock) -> Versions:
    """Published at 200, rolled back at 300, retired at 400, all in no time."""
    found = Versions(repository, NOTHING)
    for clock.now, change in ((200.0, found.publish), (300.0, found.roll_back), (400.0, found.retire)):
        change()
    return found


def test_second_version_comes_and_goes(repository: Path) -> None:
    versions = Versions(repository, NOTHING)
    versions.publish()
    assert read_default(repository) == 2
    assert labels_path(repository, 2).read_text().splitlines()[0] == "Second Ara macao (Scarlet Macaw)"
    versions.roll_back()
    assert (read_default(repository), version_numbers(repository)) == (1, [1, 2])
    versions.retire()
    assert version_numbers(repository) == [1]
    versions.publish()
    assert read_default(repository) == 2


@pytest.mark.parametrize(
    ("at", "seconds", "answered_by", "allowed"),
    [
        pytest.param(150, 1, {"1"}, True, id="before the second version"),
        pytest.param(150, 1, {"2"}, False, id="not published yet"),
        pytest.param(199, 2, {"1"}, True, id="the first one during the publish"),
        pytest.param(199, 2, {"2"}, True, id="the second one during the publish"),
        pytest.param(199, 2, {"1", "2"}, False, id="both during the publish"),
        pytest.param(202, 1, {"1"}, True, id="the frontend has not learned of the change"),
        pytest.param(250, 1, {"1"}, False, id="long after the publish"),
        pytest.param(250, 1, {"2"}, True, id="the new default"),
        pytest.param(350, 1, {"2"}, False, id="long after the rollback"),
        pytest.param(299, 102, {"1", "2"}, True, id="retired while the request ran"),
        pytest.param(450, 1, {"2"}, False, id="retired"),
        pytest.param(250, 1, set(), True, id="no image was classified"),
    ],
)
def test_answer_has_the_default_version(
    soaked: Versions, at: float, seconds: float, answered_by: set[str], allowed: bool
) -> None:
    answer = Answer(at, seconds, "complete", Counter(), "", frozenset(answered_by))
    assert (soaked.judge(answer) == answer) == allowed
    assert (soaked.judge(answer).verdict == "complete") == allowed


@pytest.mark.parametrize("seed", range(5))
def test_versions_change_in_order_between_other_faults(soaked: Versions, seed: int) -> None:
    faults = Faults(NOTHING, NOTHING, soaked, seed, NOTHING)
    for _ in range(3):
        names = [faults.next().name for _ in range(10)]
        assert len(set(names)) == 10
        assert [name for name in names if name.startswith("a version")] == [
            *("a version published", "a version rolled back", "a version retired")
        ]
