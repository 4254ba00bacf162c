"""BIRDS_* variables that change how this machine runs the models, without editing their configurations."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field
from pydantic_settings import NoDecode, SettingsConfigDict

from frontend.settings import CommaSeparated, EnvironmentSettings

ControlApi = Literal["model-repository", "shared-memory", "trace", "logging"]


class TritonSettings(EnvironmentSettings):
    """Read from environment variables when Triton starts. None keeps the value of config.pbtxt."""

    model_config = SettingsConfigDict(env_prefix="BIRDS_", env_ignore_empty=True, frozen=True)

    max_batch_size: int | None = Field(None, ge=1, le=1024, description="largest batch of every model")
    classifier_instances: int | None = Field(
        None, ge=1, le=64, description="instances of each version of the classifier, on every GPU or on the CPU"
    )
    preprocess_instances: int | None = Field(None, ge=1, le=64, description="processes that decode images")
    device: Literal["auto", "cpu", "gpu"] | None = Field(None, description="where the classifier runs")
    engine: Literal["auto", "tensorflow", "openvino"] | None = Field(None, description="what runs the classifier")
    precision: Literal["auto", "f32", "bf16", "int8"] | None = Field(None, description="number format of OpenVINO")
    max_queue_size: int | None = Field(
        None, ge=1, description="images that can wait before each step; more are refused. Costs up to 0.5 s at low load"
    )
    max_pixels: int | None = Field(
        None, ge=1, description="maximum width × height of an image; the frontend's setting too"
    )
    download_max_bytes: int | None = Field(
        None, ge=1, description="maximum size of an image file, in bytes; the frontend's setting too"
    )
    decode_seconds: float | None = Field(
        None, gt=0, le=60, description="CPU seconds that a worker process may spend on one image"
    )
    triton_open_apis: Annotated[tuple[ControlApi, ...], NoDecode, CommaSeparated] = Field(
        (), description="control APIs, separated by commas, that Triton answers without the key"
    )
