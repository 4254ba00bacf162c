"""Fixtures: a page of the real frontend in a real browser. Errors in its console fail the test."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest
import pytest_asyncio
from playwright.async_api import Browser, Page, expect

from frontend.settings import Settings
from tests.support.chromium import running_chromium
from tests.support.fake_triton import FakeTriton, running_in_a_thread
from tests.support.frontend_server import running_frontend
from tests.support.network import LOOPBACK
from tests.support.programs import path_of

expect.set_options(timeout=20_000)  # a busy machine is slow
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
    page.set_default_timeout(20_000)
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


@pytest.fixture(scope="session")
def page_address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a real frontend before a fake Triton, which answers as the tiny model does."""
    lists = tmp_path_factory.mktemp("lists")
    (lists / "garden.txt").write_text("Viridis minor\nCaerulea\n")
    with running_in_a_thread(FakeTriton()) as triton:
        settings = Settings(triton_url=triton, download_allow_networks=LOOPBACK, species_lists=lists)
        with running_frontend(settings) as url:
            yield url


@pytest_asyncio.fixture(loop_scope="session")
async def page(browser: Browser, page_address: str, request: pytest.FixtureRequest) -> AsyncIterator[Page]:
    """The open page at /. The `context` mark of a test holds options of the browser context (theme, language, size)."""
    mark = request.node.get_closest_marker("context")
    async with watched_page(browser, page_address, **(mark.kwargs if mark else {})) as page:
        await page.goto("/")
        yield page
