"""The client for asynchronous code."""

from __future__ import annotations

import asyncio
import json
import ssl
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack
from functools import partial
from typing import Any, TypeVar

import httpx

from birds_client.connection import open_http
from birds_client.errors import OtherService, ProxyFailed, Refused, TlsFailed, Unreachable
from birds_client.images import Image, as_iterable, batches, request_for
from birds_client.network_errors import Progress, explain
from birds_client.responses import OTHER_SERVICE, Retry, check_status, error_for, request_id_of
from birds_client.results import Failure, Models, Result, Species, models_from, result_from, species_from
from birds_client.workers import run_workers

DEFAULT_URL = "http://127.0.0.1:8000"
UNREADABLE = "unreadable_file"  # the one code that the client gives, not the service

_SHORTENED_CHARACTERS = 100
_REQUESTS_AT_ONCE = 4
_ATTEMPTS = 8  # about a minute with the pauses, which is longer than a restart of Triton
_STARTED_ATTEMPTS = 2  # an image may be the cause of a broken answer: it is sent once more at most
_FIRST_PAUSE_SECONDS, _LONGEST_PAUSE_SECONDS = 0.5, 15.0
_OVERLOADED = "overloaded"  # refused by a full queue before anything looked at the image

Report = Callable[[Result], Awaitable[None]]
OnWait = Callable[[str, float], None]
T = TypeVar("T")


