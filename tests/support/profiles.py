"""Small ICC profiles made on the spot."""

from __future__ import annotations

import struct

import numpy as np

_D50 = (0.9642, 1.0, 0.8249)
_D65 = (0.9505, 1.0, 1.0890)
_BRADFORD = np.array([[0.8951, 0.2664, -0.1614], [-0.7502, 1.7135, 0.0367], [0.0389, -0.0685, 1.0296]])


def rgb_profile(primaries: tuple[tuple[float, float], ...], gamma: float) -> bytes:
    """A display profile with these primaries (x, y of red, green, blue), a white of D65, and a plain gamma."""
    columns = np.array([[x / y, 1, (1 - x - y) / y] for x, y in primaries]).T
    matrix = columns * np.linalg.solve(columns, np.array(_D65))
    scale = np.diag((_BRADFORD @ _D50) / (_BRADFORD @ _D65))
    adapted = np.linalg.inv(_BRADFORD) @ scale @ _BRADFORD @ matrix
    tags = {b"rXYZ": _xyz(adapted[:, 0]), b"gXYZ": _xyz(adapted[:, 1]), b"bXYZ": _xyz(adapted[:, 2])}
    tags.update({name: _curve(gamma) for name in (b"rTRC", b"gTRC", b"bTRC")})
    return _profile(b"RGB ", tags)


def gray_profile(gamma: float) -> bytes:
    return _profile(b"GRAY", {b"kTRC": _curve(gamma)})


def _xyz(values: np.ndarray) -> bytes:
    return b"XYZ \0\0\0\0" + b"".join(struct.pack(">i", round(value * 65536)) for value in values)


def _curve(gamma: float) -> bytes:
    return b"curv\0\0\0\0" + struct.pack(">IH", 1, round(gamma * 256)) + b"\0\0"


def _text(text: bytes) -> bytes:
    return b"desc\0\0\0\0" + struct.pack(">I", len(text) + 1) + text + bytes(80 - len(text) % 4)


def _profile(colour_space: bytes, tags: dict[bytes, bytes]) -> bytes:
    tags = {b"desc": _text(b"test"), b"wtpt": _xyz(np.array(_D50)), **tags}
    offset = 128 + 4 + 12 * len(tags)
    table, body = struct.pack(">I", len(tags)), b""
    for name, content in tags.items():
        table += name + struct.pack(">II", offset + len(body), len(content))
        body += content
    d50 = b"".join(struct.pack(">i", round(value * 65536)) for value in _D50)
    header = struct.pack(">I4sI4s4s4s", offset + len(body), b"\0\0\0\0", 0x02100000, b"mntr", colour_space, b"XYZ ")
    header += bytes(12) + b"acsp" + bytes(28) + d50
    return header.ljust(128, b"\0") + table + body
