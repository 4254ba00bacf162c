"""Fixtures: a page of the real frontend in a real browser. Errors in its console fail the test."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest
import pytest_asyncio
from playwright.async_api import Browser, Page

from tests.support.chromium import running_chromium
from tests.support.programs import path_of

_OF_THE_NETWORK = re.compile("Failed to load resource").match


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def browser() -> AsyncIterator[Browser]:
    async with running_chromium(path_of("chromium")) as browser:
        yield browser


@asynccontextmanager
async def watched_page(browser: Browser, base_url: str, **options: Any) -> AsyncIterator[Page]:
    """A page of a new browser context with these options. Open it with an address relative to `base_url`.

    At the end, fail if a script failed, or if the page sent a request to another host.
    """
    context = await browser.new_context(base_url=base_url, **options)
    page = await context.new_page()
    page.set_default_timeout(15_000)
    problems: list[str] = []
    hosts: set[str | None] = set()
    # The browser logs every answer with an error status, and every failed request. These are not errors of the page.
    page.on("console", lambda m: problems.append(m.text) if m.type == "error" and not _OF_THE_NETWORK(m.text) else None)
    page.on("pageerror", lambda error: problems.append(str(error)))
    page.on("request", lambda sent: hosts.add(httpx.URL(sent.url).host) if sent.url.startswith("http") else None)
    yield page
    await context.close()
    assert problems == []
    assert hosts <= {"127.0.0.1"}


@pytest_asyncio.fixture(loop_scope="session")
async def page(browser: Browser, frontend: httpx.Client, request: pytest.FixtureRequest) -> AsyncIterator[Page]:
    """The open page at /. The `context` mark of a test holds options of the browser context (theme, language, size)."""
    mark = request.node.get_closest_marker("context")
    async with watched_page(browser, str(frontend.base_url), **(mark.kwargs if mark else {})) as page:
        await page.goto("/")
        yield page
