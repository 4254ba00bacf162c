"""The real Triton passes the cases that the fake one is held to."""

from __future__ import annotations

import pytest

from frontend.inference.client import Inference
from tests.support.triton_cases import CASES, Case
from tools.serve.triton_process import TritonServer


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.__name__)
async def test_real_triton_passes_the_shared_cases(case: Case, triton: TritonServer) -> None:
    async with Inference(triton.grpc_url) as inference:
        await case(inference)
