"""The logging configuration can be applied: dictConfig imports the names that it holds."""

from __future__ import annotations

import logging.config
from typing import get_args

import pytest

from frontend.telemetry.logging import Format, log_config


@pytest.mark.parametrize("form", get_args(Format))
def test_log_configuration_names_a_real_formatter(form: Format) -> None:
    formatters = log_config(form, "info")["formatters"]
    assert isinstance(logging.config.DictConfigurator({}).configure_formatter(formatters["lines"]), logging.Formatter)
