"""The HTTP routes: they translate between the wire and the classifier, and decide nothing else."""

from __future__ import annotations

import time
from typing import Any

from fastapi import APIRouter, Request, Response

from frontend.classify import ImageClassifier, Outcome
from frontend.errors import ImageError
from frontend.messages import error_message, failure_message
from frontend.readiness import Readiness
from frontend.schemas import ClassifyRequest, ClassifyResponse, FailureBody, PredictionBody
from frontend.settings import Settings

_SAME_SHAPE: dict[int | str, dict[str, Any]] = {
    413: {"model": ClassifyResponse, "description": "The body is too large"},
    422: {"model": ClassifyResponse, "description": "The body is not the documented JSON"},
    503: {"model": ClassifyResponse, "description": "The inference server is not available"},
}

router = APIRouter()


@router.post("/", summary="Classify the images behind URLs", responses=_SAME_SHAPE)
async def classify(body: ClassifyRequest, request: Request) -> ClassifyResponse:
    """Download every image, run the classifier, and answer with the `k` most probable species of each.

    A request that breaks a limit is answered with all its mistakes in `errors` and nothing is processed.
    One bad image never hurts another: it is listed in `failures`, with a code.
    """
    started = time.perf_counter()
    errors = validation_errors(body, request.app.state.settings)
    outcomes: list[Outcome] = []
    if not errors:
        classifier: ImageClassifier = request.app.state.classifier
        outcomes = await classifier.classify(body.images, body.k)
    response = response_body(outcomes)
    response.errors = errors
    response.time_taken = round(time.perf_counter() - started, 4)
    return response


@router.get("/health/live", summary="Is the process up?")
async def live() -> dict[str, str]:
    return {"status": "live"}


@router.get(
    "/health/ready",
    summary="Does a real inference succeed?",
    responses={503: {"description": "It does not", "content": {"application/json": {}}}},
)
async def ready(request: Request, response: Response) -> dict[str, str]:
    readiness: Readiness = request.app.state.readiness
    if await readiness.check():
        return {"status": "ready"}
    response.status_code = 503
    return {"status": "not ready"}


def validation_errors(body: ClassifyRequest, settings: Settings) -> list[str]:
    """Everything that is wrong with a well-formed request, as messages."""
    mistakes = {
        error_message("no_images"): not body.images,
        error_message("too_many_images", max=settings.max_images): len(body.images) > settings.max_images,
        error_message("k_too_small", min=0): body.k < 0,
        error_message("k_too_large", max=settings.max_k): body.k > settings.max_k,
    }
    return [message for message, made in mistakes.items() if made]


def response_body(outcomes: list[Outcome]) -> ClassifyResponse:
    response = ClassifyResponse()
    for outcome in outcomes:
        result = outcome.result
        if isinstance(result, ImageError):
            response.failed_results.append(outcome.url)
            message = failure_message(result)
            response.failures.append(FailureBody(url=outcome.url, code=result.code, message=message))
        else:
            response.successful_results[outcome.url] = [
                PredictionBody(bird_name=p.bird_name, common_name=p.common_name, score=p.score) for p in result
            ]
    return response
