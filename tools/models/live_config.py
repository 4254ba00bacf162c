"""Writes the configurations that Triton is started with: config.pbtxt, this machine's settings, and the versions.

    preprocess/configs/live.pbtxt    one output for each image size that a version wants
    classifier/configs/live.pbtxt    instances, batch size, warm-up
    birds/configs/live.pbtxt         pinned to the default version; tells of all versions in its parameters
    birds_v<N>/config.pbtxt          the same ensemble pinned to version N; its answers are cached

All are derived and none is in git. Replacing the one of `birds` is what makes a version the default.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeAlias

from google.protobuf import text_format
from tritonclient.grpc import model_config_pb2

from frontend.inference.contract import PROBE_PRIORITY
from tools.models.repository import (
    CLASSIFIER,
    ENSEMBLE,
    PREPROCESS,
    Version,
    image_size,
    live_config_path,
    read_config,
    read_default,
    read_live_config,
    read_versions,
    savedmodel_path,
)
from tools.triton.settings import TritonSettings

ModelConfig: TypeAlias = Any  # model_config_pb2.ModelConfig, which carries no types
_HEADER = "# Derived from config.pbtxt by tools/models/live_config.py; what is written here by hand is lost.\n"
# Far longer than any caller waits: a request's own timeout counts only if it is shorter than a default other than 0.
_LONGEST_WAIT_MICROSECONDS = 300_000_000
_KINDS = {
    "auto": model_config_pb2.ModelInstanceGroup.KIND_AUTO,
    "cpu": model_config_pb2.ModelInstanceGroup.KIND_CPU,
    "gpu": model_config_pb2.ModelInstanceGroup.KIND_GPU,
}


def ensemble_of(version: int) -> str:
    """The name of the ensemble that asks one version of the classifier."""
    return f"{ENSEMBLE}_v{version}"


def write_all(repository: Path, settings: TritonSettings) -> None:
    """Derive every live configuration anew; models that `repository` does not have are left out."""
    versions = read_versions(repository)
    if (repository / CLASSIFIER / "config.pbtxt").exists():
        _write(live_config_path(CLASSIFIER, repository), _classifier(repository, settings))
    if (repository / PREPROCESS / "config.pbtxt").exists():
        base = read_config(PREPROCESS, repository)
        _set_instances(base, settings.preprocess_instances)
        _set_batch_size(base, settings.max_batch_size)
        _bound_queue(base, settings.max_queue_size)
        write_preprocess(repository, versions, base)
    if (repository / ENSEMBLE / "config.pbtxt").exists():
        default = read_default(repository)
        base = read_config(ENSEMBLE, repository)
        _set_batch_size(base, settings.max_batch_size)
        write_ensembles_of(repository, versions, base)
        if default is not None:
            write_default(repository, versions, default, base)


def write_preprocess(repository: Path, versions: Mapping[int, Version], base: ModelConfig | None = None) -> None:
    """Give `preprocess` an output for every image size that one of `versions` wants.

    `base` is what its configuration is derived from, here and below: the live one unless given.
    """
    config = base or read_live_config(PREPROCESS, repository)
    template = _copy(config.output[0])
    names = sorted({_pixels_output(repository, version) for version in versions.values()} - {template.name})
    del config.output[1:]
    for name in names:
        config.output.add().CopyFrom(template)
        config.output[-1].name = name
    _write(live_config_path(PREPROCESS, repository), config)


def write_ensembles_of(repository: Path, versions: Mapping[int, Version], base: ModelConfig | None = None) -> None:
    """Have one ensemble for each of `versions`, and none for any other."""
    for folder in repository.glob(f"{ENSEMBLE}_v*"):
        if folder.name not in map(ensemble_of, versions):
            shutil.rmtree(folder)
    for number, version in versions.items():
        config = _pinned(repository, version, base)
        config.name = ensemble_of(number)
        config.response_cache.enable = True
        folder = repository / config.name / str(_built_at(repository, number))
        if not folder.exists():
            shutil.rmtree(folder.parent, ignore_errors=True)
            folder.mkdir(parents=True)
        _write(repository / config.name / "config.pbtxt", config)


def write_default(
    repository: Path, versions: Mapping[int, Version], default: int, base: ModelConfig | None = None
) -> None:
    """Pin `birds` to the version `default`, and let it tell of all `versions`."""
    config = _pinned(repository, versions[default], base)
    for version in versions.values():
        about = version.about
        config.parameters[f"version.{version.number}"].string_value = json.dumps(
            {
                "labels": version.labels,
                "source": about and about.source,
                "engine": about and about.engine,
                "published": about and about.published,
            }
        )
    _write(live_config_path(ENSEMBLE, repository), config)


def _pinned(repository: Path, version: Version, base: ModelConfig | None) -> ModelConfig:
    config = _copy(base or read_live_config(ENSEMBLE, repository))
    config.parameters.clear()
    for step in config.ensemble_scheduling.step:
        if step.model_name == CLASSIFIER:
            step.model_version = version.number
        if step.model_name == PREPROCESS:
            (pixels,) = step.output_map.values()
            step.output_map.clear()
            step.output_map[_pixels_output(repository, version)] = pixels
    return config


def _built_at(repository: Path, number: int) -> int:
    """When the version's SavedModel was written, in seconds: the version of its ensemble.

    Triton's cache knows an answer by model, version and image, and outlives a reload. A number that is given anew after
    its version was retired must not find the answers of that one.
    """
    graph = savedmodel_path(repository, number) / "saved_model.pb"
    return int(graph.stat().st_mtime) if graph.exists() else 1


def _pixels_output(repository: Path, version: Version) -> str:
    """The output of `preprocess` that has the size of this version's images."""
    name = read_config(PREPROCESS, repository).output[0].name
    size = (version.about.height, version.about.width) if version.about else image_size(repository)
    return name if size == image_size(repository) else f"{name}_{size[0]}x{size[1]}"


