"""What the page accepts, sends and says of itself, in Chromium, with a real frontend."""

from __future__ import annotations

import asyncio
from typing import Any

import httpx
import pytest
from aiohttp import web
from playwright.async_api import Browser, Page, Route, expect

from frontend.settings import Settings
from tests.support.fake_triton import FakeTriton, running_in_a_thread
from tests.support.frontend_server import running_frontend
from tests.support.image_server import ImageServer
from tests.support.images import BLUE, GREEN, RED, flat
from tests.support.network import LOOPBACK
from tests.support.web_page import (
    RED_GREEN_BLUE,
    choose,
    expect_kinds,
    paste_urls,
    results,
    serious_violations,
    transfer,
)
from tests.system.browser.conftest import watched_page

pytestmark = [pytest.mark.asyncio(loop_scope="session"), pytest.mark.needs("chromium", "axe-core")]

PHONE = {"viewport": {"width": 360, "height": 740}, "device_scale_factor": 2, "has_touch": True}


async def test_drop_three_photos_before_a_real_triton(browser: Browser, frontend: httpx.Client) -> None:
    async with watched_page(browser, str(frontend.base_url)) as page:
        await page.goto("/")
        await transfer(page, "drop", "#drop", RED_GREEN_BLUE)
        await expect_kinds(page, "All 3", "Identified 3")
        assert await results(page) == {
            "red.jpg": "Great Red",
            "green.png": "Little Green",
            "blue.webp": "Blue × White hybrid",
        }


async def test_first_run_offers_drawings_to_try(page: Page) -> None:
    """The default model names them with 0.90 and 0.95; the tiny model of the tests is not sure."""
    await expect(page.locator("#samples button")).to_have_count(2)
    for number in range(2):
        await expect(page.locator("#samples img").nth(number)).to_have_js_property("naturalWidth", 480)
    await page.locator("#samples button").first.click()
    await expect_kinds(page, "All 1", "Not sure 1")
    assert await results(page) == {"cardinal.png": "Not sure"}
    await expect(page.locator("#samples")).to_be_hidden()


async def test_first_run_names_formats_and_limits(page: Page) -> None:
    await expect(page.locator("#drop")).to_contain_text("JPEG, PNG, WebP, HEIC")
    await expect(page.locator("#drop")).to_contain_text("up to 20 MB each")
    await expect(page.locator("#results")).to_be_hidden()


async def test_known_species_can_be_searched(page: Page) -> None:
    """A bird of a species that the model does not know gets a wrong name."""
    await page.click("#url-choice summary")
    await page.fill("#urls", "http://127.0.0.1:1/typed-before.jpg")
    await page.click("#known summary")
    await expect(page.locator("#known-count")).to_have_text("3 species")
    await expect(page.locator("#known li").first).to_have_text("Blue × White hybrid (Caerulea)")
    await page.fill("#known-search", "VIRIDIS")
    await expect(page.locator("#known li")).to_have_text(["Little Green (Viridis minor)"])
    await expect(page.locator("#known-count")).to_have_text("1 species")
    await page.press("#known-search", "Enter")
    await expect(page.locator("#urls")).to_have_value("http://127.0.0.1:1/typed-before.jpg")
    await expect(page.locator("#results")).to_be_hidden()


async def test_missing_list_of_species_is_said(page: Page) -> None:
    await page.route("**/species?*", lambda route: route.fulfill(status=503, json={"errors": ["busy"]}))
    await page.click("#known summary")
    await expect(page.locator("#known-count")).to_have_text("The list is not available.")


async def test_paste_five_urls_with_one_bad(page: Page, image_server: ImageServer) -> None:
    urls = [image_server.add(f"/{n}.png", flat(GREEN)) for n in range(4)]
    bad = image_server.url("/missing.png")
    await paste_urls(page, [*urls[:2], bad, *urls[2:], "", urls[0]])
    await expect_kinds(page, "All 5", "Identified 4", "Failed 1")
    await expect(page.locator("#count")).to_have_text("1 species · 4 photos · 1 failed")
    reason = (
        "The download failed: the server answered with status 404. "
        "If the web address is right, save the photo and add it as a file."
    )
    assert await results(page) == dict.fromkeys(urls, "Little Green") | {bad: reason}
    await expect(page.locator("#announcement")).to_contain_text("1 species · 4 photos · 1 failed")


