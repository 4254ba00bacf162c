"""Health checks of a running Triton: its HTTP endpoint, real inferences, and all its Python processes.

They only find problems; supervisor.py restarts Triton because of them. A LocalFault says nothing about Triton, so the
checks raise it, see health_check.py.
"""

from __future__ import annotations

import logging
import time
from collections import Counter
from http import HTTPStatus

from frontend.inference.contract import QUEUE_FULL, QUEUE_TIMEOUT
from tools.models.repository import CLASSIFIER, ENSEMBLE, PREPROCESS
from tools.serve.health_check import HealthCheck
from tools.triton.control import NoAnswer, Refused, TritonControl
from tools.triton.running_stubs import Instance, instances_of, running_stubs

_log = logging.getLogger(__name__)

# The HTTP endpoint has threads of its own, which answer however busy the models are.
_LIVE_TIMEOUT_SECONDS = 10
# For one inference, if no others finish either. The most expensive images possible take two cores 8 s per batch.
_INFERENCE_TIMEOUT_SECONDS = 20
_CHECK_TIMEOUT_SECONDS = 300
_INFERENCE_INTERVAL_SECONDS = 5  # every second would take 2 % of a core from an idle service
# Between searches for stubs of newly loaded versions. One takes 2 ms, because Triton has about a hundred threads.
_SEARCH_INTERVAL_SECONDS = 5
_BUSY = (QUEUE_FULL, QUEUE_TIMEOUT)


class TritonHealth:
    """The health checks of one running Triton: process `pid`, asked through `control`."""

    def __init__(self, pid: int, control: TritonControl) -> None:
        self._pid = pid
        self._control = control
        self._stubs: dict[int, Instance] = {}
        self._next_search = 0.0
        self._seen: set[Instance] = set()
        self._turn = 0
        self._answered: set[str] = {ENSEMBLE}
        self._reported: set[str] = set()

    def checks(self) -> list[HealthCheck]:
        silent = f"no answer to /v2/health/live for {_LIVE_TIMEOUT_SECONDS} s"
        stuck = f"a health check did not finish within {_CHECK_TIMEOUT_SECONDS} s"
        return [
            HealthCheck(self.not_live, _LIVE_TIMEOUT_SECONDS, silent),
            HealthCheck(self.failing_inference, _CHECK_TIMEOUT_SECONDS, stuck, _INFERENCE_INTERVAL_SECONDS),
            HealthCheck(self.lost_process, _CHECK_TIMEOUT_SECONDS, stuck, interval_seconds=0.5),
        ]

    def not_live(self) -> str | None:
        try:
            self._control.check_live(2 * _LIVE_TIMEOUT_SECONDS)
        except NoAnswer:
            return "it accepts no connections"
        return None

    def failing_inference(self) -> str | None:
        """Return why an inference by one of the served versions fails. A busy Triton is not a failing one.

        Each call probes one ensemble, all of them in turn. An ensemble that worked before keeps its turn while it
        fails.
        """
        served = sorted(self._served_ensembles())
        ensemble = served[self._turn % len(served)]
        problem = self._inference_problem(ensemble)
        if problem and ensemble in self._answered and ensemble in self._served_ensembles():  # else it was retired
            return problem
        self._turn += 1
        if problem is None:
            self._answered.add(ensemble)
        elif ensemble not in self._answered | self._reported:
            self._reported.add(ensemble)
            _log.warning("%s has not worked since Triton started, so a restart cannot help: %s", ensemble, problem)
        return None

    def lost_process(self) -> str | None:
        """Return which instance of a served model has lost its process.

        Triton does not restart the process and does not report it. If a model has several instances, the others keep
        answering, so an inference would not notice either.
        """
        living = set(instances_of(self._stubs).values())
        if living == self._seen and time.monotonic() < self._next_search:
            return None
        self._stubs = running_stubs(self._pid)
        self._next_search = time.monotonic() + _SEARCH_INTERVAL_SECONDS
        living = set(self._stubs.values())
        self._seen |= living
        lost = self._seen - living
        if not lost:
            return None
        try:
            served = self._control.ready()
            for instance in sorted(lost):
                model = (instance.model, instance.version)
                # A reload replaces processes while this asks, so they must be missing before and after.
                looks = (living, set(running_stubs(self._pid).values()))
                if model in served and self._too_few(model, looks):
                    return f"instance {instance.name} of version {instance.version} has lost its process"
        except (NoAnswer, Refused):
            return None  # `not_live` reports a Triton that does not answer
        self._seen = living  # the others belonged to models that were unloaded or reloaded
        return None

    def _too_few(self, model: tuple[str, str], looks: tuple[set[Instance], ...]) -> bool:
        expected = self._control.instance_count(*model)
        return all(_count(look, model) < expected for look in looks)

    def _served_ensembles(self) -> set[str]:
        """Return `birds`, which must always be served, and the ensembles of the versions that are served now."""
        try:
            return {ENSEMBLE, *(model for model, _ in self._control.ready() if model.startswith(f"{ENSEMBLE}_v"))}
        except (NoAnswer, Refused):
            return {ENSEMBLE}

    def _images_done(self) -> dict[str, int]:
        try:
            return self._control.images_done()
        except (NoAnswer, Refused):
            return {}

    def _inference_problem(self, ensemble: str) -> str | None:
        before = self._images_done()
        try:
            self._control.probe(ensemble, _INFERENCE_TIMEOUT_SECONDS)
        except Refused as error:
            if any(sign in str(error) for sign in _BUSY) or error.status == HTTPStatus.FORBIDDEN:
                return None
            return f"an inference fails: {error}"
        except NoAnswer as error:
            return None if _is_working(before, self._images_done()) else str(error)
        return None


def _count(instances: set[Instance], model: tuple[str, str]) -> int:
    return Counter((instance.model, instance.version) for instance in instances)[model]


def _is_working(before: dict[str, int], after: dict[str, int]) -> bool:
    """Return whether both `preprocess` and the classifier have finished images."""
    done = {model: count - before.get(model, 0) for model, count in after.items()}
    return done.get(PREPROCESS, 0) > 0 and done.get(CLASSIFIER, 0) > 0
