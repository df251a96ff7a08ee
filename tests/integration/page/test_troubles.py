"""What the page says when something goes wrong, and that a film can always be tried again."""

import re

import pytest
from playwright.sync_api import BrowserContext, Page, expect
from starlette.responses import PlainTextResponse, Response

from tests.integration.page.fake_service import FakeService, error, film
from tests.page_actions import card, choose, expect_verdict

pytestmark = pytest.mark.integration

FOUND = "Signs of pneumonia found"

TRIES = 5
"""Of a film that the service is too busy for."""


@pytest.mark.parametrize(
    ("refusal", "headline"),
    [
        (error(413, "film_too_large"), "The file is too large"),
        (error(415, "unsupported_format"), "This is no film that the service can read"),
        (error(422, "damaged_film"), "The file is damaged"),
        (error(422, "unusable_film"), "The film cannot be used"),
        (error(422, "empty_file"), "The file is empty"),
        (error(422, "some_new_code"), "The film could not be screened"),
        (error(408, "upload_timeout"), "The film took too long to arrive"),
        (error(500, "internal_error"), "The service failed"),
        (error(502, "prediction_failed"), "The model failed on this film"),
        (error(503, "stopping"), "The service is being stopped"),
        (error(503, "loading", retry_after_s=3600), "The service is still starting"),
        (error(429, "rate_limited", retry_after_s=61), "Too many films in a short time"),
        (PlainTextResponse("<h1>502 Bad Gateway</h1>", 502), "The service cannot screen films now"),
        (PlainTextResponse("too large", 413), "The file is too large"),
        (PlainTextResponse("hello", 200), "The service gave an answer that this page does not understand"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_refusal_is_said_in_words_and_can_be_tried_again(
    page: Page, fake: FakeService, refusal: Response, headline: str
) -> None:
    fake.refuse = lambda _: refusal
    choose(page)
    expect_verdict(page, headline)
    expect(page.locator("#summary")).to_have_text("0 of 1 film screened, 1 failed.")
    fake.refuse = lambda _: None
    card(page).get_by_role("button", name="Try again").click()
    expect_verdict(page, FOUND)
    expect(card(page).get_by_role("button", name="Try again")).to_be_hidden()


def test_what_the_service_said_is_shown(page: Page, fake: FakeService) -> None:
    fake.refusals = [error(422, "damaged_film")]
    choose(page)
    expect(card(page)).to_contain_text("The service says: the message of damaged_film")


def test_film_that_the_gate_rejects_says_why(page: Page, fake: FakeService) -> None:
    fake.refusals = [error(422, "rejected_by_gate", reasons=("not_a_chest_film",))]
    choose(page)
    expect_verdict(page, "Not screened: this is no film for this model")
    expect(card(page)).to_contain_text("This does not look like a chest X-ray.")


def test_one_films_trouble_is_its_own(page: Page, fake: FakeService) -> None:
    fake.refuse = lambda sent: error(415, "unsupported_format") if sent == b"no film" else None
    choose(page, film(), b"no film", film("normal-1"))
    expect_verdict(page, FOUND, 1)
    expect_verdict(page, "This is no film that the service can read", 2)
    expect(card(page, 2).locator(".stage")).to_be_hidden()  # there is nothing to see
    expect_verdict(page, FOUND, 3)
    expect(page.locator("#summary")).to_have_text("2 of 3 films screened, 2 with signs of pneumonia, 1 failed.")


@pytest.mark.parametrize(("status", "code"), [(503, "saturated"), (429, "rate_limited")])
def test_busy_service_is_asked_again_when_it_says(page: Page, fake: FakeService, status: int, code: str) -> None:
    fake.refusals = [error(status, code, retry_after_s=1)]
    choose(page)
    expect(card(page)).to_contain_text("The service is busy. Trying again in 1 second")
    expect_verdict(page, FOUND)


def test_service_that_stays_busy_is_left_alone(page: Page, fake: FakeService) -> None:
    fake.refuse = lambda _: error(503, "saturated", retry_after_s=0)
    choose(page)
    expect_verdict(page, "The service has too much to do")
    assert len(fake.asked) == TRIES


def test_failed_films_are_tried_again_together(page: Page, fake: FakeService) -> None:
    fake.refuse = lambda _: error(502, "prediction_failed")
    choose(page, film(), film("normal-1"))
    expect_verdict(page, "The model failed on this film", 2)
    fake.refuse = lambda _: None
    page.get_by_role("button", name="Try failed films again").click()
    expect_verdict(page, FOUND, 1)
    expect_verdict(page, FOUND, 2)


def test_lost_network_is_said_and_passes(page: Page, context: BrowserContext) -> None:
    context.set_offline(offline=True)
    choose(page)
    expect_verdict(page, "The service cannot be reached")
    context.set_offline(offline=False)
    card(page).get_by_role("button", name="Try again").click()
    expect_verdict(page, FOUND)


def test_service_that_never_answers_is_given_up(page: Page, fake: FakeService) -> None:
    fake.let_through.clear()
    page.clock.install()
    choose(page)
    expect(page.get_by_text("Being screened")).to_be_visible()
    page.clock.fast_forward("10:00")
    expect_verdict(page, "The service gave no answer")


def test_film_that_is_removed_is_not_sent(page: Page, fake: FakeService) -> None:
    fake.let_through.clear()
    choose(page, *[film()] * 5)
    expect(page.get_by_text("Being screened")).to_have_count(3)
    for _ in range(2):
        card(page, 4).get_by_role("button", name="Remove").click()
    fake.let_through.set()
    expect(page.locator("#summary")).to_contain_text("3 of 3 films screened")
    assert [path for path, _ in fake.asked].count("/predict") == 3


@pytest.fixture
def starting(fake: FakeService) -> None:
    """The service cannot say yet what it serves."""
    fake.model_down = True


@pytest.mark.usefixtures("starting")
def test_page_says_that_the_service_is_down_and_finds_it_again(fake: FakeService, page: Page) -> None:
    notice = page.get_by_role("region", name="The service is still starting")
    expect(notice).to_be_visible()
    fake.model_down = False
    notice.get_by_role("button", name="Try again").click()
    expect(notice).to_be_hidden()
    expect(page.get_by_label("Operating point")).to_have_value("rule_out")


@pytest.mark.usefixtures("starting")
def test_page_finds_the_service_again_by_a_film(fake: FakeService, page: Page) -> None:
    expect(page.get_by_role("region", name="The service is still starting")).to_be_visible()
    fake.model_down = False
    choose(page)
    expect_verdict(page, FOUND)
    expect(page.get_by_label("Operating point")).to_have_value("rule_out")


def test_heatmap_that_fails_leaves_the_result(page: Page, fake: FakeService) -> None:
    fake.refuse_explanations = error(502, "prediction_failed")
    choose(page)
    expect_verdict(page, FOUND)
    expect(card(page)).to_contain_text("No heatmap: The model failed on this film.")
    expect(card(page).get_by_role("img", name="The film film-1.jpeg")).to_be_visible()


# Keys


@pytest.fixture
def locked(fake: FakeService) -> None:
    """The service has keys."""
    fake.key = "secret-key"


@pytest.mark.usefixtures("locked")
def test_key_is_asked_for_and_the_films_go_on(page: Page) -> None:
    choose(page)
    expect_verdict(page, "The service wants an API key")
    page.get_by_label("API key", exact=True).fill("another-key")
    page.get_by_role("button", name="Use this key").click()
    expect(page.get_by_text("The service does not know this key.")).to_be_visible()
    expect(page.get_by_label("API key", exact=True)).to_have_attribute("aria-invalid", "true")
    page.get_by_label("API key", exact=True).fill("secret-key")
    page.get_by_label("API key", exact=True).press("Enter")
    expect_verdict(page, FOUND)
    expect(page.get_by_label("API key", exact=True)).to_be_hidden()
    expect(page.get_by_text("Model 1.2.3")).to_be_visible()


@pytest.mark.usefixtures("locked")
def test_key_is_of_this_tab_only_and_can_be_forgotten(fake: FakeService, page: Page, context: BrowserContext) -> None:
    page.get_by_label("API key", exact=True).fill("secret-key")
    page.get_by_role("button", name="Use this key").click()
    expect(page.get_by_role("button", name="Forget the API key")).to_be_visible()
    assert page.evaluate("() => localStorage.length + document.cookie.length") == 0
    page.reload()
    expect(page.get_by_text("Model 1.2.3")).to_be_visible()
    other = context.new_page()
    other.goto(fake.url)
    expect(other.get_by_label("API key", exact=True)).to_be_visible()
    page.get_by_role("button", name="Forget the API key").click()
    page.reload()
    expect(page.get_by_label("API key", exact=True)).to_be_visible()


@pytest.mark.usefixtures("locked")
def test_key_that_cannot_be_one_is_not_sent(page: Page) -> None:
    page.get_by_label("API key", exact=True).fill("schlüssel")
    page.get_by_role("button", name="Use this key").click()
    expect(page.get_by_label("API key", exact=True)).to_have_accessible_description(re.compile("no spaces"))
    expect(page.get_by_label("API key", exact=True)).to_be_visible()
