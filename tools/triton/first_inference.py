"""Asks a newly started Triton to classify one image, and explains a failure. Standard library only."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version
from urllib.error import HTTPError

from tools.triton.probe import Dead, ask


def first_inference_problem(url: str) -> str | None:
    """Return why the Triton at `url` cannot classify an image, or None if it can.

    Triton says that it is ready without having run a model once. A Python backend that was built for NumPy 1 loads
    under NumPy 2, hands wrong bytes to the models, and dies at the first request. Raises OSError or HTTPException if
    there was no answer in time: a first inference can be slow.
    """
    try:
        if not ask(url):
            raise TimeoutError("Triton is too busy to classify an image")
    except (Dead, HTTPError) as error:
        return f"Triton is ready, but cannot classify an image: {error}. {numpy_hint()}"
    return None


def numpy_hint() -> str:
    """Return the likely cause if Triton's Python processes die at the start: the wrong NumPy."""
    try:
        numpy = version("numpy")
    except PackageNotFoundError:
        return "NumPy is not installed for this Python"
    return (
        f"Its Python processes use NumPy {numpy}. If this Triton's Python backend was built for another major version, "
        "they die at the first request: use the Triton release that Dockerfile.triton names"
    )
