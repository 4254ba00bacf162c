"""examples/browser.html, served from another origin than the service: the browser itself applies the rules of CORS."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest
from aiohttp import web
from playwright.async_api import Browser, FilePayload, Page, expect

from frontend.settings import Settings
from tests.support.fake_triton import FakeTriton, running_in_a_thread
from tests.support.frontend_server import running_frontend
from tests.support.image_server import ImageServer
from tests.support.images import RED, flat
from tests.system.browser.conftest import watched_page
from tools import ROOT

pytestmark = pytest.mark.asyncio(loop_scope="session")

PHOTOS = [
    FilePayload(name="red.png", mimeType="image/png", buffer=flat(RED)),
    FilePayload(name="broken.png", mimeType="image/png", buffer=b"broken"),
]


@pytest.fixture(scope="module")
def triton_url() -> Iterator[str]:
    with running_in_a_thread(FakeTriton()) as url:
        yield url


@pytest.fixture
def origin(image_server: ImageServer) -> str:
    """The origin of the example page."""

    async def example(_: web.Request) -> web.StreamResponse:
        return web.FileResponse(ROOT / "examples" / "browser.html")

    return image_server.add("/browser.html", example).removesuffix("/browser.html")


async def name_the_birds(page: Page, service: str, key: str = "") -> None:
    await page.goto("/browser.html")
    await page.get_by_label("Service").fill(service)
    await page.get_by_label("API key").fill(key)
    await page.get_by_label("Photos").set_input_files(PHOTOS)
    await page.get_by_role("button", name="Name the birds").click()


async def test_permitted_page_names_the_birds(browser: Browser, triton_url: str, origin: str) -> None:
    settings = Settings(triton_url=triton_url, cors_origins=(origin,), api_keys=("a-key-of-mine",))
    with running_frontend(settings) as service:
        async with watched_page(browser, origin) as page:
            await name_the_birds(page, service, "a-key-of-mine")
            shown = page.get_by_role("listitem")
            await expect(shown).to_have_count(3)
            await expect(shown.last).to_have_text("1 succeeded, 1 failed")
            await expect(shown.filter(has_text="red.png: Great Red, 0.9")).to_have_count(1)
            await expect(shown.filter(has_text="(not_an_image)")).to_have_count(1)
            await name_the_birds(page, service, "another-key")
            await expect(shown).to_have_text(re.compile("^A valid API key is required"))


async def test_errors_of_the_whole_request_are_shown(browser: Browser, triton_url: str, origin: str) -> None:
    settings = Settings(triton_url=triton_url, cors_origins=(origin,), max_images=1)
    with running_frontend(settings) as service:
        async with watched_page(browser, origin) as page:
            await name_the_birds(page, service)
            await expect(page.get_by_role("listitem")).to_have_text("Too many images provided. Max 1 images allowed.")


async def test_answer_without_totals_is_reported(browser: Browser, origin: str) -> None:
    line = '{"url": "red.png", "predictions": [{"bird_name": "Rubra maxima", "common_name": null, "score": 0.9}]}\n'
    async with watched_page(browser, origin) as page:
        headers = {"Access-Control-Allow-Origin": origin, "Content-Type": "application/x-ndjson"}
        await page.route("**/files*", lambda route: route.fulfill(body=line, headers=headers))
        await name_the_birds(page, origin)
        await expect(page.get_by_role("listitem")).to_have_text(
            ["red.png: Rubra maxima, 0.90", "The answer was cut off."]
        )


async def test_page_without_permission_says_which_setting_to_change(
    browser: Browser, triton_url: str, origin: str
) -> None:
    with running_frontend(Settings(triton_url=triton_url)) as service:
        # The browser logs the refusal as an error of the page, which watched_page would not accept.
        async with await browser.new_context(base_url=origin) as context:
            page = await context.new_page()
            await name_the_birds(page, service)
            hint = f"Does BIRDS_CORS_ORIGINS of the service list {origin}?"
            await expect(page.get_by_role("listitem")).to_contain_text(hint)