async def test_equal_urls_in_one_request_are_all_answered(page: Page, image_server: ImageServer) -> None:
    """The service answers them once. Before, a retry left one of the two cards at "Classifying"."""
    url = image_server.url("/late.png")
    for _ in range(2):
        await paste_urls(page, [url])
    await expect_kinds(page, "All 2", "Failed 2")
    image_server.add("/late.png", flat(GREEN))
    await page.click("#retry")
    await expect_kinds(page, "All 2", "Identified 2")


async def test_image_data_in_place_of_urls_is_answered(page: Page) -> None:
    """The service shows only the first 100 characters, which are the same here."""
    await paste_urls(page, [f"iVBORw0KGgo{'A' * 200}{number}" for number in range(2)])
    await expect_kinds(page, "All 2", "Failed 2")


async def test_results_appear_while_others_are_pending(page: Page, image_server: ImageServer) -> None:
    release = asyncio.Event()

    async def held(request: web.Request) -> web.StreamResponse:
        if request.headers["User-Agent"].startswith("birds/"):  # not the browser's request for the thumbnail
            await release.wait()
        return web.Response(body=flat(RED))

    slow, quick = image_server.add("/slow.png", held), image_server.add("/quick.png", flat(BLUE))
    await paste_urls(page, [slow, quick])
    await expect(page.locator("#count")).to_have_text("1 of 2 done")
    assert await results(page) == {slow: "Identifying", quick: "Blue × White hybrid"}
    image_server.loop.call_soon_threadsafe(release.set)
    await expect_kinds(page, "All 2", "Identified 2")


async def test_files_with_equal_names_get_own_answers(page: Page) -> None:
    for colour in (RED, GREEN, BLUE):
        await choose(page, {"bird.png": flat(colour)})
    await expect_kinds(page, "All 3", "Identified 3")
    assert await page.locator(".card .second").all_text_contents() == ["Rubra maxima", "Viridis minor", "Caerulea"]


async def test_paste_a_photo_and_paste_urls_anywhere(page: Page, image_server: ImageServer) -> None:
    url = image_server.add("/red.png", flat(RED))
    await transfer(page, "paste", "body", {"image.png": flat(BLUE)})
    await transfer(page, "paste", "body", {}, {"text/plain": f"{url}\n"})
    await expect_kinds(page, "All 2", "Identified 2")
    assert await results(page) == {"image.png": "Blue × White hybrid", url: "Great Red"}


async def test_html_in_names_is_shown_as_text(page: Page, image_server: ImageServer) -> None:
    evil = "<img src=x onerror=document.title='owned'>.png"
    url = image_server.url("/<script>document.title='owned'</script>")
    await choose(page, {evil: flat(RED)})
    await paste_urls(page, [url, "javascript:document.title='owned'"])
    await expect_kinds(page, "All 3", "Identified 1", "Failed 2")
    assert list(await results(page)) == [evil, url, "javascript:document.title='owned'"]
    assert await page.title() == "Birds"


async def test_content_security_policy_is_strict(page: Page) -> None:
    response = await page.request.get("/")
    policy = dict(part.strip().split(" ", 1) for part in response.headers["content-security-policy"].split(";"))
    assert policy["default-src"] == "'none'"
    assert policy["script-src"] == policy["style-src"] == policy["connect-src"] == "'self'"
    assert policy["frame-ancestors"] == policy["base-uri"] == policy["form-action"] == "'none'"
    assert "unsafe" not in response.headers["content-security-policy"]


async def unauthorized(route: Route) -> None:
    """Simulate a service with API keys: answer 401 in the documented shape."""
    request = route.request
    if request.method == "POST" and await request.header_value("authorization") != "Bearer secret":
        empty: dict[str, Any] = {"successful_results": {}, "failed_results": [], "failures": [], "time_taken": 0}
        await route.fulfill(status=401, json={**empty, "errors": ["An API key is needed"]})
    else:
        await route.continue_()


async def test_api_key_is_kept_for_the_tab_only(page: Page) -> None:
    await page.route("**/*", unauthorized)
    await choose(page, RED_GREEN_BLUE)
    await expect(page.locator("#key")).to_be_visible()
    await expect(page.locator("#key-reason")).to_contain_text("requires an API key")
    assert await serious_violations(page) == []
    await page.keyboard.type("wrong")
    await page.keyboard.press("Enter")
    await expect(page.locator("#key-reason")).to_contain_text("did not accept")
    await page.fill("#key-value", "secret")
    await page.keyboard.press("Enter")
    await expect(page.locator("#key")).to_be_hidden()
    await expect_kinds(page, "All 3", "Identified 3")
    await choose(page, {"more.png": flat(RED)})  # the key is not requested again
    await expect_kinds(page, "All 4", "Identified 4")
    assert await page.evaluate("[localStorage.length, document.cookie, sessionStorage.length]") == [0, "", 1]
    another = await page.context.new_page()
    await another.goto("/")
    assert await another.evaluate("sessionStorage.length") == 0


