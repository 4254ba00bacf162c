"""Valid and invalid requests, generated from the OpenAPI document, against the real service."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from hypothesis.errors import Unsatisfiable
from schemathesis import GenerationMode
from schemathesis.core.result import Ok
from schemathesis.schemas import BaseSchema
from schemathesis.specs.openapi.checks import negative_data_rejection

from frontend.settings import Settings
from tests.support.frontend_server import running_frontend
from tools.serve.ports import free_port
from tools.serve.triton_process import TritonServer

EXAMPLES = int(os.environ.get("BIRDS_FUZZ_EXAMPLES", "25"))


@pytest.fixture(scope="module")
def openapi(triton: TritonServer) -> Iterator[BaseSchema]:
    # All downloads go to a proxy that does not exist, so the document's example is not fetched from the Internet.
    proxy = f"http://127.0.0.1:{free_port()}"
    with running_frontend(Settings(triton_url=triton.grpc_url, download_proxy=proxy)) as url:
        yield schemathesis.openapi.from_url(f"{url}/openapi.json")


@pytest.mark.parametrize("mode", [GenerationMode.POSITIVE, GenerationMode.NEGATIVE], ids=["valid", "invalid"])
def test_every_answer_matches_the_openapi_document(openapi: BaseSchema, mode: GenerationMode) -> None:
    operations = [result.ok() for result in openapi.get_all_operations() if isinstance(result, Ok)]
    assert len(operations) >= 3
    for operation in operations:

        @settings(max_examples=EXAMPLES, deadline=None, database=None, suppress_health_check=list(HealthCheck))
        @given(case=operation.as_strategy(generation_mode=mode))
        def answers_as_documented(case: schemathesis.Case[Any]) -> None:
            response = case.call()
            # A request that breaks a limit is refused with status 200 and its mistakes in `errors`.
            refused = response.status_code == 200 and b'"errors":["' in response.content
            case.validate_response(response, excluded_checks=[negative_data_rejection] if refused else [])

        try:
            answers_as_documented()
        except Unsatisfiable:
            assert mode is GenerationMode.NEGATIVE, (
                f"no valid request of {operation.label}"
            )  # an operation without parameters has none
