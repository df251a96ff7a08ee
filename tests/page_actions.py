"""What a user does with the page, and what they see."""

from pathlib import Path

from playwright.sync_api import FilePayload, FloatRect, Locator, Page, expect

FILM = Path("reference/pneumonia-1-224.jpeg")


def choose(page: Page, *films: bytes) -> None:
    """Choose films by the button; the first is called film-1.jpeg."""
    page.get_by_label("Choose films").set_input_files(
        [
            FilePayload(name=f"film-{number}.jpeg", mimeType="image/jpeg", buffer=content)
            for number, content in enumerate(films or (FILM.read_bytes(),), start=1)
        ]
    )


def card(page: Page, number: int = 1) -> Locator:
    """The card of a film."""
    return page.get_by_role("article").nth(number - 1)


def expect_verdict(page: Page, text: str, number: int = 1) -> None:
    """Wait for what the card of a film says at its top."""
    expect(card(page, number).get_by_role("heading", level=3)).to_have_text(text)


def box(part: Locator) -> FloatRect:
    """Return where a part of the page is, once it is visible."""
    expect(part).to_be_visible()
    found = part.bounding_box()
    assert found is not None
    return found
