"""Writes the configurations that Triton is started with: config.pbtxt, this machine's settings, and the versions.

    preprocess/configs/live.pbtxt    one output for each image size that a version needs
    classifier/configs/live.pbtxt    instances, batch size, warm-up, and the versions to load if some are damaged
    birds/configs/live.pbtxt         pinned to the default version; describes all versions in its parameters
    birds_v<N>/config.pbtxt          the same ensemble pinned to version N; its one model version names the weights

All are derived; none is in git. A version becomes the default when the file of `birds` is replaced. For each version N
that file has these parameters:

    version.N        JSON: labels, source, engine, published
    fingerprint.N    identifies the version's answers; missing if the version has no manifest
    random.N         "true" if the version answers the same image differently each time; else missing
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeAlias

from google.protobuf import text_format
from tritonclient.grpc import model_config_pb2

from frontend.inference.contract import (
    FINGERPRINT_PARAMETER,
    PROBE_PRIORITY,
    RANDOM_PARAMETER,
    ensemble_model_version,
)
from tools.models.durable import discard, write_text
from tools.models.fingerprint import answers_fingerprint
from tools.models.integrity import intact_versions
from tools.models.repository import (
    CLASSIFIER,
    ENSEMBLE,
    PREPROCESS,
    Version,
    folders_with_numbers,
    image_size,
    live_config_path,
    read_config,
    read_default,
    read_live_config,
)
from tools.triton.settings import TritonSettings

ModelConfig: TypeAlias = Any  # model_config_pb2.ModelConfig, which carries no types
_HEADER = "# Derived from config.pbtxt by tools/models/live_config.py; changes made here by hand are lost.\n"
# Far longer than any caller waits. It must not be 0: Triton obeys a request's own timeout only if that is shorter than
# this default.
_LONGEST_WAIT_MICROSECONDS = 300_000_000
_KINDS = {
    "auto": model_config_pb2.ModelInstanceGroup.KIND_AUTO,
    "cpu": model_config_pb2.ModelInstanceGroup.KIND_CPU,
    "gpu": model_config_pb2.ModelInstanceGroup.KIND_GPU,
}


def ensemble_of(version: int) -> str:
    """The name of the ensemble that runs one version of the classifier."""
    return f"{ENSEMBLE}_v{version}"


def write_all(repository: Path, settings: TritonSettings) -> None:
    """Derive every live configuration for the versions that are intact. Models that `repository` lacks are left out."""
    versions = intact_versions(repository)
    if (repository / CLASSIFIER / "config.pbtxt").exists():
        write_classifier(repository, versions, _with_settings(read_config(CLASSIFIER, repository), settings))
    if (repository / PREPROCESS / "config.pbtxt").exists():
        base = read_config(PREPROCESS, repository)
        _set_instances(base, settings.preprocess_instances)
        _set_batch_size(base, settings.max_batch_size)
        _bound_queue(base, settings.max_queue_size)
        _set_image_limits(base, settings)
        write_preprocess(repository, versions, base)
    if (repository / ENSEMBLE / "config.pbtxt").exists():
        default = read_default(repository)
        base = read_config(ENSEMBLE, repository)
        _set_batch_size(base, settings.max_batch_size)
        write_ensembles_of(repository, versions, base)
        if default in versions:
            write_default(repository, versions, default, base)


def write_classifier(repository: Path, versions: Mapping[int, Version], base: ModelConfig | None = None) -> None:
    """Have Triton load `versions` and no others, because one version that Triton cannot load keeps it from loading any.

    `base` is the configuration to derive this one from, here and in the functions below: by default the live one.
    """
    config = _copy(base or read_live_config(CLASSIFIER, repository))
    config.version_policy.Clear()
    if set(map(str, versions)) == set(folders_with_numbers(repository)):
        config.version_policy.all.SetInParent()
    else:
        config.version_policy.specific.versions.extend(sorted(versions))
    _write(live_config_path(CLASSIFIER, repository), config)


def write_preprocess(repository: Path, versions: Mapping[int, Version], base: ModelConfig | None = None) -> None:
    """Give `preprocess` an output for every image size that one of `versions` needs."""
    config = base or read_live_config(PREPROCESS, repository)
    template = _copy(config.output[0])
    names = sorted({_pixels_output(repository, version) for version in versions.values()} - {template.name})
    del config.output[1:]
    for name in names:
        config.output.add().CopyFrom(template)
        config.output[-1].name = name
    _write(live_config_path(PREPROCESS, repository), config)


def write_ensembles_of(repository: Path, versions: Mapping[int, Version], base: ModelConfig | None = None) -> None:
    """Write an ensemble for each of `versions` and remove all others."""
    for folder in repository.glob(f"{ENSEMBLE}_v*"):
        if folder.name not in map(ensemble_of, versions) or not folder.is_dir():
            discard(folder)
    for number, version in versions.items():
        config = _pin_ensemble(repository, version, base)
        config.name = ensemble_of(number)
        fingerprint = answers_fingerprint(repository, version)
        folder = repository / config.name / str(ensemble_model_version(fingerprint) if fingerprint else 1)
        if not folder.exists():
            discard(folder.parent)
            folder.mkdir(parents=True)
        _write(repository / config.name / "config.pbtxt", config)


def write_default(
    repository: Path, versions: Mapping[int, Version], default: int, base: ModelConfig | None = None
) -> None:
    """Pin `birds` to the version `default`, and describe all `versions` in its parameters."""
    config = _pin_ensemble(repository, versions[default], base)
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
        if fingerprint := answers_fingerprint(repository, version):
            config.parameters[f"{FINGERPRINT_PARAMETER}{version.number}"].string_value = fingerprint
        if about and about.random:
            config.parameters[f"{RANDOM_PARAMETER}{version.number}"].string_value = "true"
    _write(live_config_path(ENSEMBLE, repository), config)


def described_versions(repository: Path) -> set[int]:
    """The versions that the live configuration of `birds` describes: those that were published completely."""
    names = read_live_config(ENSEMBLE, repository).parameters
    return {int(name.removeprefix("version.")) for name in names if name.startswith("version.")}


def remove_default(repository: Path) -> None:
    """Undo write_default where there was no default before."""
    live_config_path(ENSEMBLE, repository).unlink(missing_ok=True)


def _pin_ensemble(repository: Path, version: Version, base: ModelConfig | None) -> ModelConfig:
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


def _pixels_output(repository: Path, version: Version) -> str:
    """The name of the output of `preprocess` that has the image size of this version."""
    name = read_config(PREPROCESS, repository).output[0].name
    size = (version.about.height, version.about.width) if version.about else image_size(repository)
    return name if size == image_size(repository) else f"{name}_{size[0]}x{size[1]}"


def _with_settings(config: ModelConfig, settings: TritonSettings) -> ModelConfig:
    """Apply the settings to the classifier's configuration and return it."""
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


def _set_image_limits(config: ModelConfig, settings: TritonSettings) -> None:
    """Give `preprocess` the frontend's limits. The memory for decoding follows `max_pixels`."""
    limits = {
        "max_pixels": settings.max_pixels,
        "max_bytes": settings.download_max_bytes,
        "decode_seconds": settings.decode_seconds,
    }
    for name, value in limits.items():
        if value is not None:
            config.parameters[name].string_value = str(value)


def _set_instances(config: ModelConfig, count: int | None) -> None:
    for group in config.instance_group if count else ():
        group.count = count


def _set_batch_size(config: ModelConfig, size: int | None) -> None:
    """Set the largest batch size. Warm-up uses it, and the configured samples that are smaller."""
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
    """Bound the queue to `size` images. Each waits as long as its request allows. Probes have their own priority."""
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
    """Replace the file, but only if its content changes: Triton reloads a model whose files look newer."""
    text = _HEADER + text_format.MessageToString(config)
    if path.exists() and path.read_text(encoding="utf-8", errors="replace") == text:
        return
    path.parent.mkdir(exist_ok=True)
    write_text(path, text)
