"""Takes pictures of the page in eight states, and the README's picture, from a running service.

python -m tests.system.browser.screenshots FOLDER [--photos FOLDER] [--url URL]

The pictures show drawings of this project. `--photos` adds photos to the states with results, to look at the page as
users see it.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from birds_client import DEFAULT_URL
from playwright.async_api import Browser, FilePayload, Page, Route, expect

from frontend.page.page import STATIC
from tests.support.chromium import running_chromium
from tests.support.programs import path_of

LAPTOP = {"width": 1280, "height": 800}
ON_PHONE: dict[str, Any] = {
    "viewport": {"width": 360, "height": 740},
    "device_scale_factor": 2,
    "has_touch": True,
    "is_mobile": True,
}
DRAWINGS = Path(__file__).with_name("drawings")
NOT_AN_IMAGE: FilePayload = {"name": "notes.txt", "mimeType": "", "buffer": b"Monday: two jays"}
UNSUPPORTED: FilePayload = {"name": "logo.svg", "mimeType": "", "buffer": b"<svg xmlns='http://www.w3.org/2000/svg'/>"}


@dataclass
class Pictures:
    """What the states show: drawings by file name, and the user's photos."""

    drawings: list[FilePayload]
    photos: list[FilePayload]

    @property
    def some(self) -> list[FilePayload]:
        return (self.drawings + self.photos)[:12]


async def first_run(page: Page, pictures: Pictures) -> None:
    await expect(page.locator("#drop")).to_be_visible()


async def known(page: Page, pictures: Pictures) -> None:
    await page.click("#known summary")
    await expect(page.locator("#known li").first).to_be_visible()


async def uploading(page: Page, pictures: Pictures) -> None:
    answered = 0

    async def hold(route: Route) -> None:
        nonlocal answered
        answered += 1
        if answered == 1:
            await route.continue_()  # later requests stay unanswered

    await page.route(lambda url: "/files" in url, hold)
    await page.set_input_files("#files", (2 * pictures.some)[:12])  # the page sends 8 per request
    await expect(page.locator("#count")).to_have_text("8 of 12 done", timeout=60_000)


async def results(page: Page, pictures: Pictures) -> None:
    await page.set_input_files("#files", pictures.some)
    await finished(page)


async def doubts(page: Page, pictures: Pictures) -> None:
    await page.set_input_files("#files", (pictures.drawings + pictures.photos)[:60])
    await finished(page)
    await page.select_option("#sort", "unsure")


async def failures(page: Page, pictures: Pictures) -> None:
    await page.set_input_files("#files", [*pictures.drawings[:2], NOT_AN_IMAGE, UNSUPPORTED])
    await page.click("#url-choice summary")
    await page.fill(
        "#urls", "http://127.0.0.1:1/jay.jpg\nhttps://birds.invalid/photos/heron.jpg\nwww.example.org/owl.jpg"
    )
    await page.click("button[type=submit]")
    await finished(page)


async def filtered(page: Page, pictures: Pictures) -> None:
    await page.set_input_files("#files", (pictures.drawings + pictures.photos)[:60])
    await finished(page)
    await page.get_by_role("button", name="Not sure").click()


async def saving(page: Page, pictures: Pictures) -> None:
    await filtered(page, pictures)
    await page.click("#save")


async def enlarged(page: Page, pictures: Pictures) -> None:
    await results(page, pictures)
    await page.locator(".card .photo").nth(5).click()


async def many(page: Page, pictures: Pictures) -> None:
    await page.set_input_files("#files", (pictures.drawings + pictures.photos)[:60])
    await finished(page)


async def finished(page: Page) -> None:
    await expect(page.locator("#results")).to_have_attribute("data-state", "done", timeout=120_000)
    await page.evaluate(
        """async () => {
            const images = () => [...document.querySelectorAll(".card img")]
                .filter((image) => !image.hidden && image.getBoundingClientRect().top < innerHeight);
            while (!images().every((image) => image.naturalWidth)) await new Promise(requestAnimationFrame);
            await Promise.all(images().map((image) => image.decode()));
        }"""
    )


State = tuple[str, Callable[[Page, Pictures], Awaitable[None]], dict[str, Any]]
STATES: list[State] = [
    ("1-first-run", first_run, {}),
    ("2-uploading", uploading, {}),
    ("3-results", results, {}),
    ("4-results-dark", results, {"color_scheme": "dark"}),
    ("5-results-phone", results, ON_PHONE),
    ("6-doubts", doubts, {}),
    ("7-failures", failures, {}),
    ("8-many-filtered", filtered, {}),
    ("first-run-phone", first_run, ON_PHONE),
    ("known", known, {}),
    ("known-phone-dark", known, {**ON_PHONE, "color_scheme": "dark"}),
    ("results-phone-dark", results, {**ON_PHONE, "color_scheme": "dark"}),
    ("failures-phone", failures, ON_PHONE),
    ("saving", saving, {}),
    ("enlarged", enlarged, {}),
    ("enlarged-phone", enlarged, ON_PHONE),
    ("many-wide", many, {"viewport": {"width": 1440, "height": 900}}),
]
README: State = ("page", results, {"viewport": {"width": 800, "height": 600}, "device_scale_factor": 1.25})


async def drawings(browser: Browser) -> list[FilePayload]:
    """Render the drawings as PNG files."""
    page = await browser.new_page(viewport={"width": 480, "height": 360}, device_scale_factor=2)
    sources = {path.stem: path.read_text("utf-8") for folder in (STATIC, DRAWINGS) for path in folder.glob("*.svg")}
    sources.pop("icon")
    found: list[FilePayload] = []
    for name, source in sorted(sources.items()):
        await page.set_content(f"<body style='margin:0'>{source}")
        found.append({"name": f"{name}.png", "mimeType": "image/png", "buffer": await page.screenshot()})
    await page.close()
    return found


async def take(chromium: str, folder: Path, photos: list[FilePayload], url: str) -> None:
    """Save a PNG of the page in every state, and page.png, which shows the drawings only."""
    async with running_chromium(chromium) as browser:
        drawn = await drawings(browser)
        for name, reach, options in [*STATES, README]:
            context: dict[str, Any] = {"base_url": url, "reduced_motion": "reduce", "viewport": LAPTOP, **options}
            page = await browser.new_page(**context)
            await page.goto("/")
            await reach(page, Pictures(drawn, [] if name == README[0] else photos))
            if name == README[0]:
                await page.evaluate("scrollTo(0, 0)")
            await page.screenshot(path=str(folder / f"{name}.png"), full_page=name == README[0])
            print(folder / f"{name}.png")
            await page.close()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="where to write the PNG files")
    parser.add_argument("--photos", type=Path, help="folder of JPEG photos to show, too")
    parser.add_argument("--url", default=DEFAULT_URL, help="the running frontend (default: %(default)s)")
    options = parser.parse_args()
    try:
        chromium = path_of("chromium")
    except LookupError as error:
        sys.exit(f"screenshots: {error}")
    options.folder.mkdir(parents=True, exist_ok=True)
    paths = sorted(options.photos.glob("*.jpg")) if options.photos else []
    photos: list[FilePayload] = [
        {"name": path.name, "mimeType": "image/jpeg", "buffer": path.read_bytes()} for path in paths
    ]
    asyncio.run(take(chromium, options.folder, photos, options.url))


if __name__ == "__main__":
    main()
