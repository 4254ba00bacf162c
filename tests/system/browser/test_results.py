"""What the page shows of the answers, and what a user can do with them, in Chromium."""

from __future__ import annotations

import asyncio
import csv
import io
import json
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from playwright.async_api import Page, Route, expect

from tests.support.image_server import ImageServer
from tests.support.images import BLUE, GREEN, GREY, RED, flat
from tests.support.web_page import PALE, RED_GREEN_BLUE, choose, expect_kinds, paste_urls, results

pytestmark = [pytest.mark.asyncio(loop_scope="session"), pytest.mark.needs("chromium", "axe-core")]

ORANGE = (220, 205, 20)  # the two most probable species are close


async def test_card_shows_photo_species_and_confidence(page: Page) -> None:
    await choose(page, RED_GREEN_BLUE)
    await expect_kinds(page, "All 3", "Birds 3")
    await expect(page.locator("#count")).to_have_text("3 species · 3 photos")
    card = page.locator(".card").first
    await expect(card.locator("h3")).to_have_text("Great Red")
    await expect(card.locator(".second")).to_have_text("Rubra maxima")
    await expect(card.locator(".meter .score")).to_have_text("Very likely 96%")
    width = await card.locator(".meter .bar").evaluate("bar => getComputedStyle(bar, '::before').width")
    assert float(width.removesuffix("px")) > 50
    photo = card.locator("img")
    assert await photo.evaluate("image => image.decode().then(() => image.naturalWidth)") == 40
    assert await photo.evaluate("image => image.getBoundingClientRect().width") > 200


async def test_less_likely_species_are_folded(page: Page) -> None:
    await choose(page, {"red.png": flat(RED)})
    await expect_kinds(page, "All 1", "Birds 1")
    await expect(page.locator(".close")).to_have_text("")
    await expect(page.locator(".predictions li:visible")).to_have_count(0)
    await page.get_by_text("2 less likely species").click()
    await expect(page.locator(".card .predictions li:visible")).to_have_count(2)


async def test_close_species_are_shown_at_once(page: Page) -> None:
    await choose(page, {"orange.png": flat(ORANGE)})
    await expect_kinds(page, "All 1", "Birds 1")
    await expect(page.locator(".card h3")).to_have_text("Great Red")
    await expect(page.locator(".close")).to_have_text("or Little Green 35%")


async def test_low_score_reads_not_sure(page: Page) -> None:
    await choose(page, {"pale.png": flat(PALE)})
    await expect_kinds(page, "All 1", "Not sure 1")
    await expect(page.locator(".card h3")).to_have_text("Not sure")
    await expect(page.locator(".card .second")).to_contain_text("Perhaps ")
    await expect(page.locator(".card .meter .score")).to_have_text("28%")
    await expect(page.locator("#count")).to_have_text("1 photo")  # without a number of species


async def test_background_reads_no_bird_found(page: Page) -> None:
    await choose(page, {"grey.png": flat(GREY)})
    await expect_kinds(page, "All 1", "No bird found 1")
    await expect(page.locator(".card h3")).to_have_text("No bird found")
    await expect(page.locator(".card .meter")).to_be_hidden()
    await expect(page.get_by_text("background")).to_have_count(0)


async def test_failures_are_rows_with_advice(page: Page, image_server: ImageServer) -> None:
    await choose(page, {"notes.txt": b"none", "logo.svg": b"<svg xmlns='http://www.w3.org/2000/svg'/>"})
    await paste_urls(page, [image_server.url("/gone.png"), "ftp://example.org/"])
    await expect_kinds(page, "All 4", "Failed 4")
    await expect(page.locator(".card")).to_have_count(0)
    rows = page.locator("#failures li")
    await expect(rows.nth(0)).to_contain_text("Choose another file.")
    await expect(rows.nth(1)).to_contain_text("Save it as JPEG or PNG and add it again.")
    await expect(rows.get_by_role("button", name="Try again")).to_have_count(1)  # the download
    image_server.add("/gone.png", flat(GREEN))
    await rows.get_by_role("button", name="Try again").click()
    await expect_kinds(page, "All 4", "Birds 1", "Failed 3")


async def test_too_large_file_is_refused_before_sending(page: Page) -> None:
    await page.evaluate(
        """() => {
            const data = new DataTransfer();
            data.items.add(new File([new Uint8Array(20_000_001)], "large.jpg"));
            const input = document.querySelector("#files");
            input.files = data.files;
            input.dispatchEvent(new Event("change"));
        }"""
    )
    await expect_kinds(page, "All 1", "Failed 1")
    sentence = "The file is larger than 20 MB. Make the photo smaller and add it again."
    assert await results(page) == {"large.jpg": sentence}