def _classifier(repository: Path, settings: TritonSettings) -> ModelConfig:
    config = read_config(CLASSIFIER, repository)
    _set_instances(config, settings.classifier_instances)
    _set_batch_size(config, settings.max_batch_size)
    _bound_queue(config, settings.max_queue_size)
    if settings.device:
        for group in config.instance_group:
            group.kind = _KINDS[settings.device]
    for name, value in (("engine", settings.engine), ("precision", settings.precision)):
        if value:
            config.parameters[name].string_value = value
    return config


def _set_instances(config: ModelConfig, count: int | None) -> None:
    for group in config.instance_group if count else ():
        group.count = count


def _set_batch_size(config: ModelConfig, size: int | None) -> None:
    """Set the largest batch, and warm up for it and for those of the samples that are smaller."""
    if size is None:
        return
    config.max_batch_size = size
    samples = [sample for sample in config.model_warmup if sample.batch_size < size]
    if config.model_warmup:
        largest = _copy(config.model_warmup[-1])
        largest.batch_size, largest.name = size, f"batch of {size}"
        del config.model_warmup[:]
        config.model_warmup.extend([*samples, largest])


def _bound_queue(config: ModelConfig, size: int | None) -> None:
    """Let `size` images wait, each as long as its request says, and probes go first, in a queue of their own."""
    if size is None:
        return
    batching = config.dynamic_batching
    batching.priority_levels = batching.default_priority_level = PROBE_PRIORITY + 1
    policy = batching.default_queue_policy
    policy.timeout_action = model_config_pb2.ModelQueuePolicy.REJECT
    policy.max_queue_size = size
    policy.allow_timeout_override = True
    policy.default_timeout_microseconds = _LONGEST_WAIT_MICROSECONDS


def _copy(message: Any) -> Any:
    copy = type(message)()
    copy.CopyFrom(message)
    return copy


def _write(path: Path, config: ModelConfig) -> None:
    """Replace the file at once, and only if it changes: Triton reloads what looks newer."""
    text = _HEADER + text_format.MessageToString(config)
    if path.exists() and path.read_text(encoding="utf-8") == text:
        return
    path.parent.mkdir(exist_ok=True)
    draft = path.with_name(f".{path.name}.new")
    draft.write_text(text, encoding="utf-8")
    os.replace(draft, path)
