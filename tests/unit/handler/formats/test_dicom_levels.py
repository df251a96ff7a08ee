from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from pydicom.dataset import Dataset

from handler.formats import dicom
from tests.dicoms import dicom as dicom_of
from tests.dicoms import stored_cells

HEIGHT, WIDTH = 80, 100
RAMP = np.tile(np.linspace(0, 4095, WIDTH), (HEIGHT, 1)).astype(np.uint16)
"""From black on the left to white on the right, 12 bits."""
STEP = 65_535 / 4_095


def read(film: npt.NDArray[Any] = RAMP, min_px: int = HEIGHT, **tags: Any) -> npt.NDArray[np.float64]:
    """Return a 12-bit film as it is read, 0 to 1."""
    tags = {"bits_stored": 12} | tags
    return dicom.open(dicom_of(film, **tags)).read(min_px) / 65_535


def lut(
    entries: npt.NDArray[Any], first: int = 0, bits: int = 16, *, vr: str = "OW", order: str = "<"
) -> list[Dataset]:
    item = Dataset()
    item.LUTDescriptor = [len(entries) % 65_536, first % 65_536, bits]
    item["LUTDescriptor"].VR = "US"
    data = entries.astype(f"{order}u2")
    item.LUTData = data.tobytes() if vr == "OW" else data.tolist()
    item["LUTData"].VR = vr
    return [item]


def test_film_without_a_window_keeps_its_levels() -> None:
    assert np.abs(read() - RAMP / 4096).max() < 1e-3


@pytest.mark.parametrize("photometric", ["MONOCHROME1", "MONOCHROME2"])
@pytest.mark.parametrize("signed", [False, True], ids=["unsigned", "signed"])
@pytest.mark.parametrize("tags", [{}, {"RescaleSlope": 2.5, "RescaleIntercept": -700}], ids=["plain", "rescaled"])
def test_window_spreads_what_it_holds(photometric: str, tags: dict[str, Any], *, signed: bool) -> None:
    """Its centre is given for the values that are stored, rescaled."""
    centre = 2047 if photometric == "MONOCHROME2" else 4095 - 2047
    centre = centre - 2048 if signed else centre
    slope, intercept = tags.get("RescaleSlope", 1), tags.get("RescaleIntercept", 0)
    window = (centre * slope + intercept, 3600 * slope)
    found = read(photometric=photometric, signed=signed, window=window, **tags)
    assert np.abs(found - np.clip((RAMP - 247.0) / 3600, 0, 1)).max() < 2e-3


@pytest.mark.parametrize("function", ["LINEAR", "LINEAR_EXACT", "linear", "NONSENSE", None])
def test_window_is_straight(function: str | None) -> None:
    found = read(window=(2000, 3600), VOILUTFunction=function)
    assert np.abs(found - np.clip((RAMP - 200.0) / 3600, 0, 1)).max() < 1e-3


def test_window_of_linear_is_half_a_value_off_the_exact_one() -> None:
    film = np.tile(np.arange(WIDTH, dtype=np.uint16), (HEIGHT, 1))
    linear = read(film, window=(50, 90))
    exact = read(film, window=(50, 90), VOILUTFunction="LINEAR_EXACT")
    assert np.abs(linear - np.clip((film - 49.5) / 89 + 0.5, 0, 1)).max() < 1e-3
    assert np.abs(exact - np.clip((film - 50.0) / 90 + 0.5, 0, 1)).max() < 1e-3


def test_window_of_a_sigmoid_is_a_curve() -> None:
    found = read(window=(2000, 1500), VOILUTFunction="SIGMOID")
    assert np.abs(found - 1 / (1 + np.exp(-4 * (RAMP - 2000.0) / 1500))).max() < 1e-2


def test_narrow_window_over_fractions_is_exact() -> None:
    found = read(RescaleSlope=1 / 4096, window=(0.5, 0.9))
    assert np.abs(found - np.clip((RAMP / 4096 - 0.5) / 0.9 + 0.5, 0, 1)).max() < 1e-3


def test_first_of_several_windows_is_applied() -> None:
    found = read(WindowCenter=[2000, 100], WindowWidth=[3600, 10])
    assert np.array_equal(found, read(window=(2000, 3600)))


@pytest.mark.parametrize(
    "tags",
    [
        {"window": (2000, 0)},
        {"window": (2000, -5)},
        {"window": (2000, 1)},
        {"window": (2000, 20)},
        {"window": (90_000, 3000)},
        {"window": (-90_000, 3000)},
        {"window": (1e30, 1e30)},
        {"window": (0, 3e9)},
        {"WindowCenter": 2000},
        {"WindowWidth": 2000},
        {"WindowCenter": "", "WindowWidth": ""},
        {"RescaleSlope": 0},
        {"RescaleSlope": "1e30"},
        {"RescaleIntercept": "1e30"},
        {"RescaleSlope": "1e-30", "RescaleIntercept": "1000"},
        {"RescaleSlope": "1e30", "RescaleIntercept": "-1e30"},
    ],
    ids=str,
)
def test_absurd_window_or_rescale_is_ignored(tags: dict[str, Any]) -> None:
    assert np.abs(read(**tags) - read()).max() < 1e-3


