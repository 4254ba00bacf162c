"""What the page shows of the answers, and what a user can do with them, in Chromium."""

from __future__ import annotations

import asyncio
import csv
import io
import json
from typing import Any

import pytest
from aiohttp import web
from playwright.async_api import Page, Route, expect

from tests.support.image_server import ImageServer
from tests.support.images import BLUE, GREEN, GREY, RED, flat
from tests.support.web_page import PALE, RED_GREEN_BLUE, choose, expect_kinds, paste_urls, results, transfer

pytestmark = [pytest.mark.asyncio(loop_scope="session"), pytest.mark.needs("chromium", "axe-core")]

ORANGE = (220, 205, 20)  # the two most probable species are close


async def test_card_shows_photo_species_and_confidence(page: Page) -> None:
    await choose(page, RED_GREEN_BLUE)
    await expect_kinds(page, "All 3", "Identified 3")
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
    await page.get_by_text("Names can be wrong, above all for a bird that is not among the known species").click()
    await expect(page.locator("#known li").first).to_be_in_viewport()


async def test_large_photo_has_a_small_copy(page: Page) -> None:
    """The browser would keep every large photo that it has shown."""
    await choose(page, {"large.png": flat(RED, size=(1200, 900), compress_level=0)})
    await expect_kinds(page, "All 1", "Identified 1")
    await expect(page.locator(".card img")).to_have_js_property("naturalWidth", 480)
    await page.locator(".card .photo").click()
    await expect(page.locator("#viewer img")).to_have_js_property("naturalWidth", 1200)


async def test_photo_without_its_small_copy_yet_shows_no_frame(page: Page) -> None:
    """Browsers draw the frame and icon of a broken image for an image without an address."""
    await page.evaluate("() => { window.createImageBitmap = () => new Promise(() => {}); }")
    await choose(page, {"large.png": flat(RED, size=(1200, 900), compress_level=0)})
    await expect_kinds(page, "All 1", "Identified 1")
    await expect(page.locator(".card .photo")).to_be_visible()
    await expect(page.locator(".card img")).to_be_hidden()


async def test_removed_photo_leaves_no_small_copy(page: Page) -> None:
    """It is removed while its small copy is being made. The copy would stay in memory until the tab is closed."""
    await page.evaluate(
        """() => {
            const { createImageBitmap } = window;
            const { createObjectURL, revokeObjectURL } = URL;
            const removed = new Promise((resolve) => { window.release = resolve; });
            window.createImageBitmap = async (...options) => {
                document.title = "Making a small copy";
                await removed;
                return createImageBitmap(...options);
            };
            window.kept = new Set();
            window.copied = new Promise((resolve) => {
                URL.createObjectURL = (blob) => {
                    if (blob.type === "image/jpeg") resolve();
                    const url = createObjectURL(blob);
                    kept.add(url);
                    return url;
                };
            });
            URL.revokeObjectURL = (url) => { revokeObjectURL(url); kept.delete(url); };
        }"""
    )
    await choose(page, {"large.png": flat(RED, size=(1200, 900), compress_level=0)})
    await expect_kinds(page, "All 1", "Identified 1")
    await expect(page).to_have_title("Making a small copy")
    page.once("dialog", lambda dialog: dialog.accept())
    await page.click("#clear")
    await page.evaluate("() => { release(); return copied; }")
    assert await page.evaluate("kept.size") == 0


async def test_less_likely_species_are_folded(page: Page) -> None:
    await choose(page, {"red.png": flat(RED)})
    await expect_kinds(page, "All 1", "Identified 1")
    await expect(page.locator(".close")).to_have_text("")
    await expect(page.locator(".predictions li:visible")).to_have_count(0)
    await page.get_by_text("1 less likely species").click()  # the background is not a species
    await expect(page.locator(".card .predictions li:visible")).to_have_count(1)


async def test_close_species_are_shown_at_once(page: Page) -> None:
    await choose(page, {"orange.png": flat(ORANGE)})
    await expect_kinds(page, "All 1", "Identified 1")
    await expect(page.locator(".card h3")).to_have_text("Great Red")
    await expect(page.locator(".close")).to_have_text("or Little Green 35%")


