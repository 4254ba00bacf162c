"""Turns outcomes into the answer: one JSON object or a stream of lines, in the language that the client prefers."""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from typing import Protocol

from fastapi import Request, Response

from frontend.api import streaming
from frontend.api.budgeted_response import BudgetedResponse
from frontend.api.media_types import JSON, negotiate_media_type
from frontend.api.schemas import (
    ClassifyResponse,
    FailureBody,
    ImageLine,
    PredictionBody,
    ReasonBody,
    TotalsLine,
)
from frontend.classify.classifier import Outcome
from frontend.errors import ImageError, ServiceError, TritonLost, TritonUnavailable, UnknownModelVersion
from frontend.i18n.messages import failure_message, preferred_language, service_error_message
from frontend.inference.scores import Prediction
from frontend.limits.memory_budget import MemoryBudget
from frontend.middleware.request_context import request_context_of
from frontend.telemetry import request_stats


class ImageSource(Protocol):
    """The images of a request that have arrived so far."""

    @property
    def names(self) -> Sequence[str]:
        """The names of the images that have arrived so far, in the order of the request."""

    @property
    def is_complete(self) -> bool:
        """Whether all images of the request have arrived."""


class Answer:
    """The answer to one request. `time_taken` counts from the creation of this object."""

    def __init__(self, request: Request, budget: MemoryBudget) -> None:
        """`budget` is the memory for answers that clients have not read yet."""
        self._budget = budget
        self._caller = request_context_of(request.scope).caller
        self.language = preferred_language(request.headers.get("accept-language"))
        self._media_type = negotiate_media_type(request)
        self._started = time.perf_counter()
        self.model_version: str | None = None  # the version that the request names, or the default

    def of_mistakes(self, errors: list[str]) -> Response:
        """The answer to a request that was not processed because of these errors."""
        if self._media_type != JSON:
            line = TotalsLine(errors=errors, time_taken=self._seconds())
            return Response(f"{line.model_dump_json()}\n", media_type=self._media_type, headers=self.headers)
        return self._as_json(ClassifyResponse(errors=errors))

    async def of_outcomes(
        self, outcomes: AsyncGenerator[Outcome, None], source: ImageSource, disconnected: streaming.DisconnectWatch
    ) -> Response:
        """The answer with the outcome of every image. When `disconnected` returns, the remaining work is cancelled."""
        if self._media_type != JSON:
            return streaming.NdjsonResponse(self._lines(outcomes), disconnected, self.headers, self._media_type)
        return self._as_json(await streaming.unless_disconnected(self._collect(outcomes, source), disconnected()))

    @property
    def headers(self) -> dict[str, str]:
        return {"Content-Language": self.language, "Vary": "Accept, Accept-Language"}

    async def _collect(self, outcomes: AsyncGenerator[Outcome, None], source: ImageSource) -> ClassifyResponse:
        response = ClassifyResponse(model_version=self.model_version)
        finished: list[Outcome] = []
        async with aclosing(outcomes):
            try:
                async for outcome in outcomes:
                    finished.append(outcome)
            except (TritonUnavailable, UnknownModelVersion) as error:
                if all(isinstance(outcome.result, ImageError) for outcome in finished):
                    raise  # no image was classified, so the answer has the status of the error
                request_stats.failed(error.code)
                finished += _lost(source.names, finished)
                if not source.is_complete:  # the answer cannot list images that have not arrived
                    response.errors.append(service_error_message(error, self.language))
        for outcome in sorted(finished, key=lambda outcome: outcome.position):
            if isinstance(outcome.result, ImageError):
                response.failed_results.append(outcome.name)
                response.failures.append(FailureBody(url=outcome.name, **self._reason(outcome.result)))
            else:
                response.successful_results[outcome.name] = _predictions(outcome.result)
                if outcome.no_bird:
                    response.no_bird.append(outcome.name)
                if outcome.model_version and outcome.model_version != self.model_version:
                    response.other_versions[outcome.name] = outcome.model_version
        return response

    async def _lines(self, outcomes: AsyncGenerator[Outcome, None]) -> AsyncGenerator[bytes, None]:
        totals = TotalsLine()
        async with aclosing(outcomes):
            try:
                async for outcome in outcomes:
                    line = self._line(outcome)
                    totals.succeeded += line.failure is None
                    totals.failed += line.failure is not None
                    yield line.model_dump_json(exclude_unset=True).encode() + b"\n"
            except ServiceError as error:
                if totals.succeeded + totals.failed == 0:
                    raise  # nothing has been sent yet, so the answer can still have an error status
                request_stats.failed(error.code)
                totals.status, totals.errors = error.status, [service_error_message(error, self.language)]
        totals.time_taken = self._seconds()
        yield totals.model_dump_json().encode() + b"\n"

    def _line(self, outcome: Outcome) -> ImageLine:
        if isinstance(outcome.result, ImageError):
            return ImageLine(url=outcome.name, failure=ReasonBody(**self._reason(outcome.result)))
        line = ImageLine(
            url=outcome.name, model_version=outcome.model_version, predictions=_predictions(outcome.result)
        )
        if outcome.no_bird:
            line.no_bird = True
        return line

    def _reason(self, failure: ImageError) -> dict[str, str]:
        return {"code": failure.code, "message": failure_message(failure, self.language)}

    def _as_json(self, response: ClassifyResponse) -> Response:
        response.time_taken = self._seconds()
        body = response.model_dump_json().encode()
        return BudgetedResponse(body, JSON, self.headers, self._budget, self._caller)

    def _seconds(self) -> float:
        return round(time.perf_counter() - self._started, 4)


def _lost(names: Sequence[str], finished: list[Outcome]) -> list[Outcome]:
    """Return a failure for each image that was not finished when Triton became unavailable."""
    done = {outcome.position for outcome in finished}
    return [Outcome(position, name, TritonLost()) for position, name in enumerate(names) if position not in done]


def _predictions(result: list[Prediction]) -> list[PredictionBody]:
    return [PredictionBody(bird_name=p.bird_name, common_name=p.common_name, score=p.score) for p in result]
