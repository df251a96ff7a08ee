import numpy as np
import pytest

from handler.imaging import decode
from tests.films import grey
from training.evaluate.invariance import CHANGES

FILM = np.asarray(grey(300, 260))
PLAIN = decode(CHANGES["9 bits"](FILM, np.random.default_rng(0)))


@pytest.mark.parametrize("name", [name for name in CHANGES if name.startswith("DICOM")])
def test_film_written_as_dicom_is_the_same(name: str) -> None:
    film = decode(CHANGES[name](FILM, np.random.default_rng(0)))
    assert film.facts.kind.startswith("DICOM")
    assert np.abs(film.pixels.astype(int) - PLAIN.pixels).mean() < 2.0


def test_every_announced_transfer_syntax_is_measured() -> None:
    result = " ".join(CHANGES)
    for name in ("12 bits", "JPEG baseline", "lossless JPEG", "JPEG-LS", "JPEG 2000", "RLE"):
        assert f"DICOM, {name}" in result