async def test_cancelled_photos_are_not_failed(page: Page, image_server: ImageServer) -> None:
    async def slow(request: web.Request) -> web.StreamResponse:
        await asyncio.sleep(0.2 if request.headers["User-Agent"].startswith("birds/") else 0)
        return web.Response(body=flat(RED))

    await paste_urls(page, [image_server.add(f"/{n}.png", slow) for n in range(200)])
    await expect(page.locator("#cards .card")).to_have_count(200)
    await expect(page.locator(".card.bird").nth(9)).to_be_attached()
    await page.click("#cancel")
    await expect(page.locator("#cancel")).to_be_hidden()
    done = await page.locator(".card.bird").count()
    assert 10 <= done < 150
    await expect_kinds(page, "All 200", f"Birds {done}", f"Cancelled {200 - done}")
    await expect(page.locator("#retry")).to_be_hidden()
    await page.click("#resume")
    await expect_kinds(page, "All 200", "Birds 200")


@pytest.mark.context(viewport={"width": 1280, "height": 800})
async def test_page_moves_to_the_results(page: Page) -> None:
    await choose(page, {f"{n}.png": flat(RED) for n in range(30)})
    await expect_kinds(page, "All 30", "Birds 30")
    assert await page.evaluate("document.activeElement.id") == "count"
    await expect(page.locator("#count")).to_be_in_viewport()
    top = await page.locator(".card").first.evaluate("card => card.getBoundingClientRect().top")
    assert top < 250  # it was 648 of 800


async def test_k_sets_the_number_of_species_shown(page: Page) -> None:
    await page.click("#options summary")
    await page.select_option("#k", "1")
    await choose(page, {"red.png": flat(RED)})
    await expect_kinds(page, "All 1", "Birds 1")
    await expect(page.locator(".card details")).to_be_hidden()


async def test_changed_options_offer_to_ask_again(page: Page) -> None:
    await choose(page, {"red.png": flat(RED), "blue.png": flat(BLUE)})
    await expect_kinds(page, "All 2", "Birds 2")
    await expect(page.locator("#notice")).to_be_hidden()
    await page.click("#options summary")
    await page.select_option("#species", "list:garden")
    await expect(page.locator("#notice")).to_contain_text("You changed the options")
    await page.click("#again")
    await expect(page.locator("#notice")).to_be_hidden()
    await expect_kinds(page, "All 2", "Birds 1", "Not sure 1")  # red is not in the list
    await page.select_option("#species", "")
    await page.fill("#min-score", "99.5")
    await page.click("#again")
    await expect_kinds(page, "All 2", "Left out 2")
    await expect(page.locator(".card .second").first).to_have_text("No species matches your options.")


async def test_unknown_species_is_said_once(page: Page) -> None:
    await page.click("#options summary")
    await page.select_option("#species", "own")
    await page.fill("#names", "Viridis minr")
    await choose(page, RED_GREEN_BLUE)
    await expect_kinds(page, "All 3", "Cancelled 3")
    await expect(page.locator("#notice")).to_contain_text("Nearest matches: Viridis minor")
    await page.fill("#names", "Viridis minor\nRubra maxima")
    await page.click("#resume")
    await expect_kinds(page, "All 3", "Birds 2", "Not sure 1")
    assert (await results(page))["green.png"] == "Little Green"


async def offers_versions(route: Route) -> None:
    versions = [{"version": version, "default": version == "3"} for version in ("1", "2", "3")]
    await route.fulfill(json={"default": "3", "canary": {}, "versions": versions})


async def test_model_version_can_be_chosen(page: Page) -> None:
    """The answers of the service are simulated. The test is about what the page offers and sends."""
    sent = []

    async def answer(route: Route) -> None:
        sent.append((route.request.url, route.request.post_data))
        line: dict[str, Any] = {"url": "0", "model_version": "2", "predictions": []}
        await route.fulfill(body=f"{json.dumps(line)}\n{json.dumps({'errors': []})}\n")

    await page.route(lambda url: "/models" in url, offers_versions)
    await page.reload()
    await page.click("#options summary")
    await expect(page.locator("#version option")).to_have_text(["3 (the default)", "1", "2"])
    await page.select_option("#version", "2")
    await page.route(lambda url: "/files" in url, answer)
    await choose(page, {"red.png": flat(RED)})
    await expect_kinds(page, "All 1", "Left out 1")
    assert "model_version=2" in sent[0][0]


