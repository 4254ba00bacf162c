"""Stops libtiff from printing its messages about damaged files: untrusted files must not write to our stderr."""

from __future__ import annotations

import ctypes
import os
from pathlib import Path

_HANDLERS = ("TIFFSetErrorHandler", "TIFFSetWarningHandler", "TIFFSetErrorHandlerExt", "TIFFSetWarningHandlerExt")


def silence() -> bool:
    """Remove libtiff's message handlers; decoding errors still reach Pillow.

    Return False if this process has loaded no libtiff that can be found. TIFF files should not be decoded then.
    """
    # Not as UTF-8: the file-system encoding of Triton's stub is ASCII in every locale, and CDLL encodes the path again.
    maps = os.fsdecode(Path("/proc/self/maps").read_bytes())
    libraries = {line.split(maxsplit=5)[5] for line in maps.splitlines() if "/libtiff" in line}
    for library in libraries:
        loaded = ctypes.CDLL(library)
        for name in _HANDLERS:
            setter = getattr(loaded, name)
            setter.argtypes, setter.restype = [ctypes.c_void_p], ctypes.c_void_p
            setter(None)
    return bool(libraries)
