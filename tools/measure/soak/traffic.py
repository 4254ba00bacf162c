"""Traffic of every kind at once: lists, streams, uploads, Triton itself, clients that hang up. Answers are checked."""

from __future__ import annotations

import asyncio
import json
import random
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from typing import Any

import aiohttp
import numpy as np
import tritonclient.grpc.aio
import tritonclient.http.aio
from tritonclient.utils import InferenceServerException

from tools.measure.soak.answers import Answer, Case, Judgement, ask_for_list, judge, time_answer
from tools.measure.soak.images import files
from tools.measure.soak.service import REQUEST_TIMEOUT_SECONDS, Service
from tools.triton import direct_grpc

_GRACE_SECONDS = 5
_LIMIT = REQUEST_TIMEOUT_SECONDS + _GRACE_SECONDS
_PAUSE_AFTER_REFUSAL_SECONDS = 0.2
_LIST, _LONG_LIST, _STREAM, _FILES = 6, 150, 12, 4  # images in each request
# What Triton may answer while a part of it is broken.
_TRITON_REFUSES = ("UNAVAILABLE", "is not healthy", "DEADLINE_EXCEEDED", "Cancelled", "timed out", "Exceeds maximum")

Ask = Callable[[aiohttp.ClientSession], Awaitable[Judgement]]


class Traffic:
    """Runs `clients` clients of each kind until it is stopped. `answers` are pairs of kind and answer."""

    def __init__(self, service: Service, cases: Sequence[Case], seed: int, clients: int) -> None:
        self.answers: list[tuple[str, Answer]] = []
        self._service = service
        self._cases = cases
        self._local = [case for case in cases if _path(case) in files()]
        self._good = [case for case in self._local if case.bird]
        # The host ignores the query; for the service each of these URLs is another image.
        self._many = [replace(c, url=f"{c.url}?{n}") for n in range(_LONG_LIST) for c in self._local]
        self._random = random.Random(seed)  # noqa: S311
        self._clients = clients
        self._stopping = False

    @property
    def kinds(self) -> dict[str, Ask]:
        return {
            "list": lambda session: self._list(session, self._sample(_LIST)),
            "long list": lambda session: self._list(session, self._random.sample(self._many, _LONG_LIST)),
            "stream": self._stream,
            "upload": self._upload,
            "hang-up": self._hang_up,
            "Triton gRPC": lambda _: self._direct(
                tritonclient.grpc.aio, self._service.triton.grpc, channel_args=list(direct_grpc.CHANNEL_OPTIONS)
            ),
            "Triton HTTP": lambda _: self._direct(tritonclient.http.aio, self._service.triton.http),
        }

    async def run(self) -> None:
        """Send requests until `stop`, then wait for the answers to the requests in progress."""
        async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:
            await asyncio.gather(
                *(self._client(session, kind, ask) for kind, ask in self.kinds.items() for _ in range(self._clients))
            )

    def stop(self) -> None:
        self._stopping = True

    async def _client(self, session: aiohttp.ClientSession, kind: str, ask: Ask) -> None:
        while not self._stopping:
            answer = await time_answer(ask(session), _LIMIT)
            self.answers.append((kind, answer))
            if answer.verdict in ("refused", "unreachable"):
                await asyncio.sleep(_PAUSE_AFTER_REFUSAL_SECONDS)

    def _sample(self, count: int) -> list[Case]:
        return self._random.sample(self._cases, min(count, len(self._cases)))

    async def _list(self, session: aiohttp.ClientSession, cases: list[Case]) -> Judgement:
        return await ask_for_list(session, f"{self._service.url}/", cases)

    async def _stream(self, session: aiohttp.ClientSession) -> Judgement:
        cases = self._sample(_STREAM)
        body = {"images": [case.url for case in cases], "k": 1}
        headers = {"Accept": "application/x-ndjson"}
        async with session.post(f"{self._service.url}/", json=body, headers=headers) as response:
            text, retry_after = await response.text(), response.headers.get("Retry-After")
            if response.status != 200 or response.content_type != "application/x-ndjson":
                return judge(response.status, retry_after, text, cases)
        return judge_stream(text, cases)

    async def _upload(self, session: aiohttp.ClientSession) -> Judgement:
        cases = self._random.sample(self._local, min(_FILES, len(self._local)))
        form = aiohttp.FormData(quote_fields=False)
        for case in cases:
            form.add_field("files", files()[_path(case)], filename=case.url)
        async with session.post(f"{self._service.url}/files?k=1", data=form) as response:
            return judge(response.status, response.headers.get("Retry-After"), await response.text(), cases)

    async def _hang_up(self, session: aiohttp.ClientSession) -> Judgement:
        try:
            await asyncio.wait_for(self._list(session, self._sample(_LIST)), self._random.uniform(0, 0.3))
        except asyncio.TimeoutError:
            pass
        return Judgement("complete", Counter())

    async def _direct(self, library: Any, port: int, **options: Any) -> Judgement:
        case = self._random.choice(self._good)
        image = library.InferInput("IMAGE", [1, 1], "BYTES")
        image.set_data_from_numpy(np.array([[files()[_path(case)]]], dtype=np.object_))
        labels = library.InferRequestedOutput("PROBABILITIES", class_count=1)
        async with library.InferenceServerClient(f"127.0.0.1:{port}", **options) as client:
            try:
                result = await client.infer("birds", [image], outputs=[labels])
            except InferenceServerException as error:
                if any(sign in str(error) for sign in _TRITON_REFUSES):
                    return Judgement.refused(str(error))
                return Judgement.wrong(str(error))
            except aiohttp.ClientError as error:  # Triton is restarting, and nothing hides that from direct clients
                return Judgement.refused(repr(error))
        label = result.as_numpy("PROBABILITIES").flat[0].decode().split(":", 2)[2].partition(" (")[0]
        versions = frozenset(version for version, bird in case.birds.items() if bird == label)
        if not versions:
            return Judgement.wrong(f"{case.url}: {label} instead of {case.bird}")
        return Judgement("complete", Counter(), "", versions)


def judge_stream(text: str, cases: Sequence[Case]) -> Judgement:
    """Judge a streamed answer, as `judge` does for a JSON answer."""
    try:
        *lines, totals = [json.loads(line) for line in text.splitlines()]
        failures = [{"url": line["url"], "code": line["failure"]["code"]} for line in lines if line.get("failure")]
        found = {line["url"]: line for line in lines if not line.get("failure")}
        answer = {
            "successful_results": {url: line["predictions"] for url, line in found.items()},
            "other_versions": {url: line.get("model_version") for url, line in found.items()},
            "failed_results": [failure["url"] for failure in failures],
            "failures": failures,
            "errors": totals["errors"],
        }
        status = totals["status"]
    except (ValueError, KeyError, TypeError):
        return Judgement.wrong(f"not a complete stream: {text[-200:]}")
    if status == 503:
        return Judgement.refused("; ".join(totals["errors"]))
    if len({line["url"] for line in lines}) != len(lines):
        return Judgement.wrong(f"an image twice: {text[:200]}")
    return judge(status, None, json.dumps(answer), cases)


def _path(case: Case) -> str:
    return "/" + case.url.split("/", 3)[-1]
