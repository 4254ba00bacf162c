"""Checks the fields of a well-formed request against the limits, the model's versions and its species."""

from __future__ import annotations

from collections.abc import Collection

from frontend.api.schemas import DEFAULT_K, ClassifyRequest, FilesQuery
from frontend.api.services import Services
from frontend.api.species_filter import check_species, list_named
from frontend.classify.classifier import ClassifyOptions
from frontend.errors import UnknownModelVersion, UnknownSpecies, UnknownSpeciesList
from frontend.i18n.messages import error_message, service_error_message
from frontend.middleware.request_context import RequestContext
from frontend.settings import Settings

Fields = ClassifyRequest | FilesQuery


class RequestRefused(Exception):
    """The request breaks limits or names something unknown. `messages` has one message for each mistake."""

    def __init__(self, messages: list[str]) -> None:
        super().__init__(messages)
        self.messages = messages


async def check_options(
    image_count: int, fields: Fields, context: RequestContext, services: Services, language: str
) -> ClassifyOptions:
    """Return the options of a request for `image_count` images. Raises RequestRefused and TritonUnavailable."""
    settings = services.settings
    is_given = "k" in fields.model_fields_set  # if it is not, fields.k can be a default that exceeds max_k
    k = fields.k if is_given and fields.k is not None else min(DEFAULT_K, settings.max_k)
    messages = _broken_limits(image_count, k, settings, language)
    if messages and fields.model_version is None:
        raise RequestRefused(messages)
    try:
        route = await services.model_versions.choose(fields.model_version, timeout_seconds=context.remaining_seconds)
        services.metrics.set_default_version(services.model_versions.default)
        species = await _species(fields, route.version, context, services)
    except (UnknownModelVersion, UnknownSpecies, UnknownSpeciesList) as error:
        raise RequestRefused([*messages, service_error_message(error, language)]) from error
    if messages:
        raise RequestRefused(messages)
    min_score = settings.min_score if fields.min_score is None else fields.min_score
    return ClassifyOptions(k, route, context.caller, context.deadline, min_score=float(min_score), species=species)


async def _species(
    fields: Fields, version: str | None, context: RequestContext, services: Services
) -> Collection[str] | None:
    """Return the species that a request is restricted to. Raises UnknownSpecies and UnknownSpeciesList.

    An operator's list may name species that the model does not know, so that one list of a region's birds serves
    several models. Species that the request itself names must be known.
    """
    wanted, lists = fields.species, services.species_lists
    if wanted is None:
        return None
    if isinstance(wanted, str):
        return list_named(wanted, lists)
    if isinstance(fields, FilesQuery) and len(wanted) == 1 and wanted[0] in lists:
        return lists[wanted[0]]
    labels = await services.inference.labels(version, context.remaining_seconds) if version else None
    if labels is not None:
        check_species(wanted, dict(labels))
    return wanted


def _broken_limits(image_count: int, k: int, settings: Settings, language: str) -> list[str]:
    """Return a message for each limit that a request breaks."""
    broken = {
        error_message("no_images", language): image_count == 0,
        error_message("too_many_images", language, max=settings.max_images): image_count > settings.max_images,
        error_message("k_too_small", language, min=0): k < 0,
        error_message("k_too_large", language, max=settings.max_k): k > settings.max_k,
    }
    return [message for message, is_broken in broken.items() if is_broken]
