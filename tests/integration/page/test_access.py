"""The page for everybody: axe, keyboard, screen reader, light, dark, phone width, less motion. Screenshots of it."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page, expect

from tests.integration.page.fake_service import REFERENCE, FakeService, Said, error, film
from tests.page_actions import box, card, choose, expect_verdict

pytestmark = pytest.mark.integration

FOUND = "Signs of pneumonia found"

SCREENSHOTS = Path("out/page")

RULES = {"runOnly": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]}

LOOKS: dict[str, dict[str, Any]] = {
    "light": {"color_scheme": "light", "viewport": {"width": 1200, "height": 900}},
    "dark": {"color_scheme": "dark", "viewport": {"width": 1200, "height": 900}},
    "phone": {"color_scheme": "light", "viewport": {"width": 360, "height": 740}, "has_touch": True},
    "phone-dark": {"color_scheme": "dark", "viewport": {"width": 360, "height": 740}, "has_touch": True},
    "narrowest": {"color_scheme": "light", "viewport": {"width": 320, "height": 640}},
}


@pytest.fixture(params=LOOKS)
def look(request: pytest.FixtureRequest, browser: Browser, fake: FakeService) -> Iterator[tuple[str, Page]]:
    """The page in every look there is."""
    with browser.new_context(**LOOKS[request.param], reduced_motion="reduce") as context:
        page = context.new_page()
        page.goto(fake.url)
        expect(page.get_by_text("Model 1.2.3")).to_be_visible()
        yield request.param, page


def shoot(page: Page, name: str) -> None:
    SCREENSHOTS.mkdir(parents=True, exist_ok=True)
    page.screenshot(path=SCREENSHOTS / f"{name}.png", full_page=True)


def expect_accessible(page: Page) -> None:
    """Have axe find nothing, and nothing stick out to the right."""
    found = Axe().run(page, options=RULES)
    assert found.violations_count == 0, found.generate_report()
    assert page.evaluate("() => document.documentElement.scrollWidth - innerWidth") <= 0


def large(name: str) -> bytes:
    return (REFERENCE / f"{name}-1500.jpeg").read_bytes()


def show_all_kinds(page: Page, fake: FakeService) -> None:
    """A film of each kind: found, clear, uncertain with warnings, no chest film, failed, and one that waits."""
    doubtful = Said(p=0.1401, uncertain=True, reasons=("unlike_training_films", "low_contrast"))
    fake.films = {
        large("normal-1"): Said(p=0.0312),
        large("normal-2"): doubtful,
        film("normal-1"): Said(p=0.41, reasons=("not_a_chest_film",)),
    }
    fake.refuse = lambda sent: error(422, "damaged_film") if sent == b"a letter" else None
    films = [large("pneumonia-1"), large("normal-1"), large("normal-2"), film("normal-1"), b"a letter"]
    choose(page, *films)
    for number in range(1, 5):
        card(page, number).scroll_into_view_if_needed()
        expect(card(page, number).locator(".picture-heat")).to_be_visible()
    expect_verdict(page, "The file is damaged", 5)
    card(page, 2).get_by_text("Details").click()
    fake.let_through.clear()
    choose(page)
    expect(page.get_by_text("Being screened")).to_be_visible()
    page.evaluate("() => scrollTo(0, 0)")


def test_page_without_films_is_accessible(look: tuple[str, Page]) -> None:
    name, page = look
    expect_accessible(page)
    shoot(page, f"{name}-empty")


def test_page_with_films_is_accessible(look: tuple[str, Page], fake: FakeService) -> None:
    name, page = look
    show_all_kinds(page, fake)
    expect_accessible(page)
    shoot(page, name)
    card(page).get_by_role("button", name="Enlarge film").click()
    expect_accessible(page)


def test_page_that_wants_a_key_is_accessible(look: tuple[str, Page], fake: FakeService) -> None:
    name, page = look
    fake.key = "secret-key"
    page.reload()
    page.get_by_label("API key", exact=True).fill("another-key")
    page.get_by_role("button", name="Use this key").click()
    expect(page.get_by_text("The service does not know this key.")).to_be_visible()
    expect_accessible(page)
    shoot(page, f"{name}-key")


def test_page_of_a_service_that_is_down_is_accessible(look: tuple[str, Page], fake: FakeService) -> None:
    name, page = look
    fake.model_down = True
    page.reload()
    expect(page.get_by_role("region", name="The service is still starting")).to_be_visible()
    expect_accessible(page)
    shoot(page, f"{name}-down")


def test_model_card_is_accessible(look: tuple[str, Page]) -> None:
    _, page = look
    page.get_by_role("link", name="Model card").click()
    expect(page.get_by_role("dialog", name="Model card")).to_contain_text("for adults")
    expect_accessible(page)


@pytest.mark.parametrize("look", ["light", "phone"], indirect=True)
def test_disclaimer_is_always_in_sight(look: tuple[str, Page], fake: FakeService) -> None:
    _, page = look
    show_all_kinds(page, fake)
    disclaimer = page.get_by_role("complementary", name="Disclaimer")
    expect(disclaimer).to_contain_text("Not a medical device.")
    for place in ("0", "document.body.scrollHeight / 2", "document.body.scrollHeight"):
        page.evaluate(f"() => scrollTo(0, {place})")
        expect(disclaimer).to_be_in_viewport(ratio=1)


def test_film_is_chosen_by_the_keyboard(page: Page) -> None:
    page.on("filechooser", lambda _: None)  # from now on, no window of the system opens instead
    expect(page.get_by_text("Model 1.2.3")).to_be_visible()
    page.keyboard.press("Tab")
    expect(page.get_by_label("Choose films")).to_be_focused()
    with page.expect_file_chooser() as chooser:
        page.keyboard.press("Enter")
    assert chooser.value.is_multiple()
    page.keyboard.press("Tab")
    expect(page.get_by_label("Operating point")).to_be_focused()
    page.keyboard.press("Tab")
    expect(page.get_by_label("Show heatmaps")).to_be_focused()


def test_card_is_gone_through_in_the_order_of_reading(page: Page) -> None:
    choose(page)
    expect(card(page).locator(".picture-heat")).to_be_visible()
    page.get_by_role("button", name="Remove all").focus()
    stops = []
    for _ in range(5):
        page.keyboard.press("Tab")
        stops.append(page.evaluate("() => document.activeElement.textContent.trim() || document.activeElement.type"))
    assert stops == ["range", "Details", "Enlarge film", "Download receipt", "Remove"]


def test_focus_goes_on_when_what_had_it_goes(page: Page, fake: FakeService) -> None:
    fake.refuse = lambda sent: error(502, "prediction_failed") if sent == film("normal-1") else None
    choose(page, film(), film("normal-1"))
    expect_verdict(page, "The model failed on this film", 2)
    fake.refuse = lambda _: None
    card(page, 2).get_by_role("button", name="Try again").press("Enter")
    expect(card(page, 2).get_by_role("heading", name=FOUND)).to_be_focused()
    card(page, 2).get_by_role("button", name="Remove").press("Enter")
    expect(card(page, 1).get_by_role("heading", name=FOUND)).to_be_focused()
    card(page, 1).get_by_role("button", name="Remove").press("Enter")
    expect(page.get_by_label("Choose films")).to_be_focused()


def test_results_are_announced(page: Page, fake: FakeService) -> None:
    fake.refuse = lambda sent: error(422, "damaged_film") if sent == film("normal-1") else None
    choose(page, film(), film("normal-1"))
    announced = page.get_by_role("status")
    expect(announced).to_contain_text("film-1.jpeg: Signs of pneumonia found.")
    expect(announced).to_contain_text("film-2.jpeg: The file is damaged.")
    expect(announced).to_contain_text("1 of 2 films screened, 1 with signs of pneumonia, 1 failed.")


def test_cards_are_named_by_film_and_verdict(page: Page) -> None:
    choose(page, film(), film("normal-1"))
    expect_verdict(page, FOUND, 2)
    expect(page.get_by_role("article", name=f"film-2.jpeg {FOUND}")).to_be_visible()
    button = card(page, 2).get_by_role("button", name="Download receipt")
    expect(button).to_have_accessible_description("film-2.jpeg")


def test_waiting_films_turn_nothing_for_those_who_want_less_motion(browser: Browser, fake: FakeService) -> None:
    fake.let_through.clear()
    with browser.new_context(reduced_motion="reduce") as context:
        page = context.new_page()
        page.goto(fake.url)
        choose(page)
        expect(page.get_by_text("Being screened")).to_be_visible()
        assert page.evaluate("() => document.getAnimations().length") == 0


@pytest.mark.parametrize("look", ["light", "phone"], indirect=True)
def test_targets_are_large_enough_to_touch(look: tuple[str, Page], fake: FakeService) -> None:
    _, page = look
    show_all_kinds(page, fake)
    for button in page.get_by_role("main").locator("button:visible, .button").all():
        assert box(button)["height"] >= 40
