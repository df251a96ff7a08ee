from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from handler.presentation import (
    FILM,
    ORIENTATIONS,
    POLARITY,
    Margins,
    Network,
    Presentation,
    Turned,
    block_sums,
    judge,
    load,
    save,
)

Film = npt.NDArray[np.uint8]

MARGINS = Margins(upside_down=1.0, on_its_side=2.0, mirrored=4.0)
UPRIGHT, SIDE, UPSIDE_DOWN, MIRRORED = 0, 1, 2, 4


@pytest.fixture
def network() -> Network:
    """A network of random weights that half floats hold."""
    dice = np.random.default_rng(0)

    def half(*shape: int) -> npt.NDArray[np.float64]:
        return dice.normal(0, 0.3, shape).astype(np.float16).astype(np.float64)

    return Network(
        square=half(16, 6),
        square_bias=half(6),
        hidden=half(64 * 6, 5),
        hidden_bias=half(5),
        score=half(5),
        score_bias=0.25,
    )


@pytest.fixture
def film() -> Film:
    return np.random.default_rng(1).integers(0, 256, (224, 224), dtype=np.uint8)


def scores(
    *, best: float, polarity: int = 0, orientation: int = UPRIGHT, others: float = -9.0
) -> npt.NDArray[np.float64]:
    given = np.full((2, 8), others)
    given[polarity, orientation] = best
    return given


def test_negative_has_the_scores_of_the_film_the_other_way_round(network: Network, film: Film) -> None:
    assert np.array_equal(network.scores(255 - film), network.scores(film)[::-1])


@pytest.mark.parametrize("mirrored", [False, True])
@pytest.mark.parametrize("quarters", range(4))
def test_turned_film_has_the_same_scores_in_another_order(
    network: Network, film: Film, mirrored: bool, quarters: int
) -> None:
    turned = np.ascontiguousarray(np.rot90(film[:, ::-1] if mirrored else film, quarters))
    upright, other = network.scores(film), network.scores(turned)
    assert np.array_equal(np.sort(upright), np.sort(other))
    place = int(np.flatnonzero(other[0] == upright[0, UPRIGHT])[0])
    assert ORIENTATIONS[place] == ORIENTATIONS[4 * mirrored + quarters]


def test_order_of_summation_does_not_matter(network: Network, film: Film) -> None:
    order = np.random.default_rng(2).permutation(5)
    shuffled = Network(
        square=network.square,
        square_bias=network.square_bias,
        hidden=network.hidden[:, order],
        hidden_bias=network.hidden_bias[order],
        score=network.score[order],
        score_bias=network.score_bias,
    )
    assert np.array_equal(network.scores(film), shuffled.scores(film))


def test_threads_get_the_same_scores(network: Network) -> None:
    films = [np.random.default_rng(seed).integers(0, 256, (224, 224), dtype=np.uint8) for seed in range(16)]
    single = [network.scores(film) for film in films]
    with ThreadPoolExecutor(4) as pool:
        assert np.array_equal(list(pool.map(network.scores, films)), single)


def test_blocks_are_summed_without_overflow() -> None:
    white = np.full((224, 224), 255, dtype=np.uint8)
    white[0, 7] = 0
    sums = block_sums(white)
    assert sums.shape == (32, 32)
    assert (sums[0, 1], sums[1, 0]) == (48 * 255, 49 * 255)


def test_film_of_another_size_is_refused(network: Network) -> None:
    with pytest.raises(ValueError, match="224x224"):
        network.scores(np.zeros((224, 223), dtype=np.uint8))


def test_saved_network_scores_the_same(tmp_path: Path, network: Network, film: Film) -> None:
    save(tmp_path / "weights.npz", network, MARGINS)
    loaded, margins = load(tmp_path / "weights.npz")
    assert margins == MARGINS
    assert np.array_equal(loaded.scores(film), network.scores(film))


def test_saved_file_is_the_same_every_time(tmp_path: Path, network: Network) -> None:
    save(tmp_path / "one.npz", network, MARGINS)
    save(tmp_path / "two.npz", network, MARGINS)
    assert (tmp_path / "one.npz").read_bytes() == (tmp_path / "two.npz").read_bytes()


def test_upright_positive_is_left_without_a_word() -> None:
    presented = judge(scores(best=5.0), MARGINS)
    assert presented == Presentation() == Presentation(negative=False, turned=None)
    assert presented.warnings() == []


def test_negative_is_reported() -> None:
    presented = judge(scores(best=5.0, polarity=1), MARGINS)
    assert presented == Presentation(negative=True)
    assert "negative" in presented.warnings()[0]


@pytest.mark.parametrize(("above", "negative"), [(POLARITY - 0.1, None), (POLARITY, True)])
def test_polarity_is_recognised_from_its_margin_on(above: float, negative: bool | None) -> None:
    assert judge(scores(best=5.0, polarity=1, others=5.0 - above), MARGINS).negative is negative


@pytest.mark.parametrize("polarity", [0, 1])
@pytest.mark.parametrize("orientation", [UPRIGHT, UPSIDE_DOWN])
def test_of_other_pictures_nothing_is_certain(polarity: int, orientation: int) -> None:
    presented = judge(scores(best=FILM - 0.1, polarity=polarity, orientation=orientation), MARGINS)
    assert presented == Presentation(negative=None, recognised=False)
    (warning,) = presented.warnings()
    assert "not recognised as a chest film" in warning


def test_film_of_uncertain_polarity_is_not_called_another_picture() -> None:
    presented = judge(scores(best=5.0, others=5.0 - POLARITY + 0.1), MARGINS)
    (warning,) = presented.warnings()
    assert "may be a negative" in warning
    assert "not recognised" not in warning


@pytest.mark.parametrize("polarity", [0, 1])
@pytest.mark.parametrize(
    ("orientation", "turned", "margin"),
    [(UPSIDE_DOWN, "upside down", 1.0), (SIDE, "on its side", 2.0), (MIRRORED, "mirrored", 4.0)],
)
def test_orientation_is_recognised_from_its_margin_on(
    polarity: int, orientation: int, turned: Turned, margin: float
) -> None:
    given = scores(best=5.0, polarity=polarity, orientation=orientation)
    given[polarity, UPRIGHT] = 5.0 - margin
    presented = judge(given, MARGINS)
    assert presented == Presentation(negative=bool(polarity), turned=turned)
    assert turned in presented.warnings()[-1]
    given[polarity, UPRIGHT] += 0.1
    assert judge(given, MARGINS).turned is None


def test_mirrored_film_is_said_to_be_perhaps_a_heart_on_the_right() -> None:
    assert "heart" in Presentation(turned="mirrored").warnings()[0]
