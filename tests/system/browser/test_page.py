"""The web page in Chromium, with a real frontend and a real Triton."""

from __future__ import annotations

import asyncio
import base64
import csv
import io
import json
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from playwright.async_api import FilePayload, Page, Route, expect

from tests.support.image_server import ImageServer
from tests.support.images import BLUE, GREEN, GREY, RED, flat
from tests.support.programs import AXE

pytestmark = [pytest.mark.asyncio(loop_scope="session"), pytest.mark.needs("chromium", "axe-core")]

Files = dict[str, bytes]
RED_GREEN_BLUE = {"red.jpg": flat(RED, "JPEG"), "green.png": flat(GREEN), "blue.webp": flat(BLUE, "WEBP")}


async def choose(page: Page, files: Files) -> None:
    chosen: list[FilePayload] = [{"name": name, "mimeType": "", "buffer": files[name]} for name in files]
    await page.set_input_files("#files", chosen)


async def transfer(page: Page, event: str, selector: str, files: Files, texts: dict[str, str] | None = None) -> None:
    """Drop or paste files and texts, as a browser does."""
    await page.evaluate(
        """([event, selector, files, texts]) => {
            const data = new DataTransfer();
            for (const [name, content] of Object.entries(files)) {
                const bytes = Uint8Array.from(atob(content), (c) => c.charCodeAt(0));
                data.items.add(new File([bytes], name));
            }
            for (const [type, text] of Object.entries(texts)) data.setData(type, text);
            const options = { bubbles: true, cancelable: true };
            const made = event === "paste"
                ? new ClipboardEvent(event, { ...options, clipboardData: data })
                : new DragEvent(event, { ...options, dataTransfer: data });
            document.querySelector(selector).dispatchEvent(made);
        }""",
        [event, selector, {name: base64.b64encode(content).decode() for name, content in files.items()}, texts or {}],
    )


async def paste_urls(page: Page, urls: list[str]) -> None:
    await page.fill("#urls", "\n".join(urls))
    await page.click("button[type=submit]")


async def cards(page: Page) -> dict[str, str]:
    """Return the first species, or the state, of each card by image name, in the order shown."""
    return dict(
        await page.eval_on_selector_all(
            ".card:not([hidden])",
            """found => found.map((card) => [card.querySelector("h3").textContent,
                card.querySelector(".scientific")?.textContent ?? card.querySelector(".state").textContent])""",
        )
    )


async def serious_violations(page: Page) -> list[Any]:
    await page.evaluate(AXE.read_text(encoding="utf-8"))
    found = await page.evaluate("axe.run()")
    return [
        (v["id"], [n["html"] for n in v["nodes"]])
        for v in found["violations"]
        if v["impact"] in ("serious", "critical")
    ]


async def test_drop_three_photos(page: Page) -> None:
    await transfer(page, "drop", "#drop", RED_GREEN_BLUE)
    await expect(page.locator("#count")).to_have_text("3 of 3 done")
    assert await cards(page) == {"red.jpg": "Rubra maxima", "green.png": "Viridis minor", "blue.webp": "Caerulea"}
    first = page.locator(".card").first
    await expect(first.locator(".predictions li")).to_have_count(3)
    await expect(first.locator(".common").first).to_have_text("Great Red")
    await expect(first.locator(".score").first).to_have_text("96%")
    width = await first.locator(".bar").first.evaluate("bar => getComputedStyle(bar, '::before').width")
    assert float(width.removesuffix("px")) > 50
    assert await first.locator("img").evaluate("image => image.decode().then(() => image.naturalWidth)") == 40
    assert await first.locator("img").get_attribute("alt") == "Photo red.jpg"


async def test_background_reads_no_bird_found(page: Page) -> None:
    await choose(page, {"grey.png": flat(GREY)})
    await expect(page.locator("#count")).to_have_text("1 of 1 done")
    await expect(page.locator(".predictions li .common").first).to_have_text("No bird found")
    await expect(page.locator(".predictions li .scientific").first).to_have_text("")


async def test_paste_five_urls_with_one_bad(page: Page, image_server: ImageServer) -> None:
    urls = [image_server.add(f"/{n}.png", flat(GREEN)) for n in range(4)]
    bad = image_server.url("/missing.png")
    await paste_urls(page, [*urls[:2], bad, *urls[2:], "", urls[0]])
    await expect(page.locator("#count")).to_have_text("5 of 5 done · 1 failed")
    message = "The download failed: the server answered with status 404 (download_failed)"
    assert await cards(page) == dict.fromkeys(urls, "Viridis minor") | {bad: message}
    assert list(await cards(page))[2] == bad
    await expect(page.locator("#announcement")).to_have_text("5 of 5 done · 1 failed")


