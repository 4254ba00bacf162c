"""Shortens the messages of TensorFlow and Keras to one line."""

from __future__ import annotations


def first_line(error: BaseException) -> str:
    return next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)
