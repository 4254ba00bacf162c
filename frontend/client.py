"""A typed Python client of the service, for asynchronous and for ordinary code.

    with BirdsClient("http://127.0.0.1:8000") as birds:
        for result in birds.classify(["https://example.org/parrot.jpg", Path("owl.jpg")], k=1):
            print(result.image, result.predictions or result.failure)

ClientError
├── Unreachable     no whole answer, after several tries
├── Unauthorized    an API key is asked for, or the one given is not accepted
└── Refused         the service does not take the request; `errors` says why
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import httpx
from anyio.from_thread import BlockingPortal, start_blocking_portal
from anyio.streams.memory import MemoryObjectSendStream

from frontend.errors import Overloaded
from frontend.request_id import HEADER
from frontend.schemas import (
    DEFAULT_K,
    FILES_FIELD,
    NDJSON,
    ImageLine,
    ModelsResponse,
    PredictionBody,
    ReasonBody,
    TotalsLine,
)
from frontend.workers import as_produced

DEFAULT_URL = "http://127.0.0.1:8000"
UNREADABLE = "unreadable_file"  # the one code that does not come from the service

_URLS_PER_REQUEST = 32
_FILES_PER_REQUEST = 16
_BYTES_PER_REQUEST = 8 << 20  # so that a slow line is in time for the service's deadline
_REQUESTS_AT_ONCE = 4
_TRIES = 8  # with their pauses, long enough for a restart of Triton
_FIRST_PAUSE_SECONDS, _LONGEST_PAUSE_SECONDS = 0.5, 15.0
_TIMEOUT = httpx.Timeout(10, read=120, write=120)  # above the service's own deadline for a request
_TRY_AGAIN = {408, 429, 502, 503, 504}


@dataclass(frozen=True)
class Photo:
    """An image that is already in memory."""

    name: str
    content: bytes


Image = str | Path | Photo  # a str is a URL, a Path a file


@dataclass(frozen=True)
class Result:
    """What became of one image: `predictions`, best first, or a `failure` with its code and sentence."""

    image: Image
    predictions: list[PredictionBody]
    failure: ReasonBody | None = None
    model_version: str | None = None


Report = Callable[[Result], Awaitable[None]]


class ClientError(Exception):
    """The service did not do its work. `request_id`, where it answered, is what its log knows the request by."""

    request_id: str | None = None


class Unreachable(ClientError):
    """The text is the last try's error."""

    def __str__(self) -> str:
        text = super().__str__()
        return f"{text} (request {self.request_id})" if self.request_id else text


class Unauthorized(ClientError):
    pass


class Refused(ClientError):
    def __init__(self, status: int, errors: list[str]) -> None:
        super().__init__("; ".join(errors) or f"HTTP status {status}")
        self.status = status
        self.errors = errors


class _TryAgain(Exception):
    """This try ended early, for a reason that may pass."""

    request_id: str | None = None

    def __init__(self, reason: str, pause_seconds: float = 0) -> None:
        super().__init__(reason)
        self.pause_seconds = pause_seconds


class AsyncBirdsClient:
    """Use as an async context manager. `language` is an Accept-Language header, for the sentences of failures."""

    def __init__(self, base_url: str = DEFAULT_URL, *, api_key: str | None = None, language: str | None = None) -> None:
        headers = {"Accept": NDJSON}
        if api_key:
            headers["Authorization"] = f"Bearer {api_key}"
        if language:
            headers["Accept-Language"] = language
        self._http = httpx.AsyncClient(base_url=base_url, headers=headers, timeout=_TIMEOUT)
        self._met = False  # whether the service ever answered

    async def __aenter__(self) -> AsyncBirdsClient:
        await self._http.__aenter__()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._http.aclose()

    async def models(self) -> ModelsResponse:
        """The model versions that `classify` may be asked for. Raises ClientError."""
        try:
            response = await self._http.get("/models", headers={"Accept": "application/json"})
            with _named(response):
                await _check_status(response)
            return ModelsResponse.model_validate(response.json())
        except (httpx.TransportError, _TryAgain, ValueError) as error:
            raise _unreachable(error) from error

    def classify(
        self, images: Iterable[Image], k: int = DEFAULT_K, model_version: str | None = None
    ) -> AsyncGenerator[Result, None]:
        """Yield one result for each distinct image as soon as it is known; closing the generator cancels the rest.

        `images` may be endless: it is read as fast as results come. What the service was too busy for, or lost, is
        sent again several times before that counts as a failure. Raises ClientError.
        """
        options = {"k": k, **({"model_version": model_version} if model_version else {})}
        work = partial(self._work, _batches(images), options)
        return as_produced(work, _REQUESTS_AT_ONCE, _REQUESTS_AT_ONCE)

    async def _work(
        self, batches: Iterator[list[Image]], options: dict[str, Any], results: MemoryObjectSendStream[Result]
    ) -> None:
        for batch in batches:
            # Files are named by number: equal names stay apart, and local paths stay here.
            waiting = {image if isinstance(image, str) else str(n): image for n, image in enumerate(batch)}
            await self._until_done(waiting, options, results.send)

    async def _until_done(self, waiting: dict[str, Image], options: dict[str, Any], report: Report) -> None:
        pause_seconds = _FIRST_PAUSE_SECONDS
        for tries_left in reversed(range(_TRIES)):
            try:
                await self._try(waiting, options, report, is_last=tries_left == 0)
            except _TryAgain as again:
                if not tries_left:
                    raise _unreachable(again) from again
                await asyncio.sleep(min(max(pause_seconds, again.pause_seconds), _LONGEST_PAUSE_SECONDS))
                pause_seconds *= 2
            else:
                return

    async def _try(self, waiting: dict[str, Image], options: dict[str, Any], report: Report, is_last: bool) -> None:
        """Send what is waiting and report every result, which then waits no more."""
        with ExitStack() as opened:
            request, unreadable = _request(waiting, options, opened)
            for name, error in unreadable.items():
                reason = ReasonBody(code=UNREADABLE, message=error.strerror or str(error))
                await report(Result(waiting.pop(name), [], reason))
            if not waiting:
                return
            try:
                async with self._http.stream("POST", **request) as response:
                    self._met = True
                    with _named(response):
                        await _check_status(response)
                        async for line in response.aiter_lines():
                            await self._take(json.loads(line), waiting, report, is_last)
            except httpx.ConnectError as error:
                if not self._met:  # nobody is there: trying again would only make a person wait
                    raise Unreachable(str(error)) from error
                raise _TryAgain(str(error)) from error
            except httpx.TransportError as error:
                raise _TryAgain(str(error) or type(error).__name__) from error
            except ValueError as error:  # no JSON, or another kind of it
                raise Unreachable(f"{self._http.base_url} does not answer as this service does") from error
        if waiting:
            raise _TryAgain("the answer was not complete")

    async def _take(self, line: dict[str, Any], waiting: dict[str, Image], report: Report, is_last: bool) -> None:
        if "url" not in line:
            totals = TotalsLine.model_validate(line)
            if totals.errors:
                raise _trouble(totals.status, totals.errors)
            return
        found = ImageLine.model_validate(line)
        if found.url in waiting and (is_last or found.failure is None or found.failure.code != Overloaded.code):
            await report(Result(waiting.pop(found.url), found.predictions or [], found.failure, found.model_version))


