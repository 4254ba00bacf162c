"""Load on a frontend that checks every answer: right and complete, or a documented refusal, and in time."""

from __future__ import annotations

import asyncio
import json
import random
import threading
import time
from collections import Counter
from collections.abc import Awaitable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

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
    """An image URL and its expected outcome: the best label, or the code that it must fail with.

    `birds` has the best label by version. Versions that it lacks give `bird`.
    """

    url: str
    bird: str | None = None
    code: str | None = None
    birds: Mapping[str, str] = field(default_factory=dict)

    def expected(self, version: str | None) -> str | None:
        """The best label in an answer by `version`; None if the image must fail."""
        return self.birds.get(version or "", self.bird)


@dataclass(frozen=True)
class Answer:
    """How one request ended. `at` is the time.monotonic() at which it was sent.

    complete: every image has its expected outcome. partial: some good images failed, with documented codes. refused:
    503 or 429 with Retry-After, in the documented shape. unreachable: no connection, or one cut before the answer.
    late: no answer before the deadline. wrong: anything else; `detail` says what.
    `codes` counts the good images that failed, by code; `versions` are the model versions of the other good images.
    """

    at: float
    seconds: float
    verdict: Verdict
    codes: Counter[str] = field(default_factory=Counter)
    detail: str = ""
    versions: frozenset[str] = frozenset()


class Judgement(NamedTuple):
    """The result of checking one answer: the fields of Answer that do not depend on time."""

    verdict: Verdict
    codes: Counter[str]
    detail: str = ""
    versions: frozenset[str] = frozenset()

    @classmethod
    def wrong(cls, detail: str) -> Judgement:
        return cls("wrong", Counter(), detail)

    @classmethod
    def refused(cls, detail: str) -> Judgement:
        return cls("refused", Counter(), detail)


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
        return await timed(ask_for_list(session, self._url, cases), self._deadline + _GRACE_SECONDS)


async def timed(asking: Awaitable[Judgement], limit_seconds: float) -> Answer:
    """Wait for the judgement of one answer. It is late after `limit_seconds`."""
    at = time.monotonic()
    try:
        found = await asyncio.wait_for(asking, limit_seconds)
    except asyncio.TimeoutError:
        found = Judgement("late", Counter(), f"no answer within {limit_seconds} s")
    except (aiohttp.ClientError, ConnectionError) as error:
        found = Judgement("unreachable", Counter(), repr(error))
    return Answer(at, time.monotonic() - at, *found)


async def ask_for_list(session: aiohttp.ClientSession, url: str, cases: Sequence[Case]) -> Judgement:
    """POST the URLs of `cases` and judge the answer. Raises aiohttp.ClientError if there is none."""
    body = {"images": [case.url for case in cases], "k": 1}
    async with session.post(url, json=body) as response:
        return judge(response.status, response.headers.get("Retry-After"), await response.text(), cases)


def judge(status: int, retry_after: str | None, text: str, cases: Sequence[Case]) -> Judgement:
    """Judge the answer to a request for `cases`."""
    try:
        answer: dict[str, Any] = json.loads(text)
        results, failures, errors = answer["successful_results"], answer["failures"], answer["errors"]
        listed = [*results, *(failure["url"] for failure in failures)]
    except (ValueError, KeyError, TypeError):
        return Judgement.wrong(f"status {status} with a body that is not in the documented shape: {text[:200]}")
    if status in (429, 503):
        if errors and retry_after is not None:
            return Judgement.refused(errors[0])
        return Judgement.wrong(f"status {status} without errors or Retry-After: {text[:200]}")
    if status != 200 or errors:
        return Judgement.wrong(f"status {status}: {text[:200]}")
    failed = [failure["url"] for failure in failures]
    if sorted(listed) != sorted(case.url for case in cases) or answer["failed_results"] != failed:
        return Judgement.wrong(f"not exactly the images of the request: {text[:200]}")
    return _judge_images(answer, cases)


def _judge_images(answer: dict[str, Any], cases: Sequence[Case]) -> Judgement:
    codes = {failure["url"]: failure["code"] for failure in answer["failures"]}
    failed: Counter[str] = Counter()
    versions = set()
    for case in cases:
        if code := codes.get(case.url):
            if code == case.code:
                continue
            if code not in CODES_OF_FAULTS:
                return Judgement.wrong(f"{case.url}: {code} instead of {case.code or case.bird}")
            failed[code] += 1
            continue
        found = answer["successful_results"][case.url]
        version = answer.get("other_versions", {}).get(case.url, answer.get("model_version"))
        if not found or found[0]["bird_name"] != case.expected(version):
            expected = case.code or case.expected(version)
            return Judgement.wrong(f"{case.url}, version {version}: {found} instead of {expected}")
        versions |= {version} - {None}
    return Judgement("partial" if failed else "complete", failed, "", frozenset(versions))
