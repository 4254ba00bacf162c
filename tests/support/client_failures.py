"""The failures of the client: what it says when it gets no answer of the service."""

from __future__ import annotations

import re

import pytest
from birds_client import AsyncBirdsClient, ClientError


async def failure_of(url: str) -> ClientError:
    """The error of `classify`; that of `models` is of the same kind. Its text is a sentence for people."""
    async with AsyncBirdsClient(url) as birds:
        with pytest.raises(ClientError) as raised:
            [result async for result in birds.classify("http://x/a.jpg")]
        with pytest.raises(ClientError) as other:
            await birds.models()
    assert type(other.value) is type(raised.value)
    is_for_people(str(raised.value))
    return raised.value


def is_for_people(text: str) -> None:
    assert len(text) > 20
    assert not re.search(r"[a-z](Error|Timeout|Exception)\b|errno|Traceback|_ssl\.c|0x", text, re.IGNORECASE), text
