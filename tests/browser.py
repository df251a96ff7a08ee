"""A real headless Chromium: Debian's, by Playwright."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from playwright.sync_api import Browser, ConsoleMessage, Page, Request, sync_playwright

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)


@contextmanager
def chromium() -> Iterator[Browser]:
    """Start Chromium; skips the test where there is none."""
    if CHROMIUM is None:
        pytest.skip("no Chromium on the PATH; on Debian: apt-get install chromium")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM)
        yield browser
        browser.close()


@contextmanager
def clean(page: Page, url: str) -> Iterator[Page]:
    """Load a page; whatever is done with it, no script fails, and nothing is asked of another host."""
    faults: list[str] = []
    elsewhere: list[str] = []

    def on_console(message: ConsoleMessage) -> None:
        if "Content Security Policy" in message.text:
            faults.append(message.text)

    def on_request(request: Request) -> None:
        if not request.url.startswith((url, f"blob:{url}")):
            elsewhere.append(request.url)

    page.on("pageerror", lambda error: faults.append(str(error)))
    page.on("console", on_console)
    page.on("request", on_request)
    page.goto(url)
    yield page
    assert faults == []
    assert elsewhere == []
