"""Health checks of a running Triton: its HTTP endpoint, real inferences, and all its Python processes.

They only find problems; supervisor.py restarts Triton because of them.
"""

from __future__ import annotations

import logging
from collections import Counter
from http import HTTPStatus

from frontend.inference.contract import QUEUE_FULL, QUEUE_TIMEOUT
from tools.models.repository import CLASSIFIER, ENSEMBLE, PREPROCESS
from tools.serve.health_check import HealthCheck
from tools.triton.control import ControlError, LocalFault, Refused, TritonControl
from tools.triton.running_stubs import Instance, running_stubs

_log = logging.getLogger(__name__)

# The HTTP endpoint has threads of its own, which answer however busy the models are.
_LIVE_TIMEOUT_SECONDS = 10
# For one inference, if no others finish either. The most expensive images possible take two cores 8 s per batch.
_INFERENCE_TIMEOUT_SECONDS = 20
_CHECK_TIMEOUT_SECONDS = 300
_INFERENCE_INTERVAL_SECONDS = 5  # every second would take 3 % of a core from an idle service
_BUSY = (QUEUE_FULL, QUEUE_TIMEOUT)


class TritonHealth:
    """The health checks of one running Triton: process `pid`, asked through `control`."""

    def __init__(self, pid: int, control: TritonControl) -> None:
        self._pid = pid
        self._control = control
        self._seen: set[Instance] = set()
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
        except LocalFault:
            raise
        except ControlError:
            return "it accepts no connections"
        return None

    def failing_inference(self) -> str | None:
        """Return why an inference by one of the served versions fails. A busy Triton is not a failing one."""
        before = self._images_done()
        for ensemble in sorted(self._served_ensembles()):
            problem = self._inference_problem(ensemble, before)
            if problem is None:
                self._answered.add(ensemble)
            elif ensemble in self._answered:
                if ensemble in self._served_ensembles():  # else it was retired meanwhile
                    return problem
            elif ensemble not in self._reported:
                self._reported.add(ensemble)
                _log.warning("%s has not worked since Triton started, so a restart cannot help: %s", ensemble, problem)
        return None

    def lost_process(self) -> str | None:
        """Return which instance of a served model has lost its process.

        Triton does not restart the process and does not report it. If a model has several instances, the others keep
        answering, so an inference would not notice either.
        """
        living = self._living()
        self._seen |= living
        lost = self._seen - living
        if not lost:
            return None
        try:
            served = self._control.ready()
            for instance in sorted(lost):
                model = (instance.model, instance.version)
                # A reload replaces processes while this asks, so they must be missing before and after.
                looks = (living, self._living())
                if model in served and self._too_few(model, looks):
                    return f"instance {instance.name} of version {instance.version} has lost its process"
        except LocalFault:
            raise
        except ControlError:
            return None  # `not_live` reports a Triton that does not answer
        self._seen = living  # the others belonged to models that were unloaded or reloaded
        return None

    def _too_few(self, model: tuple[str, str], looks: tuple[set[Instance], ...]) -> bool:
        expected = self._control.instance_count(*model)
        return all(_count(look, model) < expected for look in looks)

    def _living(self) -> set[Instance]:
        return set(running_stubs(self._pid).values())

    def _served_ensembles(self) -> set[str]:
        """Return `birds`, which must always be served, and the ensembles of the versions that are served now."""
        try:
            return {ENSEMBLE, *(model for model, _ in self._control.ready() if model.startswith(f"{ENSEMBLE}_v"))}
        except LocalFault:
            raise
        except ControlError:
            return {ENSEMBLE}

    def _images_done(self) -> dict[str, int]:
        try:
            return self._control.images_done()
        except LocalFault:
            raise
        except ControlError:
            return {}

    def _inference_problem(self, ensemble: str, before: dict[str, int]) -> str | None:
        try:
            self._control.probe(ensemble, _INFERENCE_TIMEOUT_SECONDS)
        except LocalFault:
            raise
        except Refused as error:
            if any(sign in str(error) for sign in _BUSY) or error.status == HTTPStatus.FORBIDDEN:
                return None
            return f"an inference fails: {error}"
        except ControlError as error:
            return None if _is_working(before, self._images_done()) else str(error)
        return None


def _count(instances: set[Instance], model: tuple[str, str]) -> int:
    return Counter((instance.model, instance.version) for instance in instances)[model]


def _is_working(before: dict[str, int], after: dict[str, int]) -> bool:
    """Return whether both `preprocess` and the classifier have finished images."""
    done = {model: count - before.get(model, 0) for model, count in after.items()}
    return done.get(PREPROCESS, 0) > 0 and done.get(CLASSIFIER, 0) > 0