@pytest.mark.parametrize("value", [b"NaN ", b"inf ", b"abc ", b"\\\\\\\\", b"1..0", b"\xff\xfe\0\0"], ids=repr)
@pytest.mark.parametrize("keyword", ["WindowCenter", "WindowWidth", "RescaleSlope", "RescaleIntercept"])
def test_value_that_is_no_number_is_ignored(keyword: str, value: bytes) -> None:
    tags: dict[str, Any] = {"WindowCenter": "2222", "WindowWidth": "3333"}
    if keyword.startswith("Rescale"):
        tags = {"RescaleSlope": "1", "RescaleIntercept": "0"}
    tags[keyword] = "9876"
    data = dicom_of(RAMP, bits_stored=12, **tags)
    assert data.count(b"9876") == 1
    broken = dicom.open(data.replace(b"9876", value)).read(HEIGHT) / 65_535
    assert np.abs(broken - read()).max() < 1e-3


@pytest.mark.parametrize("photometric", ["MONOCHROME1", "MONOCHROME2"])
def test_rescale_to_a_single_level_is_ignored(photometric: str) -> None:
    found = read(photometric=photometric, RescaleSlope="1e-30", RescaleIntercept="1000")
    assert np.abs(found - read(photometric=photometric)).max() < 1e-3


def test_rescale_of_a_falling_slope_turns_the_film() -> None:
    found = read(RescaleSlope=-1, RescaleIntercept=4095)
    assert np.abs(found - (1 - RAMP / 4095)).max() < 1e-3


@pytest.mark.parametrize(
    ("tags", "is_turned"),
    [
        ({"photometric": "MONOCHROME2"}, False),
        ({"photometric": "MONOCHROME2", "PresentationLUTShape": "IDENTITY"}, False),
        ({"photometric": "MONOCHROME2", "PresentationLUTShape": "INVERSE"}, True),
        ({"photometric": "MONOCHROME1"}, False),  # the film was stored as a negative
        ({"photometric": "MONOCHROME1", "PresentationLUTShape": "INVERSE"}, False),
    ],
)
@pytest.mark.parametrize("window", [None, (2048, 4096)], ids=["plain", "windowed"])
def test_polarity_is_as_said_once(tags: dict[str, Any], window: tuple[float, float] | None, *, is_turned: bool) -> None:
    found = read(window=window, **tags)
    assert np.abs(found - (1 - RAMP / 4095 if is_turned else RAMP / 4095)).max() < 2e-3


@pytest.mark.parametrize("transfer_syntax", ["implicit", "explicit", "big endian"])
@pytest.mark.parametrize("vr", ["OW", "US"])
@pytest.mark.parametrize("keyword", ["VOILUTSequence", "ModalityLUTSequence"])
def test_table_is_applied(keyword: str, vr: str, transfer_syntax: str) -> None:
    entries = (np.linspace(0, 1, 4096) ** 2 * 60_000).astype(np.uint16)[:4000]
    order = ">" if transfer_syntax == "big endian" else "<"
    tags: dict[str, Any] = {keyword: lut(entries, first=50, vr=vr, order=order)}
    found = read(transfer_syntax=transfer_syntax, window=(2000, 10), **tags)
    expected = entries[np.clip(RAMP.astype(int) - 50, 0, 3999)] / entries.max()
    assert np.abs(found - expected).max() < 1e-3


def test_table_of_signed_values_begins_below_zero() -> None:
    entries = (np.linspace(0, 1, 4096) ** 2 * 60_000).astype(np.uint16)
    table = lut(entries, first=-2048)
    assert np.abs(read(signed=True, VOILUTSequence=table) - (RAMP / 4095) ** 2).max() < 2e-3


def test_table_of_all_values_is_applied() -> None:
    """65,536 entries are written as 0."""
    entries = np.arange(65_536).astype(np.uint16)[::-1]
    film = RAMP * np.uint16(16)
    found = read(film, bits_stored=16, ModalityLUTSequence=lut(entries))
    assert np.abs(found - (1 - film / 65_535)).max() < 1e-3


def test_table_of_bytes_is_applied() -> None:
    item = Dataset()
    item.LUTDescriptor = [4096, 0, 8]
    item["LUTDescriptor"].VR = "US"
    item.LUTData = (np.linspace(0, 1, 4096) ** 2 * 255).astype(np.uint8).tobytes()
    item["LUTData"].VR = "OW"
    assert np.abs(read(VOILUTSequence=[item]) - (RAMP / 4095) ** 2).max() < 6e-3