async def test_key_that_no_header_can_hold_is_refused(page: Page) -> None:
    await page.route("**/*", unauthorized)
    await choose(page, RED_GREEN_BLUE)
    await page.fill("#key-value", "鳥")
    await page.keyboard.press("Enter")
    await expect(page.locator("#key-value:invalid")).to_be_visible()
    assert await page.evaluate("sessionStorage.length") == 0


async def test_without_key_images_wait_for_the_user(page: Page) -> None:
    await page.route("**/*", unauthorized)
    await choose(page, {f"{n}.png": flat(RED) for n in range(60)})
    await expect(page.locator("#key")).to_be_visible()
    await page.click("#key-cancel")
    await expect_kinds(page, "All 60", "Cancelled 60")
    await expect(page.locator("#key")).to_be_hidden()  # the page asks once, not for every request
    await expect(page.locator("#notice span")).to_have_text("An API key is needed")
    await page.click("#resume")
    await page.fill("#key-value", "secret")
    await page.keyboard.press("Enter")
    await expect_kinds(page, "All 60", "Identified 60")
    await expect(page.locator("#notice")).to_be_hidden()


@pytest.mark.parametrize(
    ("status", "notice"),
    [
        (503, "The service is busy. The page tries again in "),
        (429, "You have reached the limit for now. The page continues in "),
    ],
)
async def test_waiting_for_the_service_is_said(page: Page, status: int, notice: str) -> None:
    is_busy = True

    async def busy(route: Route) -> None:
        if is_busy:
            await route.fulfill(status=status, headers={"Retry-After": "600"}, json={"errors": ["busy"]})
        else:
            await route.continue_()

    await page.route(lambda url: "/files" in url, busy)
    await choose(page, {f"{n}.png": flat(RED) for n in range(30)})
    await expect(page.locator("#notice")).to_contain_text(notice)
    await expect(page.locator("#announcement")).to_contain_text(notice)
    await page.click("#cancel")
    await expect_kinds(page, "All 30", "Cancelled 30")
    await expect(page.locator("#notice")).to_be_hidden()
    is_busy = False
    await page.click("#resume")
    await expect_kinds(page, "All 30", "Identified 30")


async def test_requests_have_no_more_images_than_allowed(browser: Browser, image_server: ImageServer) -> None:
    with running_in_a_thread(FakeTriton()) as triton:
        settings = Settings(triton_url=triton, download_allow_networks=LOOPBACK, max_images=4)
        with running_frontend(settings) as address:
            async with watched_page(browser, address) as page:
                await page.goto("/")
                await choose(page, {f"{n}.png": flat(RED) for n in range(6)})
                await paste_urls(page, [image_server.add(f"/allowed-{n}.png", flat(GREEN)) for n in range(6)])
                await expect_kinds(page, "All 12", "Identified 12")


async def test_files_go_one_by_one_after_the_rate_limit(page: Page) -> None:
    """The service counts each file when it arrives. Refused requests with more of them would use up the limit."""

    async def limited(route: Route) -> None:
        if (route.request.post_data_buffer or b"").count(b'name="files"') > 1:
            await route.fulfill(status=429, headers={"Retry-After": "1"}, json={"errors": ["limited"]})
        else:
            await route.continue_()

    await page.route(lambda url: "/files" in url, limited)
    await choose(page, {f"{n}.png": flat(RED) for n in range(30)})
    await expect_kinds(page, "All 30", "Identified 30")


async def test_refusal_of_a_request_is_said(page: Page) -> None:
    """The service answers a request that breaks a limit with one JSON object and status 200."""
    await page.route(lambda url: "/files" in url, lambda route: route.fulfill(json={"errors": ["Too many images"]}))
    await choose(page, RED_GREEN_BLUE)
    await expect_kinds(page, "All 3", "Cancelled 3")
    await expect(page.locator("#notice span")).to_have_text("Too many images")


async def test_busy_service_is_retried(page: Page) -> None:
    refusals = 2

    async def busy(route: Route) -> None:
        nonlocal refusals
        if refusals and route.request.method == "POST":
            refusals -= 1
            await route.fulfill(status=503, headers={"Retry-After": "1"}, json={"errors": ["busy"]})
        else:
            await route.continue_()

    await page.route("**/*", busy)
    await choose(page, {"red.png": flat(RED)})
    await expect_kinds(page, "All 1", "Identified 1")
    assert refusals == 0


