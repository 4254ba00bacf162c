"""The hardware and the software versions of a run."""

from __future__ import annotations

import os
import platform
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import psutil

_PACKAGES = (
    *("nvidia-pytriton", "tensorflow", "tensorflow-cpu", "openvino", "numpy", "pillow"),
    *("aiohttp", "fastapi", "uvicorn", "grpcio"),
)
_FLAGS = ("avx2", "avx512f", "avx512_vnni", "amx_bf16", "amx_int8")


def cores() -> int:
    return len(os.sched_getaffinity(0))


def cpu() -> str:
    """The model of the processor, and the instructions that matter for inference."""
    lines = [line.split(":", 1) for line in Path("/proc/cpuinfo").read_text().splitlines() if ":" in line]
    fields = {name.strip(): value.strip() for name, value in lines}
    return f"{fields['model name']} ({', '.join(flag for flag in _FLAGS if flag in fields['flags'].split())})"


def system() -> str:
    try:
        distribution = platform.freedesktop_os_release()["PRETTY_NAME"]
    except OSError:
        distribution = platform.platform()
    return f"{psutil.virtual_memory().total / 1e9:.1f} GB, {distribution}, Linux {platform.release()}"


def versions() -> dict[str, str]:
    found = {"python": platform.python_version()}
    for name in _PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found