async def test_subspecies_does_not_compete_with_its_species(page: Page) -> None:
    """The answer of the service is simulated."""
    names = ["Porphyrio melanotus melanotus", "Porphyrio melanotus", "Fulica atra"]
    predictions = [{"bird_name": name, "common_name": None, "score": 0.3} for name in names]
    lines = [{"url": "0", "model_version": "1", "predictions": predictions}, {"errors": []}]
    body = "".join(json.dumps(line) + "\n" for line in lines)
    await page.route(lambda url: "/files" in url, lambda route: route.fulfill(body=body))
    await choose(page, {"red.png": flat(RED)})
    await expect_kinds(page, "All 1", "Not sure 1")
    await expect(page.locator(".close")).to_have_text("or Fulica atra 30%")
    await expect(page.locator(".card summary")).to_have_text("1 less likely species")


async def test_low_score_reads_not_sure(page: Page) -> None:
    await choose(page, {"pale.png": flat(PALE)})
    await expect_kinds(page, "All 1", "Not sure 1")
    await expect(page.locator(".card h3")).to_have_text("Not sure")
    await expect(page.locator(".card .second")).to_contain_text("Best guess: ")
    await expect(page.locator(".card .meter .score")).to_have_text("28%")
    await expect(page.locator("#count")).to_have_text("1 photo")  # without a number of species


async def test_weak_guesses_are_folded(page: Page) -> None:
    """A name with a score of a few percent would look like an answer."""
    await page.click("#options summary")
    await page.select_option("#species", "own")
    await page.fill("#names", "Viridis minor\nCaerulea")
    await choose(page, {"red.png": flat(RED)})
    await expect_kinds(page, "All 1", "Not sure 1")
    card = page.locator(".card")
    await expect(card.locator(".second")).to_have_text("No species stands out. A closer crop may help.")
    await expect(card.locator(".meter")).to_be_hidden()
    await expect(card.get_by_text("Little Green")).to_be_hidden()
    await card.get_by_text("2 weak guesses").click()
    await expect(card.get_by_text("Little Green")).to_be_visible()
    await card.locator(".photo").click()
    await expect(page.locator("#viewer-title")).to_have_text("Not sure")
    await expect(page.locator("#viewer .predictions li:visible")).to_have_count(2)


async def test_each_degree_has_word_and_colour(page: Page) -> None:
    """The answers of the service are simulated."""
    words = {0.8: "Very likely 80%", 0.6: "Likely 60%", 0.45: "Possible 45%", 0.1: "10%"}

    async def answer(route: Route) -> None:
        predictions = [[{"bird_name": "Pica pica", "common_name": "Magpie", "score": score}] for score in words]
        lines = [{"url": str(n), "model_version": "1", "predictions": made} for n, made in enumerate(predictions)]
        await route.fulfill(body="\n".join(map(json.dumps, [*lines, {"errors": []}])) + "\n")

    await page.route(lambda url: "/files" in url, answer)
    await choose(page, {f"{score}.png": flat(RED) for score in words})
    await expect_kinds(page, "All 4", "Identified 3", "Not sure 1")
    await expect(page.locator(".meter .score")).to_have_text(list(words.values()))
    colour = "bars => bars.map((bar) => getComputedStyle(bar, '::before').backgroundColor)"
    assert len(set(await page.eval_on_selector_all(".meter .bar", colour))) == 4
    lengths = await page.eval_on_selector_all(".meter .bar", "bars => bars.map((bar) => bar.offsetWidth)")
    assert len(set(lengths)) == 1  # otherwise the bars could not be compared


async def test_background_reads_no_bird_found(page: Page) -> None:
    await choose(page, {"grey.png": flat(GREY)})
    await expect_kinds(page, "All 1", "No bird found 1")
    await expect(page.locator(".card h3")).to_have_text("No bird found")
    await expect(page.locator(".card .second")).to_contain_text("crop the photo closer to it")
    await expect(page.locator("#check")).to_be_hidden()  # there is no name to check
    await expect(page.locator(".card .meter")).to_be_hidden()
    await expect(page.locator(".card details")).to_be_hidden()  # less likely species would contradict the answer
    await expect(page.get_by_text("background")).to_have_count(0)


async def test_failures_are_rows_with_advice(page: Page, image_server: ImageServer) -> None:
    await choose(page, {"notes.txt": b"none", "logo.svg": b"<svg xmlns='http://www.w3.org/2000/svg'/>"})
    await paste_urls(page, [image_server.url("/gone.png"), "www.example.org/owl.jpg"])
    await expect_kinds(page, "All 4", "Failed 4")
    await expect(page.locator("#count")).to_have_text("4 failed")  # a text file is not a photo
    await expect(page.locator("#retry")).to_have_text("Try again (1)")
    await expect(page.locator(".card")).to_have_count(0)
    rows = page.locator("#failures li")
    await expect(rows.nth(0)).to_contain_text("Choose another file.")
    await expect(rows.nth(1)).to_contain_text("Save it as JPEG or PNG and add it again.")
    await expect(rows.nth(3)).to_contain_text("must begin with https:// or http://. Add https:// in front.")
    await expect(rows.get_by_role("button", name="Try again")).to_have_count(1)  # the download
    image_server.add("/gone.png", flat(GREEN))
    await rows.get_by_role("button", name="Try again").click()
    await expect_kinds(page, "All 4", "Identified 1", "Failed 3")


