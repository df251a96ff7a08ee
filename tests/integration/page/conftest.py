"""A browser before the page of a fake service."""

from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, BrowserContext, Page

from tests.browser import chromium, clean
from tests.integration.page.fake_service import FakeService, serving


@pytest.fixture(scope="package")
def browser() -> Iterator[Browser]:
    """One for all tests of the page: it takes a second to start."""
    with chromium() as browser:
        yield browser


@pytest.fixture
def fake() -> Iterator[FakeService]:
    with serving() as fake:
        yield fake


@pytest.fixture
def context(browser: Browser) -> Iterator[BrowserContext]:
    with browser.new_context(viewport={"width": 1200, "height": 900}) as context:
        yield context


@pytest.fixture
def page(context: BrowserContext, fake: FakeService) -> Iterator[Page]:
    with clean(context.new_page(), fake.url) as page:
        yield page
