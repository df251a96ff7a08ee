import json
from pathlib import Path

import numpy as np
import pytest
import torch

from handler.presentation import ORIENTATIONS, Margins, Presentation, load
from tests.films import grey, jpeg, write_data_set
from training.data.films import decode_films, find_films
from training.errors import DataError
from training.presentation import train as presentation
from training.presentation.measures import TURNED, Rate, find_margins, recognition, recognition_of_changed
from training.presentation.net import PresentationNet, learn, reduced, seen
from training.presentation.pictures import other_pictures, varied
from training.presentation.train import as_presented, decoded_adults

Films = np.ndarray[tuple[int, ...], np.dtype[np.uint8]]


def chests(count: int = 60) -> Films:
    """Return crude films (N, 224, 224): two dark lungs, the right one larger, in a bright body on black."""
    dice = np.random.default_rng(0)
    rows, columns = np.mgrid[:224, :224]
    films = []
    for _ in range(count):
        film = np.where(np.abs(columns - 112) < 85, 200, 5) - (rows < 30) * 40.0
        for centre, height in ((70, 70), (150, 50)):
            x, y = dice.normal(centre, 3), dice.normal(95, 4)
            film[((columns - x) / 26) ** 2 + ((rows - y) / height) ** 2 < 1] = 60
        films.append(np.clip(film + dice.normal(0, 6, film.shape), 0, 255).astype(np.uint8))
    return np.stack(films)


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture
def generator() -> torch.Generator:
    return torch.Generator().manual_seed(0)


def test_varied_films_are_pictures_of_the_network_s_size(generator: torch.Generator) -> None:
    films = reduced(chests(8))
    one, other = varied(films, generator), varied(films, generator)
    assert one.shape == (8, 32, 32)
    assert one.min() >= -1
    assert one.max() <= 1
    assert not torch.equal(one, other)


def test_other_pictures_differ_and_are_stretched(generator: torch.Generator) -> None:
    pictures = other_pictures(reduced(chests(32)), generator)
    assert pictures.shape == (32, 32, 32)
    assert torch.isfinite(pictures).all()
    assert pictures.amin() == -1
    assert pictures.amax() == 1
    assert len({picture.numpy().tobytes() for picture in pictures}) == 32


def test_served_network_scores_as_torch_does() -> None:
    torch.manual_seed(0)
    net, films = PresentationNet().eval(), chests(3)
    with torch.inference_mode():
        expected = net(seen(films)).view(3, 2, 8).numpy()
    served = net.exported()
    assert np.abs([served.scores(film) for film in films] - expected).max() < 5e-3


def test_same_seed_learns_the_same_network() -> None:
    films = reduced(chests(12))
    one, same, other = (learn(films, films[:0], epochs=2, seed=seed) for seed in (0, 0, 1))
    assert np.array_equal(one.hidden, same.hidden)
    assert not np.array_equal(one.hidden, other.hidden)


def test_learned_network_tells_all_presentations() -> None:
    films = chests()
    network = learn(reduced(films), reduced(films[:4]), epochs=150, seed=0)
    margins = Margins(upside_down=1.0, on_its_side=1.0, mirrored=1.0)
    result = recognition(films, [network] * len(films), margins)
    for rate in (result.sensitivity, result.specificity, *result.caught.values()):
        assert rate.count / rate.of > 0.9
    assert result.sensitivity == result.specificity
    assert result.false_warnings.count == 0
    assert (result.sensitivity.of, result.turned_sensitivity.of, result.caught["on its side"].of) == (60, 420, 240)
    changed = recognition_of_changed(films[:3], [network] * 3, margins, severity="mild")
    assert {one.negative for one in changed.values()} == {Rate(count=0, of=3)}


def test_margins_let_only_so_many_films_be_called_turned() -> None:
    scores = [np.zeros((2, 8)) for _ in range(2000)]
    for number in range(10):
        scores[number][0, ORIENTATIONS.index("mirrored")] = 20.0 - number
        scores[number][1, ORIENTATIONS.index("upside down")] = 5.0 + number
    margins = find_margins(scores)
    places = {name: ORIENTATIONS.index(name) for name in TURNED}
    above = {name: sum(one[:, place].max() >= margins.of(name) for one in scores) for name, place in places.items()}
    assert above == {"mirrored": 3, "upside down": 0, "on its side": 0}
    assert margins.on_its_side == 1.0


def test_rate_is_reported_with_its_interval() -> None:
    assert Rate(count=1, of=2).as_json() == pytest.approx(
        {"count": 1, "of": 2, "rate": 0.5, "low": 0.0945, "high": 0.9055}, abs=1e-4
    )
    assert "50.000%" in str(Rate(count=1, of=2))


def test_films_are_learned_from_as_their_files_present_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = write_data_set(tmp_path)
    plain = decode_films(find_films(data))
    monkeypatch.setattr("handler.presentation.recognise", lambda _: Presentation(negative=True))
    inverted = decode_films(find_films(data))
    assert np.array_equal(inverted.pixels, 255 - as_presented(plain))
    assert np.array_equal(as_presented(inverted), as_presented(plain))


def test_folder_with_too_few_adults_is_refused(tmp_path: Path) -> None:
    (tmp_path / "one.jpeg").write_bytes(jpeg(grey()))
    (tmp_path / "broken.jpeg").write_bytes(b"\xff\xd8\xff")
    with pytest.raises(DataError, match="1 films"):
        decoded_adults(tmp_path)


def test_command_writes_weights_and_report(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    data = write_data_set(tmp_path / "data", of_each=12)
    adults = write_data_set(tmp_path / "adults", of_each=3)
    out, report = tmp_path / "weights.npz", tmp_path / "report" / "presentation.json"
    arguments = [
        "presentation",
        "--data",
        data,
        "--adults",
        adults,
        "--measure",
        data,
        "--out",
        out,
        "--report",
        report,
    ]
    monkeypatch.setattr("sys.argv", [str(argument) for argument in (*arguments, "--epochs", 1)])
    with caplog.at_level("INFO"):
        presentation.main()
    assert "training films" in caplog.text
    _, margins = load(out)
    result = json.loads(report.read_text())
    assert result["margins"]["mirrored"] == pytest.approx(margins.mirrored, abs=1e-3)
    assert set(result["sets"]) == {"training films", "adults", "data"}
    assert result["sets"]["data"]["sensitivity"]["of"] == 24
    assert result["sets"]["training films"] == result["sets"]["data"]  # each judged by the network that has not seen it
