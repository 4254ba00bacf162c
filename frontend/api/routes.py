"""The HTTP routes. They translate between HTTP and the classifier and make no other decisions."""

from __future__ import annotations

from dataclasses import asdict
from functools import partial
from typing import Annotated

from fastapi import APIRouter, Query, Request, Response
from fastapi.responses import PlainTextResponse

from frontend.api import streaming
from frontend.api.openapi import (
    CLASSIFY_RESPONSES,
    MODELS_RESPONSES,
    READY_RESPONSES,
    UPLOAD_REQUEST_BODY,
    URL_REQUEST_BODY,
)
from frontend.api.requests import UrlRequestDependency
from frontend.api.responses import Answer
from frontend.api.schemas import (
    DEFAULT_K,
    ClassifyResponse,
    FilesQuery,
    ModelsResponse,
    ModelVersionBody,
)
from frontend.api.services import Services, ServicesDependency
from frontend.api.uploads import Upload
from frontend.classify.classifier import ClassifyOptions, images_at
from frontend.errors import UnknownModelVersion
from frontend.i18n.messages import error_message, service_error_message
from frontend.inference.versions import VersionRoute
from frontend.middleware.request_context import request_context_of
from frontend.settings import Settings
from frontend.telemetry.metrics import CONTENT_TYPE

# Maximum outcomes that wait for a slow reader of a streamed answer. With more, the workers pause.
_MAX_UNREAD_OUTCOMES = 16

_TYPICAL_PHOTO_BYTES = 200_000

router = APIRouter()


@router.post(
    "/",
    summary="Classify the images at URLs",
    response_model=ClassifyResponse,
    responses=CLASSIFY_RESPONSES,
    openapi_extra=URL_REQUEST_BODY,
)
async def classify(body: UrlRequestDependency, request: Request, services: ServicesDependency) -> Response:
    """Download every image, classify it, and answer with the `k` most probable species of each image.

    If a request breaks a limit, the answer lists all its mistakes in `errors`, and nothing is processed.
    One bad image never affects another: it is listed in `failures`, with a code. With `Accept: application/x-ndjson`
    the answer comes as lines, one for each image as soon as it is done. Closing the connection cancels the rest.
    """
    answer, settings, context = (
        Answer(request, services.answer_budget),
        services.settings,
        request_context_of(request.scope),
    )
    fields = body.fields
    k = fields.k if "k" in fields.model_fields_set else _default_k(settings)
    errors = validation_errors(len(fields.images), k, settings, answer.language)
    route = await _choose_route(fields.model_version, services, answer, errors, context.remaining_seconds)
    if route is None:
        return answer.of_mistakes(errors)
    distinct = len(body.names)
    ticket = context.exit_stack.enter_context(services.url_admission.admit(context.caller, distinct, context.deadline))
    context.charge(distinct)
    images = images_at(fields.images, body.opener(partial(services.downloader.download, caller=context.caller)))
    options = ClassifyOptions(
        k, route, context.caller, context.deadline, _MAX_UNREAD_OUTCOMES, distinct, ticket.image_done
    )
    outcomes = services.url_classifier.outcomes(images, options)
    return await answer.of_outcomes(outcomes, body, lambda: streaming.client_disconnected(request))


@router.post(
    "/files",
    summary="Classify uploaded images",
    response_model=ClassifyResponse,
    responses=CLASSIFY_RESPONSES,
    openapi_extra=UPLOAD_REQUEST_BODY,
)
async def classify_files(
    request: Request, services: ServicesDependency, query: Annotated[FilesQuery, Query()]
) -> Response:
    """Classify every file in the form's field `files` (repeated). Answer, limits and codes are those of `POST /`.

    File names take the place of URLs. If two names are equal, the second is answered as `name (2)`. The first files
    are classified while later ones still arrive.
    """
    answer, settings, context = (
        Answer(request, services.answer_budget),
        services.settings,
        request_context_of(request.scope),
    )
    k = _default_k(settings) if query.k is None else query.k
    errors = validation_errors(1, k, settings, answer.language)
    route = await _choose_route(query.model_version, services, answer, errors, context.remaining_seconds)
    if route is None:
        return answer.of_mistakes(errors)
    expected = _expected_files(request, settings.max_images)
    ticket = context.exit_stack.enter_context(
        services.upload_admission.admit(context.caller, expected, context.deadline)
    )
    upload = Upload(request, settings.max_images, settings.download_max_bytes, context, services.downloader.budget)
    # Many clients read nothing before they have sent the whole body, so the outcomes of all files must fit.
    options = ClassifyOptions(
        k, route, context.caller, context.deadline, settings.max_images, on_image_done=ticket.image_done
    )
    outcomes = services.upload_classifier.outcomes(upload.images(), options)
    return await answer.of_outcomes(outcomes, upload, upload.client_disconnected)


@router.head("/models", include_in_schema=False)
@router.get("/models", summary="List the versions of the classifier", responses=MODELS_RESPONSES)
async def models(services: ServicesDependency) -> ModelsResponse:
    """The versions that a request may name in `model_version`, and the default for requests that name none."""
    catalogue = await services.model_versions.catalogue()
    route = await services.model_versions.choose(None)
    return ModelsResponse(
        default=catalogue.default,
        canary={route.canary: route.canary_percent} if route.canary else {},
        versions=[
            ModelVersionBody(default=version.version == catalogue.default, **asdict(version))
            for version in catalogue.versions.values()
        ],
    )


@router.head("/metrics", include_in_schema=False)
@router.get("/metrics", summary="Prometheus metrics", response_class=PlainTextResponse)
async def metrics(services: ServicesDependency) -> Response:
    return Response(services.metrics.text(), media_type=CONTENT_TYPE)


@router.head("/health/live", include_in_schema=False)
@router.get("/health/live", summary="Is the process running?")
async def live() -> dict[str, str]:
    return {"status": "live"}


@router.head("/health/ready", include_in_schema=False)
@router.get("/health/ready", summary="Does a real inference succeed?", responses=READY_RESPONSES)
async def ready(services: ServicesDependency, response: Response) -> dict[str, str]:
    if await services.readiness.check():
        return {"status": "ready"}
    response.status_code = 503
    return {"status": "not ready"}


def _expected_files(request: Request, max_files: int) -> int:
    """Estimate how many photos the body holds from its announced size, because the request does not say."""
    announced_bytes = int(request.headers.get("content-length", 0))
    return max(1, min(announced_bytes // _TYPICAL_PHOTO_BYTES, max_files))


def _default_k(settings: Settings) -> int:
    return min(DEFAULT_K, settings.max_k)


async def _choose_route(
    version: str | None, services: Services, answer: Answer, errors: list[str], timeout_seconds: float
) -> VersionRoute | None:
    """Return where to send the images, or None if the request has mistakes. An unknown version is added to `errors`."""
    if errors and version is None:
        return None
    try:
        route = await services.model_versions.choose(version, timeout_seconds=timeout_seconds)
    except UnknownModelVersion as error:
        errors.append(service_error_message(error, answer.language))
        return None
    services.metrics.set_default_version(services.model_versions.default)
    answer.model_version = route.version
    return None if errors else route


def validation_errors(images: int, k: int, settings: Settings, language: str) -> list[str]:
    """Return a message for each limit that a well-formed request for `images` images breaks."""
    broken = {
        error_message("no_images", language): images == 0,
        error_message("too_many_images", language, max=settings.max_images): images > settings.max_images,
        error_message("k_too_small", language, min=0): k < 0,
        error_message("k_too_large", language, max=settings.max_k): k > settings.max_k,
    }
    return [message for message, is_broken in broken.items() if is_broken]
