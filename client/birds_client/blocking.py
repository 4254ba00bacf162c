"""The client for ordinary code: the asynchronous one, on an event loop in a thread of its own."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import ExitStack

from anyio.from_thread import BlockingPortal, start_blocking_portal

from birds_client.asynchronous import DEFAULT_URL, AsyncBirdsClient
from birds_client.images import Image, Result
from frontend.api.schemas import DEFAULT_K, ModelsResponse


class BirdsClient:
    """As AsyncBirdsClient, without `await`; use as a context manager."""

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
