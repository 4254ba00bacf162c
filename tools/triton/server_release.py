"""Options of newer Tritons. The one in the nvidia-pytriton wheel (2.51) ends if it gets them. Standard library only."""

from __future__ import annotations

from collections.abc import Collection, Mapping

VERSION_VARIABLE = "TRITON_SERVER_VERSION"  # NVIDIA's images set it, to 2.71.0 in 26.07; the wheel does not
_BODY_LIMIT = (2, 59)  # 25.06: --http-max-input-size
_CLIENT_SHARED_MEMORY_IS_OFF = (2, 68)  # 26.04: --allow-client-shm (server #8721)
_MAX_BODY_BYTES = 64 << 20


def release_arguments(environment: Mapping[str, str], open_apis: Collection[str]) -> list[str]:
    """Return the arguments for the Triton that `environment` names. A Triton without a version gets none of them."""
    version = _version(environment.get(VERSION_VARIABLE, ""))
    arguments = []
    if version >= _BODY_LIMIT:
        arguments.append(f"--http-max-input-size={_MAX_BODY_BYTES}")
    if version >= _CLIENT_SHARED_MEMORY_IS_OFF and "shared-memory" in open_apis:
        arguments.append("--allow-client-shm=true")
    return arguments


def _version(text: str) -> tuple[int, ...]:
    parts = text.split(".")[:2]
    return tuple(map(int, parts)) if len(parts) == 2 and all(part.isdecimal() for part in parts) else ()
