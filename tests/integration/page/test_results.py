"""What the page shows of films that the service has screened."""

import hashlib
import json
import re
from pathlib import Path

import numpy as np
import pytest
from playwright.sync_api import FilePayload, Page, expect

from tests.dicoms import dicom
from tests.films import grey, jpeg
from tests.integration.page.fake_service import POINTS, FakeService, Said, film
from tests.page_actions import box, card, choose, expect_verdict

pytestmark = pytest.mark.integration

FOUND = "Signs of pneumonia found"
CLEAR = "No signs found at this operating point"


@pytest.mark.parametrize(
    ("said", "verdict", "reason"),
    [
        (Said(p=0.9998), FOUND, "at or above the threshold of the operating point rule_out"),
        (Said(p=0.1268), FOUND, "at or above"),
        (Said(p=0.1267), CLEAR, "below the threshold of the operating point rule_out"),
        (
            Said(p=0.14, uncertain=True),
            FOUND + "Uncertain",
            "such a p is usual for films with and without pneumonia (at a",
        ),
        (
            Said(p=0.14, uncertain=True, labels=("NORMAL",)),
            FOUND + "Uncertain",
            "usual for films without pneumonia only",
        ),
        (Said(reasons=("not_a_chest_film", "on_its_side")), "Not upright, or no chest X-ray", "Turn the film"),
        (Said(reasons=("not_a_chest_film",)), "Probably not a chest X-ray", "means nothing for other pictures"),
    ],
)
def test_verdict_is_in_plain_words(page: Page, fake: FakeService, said: Said, verdict: str, reason: str) -> None:
    fake.films[film()] = said
    choose(page)
    expect_verdict(page, verdict)
    expect(card(page)).to_contain_text(reason)


def test_p_is_on_a_scale_with_the_threshold(page: Page, fake: FakeService) -> None:
    fake.films[film()] = Said(p=0.25, uncertain=True)
    choose(page)
    scale = card(page).get_by_role("img", name="p of pneumonia")
    expect(scale).to_have_accessible_name(re.compile("0.2500.* from 0 to 1; threshold 0.1268; uncertain"))
    expect(scale).to_contain_text("p = 0.2500")
    bar, tick, dot = (box(scale.locator(part)) for part in (".scale-bar", ".scale-tick", ".scale-dot"))
    assert (tick["x"] + tick["width"] / 2 - bar["x"]) / bar["width"] == pytest.approx(0.1268, abs=0.01)
    assert (dot["x"] + dot["width"] / 2 - bar["x"]) / bar["width"] == pytest.approx(0.25, abs=0.02)


@pytest.mark.parametrize("p", [0.0, 1.0])
def test_labels_of_the_scale_stay_beside_it(page: Page, fake: FakeService, p: float) -> None:
    fake.films[film()] = Said(p=p)
    choose(page)
    scale = box(card(page).get_by_role("img", name="p of pneumonia"))
    label = box(card(page).get_by_text(f"p = {p:.4f}"))
    assert scale["x"] <= label["x"]
    assert label["x"] + label["width"] <= scale["x"] + scale["width"]


def test_warnings_are_said_once_each(page: Page, fake: FakeService) -> None:
    note = "Warning: smaller than 224 pixels a side, detail is missing. Warning: the DICOM file does not name the view."
    fake.films[film()] = Said(reasons=("too_small", "unlike_training_films", "some_new_reason"), warning=note)
    choose(page)
    warnings = card(page).locator(".warnings li")
    expect(warnings).to_have_count(4)
    expect(warnings.nth(0)).to_contain_text("so small that detail is missing")
    expect(warnings.nth(1)).to_contain_text("Do not rely on the result")
    expect(warnings.nth(2)).to_contain_text("some new reason")
    expect(warnings.nth(3)).to_have_text("The DICOM file does not name the view.")


def test_film_is_shown_as_the_browser_decodes_it(page: Page) -> None:
    choose(page, jpeg(grey(300, 200), orientation=6))
    picture = box(card(page).get_by_role("img", name="The film film-1.jpeg"))
    assert picture["width"] / picture["height"] == pytest.approx(200 / 300, abs=0.02)


def test_dicom_is_shown_as_the_service_draws_it(page: Page, fake: FakeService) -> None:
    page.get_by_label("Show heatmaps").uncheck()
    content = dicom(np.asarray(grey()))
    page.get_by_label("Choose films").set_input_files([FilePayload(name="IM000001", mimeType="", buffer=content)])
    expect_verdict(page, FOUND)
    expect(card(page).get_by_role("img", name="The film IM000001")).to_be_visible()
    assert ("/explain", {"opacity": "0"}) in fake.asked


