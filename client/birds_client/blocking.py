"""The client for synchronous code: the asynchronous one, on an event loop in a thread of its own."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Iterable, Iterator, Sequence
from threading import Thread
from typing import Any, TypeVar

from birds_client.asynchronous import DEFAULT_URL, AsyncBirdsClient, OnWait
from birds_client.images import Image
from birds_client.results import Models, Result, Species

T = TypeVar("T")


class BirdsClient:
    """The same as AsyncBirdsClient, without `await`; use as a context manager."""

    def __init__(
        self,
        base_url: str = DEFAULT_URL,
        *,
        api_key: str | None = None,
        language: str | None = None,
        on_wait: OnWait | None = None,
    ) -> None:
        self._client = AsyncBirdsClient(base_url, api_key=api_key, language=language, on_wait=on_wait)
        self._loop: asyncio.AbstractEventLoop | None = None  # of a thread, while the with statement runs

    def __enter__(self) -> BirdsClient:
        self._loop = asyncio.new_event_loop()
        self._thread = Thread(target=self._loop.run_forever, name="birds-client", daemon=True)
        self._thread.start()
        self._wait_for(self._client.__aenter__())
        return self

    def __exit__(self, *_: object) -> None:
        assert self._loop
        self._wait_for(self._close())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()
        self._loop = None

    def models(self) -> Models:
        """The model versions that `classify` may name. Raises ClientError."""
        return self._wait_for(self._client.models())

    def species(self, model_version: str | None = None) -> list[Species]:
        """The species that a version can name, by default those of the default version. Raises ClientError."""
        return self._wait_for(self._client.species(model_version))

    def classify(
        self,
        images: Image | Iterable[Image],
        k: int | None = None,
        *,
        model_version: str | None = None,
        min_score: float | None = None,
        species: str | Sequence[str] | None = None,
    ) -> Iterator[Result]:
        """Yield one result for each distinct image, as AsyncBirdsClient.classify does. Raises ClientError."""
        results = self._client.classify(images, k, model_version=model_version, min_score=min_score, species=species)

        async def next_result() -> Result | None:
            return await anext(results, None)

        try:
            while (result := self._wait_for(next_result())) is not None:
                yield result
        finally:
            if self._loop:
                self._wait_for(results.aclose())

    def _wait_for(self, work: Coroutine[Any, Any, T]) -> T:
        if self._loop is None:
            work.close()
            raise RuntimeError("BirdsClient works inside a with statement: with BirdsClient(…) as birds: …")
        waiting = asyncio.run_coroutine_threadsafe(work, self._loop)
        try:
            return waiting.result()
        except BaseException:  # Ctrl-C ends the wait, and with it the work
            waiting.cancel()
            raise

    async def _close(self) -> None:
        """Cancel the work of an unfinished `classify`, then close the connections."""
        others = asyncio.all_tasks() - {asyncio.current_task()}
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)
        await asyncio.get_running_loop().shutdown_asyncgens()
        await self._client.__aexit__()