async def test_equal_urls_in_one_request_are_all_answered(page: Page, image_server: ImageServer) -> None:
    """The service answers them once. Before, a retry left one of the two cards at "Classifying"."""
    url = image_server.url("/late.png")
    for _ in range(2):
        await paste_urls(page, [url])
    await expect(page.locator("#count")).to_have_text("2 of 2 done · 2 failed")
    image_server.add("/late.png", flat(GREEN))
    await page.click("#retry")
    await expect(page.locator("#count")).to_have_text("2 of 2 done")


async def test_image_data_in_place_of_urls_is_answered(page: Page) -> None:
    """The service shows only the first 100 characters, which are the same here."""
    await paste_urls(page, [f"iVBORw0KGgo{'A' * 200}{number}" for number in range(2)])
    await expect(page.locator("#count")).to_have_text("2 of 2 done · 2 failed")


async def test_results_appear_while_others_are_pending(page: Page, image_server: ImageServer) -> None:
    release = asyncio.Event()

    async def held(request: web.Request) -> web.StreamResponse:
        if request.headers["User-Agent"].startswith("birds/"):  # not the browser's request for the thumbnail
            await release.wait()
        return web.Response(body=flat(RED))

    slow, quick = image_server.add("/slow.png", held), image_server.add("/quick.png", flat(BLUE))
    await paste_urls(page, [slow, quick])
    await expect(page.locator("#count")).to_have_text("1 of 2 done")
    assert await cards(page) == {slow: "Classifying", quick: "Caerulea"}
    image_server.loop.call_soon_threadsafe(release.set)
    await expect(page.locator("#count")).to_have_text("2 of 2 done")


async def test_cancel_a_run_of_200(page: Page, image_server: ImageServer) -> None:
    async def slow(request: web.Request) -> web.StreamResponse:
        await asyncio.sleep(0.2 if request.headers["User-Agent"].startswith("birds/") else 0)
        return web.Response(body=flat(RED))

    await paste_urls(page, [image_server.add(f"/{n}.png", slow) for n in range(200)])
    await expect(page.locator("#cards .card")).to_have_count(200)
    await expect(page.locator(".card.done").nth(9)).to_be_attached()
    await page.click("#cancel")
    await expect(page.locator("#cancel")).to_be_hidden()
    count = await page.locator("#count").text_content()
    done = await page.locator(".card.done").count()
    assert count == f"200 of 200 done · {200 - done} failed"
    assert 10 <= done < 200
    assert await page.locator(".card.cancelled .state").first.text_content() == "Cancelled"
    await asyncio.sleep(0.5)
    assert await page.locator(".card.done").count() == done
    await page.click("#retry")
    await expect(page.locator("#count")).to_have_text("200 of 200 done", timeout=30_000)


async def test_files_with_equal_names_get_own_answers(page: Page) -> None:
    for colour in (RED, GREEN, BLUE):
        await choose(page, {"bird.png": flat(colour)})
    await expect(page.locator("#count")).to_have_text("3 of 3 done")
    assert await page.locator(".card .scientific >> nth=0").count()
    shown = await page.eval_on_selector_all(".card", "found => found.map((c) => c.querySelector('i').textContent)")
    assert shown == ["Rubra maxima", "Viridis minor", "Caerulea"]


async def test_paste_a_photo_and_paste_urls_anywhere(page: Page, image_server: ImageServer) -> None:
    url = image_server.add("/red.png", flat(RED))
    await transfer(page, "paste", "body", {"image.png": flat(BLUE)})
    await transfer(page, "paste", "body", {}, {"text/plain": f"{url}\n"})
    await expect(page.locator("#count")).to_have_text("2 of 2 done")
    assert await cards(page) == {"image.png": "Caerulea", url: "Rubra maxima"}


async def test_k_sets_the_number_of_species_shown(page: Page) -> None:
    await page.select_option("#k", "1")
    await choose(page, {"red.png": flat(RED)})
    await expect(page.locator("#count")).to_have_text("1 of 1 done")
    await expect(page.locator(".predictions li")).to_have_count(1)