async def test_sort_filter_and_search(page: Page) -> None:
    await choose(page, {**RED_GREEN_BLUE, "pale.png": flat(PALE), "a.png": b"none"})
    await expect_kinds(page, "All 5", "Birds 3", "Not sure 1", "Failed 1")
    orders = {}
    for order in ("name", "species", "unsure", "sure", "added"):
        await page.select_option("#sort", order)
        orders[order] = list(await results(page))[:-1]
        assert list(await results(page))[-1] == "a.png"  # failures come last
    assert orders["name"] == ["blue.webp", "green.png", "pale.png", "red.jpg"]
    assert orders["species"] == ["blue.webp", "red.jpg", "green.png", "pale.png"]
    assert orders["unsure"][0] == orders["sure"][-1] == "pale.png"
    assert orders["added"] == ["red.jpg", "green.png", "blue.webp", "pale.png"]
    await page.get_by_role("button", name="Failed 1").click()
    assert list(await results(page)) == ["a.png"]
    await page.get_by_role("button", name="Birds 3").click()
    await page.fill("#search", "little viridis")
    assert list(await results(page)) == ["green.png"]
    await page.fill("#search", "nothing like it")
    await expect(page.locator("#nothing")).to_be_visible()


async def test_clear_returns_to_the_first_run(page: Page) -> None:
    await choose(page, {"red.png": flat(RED)})
    await page.get_by_role("button", name="Start over").click()
    await expect(page.locator("#results")).to_be_hidden()
    await expect(page.locator("#samples")).to_be_visible()
    await choose(page, {"blue.png": flat(BLUE)})
    await expect_kinds(page, "All 1", "Birds 1")


async def test_enlarged_photo_moves_with_the_arrows(page: Page) -> None:
    await choose(page, RED_GREEN_BLUE)
    await expect_kinds(page, "All 3", "Birds 3")
    await page.locator(".photo").first.click()
    await expect(page.locator("#viewer-title")).to_have_text("Great Red")
    await expect(page.locator("#viewer .predictions li")).to_have_count(3)
    await expect(page.locator("#previous")).to_be_disabled()
    await page.keyboard.press("ArrowRight")
    await expect(page.locator("#viewer-title")).to_have_text("Little Green")
    await page.keyboard.press("ArrowRight")
    await page.keyboard.press("ArrowRight")
    await expect(page.locator("#viewer-title")).to_have_text("Blue × White hybrid")
    await page.click("#close")
    assert await page.evaluate("document.activeElement.ariaLabel") == "Enlarge blue.webp"


async def test_download_csv_and_json(page: Page, tmp_path: Path) -> None:
    name, formula = 'a "quoted", odd.png', "=1+1.png"
    await choose(page, {name: flat(RED), formula: flat(BLUE), "bad.png": b"none"})
    await expect_kinds(page, "All 3", "Birds 2", "Failed 1")
    files = {}
    for kind in ("csv", "json"):
        async with page.expect_download() as download:
            await page.click(f"#{kind}")
        await (await download.value).save_as(tmp_path / kind)
        files[kind] = (tmp_path / kind).read_text(encoding="utf-8")
    records = json.loads(files["json"])
    assert [record["image"] for record in records] == [name, formula, "bad.png"]
    assert records[0]["predictions"][0]["bird_name"] == "Rubra maxima"
    assert records[2]["failure"]["code"] == "not_an_image"
    assert files["csv"].startswith("\ufeffimage,")  # spreadsheets need the byte order mark
    rows = list(csv.DictReader(io.StringIO(files["csv"].removeprefix("\ufeff"))))
    assert [(row["image"], row["rank"], row["bird_name"], row["code"]) for row in (rows[0], rows[3], rows[6])] == [
        (name, "1", "Rubra maxima", ""),
        (f"'{formula}", "1", "Caerulea", ""),
        ("bad.png", "", "", "not_an_image"),
    ]


@pytest.mark.context(permissions=["clipboard-read", "clipboard-write"])
async def test_copy_makes_rows_for_a_spreadsheet(page: Page) -> None:
    await choose(page, {"red.png": flat(RED)})
    await expect_kinds(page, "All 1", "Birds 1")
    await page.click("#copy")
    await expect(page.locator("#copy")).to_have_text("Copied")
    rows = [line.split("\t") for line in (await page.evaluate("navigator.clipboard.readText()")).split("\n")]
    assert rows[0][:4] == ["image", "rank", "bird_name", "common_name"]
    assert rows[1][:4] == ["red.png", "1", "Rubra maxima", "Great Red"]
    assert len(rows) == 4


async def test_results_are_drawn_only_when_visible(page: Page) -> None:
    """The browser skips layout and painting of cards far outside the window; screen readers still find them."""
    await choose(page, {f"{n}.png": flat(RED) for n in range(200)})
    await expect(page.locator("#cards .card")).to_have_count(200)
    drawn = """cards => cards.filter((card) =>
        card.firstElementChild.checkVisibility({ contentVisibilityAuto: true })).length"""
    assert 0 < await page.eval_on_selector_all(".card", drawn) < 200
    await page.fill("#search", "199")
    assert list(await results(page)) == ["199.png"]