def without(item: Dataset, keyword: str) -> list[Dataset]:
    delattr(item, keyword)
    return [item]


@pytest.mark.parametrize(
    "sequence",
    [
        lut(np.full(4096, 7)),
        lut(np.arange(100), first=50_000),
        lut(np.arange(3)),
        without(lut(np.arange(4096))[0], "LUTData"),
        without(lut(np.arange(4096))[0], "LUTDescriptor"),
        [Dataset()],
        [],
    ],
    ids=["constant", "elsewhere", "short", "without data", "without descriptor", "empty item", "no item"],
)
def test_table_that_would_show_nothing_is_ignored(sequence: list[Dataset]) -> None:
    assert np.abs(read(VOILUTSequence=sequence) - read()).max() < 1e-3


def test_window_is_applied_where_the_table_is_ignored() -> None:
    found = read(VOILUTSequence=lut(np.full(4096, 7)), window=(2000, 3600))
    assert np.array_equal(found, read(window=(2000, 3600)))


def test_film_inside_of_bars_keeps_its_window() -> None:
    """The bars are most of the film, and black in the window: they are not its bulk."""
    film = np.zeros((300, 300), np.uint16)
    film[100:180, 100:200] = 1500 + RAMP // 4
    found = read(film, min_px=300, window=(2000, 1100))
    assert found[140, 100] < 0.06
    assert found[140, 199] > 0.94


@pytest.mark.parametrize("high_bit", [11, 12, 15])
@pytest.mark.parametrize("transfer_syntax", ["implicit", "big endian", "RLE", "lossless JPEG, first order"])
def test_overlay_in_the_bits_beside_the_film_does_not_matter(high_bit: int, transfer_syntax: str) -> None:
    shift = high_bit - 11
    cells = RAMP << np.uint16(shift)
    beside = np.uint16(0xFFFF ^ (0xFFF << shift))
    cells[20:40, 30:60] |= beside
    data = dicom_of(cells, bits_stored=16, transfer_syntax=transfer_syntax, BitsStored=12, HighBit=high_bit)
    assert np.abs(dicom.open(data).read(HEIGHT) / 65_535 - read()).max() < 1e-3


@pytest.mark.parametrize("transfer_syntax", ["implicit", "explicit", "big endian", "JPEG-LS"])
@pytest.mark.parametrize("photometric", ["MONOCHROME1", "MONOCHROME2"])
@pytest.mark.parametrize(
    ("signed", "padding", "limit"),
    [
        (False, 0, None),
        (False, 4095, None),
        (False, 4000, 4095),
        (False, 65_535, None),
        (False, 60_000, 65_535),
        (True, -2048, None),
        (True, 2047, None),
        (True, -30_000, None),
        (True, 30_000, 32_000),
        (True, -2048, -2000),
    ],
)
def test_padding_becomes_the_darkest_level(
    transfer_syntax: str, photometric: str, padding: int, limit: int | None, *, signed: bool
) -> None:
    film = 1000 + RAMP // 2
    cells = stored_cells(film, 12, inverted=photometric == "MONOCHROME1", signed=signed).astype(np.int32)
    if signed:
        cells = (cells ^ 0x800) - 0x800
    cells[:, :20] = padding if limit is None else limit - 1
    tags: dict[str, Any] = {"PixelPaddingValue": padding, "PixelPaddingRangeLimit": limit}
    data = dicom_of(
        cells.astype(np.uint16) if not signed else cells.astype(np.int16).view(np.uint16),
        bits_stored=16,
        transfer_syntax=transfer_syntax,
        PixelRepresentation=int(signed),
        PhotometricInterpretation=photometric,
        BitsStored=12,
        HighBit=11,
        **tags,
    )
    for min_px in (HEIGHT, 20):
        found = dicom.open(data).read(min_px) / 65_535 * 4096
        factor = WIDTH // found.shape[1]
        assert np.abs(found[:, : 20 // factor] - film[0, 20]).max() < 2
        assert (
            np.abs(found[:, 20 // factor :] - film[: len(found), 20:].reshape(len(found), -1, factor).mean(-1)).max()
            < 2
        )


def test_padding_that_is_the_whole_film_is_no_padding() -> None:
    film = np.full((HEIGHT, WIDTH), 700, np.uint16)
    film[1] = 2000
    assert read(film, PixelPaddingValue=700).min() == pytest.approx(700 / 4096, abs=1e-3)


def test_limit_without_a_padding_value_is_ignored() -> None:
    assert np.array_equal(read(PixelPaddingRangeLimit=4000), read())
