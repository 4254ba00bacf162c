"""The metrics before the first request."""

from __future__ import annotations

import pytest

from frontend.errors import FieldBelongsInQuery, InvalidUpload, ServiceError, TritonUnavailable
from frontend.telemetry.metrics import Metrics


@pytest.mark.parametrize("kind", [TritonUnavailable, InvalidUpload, FieldBelongsInQuery])
def test_every_service_error_starts_at_zero(kind: type[ServiceError]) -> None:
    """Prometheus sees an increase only after a first value."""
    assert f'birds_service_errors_total{{code="{kind.code}"}} 0.0' in Metrics().text().decode()
