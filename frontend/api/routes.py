"""The HTTP routes. They translate between HTTP and the classifier and make no other decisions."""

from __future__ import annotations

from dataclasses import asdict, replace
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
from frontend.api.request_check import RequestRefused, check_options
from frontend.api.requests import UrlRequestDependency
from frontend.api.responses import Answer
from frontend.api.schemas import (
    ClassifyResponse,
    FilesQuery,
    ModelsResponse,
    ModelVersionBody,
    ModelVersionName,
    SpeciesBody,
    SpeciesListBody,
    SpeciesListsResponse,
    SpeciesResponse,
)
from frontend.api.services import ServicesDependency
from frontend.api.uploads import Upload
from frontend.classify.classifier import images_at
from frontend.errors import UnknownModelVersion
from frontend.i18n.messages import service_error_message
from frontend.inference.scores import BACKGROUND
from frontend.middleware.request_context import request_context_of
from frontend.middleware.upload_refusal import expected_files
from frontend.telemetry.metrics import CONTENT_TYPE

# Maximum outcomes that wait for a slow reader of a streamed answer. With more, the workers pause.
_MAX_UNREAD_OUTCOMES = 16

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
    answer, context = Answer(request, services.answer_budget), request_context_of(request.scope)
    fields = body.fields
    try:
        options = await check_options(len(fields.images), fields, context, services, answer.language)
    except RequestRefused as refusal:
        return answer.of_mistakes(refusal.messages)
    answer.model_version = options.route.version
    distinct = len(body.names)
    ticket = context.exit_stack.enter_context(services.url_admission.admit(context.caller, distinct, context.deadline))
    context.charge(distinct)
    images = images_at(fields.images, body.opener(partial(services.downloader.download, caller=context.caller)))
    options = replace(
        options, max_waiting_outcomes=_MAX_UNREAD_OUTCOMES, max_images=distinct, on_image_done=ticket.image_done
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
    """Classify every file in the form's field `files` (repeated). Answer and codes are the same as those of `POST /`.

    File names take the place of URLs. If two names are equal, the second is answered as `name (2)`. The first files
    are classified while later ones are still arriving.
    """
    answer, context = Answer(request, services.answer_budget), request_context_of(request.scope)
    settings = services.settings
    try:
        options = await check_options(1, query, context, services, answer.language)
    except RequestRefused as refusal:
        return answer.of_mistakes(refusal.messages)
    answer.model_version = options.route.version
    expected = expected_files(request, settings.max_images)
    ticket = context.exit_stack.enter_context(
        services.upload_admission.admit(context.caller, expected, context.deadline)
    )
    upload = Upload(request, settings.max_images, settings.download_max_bytes, context, services.downloader.budget)
    # Many clients read nothing before they have sent the whole body, so the outcomes of all files must fit.
    options = replace(options, max_waiting_outcomes=settings.max_images, on_image_done=ticket.image_done)
    outcomes = services.upload_classifier.outcomes(upload.images(), options)
    return await answer.of_outcomes(outcomes, upload, upload.client_disconnected)


@router.head("/models", include_in_schema=False)
@router.get("/models", summary="List the versions of the classifier", responses=MODELS_RESPONSES)
async def models(services: ServicesDependency) -> ModelsResponse:
    """The versions that a request may name in `model_version`, and the default for requests that name none.

    `not_sure_below` is the operator's setting BIRDS_NOT_SURE_BELOW, the same for all versions.
    """
    catalogue = await services.model_versions.catalogue()
    route = await services.model_versions.choose(None)
    return ModelsResponse(
        default=catalogue.default,
        canary={route.canary: route.canary_percent} if route.canary else {},
        not_sure_below=services.settings.not_sure_below,
        versions=[
            ModelVersionBody(default=version.version == catalogue.default, **asdict(version))
            for version in catalogue.versions.values()
        ],
    )


@router.head("/species", include_in_schema=False)
@router.get("/species", summary="List the species of a version", responses=MODELS_RESPONSES)
async def species(
    request: Request, services: ServicesDependency, model_version: ModelVersionName | None = None
) -> SpeciesResponse:
    """The species that the version `model_version` can name; without it, those of the default version."""
    timeout_seconds = request_context_of(request.scope).remaining_seconds
    try:
        version = (await services.model_versions.choose(model_version, timeout_seconds=timeout_seconds)).version
        labels = await services.inference.labels(version, timeout_seconds) if version else None
    except UnknownModelVersion as error:
        language = Answer(request, services.answer_budget).language
        return SpeciesResponse(errors=[service_error_message(error, language)])
    named = [SpeciesBody(bird_name=name, common_name=common) for name, common in labels or () if name != BACKGROUND]
    return SpeciesResponse(model_version=version, species=named)


@router.head("/species-lists", include_in_schema=False)
@router.get("/species-lists", summary="List the species lists", responses=MODELS_RESPONSES)
async def species_lists(services: ServicesDependency) -> SpeciesListsResponse:
    """The lists that a request may name in `species`. The operator keeps them in the folder BIRDS_SPECIES_LISTS."""
    lists = services.species_lists.items()
    return SpeciesListsResponse(lists=[SpeciesListBody(name=name, species=len(names)) for name, names in lists])


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
