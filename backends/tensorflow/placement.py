"""Decides where an instance runs, and on which engine. Pure functions: they can be tested without a GPU."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Device:
    """Where one instance runs: a GPU by number, or the CPU with its share of the threads."""

    threads: int
    gpu: int | None = None


def device_of(kind: str, device_id: str, instances: int, cores: int) -> Device:
    """Translate Triton's instance kind. Instances on the CPU share its cores; instances on a GPU share its memory."""
    if kind == "GPU":
        return Device(threads=cores, gpu=int(device_id))
    return Device(threads=max(1, cores // max(1, instances)))


def engine_for(setting: str, device: Device, proven: str | None) -> str:
    """Return the engine to load: the configured one, else TensorFlow on a GPU, else the one that the build found best.

    For a SavedModel that was not built by the tools this stays `auto`: the best engine that can load it.
    """
    if setting != "auto":
        return setting
    if device.gpu is not None:
        return "tensorflow"
    return proven or "auto"


def visible_gpus(inherited: str | None, device: Device) -> str:
    """Return CUDA_VISIBLE_DEVICES for this instance's process: its own GPU or none.

    `inherited` is Triton's own CUDA_VISIBLE_DEVICES. Triton numbers the GPUs that it can see, so if `inherited` lists
    GPUs, Triton's number 0 is the first of the list.
    """
    if device.gpu is None:
        return "-1"
    choice = [name.strip() for name in inherited.split(",")] if inherited else []
    return choice[device.gpu] if device.gpu < len(choice) else str(device.gpu)
