"""The fake Triton passes the cases that tests/live holds the real one to."""

from __future__ import annotations

import pytest

from frontend.inference.client import Inference
from tests.support.fake_triton import FakeTriton, running_tritons
from tests.support.triton_cases import CASES, Case


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.__name__)
async def test_fake_passes_the_cases_of_the_real(case: Case) -> None:
    async with running_tritons(FakeTriton()) as url, Inference(url) as inference:
        await case(inference)