def test_heatmap_lies_over_the_film(page: Page) -> None:
    choose(page, film(), film("normal-1"))
    for number in (1, 2):
        heat, picture = card(page, number).locator(".picture-heat"), card(page, number).locator(".picture-film")
        expect(heat).to_be_visible()
        assert box(heat) == pytest.approx(box(picture), abs=1)
        expect(card(page, number)).to_contain_text("+1.40")
    assert page.locator(".picture-heat").first.evaluate(_MEAN_COLOUR)[0] > 0


def test_heatmap_fades_with_its_slider(page: Page) -> None:
    choose(page)
    slider = card(page).get_by_role("slider", name="Heatmap")
    heat = card(page).locator(".picture-heat")
    expect(heat).to_have_css("opacity", "0.5")
    slider.focus()
    slider.press("ArrowRight")
    expect(heat).to_have_css("opacity", "0.55")
    slider.press("Home")
    expect(heat).to_have_css("opacity", "0")
    expect(card(page)).to_contain_text("0 %")


def test_heatmaps_that_nobody_wants_are_not_asked_for(page: Page, fake: FakeService) -> None:
    page.get_by_label("Show heatmaps").uncheck()
    choose(page)
    expect_verdict(page, FOUND)
    assert [path for path, _ in fake.asked] == ["/predict"]
    page.get_by_label("Show heatmaps").check()
    expect(card(page).locator(".picture-heat")).to_be_visible()
    page.get_by_label("Show heatmaps").uncheck()
    expect(card(page).locator(".picture-heat")).to_be_hidden()


def test_another_operating_point_screens_the_films_again(page: Page, fake: FakeService) -> None:
    fake.films[film()] = Said(p=0.5)
    choose(page)
    expect_verdict(page, FOUND)
    page.get_by_label("Operating point").select_option("balanced")
    expect_verdict(page, CLEAR)
    expect(card(page)).to_contain_text(f"threshold {POINTS['balanced']}")
    assert fake.asked[-1][1].get("operating_point") == "balanced"


def test_operating_point_says_what_it_is_worth(page: Page) -> None:
    expect(page.get_by_label("Operating point")).to_have_accessible_description(
        re.compile(r"Threshold 0.1268.*finds 99.3\s% .98.2\s% to 99.7\s%. of those with pneumonia and clears 94.2\s%")
    )


def test_several_films_go_three_at_a_time(page: Page, fake: FakeService) -> None:
    fake.let_through.clear()
    films = [jpeg(grey(seed=seed)) for seed in range(7)]
    fake.films[films[6]] = Said(p=0.01)
    choose(page, *films)
    expect(page.get_by_text("0 of 7 films screened")).to_be_visible()
    expect(page.get_by_text("Being screened")).to_have_count(3)
    expect(page.get_by_text("Waiting for its turn")).to_have_count(4)
    expect(page.get_by_role("progressbar", name="Films screened")).to_be_visible()
    fake.let_through.set()
    expect(page.locator("#summary")).to_have_text("7 of 7 films screened, 6 with signs of pneumonia.")
    expect(page.get_by_role("progressbar")).to_be_hidden()
    assert fake.most_running == 3


def test_films_are_sorted_by_p(page: Page, fake: FakeService) -> None:
    films = [jpeg(grey(seed=seed)) for seed in range(3)]
    fake.films |= {films[0]: Said(p=0.2), films[1]: Said(p=0.9), films[2]: Said(p=0.01)}
    choose(page, *films)
    page.get_by_role("button", name="Highest p first").click()
    expect(page.locator(".name")).to_have_text(["film-2.jpeg", "film-1.jpeg", "film-3.jpeg"])


def test_receipt_is_downloaded_as_json(page: Page) -> None:
    choose(page)
    with page.expect_download() as download:
        card(page).get_by_role("button", name="Download receipt").click()
    assert download.value.suggested_filename == "film-1.receipt.json"
    receipt = json.loads(Path(download.value.path()).read_text())
    assert receipt["film_sha256"] == hashlib.sha256(film()).hexdigest()
    assert receipt["operating_point"] == "rule_out"


def test_details_have_the_facts(page: Page) -> None:
    choose(page)
    card(page).get_by_text("Details").click()
    for fact in ("224 pixels, 8 bits", "left, top, right, bottom: 0, 12, 0, 0", "1.2.3"):
        expect(card(page).get_by_text(fact)).to_be_visible()


