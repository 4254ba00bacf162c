"""Load on a frontend that checks every answer."""

from __future__ import annotations

import asyncio
import random
import threading
import time
from collections import Counter
from collections.abc import Sequence

import aiohttp

from tools.measure.soak.answers import Answer, Case, ask_for_list, time_answer

_GRACE_SECONDS = 3  # for the network, the event loop and a busy machine, on top of the service's own deadline
_PAUSE_AFTER_REFUSAL_SECONDS = 0.1  # far less than Retry-After asks for, because impatient clients are a harder load


class CheckedLoad:
    """A thread in which each of `clients` sends one request after another; use as a context manager.

    Each request has `images_per_request` of `cases`, chosen at random from `seed`. `deadline_seconds` is the frontend's
    BIRDS_REQUEST_TIMEOUT: an answer that takes more than 3 s longer is late.
    """

    def __init__(
        self,
        url: str,
        cases: Sequence[Case],
        clients: int = 8,
        images_per_request: int = 4,
        deadline_seconds: float = 60,
        seed: int = 1,
        headers: dict[str, str] | None = None,
    ) -> None:
        self.answers: list[Answer] = []
        self._url = url
        self._cases = cases
        self._clients = clients
        self._images = min(images_per_request, len(cases))
        self._deadline = deadline_seconds
        self._random = random.Random(seed)
        self._headers = headers or {}
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._run()), name="checked load")

    def __enter__(self) -> CheckedLoad:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Stop sending, and wait for the answers to the requests in progress: at most one deadline."""
        self._stopping.set()
        self._thread.join()

    def verdicts(self, since: float = 0) -> Counter[str]:
        """The number of answers by verdict, for requests sent after `since`."""
        return Counter(answer.verdict for answer in list(self.answers) if answer.at >= since)

    def codes(self) -> Counter[str]:
        """The number of good images that failed, by code."""
        return sum((answer.codes for answer in list(self.answers)), Counter())

    def faults(self) -> list[str]:
        """A line for each wrong or late answer: these must never happen."""
        bad = [answer for answer in list(self.answers) if answer.verdict in ("wrong", "late")]
        return [f"{answer.verdict} after {answer.seconds:.1f} s: {answer.detail}" for answer in bad]

    def recovered_at(self) -> float:
        """The time of the last answer that was not complete; 0 if there was none."""
        return max((a.at + a.seconds for a in list(self.answers) if a.verdict != "complete"), default=0.0)

    def wait_for_complete(self, count: int, since: float, timeout_seconds: float) -> None:
        """Return once `count` requests in a row, sent after `since`, were answered completely. Raises TimeoutError."""
        deadline = time.monotonic() + timeout_seconds
        while time.monotonic() < deadline:
            recent = [answer.verdict for answer in list(self.answers) if answer.at >= since][-count:]
            if recent == ["complete"] * count:
                return
            time.sleep(0.05)
        raise TimeoutError(f"no full service within {timeout_seconds} s: {dict(self.verdicts(since))}")

    async def _run(self) -> None:
        connector = aiohttp.TCPConnector(limit=0)
        async with aiohttp.ClientSession(connector=connector, headers=self._headers) as session:
            await asyncio.gather(*(self._client(session) for _ in range(self._clients)))

    async def _client(self, session: aiohttp.ClientSession) -> None:
        while not self._stopping.is_set():
            answer = await self._ask(session, self._random.sample(self._cases, self._images))
            self.answers.append(answer)
            if answer.verdict in ("refused", "unreachable"):
                await asyncio.sleep(_PAUSE_AFTER_REFUSAL_SECONDS)

    async def _ask(self, session: aiohttp.ClientSession, cases: Sequence[Case]) -> Answer:
        return await time_answer(ask_for_list(session, self._url, cases), self._deadline + _GRACE_SECONDS)
