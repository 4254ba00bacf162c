"""Writes what perf_analyzer sends: photos, or pixels of photos, as its JSON input data."""

from __future__ import annotations

import base64
import json
import struct
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from tritonclient.grpc import model_config_pb2 as config

from tools.errors import ToolError
from tools.measure.decoding import decode, pixel_format
from tools.measure.photos import load_photos, numbered_photo
from tools.triton import direct_grpc

_PHOTOS_IN_TURN = 64
_PHOTOS_PER_SECOND = 300  # more than a few cores can classify, so that no photo is sent twice


class UnknownInput(ToolError):
    """A model whose input is neither an image file nor pixels; the text names it."""


def model_input(grpc_url: str, model: str) -> tuple[str, int]:
    """Name and data type of the one input of `model`. Raises UnknownInput unless photos can be sent to it."""
    with direct_grpc.connect(grpc_url) as client:
        inputs = client.get_model_config(model).config.input
    found = ", ".join(f"'{tensor.name}' {config.DataType.Name(tensor.data_type)}" for tensor in inputs)
    if len(inputs) != 1 or inputs[0].data_type not in (config.TYPE_STRING, config.TYPE_UINT8):
        raise UnknownInput(f"{model} takes {found}, neither one image file (TYPE_STRING) nor pixels (TYPE_UINT8)")
    return inputs[0].name, inputs[0].data_type


class Inputs:
    """The input files for the loads of one model.

    If `always_new`, or if Triton's response cache is on for a model, each load gets new photos, so that the model is
    measured and not a cache. Other models get the same few photos in turn.
    """

    def __init__(self, grpc_url: str, model: str, folder: Path, always_new: bool = False) -> None:
        self._name, self._data_type = model_input(grpc_url, model)
        self._always_new = always_new or _answers_from_cache(grpc_url, model)
        self._path = folder / f"{model}.json"
        self._photos = load_photos()
        self._next_photo = 0

    def file_for(self, seconds: float) -> Path:
        """The input file for a load of `seconds`."""
        if self._always_new or not self._path.exists():
            count = int(_PHOTOS_PER_SECOND * (seconds + 1)) if self._always_new else _PHOTOS_IN_TURN
            photos = (numbered_photo(self._photos, self._next_photo + n) for n in range(count))
            write_input_data(self._path, self._name, self._data_type, photos)
            self._next_photo += count
        return self._path


def _answers_from_cache(grpc_url: str, model: str) -> bool:
    with direct_grpc.connect(grpc_url) as client:
        configuration = client.get_model_config(model).config
        models = [model, *(step.model_name for step in configuration.ensemble_scheduling.step)]
        return any(client.get_model_config(name).config.response_cache.enable for name in models)


def write_input_data(path: Path, name: str, data_type: int, photos: Iterable[bytes]) -> None:
    """Write an entry for each photo: the file, or the pixels that `preprocess` makes of it."""
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
