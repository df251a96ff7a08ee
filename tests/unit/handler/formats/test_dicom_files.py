"""DICOM files of other makers: those that come with pydicom."""

import io
import warnings
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
import numpy.typing as npt
import pydicom
import pydicom.data
import pytest
from pydicom.encaps import generate_frames
from pydicom.pixels.processing import apply_modality_lut

from handler.errors import DamagedFilm, FilmError, UnsupportedFormat, UnusableFilm
from handler.formats import dicom

FOLDER = Path(pydicom.data.__file__).parent / "test_files"
FILES = sorted(path.name for path in FOLDER.glob("*.dcm"))

OTHER_MODALITY = (UnusableFilm, "another modality")
SEVERAL_FRAMES = (UnusableFilm, "several frames")
NO_IMAGE = (UnusableFilm, "no image")
TOO_SMALL = (UnusableFilm, "too small")
NO_SIZE = (DamagedFilm, "how large")
CUT = (DamagedFilm, "longer than what is left")

OUTCOMES = {
    "ExplVR_BigEndNoMeta.dcm": NO_IMAGE,
    "ExplVR_LitEndNoMeta.dcm": NO_IMAGE,
    "JPEGLSNearLossless_08.dcm": TOO_SMALL,
    "JPEGLSNearLossless_16.dcm": TOO_SMALL,
    "SC_rgb_rle_16bit_2frame.dcm": SEVERAL_FRAMES,
    "SC_rgb_rle_2frame.dcm": SEVERAL_FRAMES,
    "SC_rgb_rle_32bit_2frame.dcm": SEVERAL_FRAMES,
    "UN_sequence.dcm": NO_IMAGE,
    "empty_charset_LEI.dcm": NO_IMAGE,
    "examples_ybr_color.dcm": SEVERAL_FRAMES,
    "meta_missing_tsyntax.dcm": NO_SIZE,
    "nested_priv_SQ.dcm": NO_SIZE,
    "no_meta_group_length.dcm": NO_IMAGE,
    "priv_SQ.dcm": CUT,
    "reportsi.dcm": NO_IMAGE,
    "reportsi_with_empty_number_tags.dcm": NO_IMAGE,
    "rtdose.dcm": SEVERAL_FRAMES,
    "rtdose_expb.dcm": SEVERAL_FRAMES,
    "rtdose_rle.dcm": SEVERAL_FRAMES,
    "rtplan.dcm": NO_IMAGE,
    "rtplan_truncated.dcm": CUT,
    "rtstruct.dcm": NO_IMAGE,
    "test-SR.dcm": NO_IMAGE,
    "waveform_ecg.dcm": NO_IMAGE,
}
"""Of those that are refused for something else than their modality."""
WITHOUT_MODALITY = {
    "SC_jpeg_no_color_transform.dcm",
    "SC_jpeg_no_color_transform_2.dcm",
    "SC_rgb_jls_lossy_line.dcm",
    "SC_rgb_jls_lossy_sample.dcm",
    "SC_rgb_jpeg_app14_dcmd.dcm",
}

UNCERTAIN = {"no_meta.dcm", "GDCMJ2K_TextGBR.dcm"}
"""One begins in the middle of an element, the other names no modality, and is held to its own test."""


@pytest.mark.parametrize("name", [name for name in FILES if name not in WITHOUT_MODALITY | UNCERTAIN])
def test_file_that_is_no_chest_film_is_refused_for_it(name: str, capfd: pytest.CaptureFixture[str]) -> None:
    data = (FOLDER / name).read_bytes()
    assert dicom.matches(data)
    error, reason = OUTCOMES.get(name, OTHER_MODALITY)
    with pytest.raises(error, match=reason):
        dicom.open(data)
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("name", sorted(WITHOUT_MODALITY))
def test_file_that_names_no_modality_is_read_with_a_warning(name: str) -> None:
    source = dicom.open((FOLDER / name).read_bytes())
    assert "modality" in source.header.warnings[0]
    assert source.read(64).shape[2] == 3


@pytest.mark.parametrize("path", sorted(path for path in FOLDER.iterdir() if path.suffix != ".dcm" and path.is_file()))
def test_other_files_are_not_taken_for_dicom(path: Path) -> None:
    assert not dicom.matches(path.read_bytes())