class BirdsClient:
    """The same for ordinary code; use as a context manager."""

    def __init__(self, base_url: str = DEFAULT_URL, *, api_key: str | None = None, language: str | None = None) -> None:
        self._client = AsyncBirdsClient(base_url, api_key=api_key, language=language)

    def __enter__(self) -> BirdsClient:
        with ExitStack() as stack:
            self._portal: BlockingPortal = stack.enter_context(start_blocking_portal())
            stack.enter_context(self._portal.wrap_async_context_manager(self._client))
            self._opened = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._opened.close()

    def models(self) -> ModelsResponse:
        """The model versions that `classify` may be asked for. Raises ClientError."""
        return self._portal.call(self._client.models)

    def classify(
        self, images: Iterable[Image], k: int = DEFAULT_K, model_version: str | None = None
    ) -> Iterator[Result]:
        """Yield one result for each distinct image as soon as it is known, as AsyncBirdsClient.classify does."""
        results = self._client.classify(images, k, model_version)

        async def next_result() -> Result | None:
            return await anext(results, None)

        try:
            while (result := self._portal.call(next_result)) is not None:
                yield result
        finally:
            self._portal.call(results.aclose)


def _batches(images: Iterable[Image]) -> Iterator[list[Image]]:
    """Images that can share a request, each distinct one once."""
    seen: set[Image] = set()
    batch: list[Image] = []
    batch_bytes = 0
    for image in images:
        if image in seen:
            continue
        seen.add(image)
        image_bytes, is_url = _size(image), isinstance(image, str)
        most = _URLS_PER_REQUEST if is_url else _FILES_PER_REQUEST
        too_many = len(batch) >= most or batch_bytes + image_bytes > _BYTES_PER_REQUEST
        if batch and (too_many or isinstance(batch[0], str) is not is_url):
            yield batch
            batch, batch_bytes = [], 0
        batch.append(image)
        batch_bytes += image_bytes
    if batch:
        yield batch


def _size(image: Image) -> int:
    if isinstance(image, Photo):
        return len(image.content)
    try:
        return image.stat().st_size if isinstance(image, Path) else 0
    except OSError:
        return 0  # it will fail when it is opened


def _request(
    waiting: dict[str, Image], options: dict[str, Any], opened: ExitStack
) -> tuple[dict[str, Any], dict[str, OSError]]:
    """The request for a batch, and the files that cannot be opened."""
    files, unreadable = [], {}
    for name, image in waiting.items():
        if isinstance(image, str):
            return {"url": "/", "json": {"images": list(waiting), **options}}, {}
        try:
            content = opened.enter_context(image.open("rb")) if isinstance(image, Path) else image.content
        except OSError as error:
            unreadable[name] = error
        else:
            files.append((FILES_FIELD, (name, content, "application/octet-stream")))
    return {"url": "/files", "params": options, "files": files}, unreadable


@contextmanager
def _named(response: httpx.Response) -> Iterator[None]:
    """What is raised inside bears the request's id."""
    try:
        yield
    except (ClientError, _TryAgain) as error:
        error.request_id = response.headers.get(HEADER)
        raise


def _unreachable(error: Exception) -> Unreachable:
    unreachable = Unreachable(str(error))
    if isinstance(error, _TryAgain):
        unreachable.request_id = error.request_id
    return unreachable


async def _check_status(response: httpx.Response) -> None:
    if response.status_code == httpx.codes.OK:
        return
    try:
        errors = json.loads(await response.aread())["errors"]
    except (ValueError, KeyError, TypeError):
        errors = [f"HTTP status {response.status_code}"]
    retry_after = response.headers.get("Retry-After", "")
    raise _trouble(response.status_code, errors, float(retry_after) if retry_after.isdecimal() else 0)


def _trouble(status: int, errors: list[str], pause_seconds: float = 0) -> Exception:
    if status == httpx.codes.UNAUTHORIZED:
        return Unauthorized("; ".join(errors))
    if status in _TRY_AGAIN:
        return _TryAgain("; ".join(errors), pause_seconds)
    return Refused(status, errors)
