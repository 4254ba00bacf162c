"""Answers: finished images are never discarded, and unread answers hold bounded memory."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator
from dataclasses import dataclass, field
from math import inf
from typing import Any

import pytest
from starlette.requests import Request
from starlette.types import Message, Receive, Scope, Send

from frontend.api.budgeted_response import BudgetedResponse
from frontend.api.responses import Answer
from frontend.classify.classifier import Outcome
from frontend.errors import NotAnImage, ServiceError, ServiceOverloaded, TritonUnavailable, UnknownModelVersion
from frontend.inference.scores import Prediction
from frontend.limits.memory_budget import MemoryBudget
from frontend.middleware.request_context import RequestContextMiddleware

UNAVAILABLE = "The inference server is not available. Try again later"
OWL = [Prediction("Athene cunicularia", "Burrowing Owl", 0.9)]


@dataclass
class Source:
    names: list[str]
    is_complete: bool = True


async def outcomes(done: list[Outcome], error: ServiceError | None) -> AsyncGenerator[Outcome, None]:
    for outcome in done:
        yield outcome
    if error:
        raise error


async def never() -> None:
    await asyncio.Event().wait()


async def answer_to(
    done: list[Outcome], error: ServiceError | None, source: Source, accept: str = "application/json"
) -> tuple[int, str]:
    """Return the status and the body of the answer to these outcomes."""
    sent: list[Message] = []

    async def application(scope: Scope, receive: Receive, send: Send) -> None:
        answer = Answer(Request(scope, receive), MemoryBudget(1_000_000))
        response = await answer.of_outcomes(outcomes(done, error), source, never)
        await response(scope, receive, send)

    async def send(message: Message) -> None:
        sent.append(message)

    async def receive() -> Message:
        await never()
        raise AssertionError

    scope = {"type": "http", "client": ("127.0.0.1", 1), "headers": [(b"accept", accept.encode())]}
    await RequestContextMiddleware(application, 60, None)(scope, receive, send)
    return sent[0]["status"], b"".join(message.get("body", b"") for message in sent).decode()


@pytest.mark.parametrize("error", [TritonUnavailable(), UnknownModelVersion(version="2")])
async def test_finished_images_are_answered_when_triton_is_lost(error: ServiceError) -> None:
    """Before, one image that met a dead Triton discarded the whole list with 503."""
    done = [Outcome(2, "c", NotAnImage(), "1"), Outcome(1, "b", OWL, "1")]
    status, body = await answer_to(done, error, Source(["a", "b", "c", "d"]))
    answer = json.loads(body)
    assert status == 200
    assert list(answer["successful_results"]) == ["b"]
    assert answer["failed_results"] == ["a", "c", "d"]  # in the order of the request
    codes = [failure["code"] for failure in answer["failures"]]
    assert codes == ["triton_unavailable", "not_an_image", "triton_unavailable"]
    assert answer["errors"] == []


async def test_answer_reports_that_some_images_are_unnamed() -> None:
    """The files of an upload that have not arrived are not known."""
    status, body = await answer_to([Outcome(0, "a", OWL, "1")], TritonUnavailable(), Source(["a", "b"], False))
    assert status == 200
    assert json.loads(body)["failed_results"] == ["b"]
    assert json.loads(body)["errors"] == [UNAVAILABLE]


@pytest.mark.parametrize("done", [[], [Outcome(0, "a", NotAnImage(), "1")]], ids=["nothing", "a failure"])
async def test_error_is_raised_when_no_image_succeeded(done: list[Outcome]) -> None:
    with pytest.raises(TritonUnavailable):
        await answer_to(done, TritonUnavailable(), Source(["a", "b"]))


async def test_last_line_of_a_stream_reports_the_error() -> None:
    status, body = await answer_to(
        [Outcome(0, "a", OWL, "1")], TritonUnavailable(), Source(["a", "b"]), "application/x-ndjson"
    )
    line, totals = map(json.loads, body.splitlines())
    assert status == 200
    assert line["url"] == "a"
    assert (totals["status"], totals["errors"]) == (503, [UNAVAILABLE])


@dataclass
class Client:
    """A client that takes `room` messages and then stops reading, and the task that sends to it."""

    room: float
    sent: list[Message] = field(default_factory=list)
    task: asyncio.Task[None] | None = None

    def request(self, size_bytes: int, budget: MemoryBudget, caller: str) -> None:
        response = BudgetedResponse(bytes(size_bytes), "application/json", {}, budget, caller)
        scope: dict[str, Any] = {"type": "http"}
        self.task = asyncio.create_task(response(scope, self._receive, self._send))

    async def finished(self) -> None:
        assert self.task is not None
        await asyncio.wait_for(self.task, 60)

    @property
    def received_bytes(self) -> int:
        return sum(len(message.get("body", b"")) for message in self.sent)

    async def _send(self, message: Message) -> None:
        if len(self.sent) >= self.room:
            await never()
        self.sent.append(message)

    async def _receive(self) -> Message:
        await never()
        raise AssertionError


async def test_unread_answers_give_way_to_others() -> None:
    """Before, 100 unread answers of 16 MB each held 3.2 GB."""
    budget = MemoryBudget(40_000_000)
    stalled = [Client(room=2) for _ in range(3)]
    for client in stalled:
        client.request(15_000_000, budget, "attacker")
    await asyncio.sleep(0)
    reader = Client(room=inf)
    reader.request(15_000_000, budget, "innocent")
    await reader.finished()
    assert reader.received_bytes == 15_000_000
    assert budget.held_bytes <= 40_000_000
    for client in stalled:
        assert client.task is not None
        client.task.cancel()
    await asyncio.gather(*[client.task for client in stalled if client.task], return_exceptions=True)
    assert budget.held_bytes == 0


async def test_no_room_for_an_answer_is_overload(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("frontend.api.budgeted_response._MAX_WAIT_SECONDS", 0.01)
    budget = MemoryBudget(1_000_000)
    for _ in range(2):  # the second one may overdraw the budget
        Client(room=2).request(900_000, budget, "first")
    await asyncio.sleep(0)
    refused = Client(room=inf)
    refused.request(900_000, budget, "second")
    with pytest.raises(ServiceOverloaded):
        await refused.finished()
    assert refused.sent == []


async def test_small_answers_do_not_count() -> None:
    client = Client(room=inf)
    client.request(65_536, MemoryBudget(1), "caller")
    await client.finished()
    assert client.received_bytes == 65_536
