"""Writes what perf_analyzer sends: photos, or pixels of photos, as its JSON input data."""

from __future__ import annotations

import base64
import json
import struct
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import tritonclient.grpc
from tritonclient.grpc import model_config_pb2 as config

from tools.measure.decoding import decode, pixel_format


class UnknownInput(Exception):
    """A model whose input is neither an image file nor pixels; the text names it."""


def model_input(grpc_url: str, model: str) -> tuple[str, int]:
    """Name and data type of the one input of `model`. Raises UnknownInput unless photos can be sent to it."""
    with tritonclient.grpc.InferenceServerClient(grpc_url) as client:
        inputs = client.get_model_config(model).config.input
    found = ", ".join(f"'{tensor.name}' {config.DataType.Name(tensor.data_type)}" for tensor in inputs)
    if len(inputs) != 1 or inputs[0].data_type not in (config.TYPE_STRING, config.TYPE_UINT8):
        raise UnknownInput(f"{model} takes {found}, neither one image file (TYPE_STRING) nor pixels (TYPE_UINT8)")
    return inputs[0].name, inputs[0].data_type


def write_input_data(path: Path, name: str, data_type: int, photos: Iterable[bytes]) -> None:
    """Write one entry a photo, to be sent in turn: the file itself, or the pixels that `preprocess` makes of it."""
    tensors = (_file(photo) if data_type == config.TYPE_STRING else _pixels(photo) for photo in photos)
    with path.open("w") as file:
        file.write('{"data":[')
        for index, tensor in enumerate(tensors):
            file.write(",\n" if index else "\n")
            json.dump({name: tensor}, file)
        file.write("]}")


def _file(photo: bytes) -> dict[str, Any]:
    return {"b64": _b64(struct.pack("<I", len(photo)) + photo), "shape": [1]}


def _pixels(photo: bytes) -> dict[str, Any]:
    pixels = decode(photo, pixel_format())
    return {"b64": _b64(pixels.tobytes()), "shape": list(pixels.shape)}


def _b64(data: bytes) -> str:
    return base64.b64encode(data).decode("ascii")
