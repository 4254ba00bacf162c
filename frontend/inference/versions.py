"""Which versions of the classifier there are, and which of them an image goes to."""

from __future__ import annotations

import asyncio
import hashlib
import json
import logging
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from frontend.errors import UnknownModelVersion

log = logging.getLogger(__name__)

CLASSIFIER = "classifier"
_FRESH_SECONDS = 1.0
_TIMEOUT_SECONDS = 5.0
_PARAMETER = "version."


@dataclass(frozen=True)
class ModelVersion:
    """What is known of one version. Of one that was put into the repository by hand, little is."""

    version: str
    labels: int | None
    source: str | None
    engine: str | None
    published: str | None


@dataclass(frozen=True)
class Catalogue:
    """All versions by name, and the default; None is a Triton that tells of none: `birds` itself is asked then."""

    default: str | None
    versions: dict[str, ModelVersion]


@dataclass(frozen=True)
class VersionRoute:
    """Where the images of one request go: to `version`, but some of them to the canary."""

    version: str | None
    is_named: bool = False
    canary: str | None = None
    canary_percent: float = 0

    def of(self, name: str) -> str | None:
        """The version for the image `name`, the same in every request."""
        if self.canary is None:
            return self.version
        digest = hashlib.blake2b(name.encode("utf-8", "surrogatepass"), digest_size=8).digest()
        return self.canary if int.from_bytes(digest, "big") % 10_000 < 100 * self.canary_percent else self.version


class ModelVersions:
    """Remembers the catalogue for a second, however many requests come."""

    def __init__(
        self,
        ask: Callable[[float], Awaitable[Catalogue]],
        canary_version: str | None = None,
        canary_percent: float = 0,
    ) -> None:
        self._ask = ask
        self._canary_version = canary_version
        self._canary_percent = canary_percent
        self._lock = asyncio.Lock()
        self._known: Catalogue | None = None
        self._asked_at = float("-inf")

    async def catalogue(self, fresh: bool = False) -> Catalogue:
        """The catalogue as of at most a second ago, or of now. Raises TritonUnavailable."""
        async with self._lock:
            if fresh or self._known is None or time.monotonic() - self._asked_at > _FRESH_SECONDS:
                self._known = await self._ask(_TIMEOUT_SECONDS)
                self._asked_at = time.monotonic()
            return self._known

    async def choose(self, named: str | None, fresh: bool = False) -> VersionRoute:
        """Where to send the images of a request that names a version, or none.

        Raises UnknownModelVersion for one that is not served, TritonUnavailable when there is no server to ask.
        """
        catalogue = await self.catalogue(fresh)
        if named is not None:
            if named not in catalogue.versions:
                raise UnknownModelVersion(version=named)
            return VersionRoute(named, is_named=True)
        canary = self._canary_version
        if canary is None or canary == catalogue.default or not self._canary_percent:
            return VersionRoute(catalogue.default)
        if canary not in catalogue.versions:
            log.warning("the canary, version %s, is not served: the default takes its part", canary)
            return VersionRoute(catalogue.default)
        return VersionRoute(catalogue.default, canary=canary, canary_percent=self._canary_percent)


def read_catalogue(ensemble: dict[str, Any], classifier: dict[str, Any]) -> Catalogue:
    """What the configuration of the ensemble tells of the versions, and that of the classifier of their engine."""
    versions = {}
    for name, parameter in ensemble.get("parameters", {}).items():
        if name.startswith(_PARAMETER):
            version = name.removeprefix(_PARAMETER)
            about = json.loads(parameter["string_value"])
            about["engine"] = _engine(classifier, about["engine"])
            versions[version] = ModelVersion(version=version, **about)
    steps = ensemble["ensemble_scheduling"]["step"]
    pinned = next((step["model_version"] for step in steps if step["model_name"] == CLASSIFIER), "-1")
    ordered = dict(sorted(versions.items(), key=lambda item: int(item[0])))
    return Catalogue(pinned if pinned in versions else None, ordered)


def _engine(classifier: dict[str, Any], proven: str | None) -> str | None:
    """The engine that is set, or what the backend makes of `auto`: TensorFlow on a GPU, else the one proven."""
    setting = classifier.get("parameters", {}).get("engine", {}).get("string_value", "auto")
    if setting != "auto":
        return str(setting)
    on_gpu = any(group.get("kind") == "KIND_GPU" for group in classifier.get("instance_group", []))
    return "tensorflow" if on_gpu else proven