async def test_sort_filter_and_search(page: Page) -> None:
    await choose(page, {**RED_GREEN_BLUE, "a.png": b"none"})
    await expect(page.locator("#count")).to_have_text("4 of 4 done · 1 failed")
    orders = {}
    for order in ("name", "species", "score", "added"):
        await page.select_option("#sort", order)
        orders[order] = list(await cards(page))
    assert orders["name"] == ["a.png", "blue.webp", "green.png", "red.jpg"]
    assert orders["species"] == ["blue.webp", "red.jpg", "green.png", "a.png"]  # Blue × …, Great Red, Little Green
    assert orders["score"][-1] == "a.png"
    assert orders["added"] == ["red.jpg", "green.png", "blue.webp", "a.png"]
    await page.select_option("#show", "failed")
    assert list(await cards(page)) == ["a.png"]
    await page.select_option("#show", "done")
    await page.fill("#search", "little viridis")
    assert list(await cards(page)) == ["green.png"]


async def test_clear_removes_all_results(page: Page) -> None:
    await choose(page, {"red.png": flat(RED)})
    await page.get_by_role("button", name="Clear", exact=True).click()
    await expect(page.locator("#results")).to_be_hidden()
    await choose(page, {"blue.png": flat(BLUE)})
    await expect(page.locator("#count")).to_have_text("1 of 1 done")


async def offers_versions(route: Route) -> None:
    versions = [{"version": version, "default": version == "3"} for version in ("1", "2", "3")]
    await route.fulfill(json={"default": "3", "canary": {}, "versions": versions})


async def test_model_version_can_be_chosen(page: Page) -> None:
    """The answers of the service are simulated. The test is about what the page offers and sends."""
    sent = []

    async def answer(route: Route) -> None:
        sent.append((route.request.url, route.request.post_data))
        line: dict[str, Any] = {
            "url": "0" if "/files" in route.request.url else "http://127.0.0.1:1/",
            "predictions": [],
        }
        totals = {"succeeded": 1, "failed": 0, "time_taken": 0, "status": 200, "errors": []}
        await route.fulfill(body=f"{json.dumps(line)}\n{json.dumps(totals)}\n")

    await expect(page.locator("#version")).to_be_hidden()  # the real service has only one version
    await page.route("**/models", offers_versions)
    await page.reload()
    options = page.locator("#version option")
    await expect(options).to_have_text(["3 (the default)", "1", "2"])
    await page.select_option("#version", "2")
    await page.route(lambda url: "/files" in url, answer)
    await choose(page, {"red.png": flat(RED)})
    await expect(page.locator("#count")).to_have_text("1 of 1 done")
    assert "model_version=2" in sent[0][0]


async def test_download_csv_and_json(page: Page, tmp_path: Path) -> None:
    name = '=cmd "quoted", odd.png'
    await choose(page, {name: flat(RED), "bad.png": b"none"})
    await expect(page.locator("#count")).to_have_text("2 of 2 done · 1 failed")
    files = {}
    for kind in ("csv", "json"):
        async with page.expect_download() as download:
            await page.click(f"#{kind}")
        await (await download.value).save_as(tmp_path / kind)
        files[kind] = (tmp_path / kind).read_text(encoding="utf-8")
    records = json.loads(files["json"])
    assert [record["image"] for record in records] == [name, "bad.png"]
    assert records[0]["predictions"][0]["bird_name"] == "Rubra maxima"
    assert records[1]["failure"]["code"] == "not_an_image"
    rows = list(csv.DictReader(io.StringIO(files["csv"])))
    assert [(row["image"], row["rank"], row["bird_name"], row["code"]) for row in (rows[0], rows[3])] == [
        (f"'{name}", "1", "Rubra maxima", ""),  # else a spreadsheet would run it
        ("bad.png", "", "", "not_an_image"),
    ]


async def test_html_in_names_is_shown_as_text(page: Page, image_server: ImageServer) -> None:
    evil = "<img src=x onerror=document.title='owned'>.png"
    url = image_server.url("/<script>document.title='owned'</script>")
    await choose(page, {evil: flat(RED)})
    await paste_urls(page, [url, "javascript:document.title='owned'"])
    await expect(page.locator("#count")).to_have_text("3 of 3 done · 2 failed")
    assert list(await cards(page)) == [evil, url, "javascript:document.title='owned'"]
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
    await expect(page.locator("#count")).to_have_text("3 of 3 done")
    await choose(page, {"more.png": flat(RED)})  # the key is not requested again
    await expect(page.locator("#count")).to_have_text("4 of 4 done")
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


