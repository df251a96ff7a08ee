"""The page before the whole service: a browser, the proxy, TorchServe, the shipped model."""

import io
from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import Image
from playwright.sync_api import Browser, FilePayload, Page, ViewportSize, expect

from handler.imaging import decode
from proxy.settings import ROOT
from tests.browser import chromium, clean
from tests.dicoms import dicom
from tests.e2e.service import Service, running
from tests.page_actions import card, choose, expect_verdict

REFERENCE = ROOT / "reference"

SCREENSHOT = Path("out/page/service.png")
COLOURS = 256
"""Of the screenshot: it is for a document."""


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as browser:
        yield browser


@pytest.fixture(scope="module")
def service() -> Iterator[Service]:
    with running() as service:
        yield service


@pytest.fixture
def page(browser: Browser, service: Service) -> Iterator[Page]:
    viewport: ViewportSize = {"width": 1000, "height": 860}
    with browser.new_context(viewport=viewport) as context, clean(context.new_page(), f"{service.url}/") as page:
        yield page


def test_films_are_screened_explained_and_shown(page: Page) -> None:
    names = ("pneumonia-1-1500.jpeg", "normal-2-1500.jpeg")
    page.get_by_label("Choose films").set_input_files([REFERENCE / name for name in names])
    expect_verdict(page, "Signs of pneumonia found", 1)
    expect_verdict(page, "No signs found at this operating point", 2)
    for number in (1, 2):
        card(page, number).scroll_into_view_if_needed()
        expect(card(page, number).locator(".picture-heat")).to_be_visible()
    card(page).get_by_text("Details").click()
    expect(card(page)).to_contain_text("SHA-256 of the film")
    card(page).get_by_text("Details").click()
    page.evaluate("() => scrollTo(0, 0)")
    SCREENSHOT.parent.mkdir(parents=True, exist_ok=True)
    with Image.open(io.BytesIO(page.screenshot(full_page=True))) as picture:
        picture.convert("RGB").quantize(COLOURS).save(SCREENSHOT, optimize=True)


def test_dicom_file_is_shown(page: Page) -> None:
    content = dicom(decode((REFERENCE / "normal-1-224.jpeg").read_bytes()).pixels)
    page.get_by_label("Choose films").set_input_files([FilePayload(name="IM000001", mimeType="", buffer=content)])
    expect(card(page).get_by_role("img", name="The film IM000001")).to_be_visible()
    expect(card(page).locator(".picture-heat")).to_be_visible()


def test_what_is_no_film_is_refused_in_words(page: Page) -> None:
    choose(page, b"a letter", (REFERENCE / "normal-1-224.jpeg").read_bytes()[:2000], b"")
    expect_verdict(page, "This is no film that the service can read", 1)
    expect_verdict(page, "The file is damaged", 2)
    expect_verdict(page, "The file is empty", 3)


def test_operating_points_and_card_are_the_models(page: Page) -> None:
    expect(page.get_by_label("Operating point").locator("option")).to_have_count(2)
    page.get_by_role("link", name="Model card").click()
    expect(page.get_by_role("dialog")).to_contain_text("Pneumonia")
