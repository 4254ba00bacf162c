"""The smallest question that only a whole, working pipeline can answer: one pixel as a PNG."""

import os
import struct
import zlib

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
