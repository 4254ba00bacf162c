"""Whether a Triton that has started does its work: its front door, a real inference, and all its processes."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import NamedTuple

from tools.model_repository import ENSEMBLE
from tools.supervisor import Check
from tools.triton_control import ControlError, Refused, TritonControl

# The front door has threads of its own, which answer however busy the models are.
_FROZEN_AFTER_SECONDS = 10
# A probe passes all that is queued, so it waits for two batches a step at most. The most expensive images there are
# take two cores 8 s a batch of 16.
_STUCK_AFTER_SECONDS = 40
_BUSY = ("Exceeds maximum queue size", "Request timeout expired")
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
        stuck = f"no answer to an inference for {_STUCK_AFTER_SECONDS} s"
        return [
            Check(self.not_live, _FROZEN_AFTER_SECONDS, frozen),
            Check(self.failing_inference, _STUCK_AFTER_SECONDS, stuck),
            Check(self.lost_process, _STUCK_AFTER_SECONDS, stuck, interval_seconds=0.5),
        ]

    def not_live(self) -> str | None:
        return None if self._control.is_running(2 * _FROZEN_AFTER_SECONDS) else "it accepts no connections"

    def failing_inference(self) -> str | None:
        """What an inference by each version that is served fails with. A queue that is full is no failure."""
        try:
            served = {model for model, _ in self._control.ready() if model.startswith(f"{ENSEMBLE}_v")}
            for ensemble in sorted({ENSEMBLE, *served}):
                self._control.probe(ensemble, 2 * _STUCK_AFTER_SECONDS)
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