async def test_missing_https_is_named(page: Page) -> None:
    """Such advice would be wrong for another scheme, and for image data in place of a URL."""
    without = ["www.example.org/owl.jpg", "example.com:8080/owl.jpg", "192.0.2.1/owl.jpg", "example.org?owl"]
    others = ["ftp://example.org/owl.jpg", "mailto:owl@example.org", "data:image/png;base64,AAAA", "iVBORw0KGgo" * 20]
    await paste_urls(page, [*without, *others])
    await expect_kinds(page, "All 8", "Failed 8")
    advised = {name for name, reason in (await results(page)).items() if reason.endswith("Add https:// in front.")}
    assert advised == set(without)


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
    release = asyncio.Event()
    downloads = 0

    async def held(request: web.Request) -> web.StreamResponse:
        nonlocal downloads
        if request.headers["User-Agent"].startswith("birds/"):  # not the browser's request for the thumbnail
            downloads += 1
            if downloads > 10:
                await release.wait()
        return web.Response(body=flat(RED))

    await paste_urls(page, [image_server.add(f"/{n}.png", held) for n in range(200)])
    await expect(page.locator("#cards .card")).to_have_count(200)
    await expect(page.locator(".card.identified")).to_have_count(10)
    await expect(page.locator("#save")).to_be_disabled()
    await expect(page.locator("#save")).to_have_text("Save")
    await page.click("#cancel")
    await expect_kinds(page, "All 200", "Identified 10", "Cancelled 190")
    await expect(page.locator("#count")).to_have_text("1 species · 10 photos · 190 cancelled")
    await expect(page.locator("#retry")).to_be_hidden()
    await expect(page.locator("#save")).to_have_text("Save (200)")
    image_server.loop.call_soon_threadsafe(release.set)
    await page.click("#resume")
    await expect_kinds(page, "All 200", "Identified 200")


@pytest.mark.context(locale="zh-CN")
async def test_chinese_failure_has_chinese_punctuation(page: Page) -> None:
    await choose(page, {"bad.png": b"none"})
    await expect(page.locator("#failures .reason")).to_have_text("文件不是图片，或已损坏。请选择其他文件。")


@pytest.mark.context(viewport={"width": 1280, "height": 800})
async def test_page_moves_to_the_results(page: Page) -> None:
    await choose(page, {f"{n}.png": flat(RED) for n in range(30)})
    await expect_kinds(page, "All 30", "Identified 30")
    assert await page.evaluate("document.activeElement.id") == "count"
    await expect(page.locator("#count")).to_be_in_viewport()
    top = await page.locator(".card").first.evaluate("card => card.getBoundingClientRect().top")
    assert top < 250  # it was 648 of 800


async def test_k_sets_the_number_of_species_shown(page: Page) -> None:
    await page.click("#options summary")
    await page.select_option("#k", "1")
    await choose(page, {"red.png": flat(RED)})
    await expect_kinds(page, "All 1", "Identified 1")
    await expect(page.locator(".card details")).to_be_hidden()


async def test_options_start_with_all_species(page: Page) -> None:
    await page.click("#options summary")
    await expect(page.locator("#species option")).to_have_text(["All species", "garden (2)", "Only the species I list"])
    await expect(page.locator("#species")).to_have_value("")
    await expect(page.locator("#own")).to_be_hidden()
    await expect(page.locator("#min-score")).to_have_value("0")


