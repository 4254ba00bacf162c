"""Takes the picture of the page for the README, from a running service, in a light or dark theme.

python -m tests.system.browser.screenshot docs/page.png PHOTO… [--url URL] [--theme dark]

The committed picture shows stamps of Tux Paint (GPL-2), from Debian's package tuxpaint-stamps-default.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
from pathlib import Path

from birds_client import DEFAULT_URL
from playwright.async_api import expect

from tests.support.chromium import running_chromium
from tests.support.programs import path_of


async def take(out: Path, photos: list[Path], url: str, theme: str) -> None:
    """Save a PNG of the page once every photo has been answered."""
    try:
        path = path_of("chromium")
    except LookupError as error:
        sys.exit(f"screenshot: {error}")
    async with running_chromium(path) as browser:
        page = await browser.new_page(
            color_scheme="dark" if theme == "dark" else "light", viewport={"width": 1100, "height": 700}
        )
        await page.goto(url)
        await page.set_input_files("#files", [str(photo) for photo in photos])
        await expect(page.locator("#count")).to_contain_text(f"{len(photos)} of {len(photos)} done", timeout=60_000)
        await page.screenshot(path=str(out), full_page=True)
    print(f"{out}: {len(photos)} photos")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path, help="where to write the PNG")
    parser.add_argument("photos", type=Path, nargs="+", help="the photos to classify")
    parser.add_argument("--url", default=DEFAULT_URL, help="the running frontend (default: %(default)s)")
    parser.add_argument("--theme", choices=["light", "dark"], default="light")
    options = parser.parse_args()
    asyncio.run(take(options.out, options.photos, options.url, options.theme))


if __name__ == "__main__":
    main()
