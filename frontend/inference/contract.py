"""What the frontend and every tool agree on about Triton: texts of its errors, and the image that probes it.

Standard library only: images and charts copy this file alone.
"""

from __future__ import annotations

import os
import struct
import zlib

# Substrings that distinguish Triton errors with the same status.
QUEUE_FULL = "Exceeds maximum queue size"
QUEUE_TIMEOUT = "Request timeout expired"
STUB_DEAD = "is not healthy"  # a Python process of Triton's; no later request will fare better

# The level of the models' queues that is for probes alone: they neither wait behind users' images nor are refused with
# them, so a probe that fails means a pipeline that is broken, not one that is busy.
PROBE_PRIORITY = 1


def probe_image() -> bytes:
    """One pixel of a random colour: Triton's cache would answer for one that it has seen, with its models dead."""
    header = struct.pack(">IIBBBBB", 1, 1, 8, 2, 0, 0, 0)  # 1x1, 8 bits, RGB
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(b"\0" + os.urandom(3))), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))
        for kind, content in chunks
    )