async def test_changed_options_offer_to_ask_again(page: Page) -> None:
    await choose(page, {"red.png": flat(RED), "blue.png": flat(BLUE)})
    await expect_kinds(page, "All 2", "Identified 2")
    await expect(page.locator("#notice")).to_be_hidden()
    await page.click("#options summary")
    await page.select_option("#species", "list:garden")
    await expect(page.locator("#notice")).to_contain_text("You changed the options")
    await page.click("#again")
    await expect(page.locator("#notice")).to_be_hidden()
    await expect_kinds(page, "All 2", "Identified 1", "Not sure 1")  # red is not in the list
    guesses = page.locator(".card").first.locator("details")
    for _ in range(2):  # open and close
        await guesses.locator("summary").click()
        await expect(guesses.locator("li")).to_have_count(2)
    await page.select_option("#species", "own")
    await page.fill("#names", "Caerulea")
    await page.click("#again")
    await expect_kinds(page, "All 2", "Identified 1", "Not sure 1")
    await guesses.locator("summary").click()
    await expect(guesses.locator("li")).to_have_count(1)
    await page.select_option("#species", "")
    await page.fill("#min-score", "99.5")
    await page.click("#again")
    await expect_kinds(page, "All 2", "No match 2")
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
    await expect_kinds(page, "All 3", "Identified 2", "Not sure 1")
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
    async with page.expect_request("**/species?model_version=2"):
        await page.click("#known summary")
    await page.route(lambda url: "/files" in url, answer)
    await choose(page, {"red.png": flat(RED)})
    await expect_kinds(page, "All 1", "No match 1")
    assert "model_version=2" in sent[0][0]


async def test_sort_filter_and_search(page: Page) -> None:
    await choose(page, RED_GREEN_BLUE)
    await expect_kinds(page, "All 3", "Identified 3")
    await expect(page.locator("#search, #sort").and_(page.locator(":visible"))).to_have_count(0)  # too few photos
    await choose(page, {"pale.png": flat(PALE), "a.png": b"none", "b.png": b"none"})
    await expect_kinds(page, "All 6", "Identified 3", "Not sure 1", "Failed 2")
    orders = {}
    for order in ("name", "species", "unsure", "sure", "added"):
        await page.select_option("#sort", order)
        orders[order] = list(await results(page))[:-2]
        assert list(await results(page))[-2:] == ["a.png", "b.png"]  # failures come last
    assert orders["name"] == ["blue.webp", "green.png", "pale.png", "red.jpg"]
    assert orders["species"] == ["blue.webp", "red.jpg", "green.png", "pale.png"]
    assert orders["unsure"][0] == orders["sure"][-1] == "pale.png"
    assert orders["added"] == ["red.jpg", "green.png", "blue.webp", "pale.png"]
    await page.get_by_role("button", name="Failed 2").click()
    assert list(await results(page)) == ["a.png", "b.png"]
    await expect(page.locator("#count")).to_have_text("2 failed")
    await page.get_by_role("button", name="Not sure 1").click()
    await expect(page.locator("#count")).to_have_text("1 of 4 photos")
    await page.get_by_role("button", name="Identified 3").click()
    await page.fill("#search", "little viridis")
    assert list(await results(page)) == ["green.png"]
    await expect(page.locator("#count")).to_have_text("1 species · 1 of 4 photos")
    await expect(page.locator("#save")).to_have_text("Save (1)")
    await page.fill("#search", "nothing like it")
    await expect(page.locator("#nothing")).to_be_visible()


async def test_clear_asks_and_returns_to_first_run(page: Page) -> None:
    await choose(page, {"red.png": flat(RED)})
    start_over = page.get_by_role("button", name="Start over")
    await start_over.click()  # Playwright dismisses the question
    await expect(page.locator(".card")).to_have_count(1)
    page.once("dialog", lambda dialog: dialog.accept())
    await start_over.click()
    await expect(page.locator("#results")).to_be_hidden()
    await expect(page.locator("#samples")).to_be_visible()
    await choose(page, {"blue.png": flat(BLUE)})
    await expect_kinds(page, "All 1", "Identified 1")


async def test_enlarged_photo_moves_with_the_arrows(page: Page) -> None:
    await choose(page, RED_GREEN_BLUE)
    await expect_kinds(page, "All 3", "Identified 3")
    await page.locator(".card h3").first.click()  # a click on the photo is tested elsewhere
    await expect(page.locator("#viewer-title")).to_have_text("Great Red")
    await expect(page.locator("#viewer-title + p")).to_have_text("Rubra maxima Very likely 96%")
    await expect(page.locator("#viewer .predictions li")).to_have_count(3)
    await expect(page.locator("#previous")).to_be_disabled()
    await page.keyboard.press("ArrowRight")
    await expect(page.locator("#viewer-title")).to_have_text("Little Green")
    await page.keyboard.press("ArrowRight")
    await page.keyboard.press("ArrowRight")
    await expect(page.locator("#viewer-title")).to_have_text("Blue × White hybrid")
    await page.click("#close")
    await expect(page.get_by_role("button", name="Enlarge blue.webp")).to_be_focused()