def as_film(name: str) -> tuple[bytes, pydicom.Dataset]:
    """Return a file renamed to a chest film, its pixels untouched, and its data set."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        data_set = pydicom.dcmread(FOLDER / name)
        data_set.Modality, data_set.BodyPartExamined, data_set.ViewPosition = "DX", "CHEST", "PA"
        file = io.BytesIO()
        data_set.save_as(file)
    return file.getvalue(), data_set


GREY = [
    *("693_J2KI.dcm", "CT_small.dcm", "JPEG2000.dcm"),
    *("J2K_pixelrep_mismatch.dcm", "MR_small.dcm", "MR_small_RLE.dcm", "MR_small_bigendian.dcm"),
    *("MR_small_expb.dcm", "MR_small_implicit.dcm", "MR_small_jp2klossless.dcm", "MR_small_jpeg_ls_lossless.dcm"),
    *("MR_small_padded.dcm", "JPGExtended.dcm", "image_dfl.dcm", "examples_overlay.dcm"),
]


def stored(data_set: pydicom.Dataset) -> npt.NDArray[Any]:
    """Return the pixels as pydicom reads them, or the codec where pydicom has none for them."""
    decode: dict[str, Any] = {
        "1.2.840.10008.1.2.4.51": imagecodecs.jpeg8_decode,
        "1.2.840.10008.1.2.4.70": imagecodecs.ljpeg_decode,
    }
    decode |= dict.fromkeys(("1.2.840.10008.1.2.4.80", "1.2.840.10008.1.2.4.81"), imagecodecs.jpegls_decode)
    syntax = data_set.file_meta.TransferSyntaxUID
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if syntax not in decode:
            return np.asarray(data_set.pixel_array)
    frame = next(generate_frames(data_set.PixelData, number_of_frames=1))
    pixels = np.asarray(decode[syntax](frame))
    return pixels.astype(np.int16) if data_set.PixelRepresentation else pixels


@pytest.mark.parametrize("name", GREY)
def test_grey_film_is_as_pydicom_reads_it(name: str) -> None:
    data, data_set = as_film(name)
    found = dicom.open(data).read(min(data_set.Rows, data_set.Columns)).astype(np.float64)
    pixels = stored(data_set)
    expected = np.asarray(apply_modality_lut(pixels, data_set), np.float64)
    assert found.shape == expected.shape
    inside = (found > found.min()) & (found < found.max())  # beyond its window, a film says no more
    inside &= pixels != data_set.get("PixelPaddingValue", 1 << 20)
    assert inside.mean() > 0.3
    assert np.corrcoef(found[inside], expected[inside])[0, 1] > 0.9999


COLOUR = [
    *("SC_rgb_dcmtk_+eb+cy+np.dcm", "SC_rgb_jls_lossy_line.dcm", "SC_rgb_jls_lossy_sample.dcm"),
    *("SC_rgb_jpeg_dcmtk.dcm", "SC_rgb_rle.dcm", "SC_rgb_rle_16bit.dcm", "examples_rgb_color.dcm"),
    *("SC_rgb_jpeg_gdcm.dcm", "SC_rgb_jpeg_lossy_gdcm.dcm", "examples_jpeg2k.dcm"),
]


@pytest.mark.parametrize("name", COLOUR)
def test_colour_is_as_pydicom_reads_it(name: str) -> None:
    data, data_set = as_film(name)
    pixels = dicom.open(data).read(min(data_set.Rows, data_set.Columns))
    found = pixels / np.iinfo(pixels.dtype).max
    expected = stored(data_set) / (1 << data_set.BitsStored)
    assert found.shape == expected.shape
    assert np.abs(found - expected).mean() < 0.02


def test_jpeg_2000_that_counts_the_parts_of_its_tiles_wrongly_is_read() -> None:
    data, data_set = as_film("GDCMJ2K_TextGBR.dcm")
    frame = next(generate_frames(data_set.PixelData, number_of_frames=1))
    assert np.array_equal(dicom.open(data).read(400), imagecodecs.jpeg2k_decode(frame))


@pytest.mark.parametrize(
    ("name", "error", "reason"),
    [
        ("MR_truncated.dcm", DamagedFilm, "cut"),
        ("examples_palette.dcm", UnsupportedFormat, "colours are not read"),
        ("rtdose_1frame.dcm", UnsupportedFormat, "8 or 16 bits"),
        ("SC_rgb_rle_32bit.dcm", UnsupportedFormat, "8 or 16 bits"),
        ("JPEG2000-embedded-sequence-delimiter.dcm", UnusableFilm, "too large"),
        ("SC_rgb_small_odd.dcm", UnusableFilm, "too small"),
        ("SC_rgb_small_odd_jpeg.dcm", UnusableFilm, "too small"),
    ],
)
def test_pixels_that_cannot_be_used_are_refused(name: str, error: type[FilmError], reason: str) -> None:
    data, _ = as_film(name)
    with pytest.raises(error, match=reason):
        dicom.open(data).read(64)


@pytest.mark.parametrize("name", FILES)
def test_every_file_is_read_or_refused_whatever_it_names(name: str) -> None:
    try:
        data, _ = as_film(name)
    except Exception:  # pydicom cannot write it again
        pytest.skip("not to be written")
    try:
        pixels = dicom.open(data).read(64)
    except FilmError:
        return
    assert pixels.dtype in (np.uint8, np.uint16)
    assert min(pixels.shape[:2]) >= 64
