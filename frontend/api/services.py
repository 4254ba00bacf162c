"""The parts of a running application that its routes use."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from fastapi import Depends, Request

from frontend.classify.classifier import ImageClassifier
from frontend.download.downloader import Downloader
from frontend.inference.client import Inference
from frontend.inference.readiness import Readiness
from frontend.inference.versions import ModelVersions
from frontend.limits.admission import Admission
from frontend.limits.memory_budget import MemoryBudget
from frontend.settings import Settings
from frontend.telemetry.metrics import Metrics


@dataclass(frozen=True)
class Services:
    """Built once, when the application starts (frontend/app.py), and closed when it stops.

    Uploads have a classifier and an admission of their own: an uploaded image waits for its slot with its bytes in
    memory. If downloads that wait for memory could hold that slot, neither would proceed.
    """

    settings: Settings
    metrics: Metrics
    downloader: Downloader
    model_versions: ModelVersions
    readiness: Readiness
    inference: Inference
    species_lists: dict[str, tuple[str, ...]]  # the operator's lists, by name
    url_classifier: ImageClassifier
    url_admission: Admission
    upload_classifier: ImageClassifier
    upload_admission: Admission
    answer_budget: MemoryBudget  # for answers that clients have not read yet


def get_services(request: Request) -> Services:
    """The Services of the application that serves this request."""
    services: Services = request.app.state.services
    return services


async def _services(request: Request) -> Services:  # FastAPI runs a dependency that is not async in a thread
    return get_services(request)


ServicesDependency = Annotated[Services, Depends(_services)]