async def test_without_key_images_fail_with_the_service_message(page: Page) -> None:
    await page.route("**/*", unauthorized)
    await choose(page, {f"{n}.png": flat(RED) for n in range(60)})
    await expect(page.locator("#key")).to_be_visible()
    await page.click("#key-cancel")
    await expect(page.locator("#count")).to_have_text("60 of 60 done · 60 failed")
    await expect(page.locator("#key")).to_be_hidden()  # the page asks once, not for every request
    states = set(await page.locator(".card .state").all_text_contents())
    assert states == {"An API key is needed (http_401)"}


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
    await expect(page.locator("#count")).to_have_text("1 of 1 done")
    assert refusals == 0


async def test_cancelled_pause_can_be_resumed(page: Page) -> None:
    is_busy = True

    async def busy(route: Route) -> None:
        if is_busy:
            await route.fulfill(status=503, headers={"Retry-After": "600"}, json={"errors": ["busy"]})
        else:
            await route.continue_()

    await page.route(lambda url: "/files" in url, busy)
    async with page.expect_response(lambda response: response.status == 503):
        await choose(page, {f"{n}.png": flat(RED) for n in range(60)})
    await expect(page.locator(".card.waiting")).to_have_count(60)
    await page.click("#cancel")
    await expect(page.locator("#count")).to_have_text("60 of 60 done · 60 failed")
    is_busy = False
    await page.click("#retry")
    await expect(page.locator("#count")).to_have_text("60 of 60 done")


async def test_unreachable_service_is_retried_until_cancelled(page: Page) -> None:
    await page.route(lambda url: "/files" in url, lambda route: route.abort())
    async with page.expect_event("requestfailed"):
        await choose(page, {"red.png": flat(RED)})
    await expect(page.locator(".card .state")).to_have_text("Waiting")  # for the next attempt
    await page.click("#cancel")
    await expect(page.locator(".card .state")).to_have_text("Cancelled")


async def test_works_with_the_keyboard_alone(page: Page, image_server: ImageServer) -> None:
    url = image_server.add("/red.png", flat(RED))
    await page.keyboard.press("Tab")
    assert await page.evaluate("document.activeElement.id") == "files"
    outline = await page.locator("#files + .button").evaluate("label => getComputedStyle(label).outlineStyle")
    assert outline == "solid"
    await page.keyboard.press("Tab")
    await page.keyboard.type(url)
    await page.keyboard.press("Tab")
    assert await page.evaluate("document.activeElement.id") == "k"
    await page.keyboard.press("Tab")
    await page.keyboard.press("Enter")
    await expect(page.locator("#count")).to_have_text("1 of 1 done")


@pytest.mark.parametrize(
    "theme",
    [
        pytest.param("light", marks=pytest.mark.context(color_scheme="light")),
        pytest.param("dark", marks=pytest.mark.context(color_scheme="dark")),
    ],
)
async def test_no_serious_accessibility_violation(page: Page, theme: str) -> None:
    assert await serious_violations(page) == []
    await choose(page, {**RED_GREEN_BLUE, "bad.png": b"none"})
    await expect(page.locator("#count")).to_have_text("4 of 4 done · 1 failed")
    assert await serious_violations(page) == []
    ground = await page.evaluate("getComputedStyle(document.body).backgroundColor")
    red = int(ground.removeprefix("rgb(").split(",")[0])
    assert (red < 64) if theme == "dark" else (red > 192)


@pytest.mark.context(viewport={"width": 360, "height": 740}, device_scale_factor=2, has_touch=True)
async def test_fits_a_phone(page: Page, image_server: ImageServer) -> None:
    await paste_urls(page, [image_server.url("/a-very-long-name-without-any-place-to-break" * 4)])
    await choose(page, {**RED_GREEN_BLUE, "long" * 40 + ".png": b"none"})
    await expect(page.locator("#count")).to_have_text("5 of 5 done · 2 failed")
    assert await page.evaluate("document.documentElement.scrollWidth") == 360
    assert await serious_violations(page) == []


@pytest.mark.context(locale="de-CH")
async def test_page_uses_the_readers_language(page: Page) -> None:
    assert await page.locator("html").get_attribute("lang") == "de"
    await choose(page, {"bad.png": b"none"})
    await expect(page.locator(".card .state")).to_have_text(
        "Die Datei ist kein Bild oder sie ist beschädigt (not_an_image)"
    )
    await expect(page.locator("#count")).to_have_text("1 von 1 fertig · 1 fehlgeschlagen")