async def saved(page: Page, kind: str) -> str:
    """Save the results shown as `csv` or `json`, and return the file's text."""
    await page.click("#save")
    async with page.expect_download() as download:
        await page.click(f"#{kind}")
    return (await (await download.value).path()).read_bytes().decode()


async def saved_rows(page: Page) -> list[dict[str, str]]:
    text = await saved(page, "csv")
    assert text.startswith("\ufeffimage,")  # spreadsheets need the byte order mark
    return list(csv.DictReader(io.StringIO(text.removeprefix("\ufeff"), newline="")))


async def test_saved_files_keep_every_answer(page: Page) -> None:
    name = 'a "quoted", odd.png'
    photos = {name: flat(RED), "pale.png": flat(PALE), "grey.png": flat(GREY), "bad.png": b"none"}
    await choose(page, photos)
    await expect_kinds(page, "All 4", "Identified 1", "Not sure 1", "No bird found 1", "Failed 1")
    records = json.loads(await saved(page, "json"))
    assert [record["image"] for record in records] == list(photos)
    assert records[0]["predictions"][0]["bird_name"] == "Rubra maxima"
    assert [record.get("no_bird") for record in records] == [None, None, True, None]
    assert records[3]["failure"]["code"] == "not_an_image"
    rows = await saved_rows(page)
    assert [(row["image"], row["answer"], row["rank"], row["code"]) for row in rows[::3]] == [
        (name, "identified", "1", ""),
        ("pale.png", "not_sure", "1", ""),
        ("grey.png", "no_bird", "1", ""),
        ("bad.png", "failed", "", "not_an_image"),
    ]


async def test_only_the_shown_results_are_saved(page: Page) -> None:
    await choose(page, {"red.png": flat(RED), "pale.png": flat(PALE), "grey.png": flat(GREY)})
    await expect_kinds(page, "All 3", "Identified 1", "Not sure 1", "No bird found 1")
    await page.get_by_role("button", name="Not sure 1").click()
    await page.click("#save")
    await expect(page.locator("#saving-title")).to_have_text("Save the results of 1 photo")
    await page.keyboard.press("Escape")
    assert {row["image"] for row in await saved_rows(page)} == {"pale.png"}


@pytest.mark.context(permissions=["clipboard-read", "clipboard-write"])
async def test_formulas_in_names_are_saved_as_text(page: Page) -> None:
    """A spreadsheet runs a cell that begins with one of these characters. Anybody can name a file or a URL so."""
    starts = ["=", "+", "-", "@", "\t", "\r", "＝", "＋", "－", "＠"]
    texts = [f"{start}HYPERLINK(1).png" for start in starts]
    await transfer(page, "drop", "#drop", dict.fromkeys(texts, flat(RED)))
    urls = [text for text in texts if text.strip() == text]
    await paste_urls(page, urls)
    await expect_kinds(page, f"All {len(texts + urls)}", f"Identified {len(texts)}", f"Failed {len(urls)}")
    rows = await saved_rows(page)
    assert [row["image"] for row in rows if row["rank"] in ("", "1")] == [f"'{text}" for text in texts + urls]
    assert not [cell for row in rows for cell in row.values() if cell.startswith(tuple(starts))]
    await page.click("#save")
    await page.click("#copy")
    await expect(page.locator("#copy")).to_have_text("Copied")
    copied = (await page.evaluate("navigator.clipboard.readText()")).split("\n")
    assert len(copied) == 1 + len(rows)
    assert not [cell for line in copied for cell in line.split("\t") if cell.startswith(tuple(starts))]


@pytest.mark.context(permissions=["clipboard-read", "clipboard-write"])
async def test_copy_makes_rows_for_a_spreadsheet(page: Page) -> None:
    await choose(page, {"red.png": flat(RED)})
    await expect_kinds(page, "All 1", "Identified 1")
    await page.click("#save")
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
    groups = await page.eval_on_selector_all("#cards > ol", "all => all.map((group) => group.childElementCount)")
    columns = "group => getComputedStyle(group).gridTemplateColumns.split(' ').length"
    rows = 10 * await page.locator("#cards > ol").first.evaluate(columns)
    assert groups == [rows] * (200 // rows) + [200 % rows] * (200 % rows > 0)  # no gap between two groups
    await page.fill("#search", "199")
    assert list(await results(page)) == ["199.png"]
