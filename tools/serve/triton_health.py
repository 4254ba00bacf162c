"""Whether a Triton that has started does its work: its front door, a real inference, and all its processes."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import NamedTuple

from frontend.inference.contract import QUEUE_FULL, QUEUE_TIMEOUT
from tools.models.repository import CLASSIFIER, ENSEMBLE, PREPROCESS
from tools.serve.supervisor import Check
from tools.triton.control import ControlError, Refused, TritonControl

# The front door has threads of its own, which answer however busy the models are.
_FROZEN_AFTER_SECONDS = 10
# For an inference; if nothing else was finished either. The most expensive images there are take two cores 8 s a batch.
_STUCK_AFTER_SECONDS = 20
_BACKSTOP_SECONDS = 300
_INFERENCE_INTERVAL_SECONDS = 5  # every second they took 3 % of a core from an idle service
_BUSY = (QUEUE_FULL, QUEUE_TIMEOUT)
_STUB = "triton_python_backend_stub"


class Instance(NamedTuple):
    """One process of the Python backend, by the model instance that it runs."""

    model: str
    version: str
    name: str


class TritonHealth:
    """The checks of one running Triton: process `pid`, asked through `control`."""

    def __init__(self, pid: int, control: TritonControl) -> None:
        self._pid = pid
        self._control = control
        self._seen: set[Instance] = set()

    def checks(self) -> list[Check]:
        frozen = f"no sign of life for {_FROZEN_AFTER_SECONDS} s"
        silence = f"its checks have not ended for {_BACKSTOP_SECONDS} s"
        return [
            Check(self.not_live, _FROZEN_AFTER_SECONDS, frozen),
            Check(self.failing_inference, _BACKSTOP_SECONDS, silence, _INFERENCE_INTERVAL_SECONDS),
            Check(self.lost_process, _BACKSTOP_SECONDS, silence, interval_seconds=0.5),
        ]

    def not_live(self) -> str | None:
        return None if self._control.is_running(2 * _FROZEN_AFTER_SECONDS) else "it accepts no connections"

    def failing_inference(self) -> str | None:
        """What an inference by each version that is served fails with. To be busy is no failure."""
        try:
            served = {model for model, _ in self._control.ready() if model.startswith(f"{ENSEMBLE}_v")}
            before = self._control.work_done()
            for ensemble in sorted({ENSEMBLE, *served}):
                try:
                    self._control.probe(ensemble, _STUCK_AFTER_SECONDS)
                except Refused:
                    raise
                except ControlError:
                    if not _progress(before, self._control.work_done()):
                        raise
        except Refused as error:
            return None if any(sign in str(error) for sign in _BUSY) else f"an inference fails: {error}"
        except ControlError as error:
            return str(error)
        return None

    def lost_process(self) -> str | None:
        """Which instance of a served model has lost its process.

        Triton neither starts it again nor says so; of several instances, the others go on and hide it from probes.
        """
        living = instances(self._pid)
        self._seen |= living
        lost = self._seen - living
        if not lost:
            return None
        try:
            served = self._control.ready()
            for instance in sorted(lost):
                model = (instance.model, instance.version)
                count = Counter(other[:2] for other in living)[model]
                if model in served and count < self._control.instance_count(*model):
                    return f"instance {instance.name} of version {instance.version} has lost its process"
        except ControlError:
            return None  # the other checks tell of that
        self._seen = living  # what was lost belonged to models that were unloaded or loaded anew
        return None


def _progress(before: dict[str, int], after: dict[str, int]) -> bool:
    """Whether images get through: `preprocess` finishes some, and the classifier what it is handed."""
    done = {model: count - before.get(model, 0) for model, count in after.items()}
    return done.get(PREPROCESS, 0) > 0 and done.get(CLASSIFIER, 0) > 0


def instances(pid: int) -> set[Instance]:
    """The Python backend's processes below the tritonserver `pid`."""
    found = set()
    for child in _children(pid):
        try:
            arguments = Path(f"/proc/{child}/cmdline").read_bytes().decode().split("\0")
        except OSError:
            continue  # it has just ended
        if Path(arguments[0]).name == _STUB:  # the dead have no arguments
            model = Path(arguments[1])  # …/<model>/<version>/model.py, or a SavedModel's folder
            instance = next(name for name in arguments[2:] if name.startswith(f"{model.parts[-3]}_"))
            found.add(Instance(model.parts[-3], model.parts[-2], instance))
    return found


def _children(pid: int) -> list[str]:
    """A process belongs to the thread that started it; those of Triton that load models are several."""
    found: list[str] = []
    for thread in Path(f"/proc/{pid}/task").glob("*"):
        try:
            found += (thread / "children").read_text().split()
        except OSError:
            continue  # the thread has just ended
    return found
