"""Facts about Triton that the frontend and the tools share: error texts, priorities, model versions, the probe image.

Standard library only: container images and the chart copy this file alone.
"""

from __future__ import annotations

import os
import struct
import zlib

# Substrings that distinguish Triton errors with the same status.
QUEUE_FULL = "Exceeds maximum queue size"
QUEUE_TIMEOUT = "Request timeout expired"
STUB_DEAD = "is not healthy"  # a Python process of Triton has died; later requests to it fail too

# This level of the models' queues is reserved for probes: they do not wait behind users' images and are not refused
# with them. A probe that fails therefore means a broken pipeline, not a busy one.
PROBE_PRIORITY = 1

# The configuration of the ensemble `birds` has one parameter of this name for each version of the classifier. Its value
# is a SHA-256 in hexadecimal, of everything that decides the version's answers.
FINGERPRINT_PARAMETER = "fingerprint."
# A parameter of this name is "true" for a version that answers the same image differently each time.
RANDOM_PARAMETER = "random."


def ensemble_model_version(fingerprint: str) -> int:
    """Return the Triton model version under which the ensemble of a classifier version is served.

    Triton names the model version in every answer. An answer therefore says which weights produced it, even if the
    version's number was retired and published again with other weights. 60 bits fit Triton's signed 64-bit numbers.
    """
    return int(fingerprint[:15], 16) + 1  # Triton model versions are positive


def probe_image() -> bytes:
    """Return a PNG of one pixel in a random colour, so that no cache can answer in place of the models."""
    header = struct.pack(">IIBBBBB", 1, 1, 8, 2, 0, 0, 0)  # 1x1, 8 bits, RGB
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(b"\0" + os.urandom(3))), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))
        for kind, content in chunks
    )
