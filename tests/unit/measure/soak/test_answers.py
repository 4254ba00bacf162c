"""The checker of answers accepts only what is documented."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.support.checked_load import CheckedLoad
from tools.measure.soak.answers import Case, judge

GOOD, OTHER, BAD = Case("http://a/1", bird="Rubra"), Case("http://a/2", bird="Viridis"), Case("http://a/3", code="x")
CASES = [GOOD, BAD]


def body(results: dict[str, str], failures: dict[str, str], errors: tuple[str, ...] = (), **others: Any) -> str:
    answer: dict[str, Any] = {
        "successful_results": {url: [{"bird_name": bird}] for url, bird in results.items()},
        "failed_results": list(failures),
        "failures": [{"url": url, "code": code} for url, code in failures.items()],
        "errors": list(errors),
        **others,
    }
    return json.dumps(answer)


RIGHT = body({GOOD.url: "Rubra"}, {BAD.url: "x"})
BUSY = body({}, {}, ("busy",))


@pytest.mark.parametrize(
    ("status", "retry_after", "text", "verdict"),
    [
        pytest.param(200, None, RIGHT, "complete", id="every image as expected"),
        pytest.param(200, None, body({}, {GOOD.url: "overloaded", BAD.url: "x"}), "partial", id="a documented failure"),
        pytest.param(503, "1", BUSY, "refused", id="503"),
        pytest.param(429, "1", BUSY, "refused", id="429"),
        pytest.param(503, None, BUSY, "wrong", id="503 without Retry-After"),
        pytest.param(503, "1", "<html>", "wrong", id="503 in another shape"),
        pytest.param(500, None, body({}, {}, ("bug",)), "wrong", id="500"),
        pytest.param(200, None, BUSY, "wrong", id="errors"),
        pytest.param(200, None, body({GOOD.url: "Viridis"}, {BAD.url: "x"}), "wrong", id="another bird"),
        pytest.param(200, None, body({GOOD.url: "Rubra"}, {}), "wrong", id="an image is missing"),
        pytest.param(
            200,
            None,
            body({GOOD.url: "Rubra"}, {GOOD.url: "overloaded", BAD.url: "x"}),
            "wrong",
            id="an image twice",
        ),
        pytest.param(200, None, body({GOOD.url: "Rubra", BAD.url: "Rubra"}, {}), "wrong", id="a bad image with a bird"),
        pytest.param(
            200, None, body({}, {GOOD.url: "not_an_image", BAD.url: "x"}), "wrong", id="a good image called bad"
        ),
    ],
)
def test_an_answer_is_judged(status: int, retry_after: str | None, text: str, verdict: str) -> None:
    assert judge(status, retry_after, text, CASES)[0] == verdict


@pytest.mark.parametrize(
    ("named", "others", "birds", "verdict", "versions"),
    [
        pytest.param("1", {}, ("Rubra", "Viridis"), "complete", {"1"}, id="the first version"),
        pytest.param("2", {}, ("Second Rubra", "Second Viridis"), "complete", {"2"}, id="the second version"),
        pytest.param("2", {}, ("Second Rubra", "Viridis"), "wrong", set(), id="an image of another version"),
        pytest.param(
            *("2", {OTHER.url: "1"}, ("Second Rubra", "Viridis"), "complete", {"1", "2"}), id="that the answer names"
        ),
    ],
)
def test_birds_belong_to_the_version_that_is_named(
    named: str, others: dict[str, str], birds: tuple[str, str], verdict: str, versions: set[str]
) -> None:
    cases = [Case(c.url, c.bird, birds={"1": str(c.bird), "2": f"Second {c.bird}"}) for c in (GOOD, OTHER)]
    found = body(dict(zip((GOOD.url, OTHER.url), birds, strict=True)), {}, model_version=named, other_versions=others)
    judgement = judge(200, None, found, cases)
    assert (str(judgement.verdict), set(judgement.versions)) == (verdict, versions)


def test_a_server_that_is_not_there_is_unreachable() -> None:
    with CheckedLoad("http://127.0.0.1:9/", [GOOD, OTHER], clients=1) as load:
        while not load.answers:
            pass
    assert set(load.verdicts()) == {"unreachable"}
    assert not load.faults()
    with pytest.raises(TimeoutError):
        load.wait_for_complete(1, since=0, timeout_seconds=0.1)
