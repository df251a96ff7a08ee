import dataclasses
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from handler.bars import Bars
from handler.contract import ModelContract
from handler.engine import STATISTICS
from handler.errors import ContractError
from handler.gate import FILE, Detector, Gate, Reason, policy_of, warnings
from handler.imaging import Facts, Film
from handler.presentation import Presentation, Turned
from tests.models import contract, detector, write_model_store

PLAIN = Facts(kind="JPEG", width_px=1500, height_px=1200, colour=0.0, contrast=50.0)
BOUNDS = dataclasses.replace(contract().gate, min_level=90.0, max_level=160.0)


def film(facts: Facts = PLAIN, *, level: int = 120) -> Film:
    return Film(pixels=np.full((224, 224), level, dtype=np.uint8), facts=facts)


def at(distance: float) -> npt.NDArray[np.float32]:
    """Return statistics (1, D) at a distance of the detector of `tests.models`."""
    statistics = np.zeros((1, STATISTICS), dtype=np.float32)
    statistics[0, -1] = distance * np.sqrt(STATISTICS)
    return statistics


def reasons(one: Film, *, distance: float = 0.5) -> tuple[Reason, ...]:
    (found,) = Gate(bounds=BOUNDS, detector=detector(unlike=1.0)).reasons([one], at(distance))
    return found


def said(facts: Facts, *codes: Reason) -> list[str]:
    return warnings(facts, codes, BOUNDS)


def test_nothing_speaks_against_a_film_like_those_of_the_training() -> None:
    assert reasons(film()) == ()
    assert said(PLAIN) == []


@pytest.mark.parametrize(
    ("change", "reason", "word"),
    [
        ({"colour": 10.1}, "colour_picture", "colour"),
        ({"contrast": 4.9}, "low_contrast", "contrast"),
        ({"height_px": 69}, "too_small", "70"),
    ],
)
def test_film_beyond_a_bound_is_marked(change: dict[str, float], reason: Reason, word: str) -> None:
    facts = dataclasses.replace(PLAIN, **change)  # type: ignore[arg-type]
    assert reasons(film(facts)) == (reason,)
    (warning,) = said(facts, reason)
    assert word in warning


def test_film_at_the_bounds_is_not_marked() -> None:
    facts = Facts(kind="PNG", width_px=70, height_px=70, colour=10.0, contrast=5.0)
    assert reasons(film(facts, level=90)) == reasons(film(facts, level=160)) == ()


@pytest.mark.parametrize("level", [89, 161])
def test_film_of_unusual_brightness_is_marked(level: int) -> None:
    assert reasons(film(level=level)) == ("unusual_exposure",)
    assert len(said(PLAIN, "unusual_exposure")) == 1


@pytest.mark.parametrize(
    ("presentation", "expected"),
    [
        (Presentation(negative=True), "inverted"),
        (Presentation(negative=None), "inverted"),
        (Presentation(negative=None, recognised=False), "not_a_chest_film"),
    ],
)
def test_presentation_is_marked(presentation: Presentation, expected: Reason) -> None:
    facts = dataclasses.replace(PLAIN, presentation=presentation)
    assert reasons(film(facts)) == (expected,)
    assert said(facts, expected) == presentation.warnings()


@pytest.mark.parametrize("turned", ["upside down", "on its side", "mirrored"])
def test_turned_film_is_marked(turned: Turned) -> None:
    facts = dataclasses.replace(PLAIN, presentation=Presentation(turned=turned))
    assert reasons(film(facts)) == (turned.replace(" ", "_"),)


@pytest.mark.parametrize(
    ("distance", "expected"), [(0.9, ()), (1.1, ("unlike_training_films",)), (11.0, ("not_a_chest_film",))]
)
def test_distance_decides(distance: float, expected: tuple[Reason, ...]) -> None:
    assert reasons(film(), distance=distance) == expected
    assert len(said(PLAIN, *expected)) == len(expected)


def test_distance_counts_the_kept_directions_by_their_variances_and_all_others_alike() -> None:
    statistics = np.eye(3, STATISTICS, dtype=np.float32)  # along the two that are kept, and one of the rest
    assert detector().distances(statistics) ** 2 * STATISTICS == pytest.approx([1 / 2.0, 1 / 1.5, 1.0])


def test_every_reason_is_said() -> None:
    facts = Facts(kind="PNG", width_px=69, height_px=69, colour=11.0, contrast=4.0)
    found = reasons(film(facts, level=10), distance=1.5)
    assert found == ("unlike_training_films", "colour_picture", "too_small", "low_contrast", "unusual_exposure")
    assert len(said(facts, *found)) == 5


@pytest.mark.parametrize(
    ("turned", "how"),
    [("on its side", "lying so, it"), ("upside down", "lying so, it"), ("mirrored", "picture"), (None, "picture")],
)
def test_film_that_does_not_lie_upright_is_said_first_to_be_that(turned: Turned | None, how: str) -> None:
    facts = dataclasses.replace(PLAIN, presentation=Presentation(turned=turned))
    presented = facts.presentation.warnings()
    sentences = said(facts, "not_a_chest_film")
    assert sentences[: len(presented)] == presented
    assert f"{how} was not recognised as a chest film" in sentences[-1]


def test_warnings_of_the_format_come_last() -> None:
    facts = dataclasses.replace(PLAIN, warnings=("Warning: one.",), presentation=Presentation(negative=True))
    assert said(facts) == [*Presentation(negative=True).warnings(), "Warning: one."]


def test_bars_do_not_count_as_the_films_size() -> None:
    facts = dataclasses.replace(PLAIN, width_px=200, bars=Bars(left=80, right=60))
    assert reasons(film(facts)) == ("too_small",)


@pytest.mark.parametrize(
    ("setting", "policy"), [("warn", "warn"), ("reject", "reject"), ("off", "off"), (False, "off")]
)
def test_policy_is_read_from_a_setting(setting: object, policy: str) -> None:
    assert policy_of(setting) == policy


@pytest.mark.parametrize("setting", ["Warn", True, None, 1])
def test_unknown_policy_is_refused(setting: object) -> None:
    with pytest.raises(ContractError, match="handler: gate: must be one of warn, reject, off"):
        policy_of(setting)


def test_saved_detector_measures_the_same(tmp_path: Path) -> None:
    detector(unlike=1.25).save(tmp_path / FILE)
    loaded = Detector.load(tmp_path / FILE)
    statistics = np.random.default_rng(0).normal(size=(5, STATISTICS)).astype(np.float32)
    assert loaded.distances(statistics) == pytest.approx(detector().distances(statistics))
    assert (loaded.unlike, loaded.foreign) == (1.25, 12.5)


@pytest.mark.parametrize("content", [None, b"", b"no archive", b"PK\x05\x06" + bytes(18)])
def test_file_that_is_no_detector_is_refused(tmp_path: Path, content: bytes | None) -> None:
    if content is not None:
        (tmp_path / FILE).write_bytes(content)
    with pytest.raises(ContractError, match=r"gate\.npz"):
        Detector.load(tmp_path / FILE)


def test_gate_of_another_contract_or_model_is_refused(tmp_path: Path) -> None:
    written: ModelContract = write_model_store(tmp_path)
    Gate.load(tmp_path, written)
    with pytest.raises(ContractError, match="another model"):
        Gate.load(tmp_path, dataclasses.replace(written, model_sha256="1" * 64))
    detector(model_sha256=written.model_sha256, unlike=2.0).save(tmp_path / FILE)
    with pytest.raises(ContractError, match="not the one that the contract was written for"):
        Gate.load(tmp_path, written)
