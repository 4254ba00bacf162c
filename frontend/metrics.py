"""What this process counts, for Prometheus. Triton has its own metrics, by model and version too."""

from __future__ import annotations

from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, Counter, Histogram, generate_latest

CONTENT_TYPE = CONTENT_TYPE_LATEST
_SECONDS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)


class Metrics:
    """The counters of one application; `model_version` is what the image was, or would have been, classified by."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        self._images = Counter(
            "birds_images",
            "Images answered, by model version and outcome: ok, or the code of the failure.",
            ["model_version", "outcome"],
            registry=self._registry,
        )
        self._seconds = Histogram(
            "birds_image_seconds",
            "Seconds from an image's turn to its outcome, the download included, by model version.",
            ["model_version"],
            buckets=_SECONDS,
            registry=self._registry,
        )

    def count_image(self, model_version: str | None, outcome: str, seconds: float) -> None:
        version = model_version or "unknown"
        self._images.labels(version, outcome).inc()
        self._seconds.labels(version).observe(seconds)

    def text(self) -> bytes:
        """Everything, in the format that Prometheus scrapes."""
        return generate_latest(self._registry)
