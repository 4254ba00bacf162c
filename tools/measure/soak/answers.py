"""Judges the answers of the service: right and complete, or a documented refusal, and in time."""

from __future__ import annotations

import asyncio
import json
import time
from collections import Counter
from collections.abc import Awaitable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

import aiohttp

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


async def time_answer(asking: Awaitable[Judgement], limit_seconds: float) -> Answer:
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
