import numpy as np
import numpy.typing as npt
import pytest

from handler.errors import DamagedFilm
from handler.formats import jpeg
from tests.films import grey
from tests.unit.handler.formats.hostile import lossless_jpeg

NOISE = np.random.default_rng(0)


def levels(bits: int, count: int = 1) -> npt.NDArray[np.uint16]:
    return NOISE.integers(0, 1 << bits, (70, 66, count)).astype(np.uint16)


@pytest.mark.parametrize("restart_rows", [0, 1, 7, 70])
@pytest.mark.parametrize("point", [0, 3])
@pytest.mark.parametrize("bits", [8, 12, 16])
def test_restarts_and_point_transform_are_followed(bits: int, point: int, restart_rows: int) -> None:
    samples = levels(bits)
    read = jpeg.open(lossless_jpeg(samples, bits, point=point, restart_rows=restart_rows)).read(224)
    assert np.array_equal(read, samples[..., 0] >> point << point)


@pytest.mark.parametrize("interleaved", [True, False])
@pytest.mark.parametrize("restart_rows", [0, 5])
def test_colours_are_read_in_one_scan_or_three(interleaved: bool, restart_rows: int) -> None:
    samples = levels(8, 3)
    data = lossless_jpeg(samples, 8, restart_rows=restart_rows, interleaved=interleaved)
    assert np.array_equal(jpeg.open(data).read(224), samples)


def test_difference_of_half_the_range_is_coded_without_further_bits() -> None:
    samples = np.zeros((70, 66, 1), np.uint16)
    samples[:, ::2] = 32_768
    assert np.array_equal(jpeg.open(lossless_jpeg(samples, 16)).read(224), samples[..., 0])


@pytest.mark.parametrize("restart_rows", [0, 10])
def test_nearly_every_loss_of_a_few_bytes_is_found(restart_rows: int) -> None:
    film = np.asarray(grey(66, 70)).astype(np.uint16)[..., np.newaxis]
    data = lossless_jpeg(film, 8, restart_rows=restart_rows)
    scan = jpeg.open(data).structure.scans[0]
    places = range(scan.start + 3, scan.end - 15, 13)
    found = 0
    for place in places:
        try:
            jpeg.open(data[:place].rstrip(b"\xff") + data[place + 12 :]).read(224)
        except DamagedFilm:
            found += 1
    assert found >= 0.95 * len(places)


def test_restart_within_a_row_is_damage() -> None:
    data = lossless_jpeg(levels(8), 8, restart_rows=1)
    place = data.index(b"\xff\xdd\x00\x04") + 4
    with pytest.raises(DamagedFilm):
        jpeg.open(data[:place] + b"\x00\x21" + data[place + 2 :]).read(224)