def test_film_is_enlarged_and_made_small_again(page: Page) -> None:
    choose(page)
    button = card(page).get_by_role("button", name="Enlarge film")
    small = box(card(page).locator(".picture-film"))
    button.click()
    assert box(card(page).locator(".picture-film"))["width"] > 1.5 * small["width"]
    expect(button).to_have_attribute("aria-pressed", "true")
    button.click()
    assert box(card(page).locator(".picture-film"))["width"] == small["width"]


def test_films_can_be_dropped_and_pasted(page: Page) -> None:
    for kind in ("drop", "paste"):
        page.evaluate(_TRANSFER, {"kind": kind, "film": list(film())})
    expect(page.get_by_role("article")).to_have_count(2)
    expect_verdict(page, FOUND, 1)
    expect_verdict(page, FOUND, 2)


def test_folder_is_dropped_with_the_films_in_it(page: Page, tmp_path: Path) -> None:
    (tmp_path / "study" / "series").mkdir(parents=True)
    (tmp_path / "study" / "one.jpeg").write_bytes(film())
    (tmp_path / "study" / "series" / "two.jpeg").write_bytes(film("normal-1"))
    (tmp_path / "study" / ".hidden").write_bytes(b"no film")
    chromium = page.context.new_cdp_session(page)
    data = {"items": [], "files": [str(tmp_path / "study")], "dragOperationsMask": 1}
    for step in ("dragEnter", "dragOver", "drop"):
        chromium.send("Input.dispatchDragEvent", {"type": step, "x": 300, "y": 300, "data": data})
        if step == "dragOver":
            expect(page.locator("body")).to_have_attribute("data-dragging", "")
    expect_verdict(page, FOUND, 2)
    expect(page.locator("body")).not_to_have_attribute("data-dragging", "")
    assert sorted(page.locator(".name").all_text_contents()) == ["one.jpeg", "two.jpeg"]


def test_films_beyond_the_most_are_left_out_with_a_word(page: Page, fake: FakeService) -> None:
    fake.let_through.clear()
    choose(page, *[b"film"] * 203)
    expect(page.get_by_role("article")).to_have_count(200)
    expect(page.get_by_role("status")).to_contain_text("3 films were left out: the page takes 200 at once")
    page.get_by_role("button", name="Remove all").click()
    expect(page.get_by_role("article")).to_have_count(0)


def test_model_version_and_card_are_there(page: Page) -> None:
    expect(page.get_by_text("Model 1.2.3")).to_be_visible()
    expect(page.get_by_role("link", name="API documentation")).to_have_attribute("href", "docs")
    page.get_by_role("link", name="Model card").click()
    expect(page.get_by_role("dialog", name="Model card")).to_contain_text("<b>Not</b> for adults.")
    page.keyboard.press("Escape")
    expect(page.get_by_role("dialog")).to_be_hidden()


def test_nothing_of_a_film_is_stored_and_its_name_never_sent(page: Page, fake: FakeService) -> None:
    choose(page)
    expect(card(page).locator(".picture-heat")).to_be_visible()
    assert page.evaluate(_STORED) == [0, 0, 0, 0, ""]
    assert fake.bodies
    assert not any(b"film-1.jpeg" in body for body in fake.bodies)


def test_what_a_name_or_an_answer_says_is_text(page: Page, fake: FakeService) -> None:
    code = "<img src=x onerror=alert(1)>"
    fake.films[film()] = Said(warning=f"Warning: {code}")
    name = f"{code}.jpeg"
    page.get_by_label("Choose films").set_input_files([FilePayload(name=name, mimeType="", buffer=film())])
    expect(card(page).locator(".name")).to_have_text(name)
    expect(card(page).locator(".warnings li")).to_have_text(code)


_MEAN_COLOUR = """canvas => {
  const { data } = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
  return [0, 1, 2, 3].map(part => data.filter((_, place) => place % 4 === part).reduce((a, b) => a + b) / data.length);
}"""

_TRANSFER = """({ kind, film }) => {
  const transfer = new DataTransfer();
  transfer.items.add(new File([new Uint8Array(film)], "film.jpeg", { type: "image/jpeg" }));
  const Kind = kind === "drop" ? DragEvent : ClipboardEvent;
  const options = { bubbles: true, cancelable: true, dataTransfer: transfer, clipboardData: transfer };
  document.body.dispatchEvent(new Kind(kind, options));
}"""

_STORED = """async () => [
  localStorage.length, sessionStorage.length, (await indexedDB.databases()).length, (await caches.keys()).length,
  document.cookie,
]"""
