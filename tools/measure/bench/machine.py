"""The hardware and the software versions of a run."""

from __future__ import annotations

import os
import platform
from collections.abc import Iterable
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import psutil

from tools.measure.bench.results import Machine

_PACKAGES = ("nvidia-pytriton", "tensorflow", "openvino", "numpy", "pillow", "aiohttp", "fastapi", "uvicorn", "grpcio")


def this_machine() -> Machine:
    return Machine(
        cpu=_cpu(),
        cores=len(os.sched_getaffinity(0)),
        memory_gb=round(psutil.virtual_memory().total / 1e9, 1),
        system=f"{_distribution()}, Linux {platform.release()}",
    )


def versions() -> dict[str, str]:
    return {"python": platform.python_version(), **dict(_installed(_PACKAGES))}


def busy_percent(seconds: float) -> float:
    """How busy all cores are at the moment, in percent."""
    return float(psutil.cpu_percent(seconds))


def _installed(names: Iterable[str]) -> Iterable[tuple[str, str]]:
    for name in names:
        try:
            yield name, version(name)
        except PackageNotFoundError:
            continue


def _cpu() -> str:
    info = Path("/proc/cpuinfo").read_text()
    fields = dict(line.split(":", 1) for line in info.splitlines() if ":" in line)
    by_name = {name.strip(): value.strip() for name, value in fields.items()}
    flags = [flag for flag in ("avx2", "avx512f", "avx512_vnni", "amx_bf16", "amx_int8") if flag in by_name["flags"]]
    return f"{by_name['model name']} ({', '.join(flags)})"


def _distribution() -> str:
    try:
        return platform.freedesktop_os_release()["PRETTY_NAME"]
    except OSError:
        return platform.platform()