async def test_unreachable_service_is_retried_until_cancelled(page: Page) -> None:
    await page.route(lambda url: "/files" in url, lambda route: route.abort())
    async with page.expect_event("requestfailed"):
        await choose(page, {"red.png": flat(RED)})
    await expect(page.locator("#notice")).to_contain_text("The service does not respond")
    await expect(page.locator(".card h3")).to_have_text("Waiting")  # for the next attempt
    await page.click("#cancel")
    await expect(page.locator(".card h3")).to_have_text("Cancelled")


async def test_works_with_the_keyboard_alone(page: Page, image_server: ImageServer) -> None:
    url = image_server.add("/red.png", flat(RED))

    async def tab_to(selector: str) -> None:
        for _ in range(20):
            await page.keyboard.press("Tab")
            if await page.evaluate("(selector) => document.activeElement.matches(selector)", selector):
                return
        raise AssertionError(f"Tab does not reach {selector}")

    await tab_to("#files")
    outline = await page.locator("#files + .button").evaluate("label => getComputedStyle(label).outlineStyle")
    assert outline == "solid"
    await tab_to("#url-choice summary")
    await page.keyboard.press("Enter")
    await tab_to("#urls")
    await page.keyboard.type(url)
    await tab_to("#url-choice button")
    await page.keyboard.press("Enter")
    await expect_kinds(page, "All 1", "Identified 1")
    assert await page.evaluate("document.activeElement.id") == "count"  # the results
    await tab_to(".card .photo")
    await page.keyboard.press("Enter")
    await expect(page.locator("#viewer-title")).to_have_text("Great Red")
    await page.keyboard.press("Escape")
    await expect(page.locator("#viewer")).to_be_hidden()
    await expect(page.locator(".card .photo")).to_be_focused()


@pytest.mark.parametrize(
    "theme",
    [
        pytest.param("light", marks=pytest.mark.context(color_scheme="light", viewport={"width": 1440, "height": 900})),
        pytest.param("dark", marks=pytest.mark.context(color_scheme="dark", viewport={"width": 1440, "height": 900})),
        pytest.param("phone", marks=pytest.mark.context(**PHONE)),
        pytest.param("dark phone", marks=pytest.mark.context(color_scheme="dark", **PHONE)),
    ],
)
async def test_no_serious_accessibility_violation(page: Page, theme: str) -> None:
    assert await serious_violations(page) == []
    colours = {"pale.png": flat((153, 153, 153)), "grey.png": flat((128, 128, 128))}
    await choose(page, {**RED_GREEN_BLUE, **colours, "bad.png": b"none"})
    await expect_kinds(page, "All 6", "Identified 3", "Not sure 1", "No bird found 1", "Failed 1")
    for panel in ("#options", "#known"):
        await page.click(f"{panel} summary")
        assert await serious_violations(page) == []
    await page.locator(".photo").first.click()
    assert await serious_violations(page) == []
    ground = await page.evaluate("getComputedStyle(document.body).backgroundColor")
    red = int(ground.removeprefix("rgb(").split(",")[0])
    assert (red < 64) if theme.startswith("dark") else (red > 192)


@pytest.mark.context(**PHONE)
async def test_fits_a_phone(page: Page, image_server: ImageServer) -> None:
    assert await page.evaluate("document.documentElement.scrollWidth") == 360
    await paste_urls(page, [image_server.url("/a-very-long-name-without-any-place-to-break" * 4)])
    await choose(page, {**RED_GREEN_BLUE, "long" * 40 + ".png": b"none"})
    await expect_kinds(page, "All 5", "Identified 3", "Failed 2")
    assert await page.evaluate("document.documentElement.scrollWidth") == 360
    middles = """parts => parts.map((part) => part.getBoundingClientRect())
        .map(({ top, bottom }) => Math.round((top + bottom) / 2))"""
    assert len(set(await page.eval_on_selector_all("#count, #status button:visible", middles))) == 2  # rows of the bar
    await page.locator(".photo").first.click()
    assert await page.evaluate("document.documentElement.scrollWidth") == 360


@pytest.mark.context(locale="de-CH")
async def test_page_uses_the_readers_language(page: Page) -> None:
    assert await page.locator("html").get_attribute("lang") == "de"
    await choose(page, {"bad.png": b"none"})
    await expect_kinds(page, "Alle 1", "Fehlgeschlagen 1")
    sentence = "Die Datei ist kein Bild oder sie ist beschädigt. Wählen Sie eine andere Datei."
    assert await results(page) == {"bad.png": sentence}
