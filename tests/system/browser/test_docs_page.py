"""The API documentation at /docs, and both pages below a path, in Chromium. No Triton is needed."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

import pytest
import pytest_asyncio
from playwright.async_api import Browser, FilePayload, Page, expect
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from frontend.app import create_app
from frontend.settings import Settings
from tests.support.frontend_server import running_app
from tests.system.browser.conftest import watched_page
from tools.serve.ports import free_port

pytestmark = pytest.mark.asyncio(loop_scope="session")

PREFIX = "/birds"


def below_path(app: ASGIApp) -> ASGIApp:
    """Behave like a proxy that serves `app` below PREFIX and passes on paths without it."""

    async def proxied(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            if not scope["path"].startswith(f"{PREFIX}/"):
                await Response(status_code=404)(scope, receive, send)
                return
            path = scope["path"].removeprefix(PREFIX)
            scope = {**scope, "path": path, "raw_path": path.encode()}
        await app(scope, receive, send)

    return proxied


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    """The address of a frontend below a path."""
    app = create_app(Settings(triton_url=f"127.0.0.1:{free_port()}"))
    with running_app(below_path(app)) as url:
        yield f"{url}{PREFIX}/"


@pytest_asyncio.fixture(loop_scope="session")
async def page(browser: Browser, address: str) -> AsyncIterator[Page]:
    async with watched_page(browser, address) as page:
        yield page


async def test_documentation_lists_the_operations_below_a_path(page: Page, address: str) -> None:
    await page.goto("docs")
    document = await (await page.request.get("openapi.json")).json()
    operations = sum(len(methods) for methods in document["paths"].values())
    assert operations >= 6
    await expect(page.locator(".opblock-summary-path")).to_have_count(operations)
    await expect(page.locator(".opblock-summary-path").first).to_have_text("/")
    await expect(page.locator(".servers option")).to_have_text([address.removesuffix("/")])


async def test_documentation_sends_requests_below_the_path(page: Page, address: str) -> None:
    await page.goto("docs")
    await page.get_by_text("Is the process running?").click()
    await page.get_by_role("button", name="Try it out").click()
    async with page.expect_response(f"{address}health/live") as response:
        await page.get_by_role("button", name="Execute").click()
    assert (await response.value).status == 200


async def test_documentation_has_a_strict_policy(page: Page) -> None:
    response = await page.request.get("docs")
    policy = response.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy


async def test_page_works_below_a_path(page: Page, address: str) -> None:
    async with page.expect_request(f"{address}models"):
        await page.goto("")
    image: FilePayload = {"name": "a.png", "mimeType": "", "buffer": b"a"}
    async with page.expect_request(f"{address}files?k=3&min_score=0"):
        await page.set_input_files("#files", [image])
    await page.click("#url-choice summary")
    await page.fill("#urls", "http://127.0.0.1:1/")
    async with page.expect_request(lambda request: request.url == address and request.method == "POST"):
        await page.click("#url-choice button")
    async with page.expect_navigation(url=f"{address}docs"):
        await page.get_by_role("link", name="API documentation").click()
