"""Actions on the web page in a browser: add photos and URLs, and read the results."""

from __future__ import annotations

import base64
from typing import Any

from playwright.async_api import FilePayload, Page, expect

from tests.support.images import BLUE, GREEN, RED, flat
from tests.support.programs import AXE

Files = dict[str, bytes]

RED_GREEN_BLUE = {"red.jpg": flat(RED, "JPEG"), "green.png": flat(GREEN), "blue.webp": flat(BLUE, "WEBP")}
PALE = (153, 153, 153)  # the tiny model gives three species 0.28 each


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
    """Enter the URLs in the page's form and send it."""
    await page.evaluate("document.querySelector('#url-choice').open = true")
    await page.fill("#urls", "\n".join(urls))
    await page.click("#url-choice button")


async def expect_kinds(page: Page, *kinds: str) -> None:
    """Wait until the page is done and its filter shows these kinds of results, with numbers, such as `Identified 3`."""
    await expect(page.locator("#kinds button:visible")).to_have_text(list(kinds), timeout=30_000)
    await expect(page.locator("#results")).to_have_attribute("data-state", "done")


async def results(page: Page) -> dict[str, str]:
    """Return the headline of each card, or the reason of each failure, by image name, in the order shown."""
    return dict(
        await page.eval_on_selector_all(
            "#results li.card:not([hidden]), #failures > li:not([hidden])",
            """found => found.map((item) => [item.querySelector(".name").textContent,
                (item.querySelector("h3") ?? item.querySelector(".reason")).textContent])""",
        )
    )


async def serious_violations(page: Page) -> list[Any]:
    """Return what axe finds serious or critical: rule and elements."""
    await page.evaluate(AXE.read_text(encoding="utf-8"))
    found = await page.evaluate("axe.run()")
    return [
        (v["id"], [n["html"] for n in v["nodes"]])
        for v in found["violations"]
        if v["impact"] in ("serious", "critical")
    ]
