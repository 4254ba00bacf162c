"""Load on a frontend that checks every answer: right and complete, or a documented refusal, and in time."""

from __future__ import annotations

import asyncio
import json
import random
import threading
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import aiohttp

COMPLETE, PARTIAL, REFUSED, UNREACHABLE, LATE, WRONG = "complete", "partial", "refused", "unreachable", "late", "wrong"
Verdict = Literal["complete", "partial", "refused", "unreachable", "late", "wrong"]

# Codes that a good image may fail with while something is broken; all are documented.
CODES_OF_FAULTS = frozenset(
    {
        "deadline_exceeded",
        "download_failed",
        "download_timeout",
        "inference_failed",
        "overloaded",
        "triton_unavailable",
    }
)
_GRACE_SECONDS = 3  # for the network, the event loop and a busy machine, on top of the service's own deadline
_PAUSE_AFTER_REFUSAL_SECONDS = 0.1  # far less than Retry-After asks for, because impatient clients are a harder load


@dataclass(frozen=True)
class Case:
    """An image URL and its expected outcome: the best label, or the code that it must fail with."""

    url: str
    bird: str | None = None
    code: str | None = None


@dataclass(frozen=True)
class Answer:
    """How one request ended. `at` is the time.monotonic() at which it was sent.

    complete: every image has its expected outcome. partial: some good images failed, with documented codes. refused:
    503 or 429 with Retry-After, in the documented shape. unreachable: no connection, or one cut before the answer.
    late: no answer before the deadline. wrong: anything else; `detail` says what.
    """

    at: float
    seconds: float
    verdict: Verdict
    codes: Counter[str] = field(default_factory=Counter)
    detail: str = ""


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
        self._random = random.Random(seed)  # noqa: S311
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
        bad = [answer for answer in list(self.answers) if answer.verdict in (WRONG, LATE)]
        return [f"{answer.verdict} after {answer.seconds:.1f} s: {answer.detail}" for answer in bad]

    def recovered_at(self) -> float:
        """The time of the last answer that was not complete; 0 if there was none."""
        return max((a.at + a.seconds for a in list(self.answers) if a.verdict != COMPLETE), default=0.0)

    def wait_for_complete(self, count: int, since: float, timeout_seconds: float) -> None:
        """Return once `count` requests in a row, sent after `since`, were answered completely. Raises TimeoutError."""
        deadline = time.monotonic() + timeout_seconds
        while time.monotonic() < deadline:
            recent = [answer.verdict for answer in list(self.answers) if answer.at >= since][-count:]
            if recent == [COMPLETE] * count:
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
            if answer.verdict in (REFUSED, UNREACHABLE):
                await asyncio.sleep(_PAUSE_AFTER_REFUSAL_SECONDS)

    async def _ask(self, session: aiohttp.ClientSession, cases: Sequence[Case]) -> Answer:
        at = time.monotonic()
        limit = self._deadline + _GRACE_SECONDS
        body = {"images": [case.url for case in cases], "k": 1}
        verdict: Verdict
        codes: Counter[str] = Counter()
        try:
            async with session.post(self._url, json=body, timeout=aiohttp.ClientTimeout(limit)) as response:
                text = await response.text()
                verdict, codes, detail = judge(response.status, response.headers.get("Retry-After"), text, cases)
        except asyncio.TimeoutError:
            verdict, detail = "late", f"no answer within {limit} s"
        except aiohttp.ClientError as error:
            verdict, detail = "unreachable", repr(error)
        return Answer(at, time.monotonic() - at, verdict, codes, detail)


def judge(status: int, retry_after: str | None, text: str, cases: Sequence[Case]) -> tuple[Verdict, Counter[str], str]:
    """Judge the answer to a request for `cases`: the verdict, the codes of good images that failed, the reason."""
    try:
        answer: dict[str, Any] = json.loads(text)
        results, failures, errors = answer["successful_results"], answer["failures"], answer["errors"]
        found = {failure["url"]: failure["code"] for failure in failures}
        listed = [*results, *(failure["url"] for failure in failures)]
    except (ValueError, KeyError, TypeError):
        return "wrong", Counter(), f"status {status} with a body that is not in the documented shape: {text[:200]}"
    if status in (429, 503):
        if errors and retry_after is not None:
            return "refused", Counter(), errors[0]
        return "wrong", Counter(), f"status {status} without errors or Retry-After: {text[:200]}"
    if status != 200 or errors:
        return "wrong", Counter(), f"status {status}: {text[:200]}"
    if sorted(listed) != sorted(case.url for case in cases) or answer["failed_results"] != list(found):
        return "wrong", Counter(), f"not exactly the images of the request: {text[:200]}"
    failed: Counter[str] = Counter()
    for case in cases:
        if case.url in found:
            code = found[case.url]
            if code == case.code:
                continue
            if code not in CODES_OF_FAULTS:
                return "wrong", Counter(), f"{case.url}: {code} instead of {case.code or case.bird}"
            failed[code] += 1
        elif not results[case.url] or results[case.url][0]["bird_name"] != case.bird:
            return "wrong", Counter(), f"{case.url}: {results[case.url]} instead of {case.code or case.bird}"
    return ("partial" if failed else "complete"), failed, ""
