"""The HTTP routes: they translate between the wire and the classifier, and decide nothing else."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request, Response
from fastapi.responses import PlainTextResponse

from frontend.api import streaming
from frontend.api.responses import Answer
from frontend.api.schemas import (
    DEFAULT_K,
    FILES_FIELD,
    NDJSON,
    ClassifyRequest,
    ClassifyResponse,
    ImageLine,
    ModelsResponse,
    ModelVersionBody,
    TotalsLine,
)
from frontend.api.services import get_services
from frontend.api.uploads import Upload
from frontend.classify.classifier import ImageClassifier, images_at
from frontend.download.downloader import Downloader
from frontend.errors import UnknownModelVersion
from frontend.i18n.messages import error_message, service_error_message
from frontend.inference.readiness import Readiness
from frontend.inference.versions import ModelVersions, VersionRoute
from frontend.limits.admission import Admission
from frontend.middleware.request_context import request_context_of
from frontend.settings import Settings
from frontend.telemetry.metrics import CONTENT_TYPE, Metrics

# How many outcomes wait for a slow reader of a streamed answer before it holds back the work.
_BACKLOG = 16

_TYPICAL_PHOTO_BYTES = 200_000

_LINES = {
    "schema": {
        "type": "string",
        "format": "ndjson",
        "description": "Chosen by the Accept header. One JSON object a line: an ImageLine for every image as soon as "
        "it is done, in no particular order; at the end a TotalsLine.",
        "x-line-schemas": [ImageLine.model_json_schema(), TotalsLine.model_json_schema()],
    },
    "examples": {
        "two images": {
            "value": '{"url":"https://example.org/a.jpg","predictions":[{"bird_name":"Ara macao","common_name":'
            '"Scarlet Macaw","score":0.7345}]}\n'
            '{"url":"https://example.org/b.jpg","failure":{"code":"not_an_image","message":'
            '"The file is no image, or it is damaged"}}\n'
            '{"succeeded":1,"failed":1,"time_taken":0.42,"status":200,"errors":[]}\n'
        }
    },
}
_SAME_SHAPE: dict[int | str, dict[str, Any]] = {
    200: {"content": {NDJSON: _LINES}},
    401: {"model": ClassifyResponse, "description": "No API key, or none that is accepted, where keys are asked for"},
    408: {"model": ClassifyResponse, "description": "The body took too long to arrive"},
    413: {"model": ClassifyResponse, "description": "The body is too large"},
    422: {"model": ClassifyResponse, "description": "The body is not what is documented here"},
    429: {"model": ClassifyResponse, "description": "Too many images in a short time: Retry-After says when to go on"},
    503: {
        "model": ClassifyResponse,
        "description": "The service is too busy, or the inference server is not available: Retry-After says when to "
        "try again",
    },
}
_MULTIPART = {
    "requestBody": {
        "required": True,
        "content": {
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "required": [FILES_FIELD],
                    "properties": {
                        FILES_FIELD: {
                            "type": "array",
                            "minItems": 1,
                            "items": {"type": "string", "format": "binary"},
                        },
                    },
                    "additionalProperties": False,
                }
            }
        },
    }
}

router = APIRouter()


@router.post("/", summary="Classify the images behind URLs", response_model=ClassifyResponse, responses=_SAME_SHAPE)
async def classify(body: ClassifyRequest, request: Request) -> Response:
    """Download every image, run the classifier, and answer with the `k` most probable species of each.

    A request that breaks a limit is answered with all its mistakes in `errors` and nothing is processed.
    One bad image never hurts another: it is listed in `failures`, with a code. With `Accept: application/x-ndjson`
    the answer comes line by line, each image as soon as it is done. Closing the connection cancels the rest.
    """
    answer = Answer(request)
    settings: Settings = get_services(request).settings
    k = body.k if "k" in body.model_fields_set else _default_k(settings)
    errors = validation_errors(len(body.images), k, settings, answer.language)
    choice = await _choose_version(body.model_version, request, answer, errors)
    if choice is None:
        return answer.of_mistakes(errors)
    downloader: Downloader = get_services(request).downloader
    classifier: ImageClassifier = get_services(request).url_classifier
    admission: Admission = get_services(request).url_admission
    context = request_context_of(request.scope)
    distinct = len(set(body.images))
    claim = context.exit_stack.enter_context(admission.admit(distinct, context.deadline))
    context.charge(distinct)
    images = images_at(body.images, downloader.download)
    return await answer.of_outcomes(
        classifier.outcomes(images, k, context.deadline, _BACKLOG, choice, claim.done, distinct),
        lambda: streaming.client_gone(request),
    )


@router.post(
    "/files",
    summary="Classify uploaded images",
    response_model=ClassifyResponse,
    responses=_SAME_SHAPE,
    openapi_extra=_MULTIPART,
)
async def classify_files(
    request: Request,
    k: Annotated[int | None, Query(description="how many species to return for each image; 3 if left out")] = None,
    model_version: Annotated[str | None, Query(description="one of GET /models; the default if left out")] = None,
) -> Response:
    """Classify every file of the form's field `files` (repeated), with the answer, limits and codes of `POST /`.

    File names take the place of URLs; the second of two equal names is answered as `name (2)`. Files are classified
    while later ones still arrive.
    """
    answer = Answer(request)
    settings: Settings = get_services(request).settings
    k = _default_k(settings) if k is None else k
    errors = validation_errors(1, k, settings, answer.language)
    choice = await _choose_version(model_version, request, answer, errors)
    if choice is None:
        return answer.of_mistakes(errors)
    classifier: ImageClassifier = get_services(request).upload_classifier
    admission: Admission = get_services(request).upload_admission
    context = request_context_of(request.scope)
    claim = context.exit_stack.enter_context(
        admission.admit(_expected_files(request, settings.max_images), context.deadline)
    )
    budget = get_services(request).downloader.budget
    upload = Upload(request, settings.max_images, settings.download_max_bytes, context, budget)
    # Many clients read nothing before they have sent everything: the outcomes of all files must find room.
    outcomes = classifier.outcomes(upload.images(), k, context.deadline, settings.max_images, choice, claim.done)
    return await answer.of_outcomes(outcomes, upload.client_gone)


@router.head("/models", include_in_schema=False)
@router.get(
    "/models",
    summary="Which versions of the classifier are there?",
    responses={status: _SAME_SHAPE[status] for status in (401, 429, 503)},
)
async def models(request: Request) -> ModelsResponse:
    """The versions that a request may name in `model_version`, and the one that answers those that name none."""
    versions: ModelVersions = get_services(request).model_versions
    catalogue = await versions.catalogue()
    choice = await versions.choose(None)
    return ModelsResponse(
        default=catalogue.default,
        canary={choice.canary: choice.canary_percent} if choice.canary else {},
        versions=[
            ModelVersionBody(default=version.version == catalogue.default, **asdict(version))
            for version in catalogue.versions.values()
        ],
    )


@router.head("/metrics", include_in_schema=False)
@router.get("/metrics", summary="Counters for Prometheus", response_class=PlainTextResponse)
async def metrics(request: Request) -> Response:
    counted: Metrics = get_services(request).metrics
    return Response(counted.text(), media_type=CONTENT_TYPE)


@router.head("/health/live", include_in_schema=False)
@router.get("/health/live", summary="Is the process up?")
async def live() -> dict[str, str]:
    return {"status": "live"}


@router.head("/health/ready", include_in_schema=False)
@router.get(
    "/health/ready",
    summary="Does a real inference succeed?",
    responses={503: {"description": "It does not", "content": {"application/json": {}}}},
)
async def ready(request: Request, response: Response) -> dict[str, str]:
    readiness: Readiness = get_services(request).readiness
    if await readiness.check():
        return {"status": "ready"}
    response.status_code = 503
    return {"status": "not ready"}


def _expected_files(request: Request, most: int) -> int:
    """About how many photos the body holds: nobody says, but it announces its size, and work goes by that."""
    announced = int(request.headers.get("content-length", 0))
    return max(1, min(announced // _TYPICAL_PHOTO_BYTES, most))


def _default_k(settings: Settings) -> int:
    return min(DEFAULT_K, settings.max_k)


async def _choose_version(
    named: str | None, request: Request, answer: Answer, errors: list[str]
) -> VersionRoute | None:
    """Where to send the images; None if there are mistakes, to which an unknown version is added."""
    if errors and named is None:
        return None
    versions: ModelVersions = get_services(request).model_versions
    try:
        choice = await versions.choose(named)
    except UnknownModelVersion as error:
        errors.append(service_error_message(error, answer.language))
        return None
    metrics: Metrics = get_services(request).metrics
    metrics.set_default_version((await versions.catalogue()).default)
    answer.model_version = choice.version
    return None if errors else choice


def validation_errors(images: int, k: int, settings: Settings, language: str) -> list[str]:
    """Everything that is wrong with a well-formed request for so many images, as messages."""
    mistakes = {
        error_message("no_images", language): images == 0,
        error_message("too_many_images", language, max=settings.max_images): images > settings.max_images,
        error_message("k_too_small", language, min=0): k < 0,
        error_message("k_too_large", language, max=settings.max_k): k > settings.max_k,
    }
    return [message for message, made in mistakes.items() if made]
