"""Damage within the code-blocks, of which no marker and no decoder's error tells."""

from typing import Any

import imagecodecs
import numpy as np
import pytest

from handler.errors import DamagedFilm
from handler.formats import jpeg2000
from tests.films import grey
from tests.unit.handler.formats.test_jpeg2000 import coded, saved

GREY = grey(480, 500)
DEEP = np.asarray(GREY).astype(np.uint16) * 16 + 5

WHOLE: dict[str, bytes] = {
    "without loss": saved(GREY, num_resolutions=5),
    "with loss": bytes(imagecodecs.jpeg2k_encode(np.asarray(GREY), codecformat="j2k", level=50, reversible=False)),
    "12 bits": coded(DEEP, 12),
    "JP2 file": saved(GREY, boxes=True, num_resolutions=5),
    "tiles": saved(GREY, num_resolutions=4, tile_size=(256, 256)),
    "by resolution, in layers": saved(GREY, num_resolutions=5, progression="RLCP", quality_layers=[20, 5, 1]),
    "precincts": saved(GREY, num_resolutions=5, progression="RPCL", precinct_size=(128, 128)),
}


@pytest.mark.parametrize("min_px", [224, 480])
@pytest.mark.parametrize("name", WHOLE)
def test_whole_film_is_read_at_any_resolution(name: str, min_px: int) -> None:
    assert min(jpeg2000.open(WHOLE[name]).read(min_px).shape) >= min_px


@pytest.mark.parametrize("min_px", [224, 480])
@pytest.mark.parametrize("length", [1, 8])
@pytest.mark.parametrize("name", WHOLE)
def test_altered_bytes_of_blocks_are_detected(name: str, length: int, min_px: int) -> None:
    """Of the damage that is seen in the pixels, most."""
    data = WHOLE[name]
    whole = jpeg2000.open(data).read(min_px)
    first = data.index(b"\xff\x93") + 2
    generator = np.random.default_rng(0)
    refused = unnoticed = 0
    for place in generator.integers(first, len(data) - 20, 30).tolist():
        altered = bytearray(data)
        altered[place] ^= 1 << int(generator.integers(8))
        altered[place + 1 : place + length] = generator.bytes(length - 1)
        try:
            pixels = jpeg2000.open(bytes(altered)).read(min_px)
        except DamagedFilm:
            refused += 1
        else:
            unnoticed += not np.array_equal(pixels, whole)
    assert refused > 0
    assert unnoticed <= 0.25 * (refused + unnoticed) + 1


def test_damage_in_a_resolution_that_is_not_decoded_is_no_matter() -> None:
    altered = bytearray(WHOLE["without loss"])
    altered[-100:-60] = bytes(40)
    whole, read = (jpeg2000.open(bytes(data)).read(224) for data in (WHOLE["without loss"], altered))
    assert np.array_equal(whole, read)


def test_remarks_of_the_decoder_are_not_logged(caplog: Any, capfd: Any) -> None:
    altered = bytearray(WHOLE["without loss"])
    altered[5_000:5_040] = bytes(40)
    with pytest.raises(DamagedFilm):
        jpeg2000.open(bytes(altered)).read(480)
    assert caplog.records == []
    assert capfd.readouterr() == ("", "")
