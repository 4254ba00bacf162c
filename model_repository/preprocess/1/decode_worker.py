"""A process that decodes images, one at a time, and may be killed at any moment. Started by `decode_process`.

    python decode_worker.py '{"socket": 5, "memory": 6, …}'

It reads an encoded image from memory that it shares with its parent and leaves the pixels in the same place. Requests
and replies are JSON messages on a socket. When the parent closes the socket, or dies, the process ends.
"""

from __future__ import annotations

import json
import mmap
import os
import resource
import socket
import sys
import traceback
from typing import Any

from bird_pixels import ImageRejected, OpenedImage, PixelFormat, damage_of, decode_opened, open_image
from colour_profiles import is_usable, transform_to_srgb
from image_limits import MoreMemoryNeeded

_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")
# What Python itself may need in addition to the estimate, for garbage and fragmentation.
_SLACK_BYTES = 64_000_000
_MESSAGE_BYTES = 65_536
_NICE = 5  # images that are cheap to decode come first

Reply = dict[str, Any]


def main() -> None:
    options = json.loads(sys.argv[1])
    os.nice(_NICE)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    shared = mmap.mmap(options["memory"], options["size"])
    with socket.socket(fileno=options["socket"]) as parent:
        parent.send(json.dumps({"ready": True}).encode())
        while message := parent.recv(_MESSAGE_BYTES):
            parent.send(json.dumps(_answer(shared, json.loads(message))).encode())


def _answer(shared: mmap.mmap, request: dict[str, Any]) -> Reply:
    """Decode one image.

    The reply has `size_bytes` of the pixels in shared memory; `code` and `reason` of a refusal; or `needs_bytes`, which
    asks for the same image again with more memory.
    """
    wanted = PixelFormat(**request["format"])
    _limit_memory(request["memory_bytes"])
    _limit_processor_time(request["seconds"])
    try:
        opened = open_image(shared[: request["length"]], wanted, request["memory_bytes"])
        decoded = decode_opened(opened, wanted).tobytes()
        shared[: len(decoded)] = decoded
        damage = sorted(damage_of(opened))
        return {"size_bytes": len(decoded), "has_srgb_profile": _has_srgb_profile(opened), "damage": damage}
    except ImageRejected as rejected:
        return {"code": rejected.code, "reason": rejected.reason}
    except MoreMemoryNeeded as more:
        return {"needs_bytes": more.needed_bytes}
    except MemoryError:
        return {"needs_bytes": None}
    except Exception:
        return {"code": "internal_error", "reason": traceback.format_exc()[-_MESSAGE_BYTES // 4 :]}


def _has_srgb_profile(opened: OpenedImage) -> bool:
    """Whether the profile means sRGB. An unusable one does not count: its damage must be counted for every image."""
    return opened.profile is not None and is_usable(opened.profile) and transform_to_srgb(opened.profile) is None


def _limit_memory(extra_bytes: int) -> None:
    """Let the kernel refuse this process more than `extra_bytes` and a little on top of what it has now."""
    with open("/proc/self/statm", "rb") as file:
        present = int(file.read().split()[0]) * _PAGE_BYTES
    _, most = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (present + extra_bytes + _SLACK_BYTES, most))


def _limit_processor_time(seconds: float) -> None:
    """Let the kernel end a decode whose parent has died. A living parent kills the process sooner."""
    used = sum(resource.getrusage(resource.RUSAGE_SELF)[:2])
    _, most = resource.getrlimit(resource.RLIMIT_CPU)
    resource.setrlimit(resource.RLIMIT_CPU, (int(used + seconds) + 2, most))


if __name__ == "__main__":
    main()
