"""Turns outcomes into the answer: one JSON object or a stream of lines, in the language that the client prefers."""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator
from contextlib import aclosing

from fastapi import Request, Response

from frontend.api import streaming
from frontend.api.media_types import JSON, negotiated_media_type
from frontend.api.schemas import (
    ClassifyResponse,
    FailureBody,
    ImageLine,
    PredictionBody,
    ReasonBody,
    TotalsLine,
)
from frontend.classify.classifier import Outcome
from frontend.errors import ImageError, ServiceError
from frontend.i18n.messages import failure_message, preferred_language, service_error_message
from frontend.inference.scores import Prediction
from frontend.telemetry import request_stats


class Answer:
    """The answer to one request. `time_taken` counts from the creation of this object."""

    def __init__(self, request: Request) -> None:
        self.language = preferred_language(request.headers.get("accept-language"))
        self._media_type = negotiated_media_type(request)
        self._started = time.perf_counter()
        self.model_version: str | None = None  # the version that the request names, or the default

    def of_mistakes(self, errors: list[str]) -> Response:
        """The answer to a request that was not processed because of these errors."""
        if self._media_type != JSON:
            line = TotalsLine(errors=errors, time_taken=self._seconds())
            return Response(f"{line.model_dump_json()}\n", media_type=self._media_type, headers=self.headers)
        return self._as_json(ClassifyResponse(errors=errors))

    async def of_outcomes(
        self, outcomes: AsyncGenerator[Outcome, None], disconnected: streaming.DisconnectWatch
    ) -> Response:
        """The answer with the outcome of every image. When `disconnected` returns, the remaining work is cancelled."""
        if self._media_type != JSON:
            return streaming.NdjsonResponse(self._lines(outcomes), disconnected, self.headers, self._media_type)
        return self._as_json(await streaming.unless_disconnected(self._collect(outcomes), disconnected()))

    @property
    def headers(self) -> dict[str, str]:
        return {"Content-Language": self.language, "Vary": "Accept, Accept-Language"}

    async def _collect(self, outcomes: AsyncGenerator[Outcome, None]) -> ClassifyResponse:
        async with aclosing(outcomes):
            finished = sorted([outcome async for outcome in outcomes], key=lambda outcome: outcome.position)
        response = ClassifyResponse(model_version=self.model_version)
        for outcome in finished:
            if isinstance(outcome.result, ImageError):
                response.failed_results.append(outcome.name)
                response.failures.append(FailureBody(url=outcome.name, **self._reason(outcome.result)))
            else:
                response.successful_results[outcome.name] = _predictions(outcome.result)
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
        predictions = _predictions(outcome.result)
        return ImageLine(url=outcome.name, model_version=outcome.model_version, predictions=predictions)

    def _reason(self, failure: ImageError) -> dict[str, str]:
        return {"code": failure.code, "message": failure_message(failure, self.language)}

    def _as_json(self, response: ClassifyResponse) -> Response:
        response.time_taken = self._seconds()
        return Response(response.model_dump_json(), media_type=JSON, headers=self.headers)

    def _seconds(self) -> float:
        return round(time.perf_counter() - self._started, 4)


def _predictions(result: list[Prediction]) -> list[PredictionBody]:
    return [PredictionBody(bird_name=p.bird_name, common_name=p.common_name, score=p.score) for p in result]
