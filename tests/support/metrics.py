"""The metrics of a frontend, as numbers."""

from __future__ import annotations

import httpx
from prometheus_client.parser import text_string_to_metric_families

Samples = dict[tuple[str, frozenset[tuple[str, str]]], float]


def samples(text: str) -> Samples:
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


class Scraped:
    """The metrics at `url`; a missing value is 0."""

    def __init__(self, url: str) -> None:
        self._url = url

    def __call__(self, name: str, **labels: str) -> float:
        return samples(self.text).get((name, frozenset(labels.items())), 0)

    @property
    def text(self) -> str:
        return httpx.get(f"{self._url}/metrics", timeout=30).text