class AsyncBirdsClient:
    """Classifies images; use as an async context manager.

    `language` is an Accept-Language header, for the sentences of failures. `on_wait` is called with a reason and a
    number of seconds before each pause between two attempts. Raises ConfigurationError.
    """

    def __init__(
        self,
        base_url: str = DEFAULT_URL,
        *,
        api_key: str | None = None,
        language: str | None = None,
        on_wait: OnWait | None = None,
    ) -> None:
        self._http = open_http(base_url, api_key, language)
        self._on_wait = on_wait or (lambda reason, seconds: None)
        self._has_answered = False

    async def __aenter__(self) -> AsyncBirdsClient:
        await self._http.__aenter__()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._http.aclose()

    async def models(self) -> Models:
        """The model versions that `classify` may name. Raises ClientError."""
        return await self._get("/models", models_from)

    async def species(self, model_version: str | None = None) -> list[Species]:
        """The species that a version can name, by default those of the default version. Raises ClientError."""
        return await self._get("/species", species_from, {"model_version": model_version} if model_version else {})

    async def _get(self, path: str, read: Callable[[dict[str, Any]], T], query: dict[str, str] | None = None) -> T:
        progress = Progress(self._http.base_url)
        headers = {"Accept": "application/json"}
        try:
            response = await self._http.get(path, params=query, headers=headers, extensions={"trace": progress})
            with request_id_of(response):
                await check_status(response)
                answer = response.json()
                if answer.get("errors"):
                    raise Refused(response.status_code, answer["errors"])
                return read(answer)
        except Retry as retry:
            raise retry.problem from retry
        except (httpx.RequestError, ssl.SSLError) as error:
            raise explain(error, progress) from error
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise OtherService(OTHER_SERVICE) from error

    def classify(
        self,
        images: Image | Iterable[Image],
        k: int | None = None,
        *,
        model_version: str | None = None,
        min_score: float | None = None,
        species: str | Sequence[str] | None = None,
    ) -> AsyncGenerator[Result, None]:
        """Yield one result for each distinct image, as soon as it is known. Closing the generator cancels the rest.

        `images` is one image or any iterable of them, endless ones included: it is read as fast as results come, in
        the event loop, so it should not block. `k` is the number of species for each image (3 if it is None).
        Predictions below `min_score`, and other species than `species` (scientific names, or the name of one of the
        service's lists), are left out.

        Images that the service was too busy for are sent again, for about a minute. An image with an answer is never
        sent again, and an image whose answer broke off is sent once more. Raises ClientError, and at once ValueError if
        `species` is empty.
        """
        if species is not None and not species:
            raise ValueError("species is empty: name at least one, or leave the option out")
        options = {"k": k, "model_version": model_version, "min_score": min_score, "species": species}
        given = {name: value for name, value in options.items() if value is not None}
        return run_workers(partial(self._classify_batches, batches(as_iterable(images)), given), _REQUESTS_AT_ONCE)

    async def _classify_batches(self, batches: Iterator[list[Image]], options: dict[str, Any], report: Report) -> None:
        for batch in batches:
            # Files are named by number: equal names stay apart, and local paths stay on this machine.
            waiting = {image if isinstance(image, str) else str(n): image for n, image in enumerate(batch)}
            await self._classify_batch(waiting, options, report)

    async def _classify_batch(self, waiting: dict[str, Image], options: dict[str, Any], report: Report) -> None:
        """Report a result for each waiting image, with as many requests as needed."""
        pause_seconds = _FIRST_PAUSE_SECONDS
        started_attempts = 0
        for attempt in range(1, _ATTEMPTS + 1):
            try:
                await self._attempt(waiting, options, report, is_last=attempt == _ATTEMPTS)
                return
            except Retry as retry:
                started_attempts += retry.started
                if attempt == _ATTEMPTS or started_attempts == _STARTED_ATTEMPTS:
                    raise retry.problem from retry
                seconds = min(max(pause_seconds, retry.pause_seconds), _LONGEST_PAUSE_SECONDS)
                self._on_wait(str(retry), seconds)
                await asyncio.sleep(seconds)
                pause_seconds *= 2

    async def _attempt(self, waiting: dict[str, Image], options: dict[str, Any], report: Report, is_last: bool) -> None:
        """Send the waiting images once. Each result is reported and taken out of `waiting`."""
        with ExitStack() as opened:
            request, unreadable = request_for(waiting, options, opened)
            for name, error in unreadable.items():
                failure = Failure(UNREADABLE, error.strerror or str(error))
                await report(Result(waiting.pop(name), [], failure))
            if not waiting:
                return
            progress = Progress(self._http.base_url)
            try:
                refused = await self._exchange(request, progress, waiting, report, is_last)
            except (httpx.RequestError, ssl.SSLError) as error:
                problem = explain(error, progress)
                if self._is_final(problem, progress):
                    raise problem from error
                raise Retry(problem, started=progress.has_sent) from error
            except (ValueError, KeyError, TypeError, AttributeError) as error:  # not JSON, or other JSON
                raise OtherService(OTHER_SERVICE) from error
        if refused:
            raise Retry(Unreachable("the service was too busy for some images"))
        if waiting:
            raise Retry(Unreachable("the answer was not complete"), started=True)

    async def _exchange(
        self, request: dict[str, Any], progress: Progress, waiting: dict[str, Image], report: Report, is_last: bool
    ) -> bool:
        """Send one request and report its results. Returns whether the service was too busy for those left waiting."""
        refused = set()
        async with self._http.stream("POST", **request, extensions={"trace": progress}) as response:
            self._has_answered = True
            with request_id_of(response):
                await check_status(response)
                async for text in response.aiter_lines():
                    line = json.loads(text)
                    if "url" not in line:
                        if line.get("errors"):
                            raise error_for(line["status"], line["errors"], started=True)
                        if "succeeded" not in line:
                            raise ValueError("the line is neither a result nor the totals")
                        continue
                    for name in _names_matching(line["url"], waiting):
                        result = result_from(waiting[name], line)
                        if result.failure and result.failure.code == _OVERLOADED and not is_last:
                            refused.add(name)
                        else:
                            del waiting[name]
                            await report(result)
        return bool(refused) and refused == set(waiting)

    def _is_final(self, problem: Unreachable, progress: Progress) -> bool:
        """Whether nothing runs there or a setting is wrong: more attempts would only make the user wait."""
        if isinstance(problem, (TlsFailed, OtherService)):
            return True
        return not self._has_answered and (isinstance(problem, ProxyFailed) or not progress.has_sent)


def _names_matching(name: str, waiting: dict[str, Image]) -> list[str]:
    """Return the waiting images that `name` stands for. The service shortens a URL that is too long."""
    if name in waiting:
        return [name]
    return [other for other in waiting if len(name) == _SHORTENED_CHARACTERS and other.startswith(name)]
