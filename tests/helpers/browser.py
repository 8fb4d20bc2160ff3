"""The report in a browser, as its reader sees it."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Frame, Locator, Page, sync_playwright

SECTIONS = ["1 Archives", "2 Plots", "3 Contact sheets", "4 To look at twice", "5 Provenance"]
# Snakemake's page says so itself.
_USUAL = "cdn.tailwindcss.com should not be used in production"


def chromium() -> str:
    """The path of Chromium. Without one the test is skipped, or fails if REQUIRE_CHROMIUM is set."""
    found = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if found is None:
        (pytest.fail if os.environ.get("REQUIRE_CHROMIUM") else pytest.skip)("there is no Chromium")
    return found


@contextmanager
def browser() -> Iterator[Browser]:
    """Headless Chromium."""
    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=chromium())
        yield started
        started.close()


@contextmanager
def browser_page(browser: Browser, width: int = 1600, dark: bool = False) -> Iterator[Page]:
    """An empty page that knows nothing of others."""
    page = browser.new_page(
        viewport={"width": width, "height": 1000}, color_scheme="dark" if dark else "light", offline=True
    )
    yield page
    page.close()


class Report:
    """An open report. `complaints` are errors, warnings and requests to the network."""

    def __init__(self, page: Page, path: Path) -> None:
        self.page = page
        self.complaints: list[str] = []
        page.on("pageerror", lambda error: self.complaints.append(str(error)))
        page.on("console", lambda message: self._note(message.text) if message.type in ("error", "warning") else None)
        page.on("request", lambda request: None if _is_local(request.url) else self.complaints.append(request.url))
        # Low, so that the pictures that Snakemake centres are higher.
        page.set_viewport_size({"width": 1280, "height": 600})
        page.goto(path.as_uri())
        page.get_by_text("What to look at").wait_for()

    def _note(self, message: str) -> None:
        if _USUAL not in message:
            self.complaints.append(message)

    @property
    def overview(self) -> str:
        """The text that the reader sees first."""
        return self.page.locator(".prose").first.inner_text()

    def can_reach_top(self, of: Locator) -> bool:
        """Whether the beginning of an element can be seen, having scrolled up if need be."""
        of.evaluate("element => element.closest('.h-screen').scrollTo(0, 0)")
        box = of.bounding_box()
        return box is not None and box["x"] >= 0 and box["y"] >= 0

    @property
    def sections(self) -> list[str]:
        """The entries of the menu below Results."""
        self._home()
        return [text for text in self.page.locator("nav ul li").all_inner_texts() if text[:1].isdigit()]

    def entries(self, *menu: str) -> list[str]:
        """The labels in the list that the clicks of `menu` lead to."""
        self._home()
        for item in menu:
            self.page.locator("nav").get_by_text(item, exact=True).click()
        return self._rows().locator("td:first-child").all_inner_texts()

    def show(self, label: str) -> Locator:
        """Clicks on the eye beside `label`, in the list that `entries` has opened; the picture that appears."""
        self._rows().filter(has_text=label).locator("a").first.click()
        return self.page.locator("div.h-screen.overflow-auto img")

    def show_page(self, label: str) -> Frame:
        """As `show`, for an entry that is a page of its own."""
        self._rows().filter(has_text=label).locator("a").first.click()
        handle = self.page.locator("iframe").element_handle()
        frame = handle.content_frame()
        assert frame is not None
        frame.wait_for_load_state()
        return frame

    def caption(self, label: str) -> str:
        """Clicks on the i beside `label`; the caption that appears."""
        self._rows().filter(has_text=label).locator("a").last.click()
        return self.page.locator("nav .prose").inner_text()

    def _rows(self) -> Locator:
        return self.page.locator("nav tbody tr")

    def _home(self) -> None:
        self.page.locator("nav a").nth(1).click()  # the first one hides the menu


def _is_local(url: str) -> bool:
    return url.startswith(("file:", "data:", "blob:"))
