"""Which versions of the classifier exist, and which one classifies an image."""

from __future__ import annotations

import hashlib
import json
import logging
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from anyio import fail_after

from frontend.errors import TritonUnavailable, UnknownModelVersion
from frontend.inference.contract import FINGERPRINT_PARAMETER, RANDOM_PARAMETER
from frontend.inference.single_flight import SingleFlight

log = logging.getLogger(__name__)

CLASSIFIER = "classifier"
_FRESH_SECONDS = 1.0
_TIMEOUT_SECONDS = 5.0
_PARAMETER = "version."
_NEWEST = -1  # the step of an ensemble that is not pinned to a version

Config = Any  # model_config_pb2.ModelConfig, which carries no types


@dataclass(frozen=True)
class ModelVersion:
    """What is known about one version; little about a version that was put into the repository by hand.

    `fingerprint` is a SHA-256 of everything that decides the version's answers. A number that is retired and published
    again with other weights gets another fingerprint. Answers are remembered neither for a version without one, nor
    for a random version, which answers the same image differently each time.
    """

    version: str
    labels: int | None
    source: str | None
    engine: str | None
    published: str | None
    fingerprint: str | None = None
    is_random: bool = False


@dataclass(frozen=True)
class Catalogue:
    """All versions by name, and the default. The default is None if Triton lists no versions: `birds` is asked then."""

    default: str | None
    versions: dict[str, ModelVersion]


@dataclass(frozen=True)
class VersionRoute:
    """Where the images of one request go: to `version`, and `canary_percent` of them to `canary`."""

    version: str | None
    is_named: bool = False
    canary: str | None = None
    canary_percent: float = 0

    def of(self, name: str) -> str | None:
        """Return the version for the image `name`, which is the same in every request."""
        if self.canary is None:
            return self.version
        digest = hashlib.blake2b(name.encode("utf-8", "surrogatepass"), digest_size=8).digest()
        return self.canary if int.from_bytes(digest, "big") % 10_000 < 100 * self.canary_percent else self.version


class ModelVersions:
    """Remembers the catalogue, or the failure to get it, for one second. Concurrent callers share one call."""

    def __init__(
        self,
        ask: Callable[[float], Awaitable[Catalogue]],
        canary_version: str | None = None,
        canary_percent: float = 0,
        is_recovery_likely: Callable[[], bool] = lambda: False,
    ) -> None:
        self._ask = ask
        self._canary_version = canary_version
        self._canary_percent = canary_percent
        self._is_recovery_likely = is_recovery_likely
        self._calls: SingleFlight[None, Catalogue] = SingleFlight()
        self._known: Catalogue | None = None
        self._known_at = float("-inf")
        self._failed_at = float("-inf")

    @property
    def default(self) -> str | None:
        """The default version, as last known."""
        return self._known.default if self._known else None

    async def catalogue(self, fresh: bool = False, timeout_seconds: float = _TIMEOUT_SECONDS) -> Catalogue:
        """Return the catalogue as of at most a second ago; with `fresh`, as of now.

        Raises TritonUnavailable, also if there is no answer after `timeout_seconds`. That ends only this caller's wait:
        if others wait too, one of them asks Triton again.
        """
        try:
            with fail_after(timeout_seconds):
                if fresh and None in self._calls:  # sent before now: its response may be outdated
                    await self._shared_call()
                if self._known is not None and not fresh and _age(self._known_at) <= _FRESH_SECONDS:
                    return self._known
                return await self._shared_call()
        except TimeoutError:
            raise TritonUnavailable() from None

    async def choose(
        self, named: str | None, fresh: bool = False, timeout_seconds: float = _TIMEOUT_SECONDS
    ) -> VersionRoute:
        """Return where to send the images of a request that names a version, or none.

        While a lost Triton is likely to return, the last known catalogue is used: the images wait for Triton. Raises
        UnknownModelVersion for a version that is not served, TritonUnavailable when there is no server to ask.
        """
        try:
            catalogue = await self.catalogue(fresh, timeout_seconds)
        except TritonUnavailable:
            if fresh or self._known is None or not self._is_recovery_likely():
                raise
            catalogue = self._known
        if named is not None:
            if named not in catalogue.versions:
                raise UnknownModelVersion(version=named)
            return VersionRoute(named, is_named=True)
        canary = self._canary_version
        if canary is None or canary == catalogue.default or not self._canary_percent:
            return VersionRoute(catalogue.default)
        if canary not in catalogue.versions:
            log.warning("Version %s, the canary, is not served. The default version takes its share", canary)
            return VersionRoute(catalogue.default)
        return VersionRoute(catalogue.default, canary=canary, canary_percent=self._canary_percent)

    async def _shared_call(self) -> Catalogue:
        """Join the running call to Triton, or make one. Raises TritonUnavailable at once after a recent failure."""
        if _age(self._failed_at) <= _FRESH_SECONDS:
            raise TritonUnavailable()
        return await self._calls.run(None, self._ask_triton)

    async def _ask_triton(self) -> Catalogue:
        try:
            self._known = await self._ask(_TIMEOUT_SECONDS)
        except TritonUnavailable:
            self._failed_at = time.monotonic()
            raise
        self._known_at = time.monotonic()
        return self._known


def read_catalogue(ensemble: Config, classifier: Config) -> Catalogue:
    """Read the versions from the configuration of the ensemble, and their engine from that of the classifier."""
    versions = {}
    for name, parameter in ensemble.parameters.items():
        if name.startswith(_PARAMETER):
            version = name.removeprefix(_PARAMETER)
            about = json.loads(parameter.string_value)
            about["engine"] = _engine(classifier, about["engine"])
            versions[version] = ModelVersion(
                version=version,
                fingerprint=_text(ensemble, f"{FINGERPRINT_PARAMETER}{version}"),
                is_random=_text(ensemble, f"{RANDOM_PARAMETER}{version}") == "true",
                **about,
            )
    steps = ensemble.ensemble_scheduling.step
    pinned = str(next((step.model_version for step in steps if step.model_name == CLASSIFIER), _NEWEST))
    ordered = dict(sorted(versions.items(), key=lambda item: int(item[0])))
    return Catalogue(pinned if pinned in versions else None, ordered)


def _engine(classifier: Config, proven: str | None) -> str | None:
    """Return the configured engine, or what the backend makes of `auto`: TensorFlow on a GPU, else the proven one."""
    setting = _text(classifier, "engine") or "auto"
    if setting != "auto":
        return setting
    on_gpu = any(group.kind == group.KIND_GPU for group in classifier.instance_group)
    return "tensorflow" if on_gpu else proven


def _text(config: Config, parameter: str) -> str | None:
    return str(config.parameters[parameter].string_value) if parameter in config.parameters else None


def _age(moment: float) -> float:
    return time.monotonic() - moment
