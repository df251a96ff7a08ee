"""No film takes more memory than is stated: the largest that are allowed, each decoded in a process of its own."""

import io
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

from handler.formats import jpeg, jpeg2000, png
from tests.dicoms import dicom
from tests.films import grey

DICOM_PEAK_BYTES = 400_000_000
"""As `handler/formats/dicom.py` says."""

MEASURE = """
import sys
from pathlib import Path
from handler.formats.registry import open_film
from handler.imaging import decode

def status(name):
    (line,) = [line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith(name)]
    return 1024 * int(line.split()[1])

small, large = (Path(path).read_bytes() for path in sys.argv[1:3])
read = decode if sys.argv[3] == "decode" else lambda data: open_film(data).read(1_000_000)
read(small)  # what is loaded once is not the film's
before = status("VmRSS:")
read(large)
print(status("VmHWM:") - before)
"""

DETAIL_PX = 16

Levels = npt.NDArray[Any]
"""(H, W) or (H, W, C), uint8 or uint16."""


def levels(width: int, height: int, *, colours: int = 1, deep: bool = False) -> Levels:
    """Return a film of little detail, so that its file is small."""
    coarse = np.asarray(grey(-(-width // DETAIL_PX), -(-height // DETAIL_PX)))
    grown = coarse.repeat(DETAIL_PX, axis=0).repeat(DETAIL_PX, axis=1)[:height, :width]
    film = grown.astype(np.uint16) * 257 if deep else grown
    return film if colours == 1 else np.stack([film] * colours, axis=2)


def saved(film: Levels, kind: str, **options: Any) -> bytes:
    file = io.BytesIO()
    Image.fromarray(film).save(file, kind, **options)
    return file.getvalue()


def progressive_colour(width: int, height: int) -> bytes:
    return saved(levels(width, height, colours=3), "JPEG", progressive=True, subsampling=0, quality=90)


def of_12_bits(width: int, height: int) -> bytes:
    return bytes(imagecodecs.jpeg8_encode(levels(width, height, colours=3, deep=True) >> 4, bitspersample=12))


def lossless(width: int, height: int) -> bytes:
    return bytes(imagecodecs.jpeg8_encode(levels(width, height, colours=3, deep=True), lossless=True, bitspersample=16))


def jpeg_ls(width: int, height: int) -> bytes:
    return bytes(imagecodecs.jpegls_encode(levels(width, height, colours=3, deep=True)))


def png_of_rgba64(width: int, height: int) -> bytes:
    return bytes(imagecodecs.png_encode(levels(width, height, colours=4, deep=True), level=1))


def large_jpeg_2000(width: int, height: int) -> bytes:
    """Of many small blocks, each of which the decoder keeps a record of."""
    return saved(levels(width, height), "JPEG2000", codeblock_size=(16, 16), num_resolutions=6, irreversible=False)


def jpeg_2000_of_one_resolution(width: int, height: int) -> bytes:
    return saved(levels(width, height, colours=3), "JPEG2000", num_resolutions=1, irreversible=False)


def deflated_dicom(width: int, height: int) -> bytes:
    return dicom(levels(width, height, deep=True), transfer_syntax="deflated")


def rle_dicom(width: int, height: int) -> bytes:
    return dicom(levels(width, height, deep=True), transfer_syntax="RLE")


def jpeg_ls_dicom(width: int, height: int) -> bytes:
    return dicom(levels(width, height, deep=True), transfer_syntax="JPEG-LS")


# As large, within a few percent, as the costs and 40 megapixels allow.
FILMS = [
    pytest.param(progressive_colour, 8000, 5000, jpeg.PEAK_BYTES, id="progressive JPEG"),
    pytest.param(of_12_bits, 5200, 3900, jpeg.PEAK_BYTES, id="12-bit JPEG"),
    pytest.param(lossless, 4300, 3500, jpeg.PEAK_BYTES, id="lossless JPEG"),
    pytest.param(jpeg_ls, 4900, 4200, jpeg.PEAK_BYTES, id="JPEG-LS"),
    pytest.param(png_of_rgba64, 3400, 2350, png.PEAK_BYTES, id="PNG"),
    pytest.param(large_jpeg_2000, 8000, 5000, jpeg2000.PEAK_BYTES, id="large JPEG 2000"),
    pytest.param(jpeg_2000_of_one_resolution, 1300, 1000, jpeg2000.PEAK_BYTES, id="JPEG 2000 of one resolution"),
    pytest.param(deflated_dicom, 8000, 5000, DICOM_PEAK_BYTES, id="deflated DICOM"),
    pytest.param(rle_dicom, 8000, 5000, DICOM_PEAK_BYTES, id="RLE DICOM"),
    pytest.param(jpeg_ls_dicom, 8000, 5000, DICOM_PEAK_BYTES, id="DICOM with JPEG-LS"),
]
Make = Callable[[int, int], bytes]

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the peak is read from /proc")


def growth(folder: Path, make: Make, width: int, height: int, *, how: str) -> int:
    """Return by how many bytes a process grows at most, the file itself left aside."""
    small, large = folder / "small", folder / "large"
    small.write_bytes(make(900, 700))
    large.write_bytes(make(width, height))
    command = [sys.executable, "-c", MEASURE, str(small), str(large), how]
    return int(subprocess.run(command, stdout=subprocess.PIPE, timeout=300, check=True).stdout)


@pytest.mark.parametrize(("make", "width", "height", "peak_bytes"), FILMS)
def test_largest_film_of_its_kind_takes_no_more_memory_than_is_stated(
    tmp_path: Path, make: Make, width: int, height: int, peak_bytes: int
) -> None:
    grown = growth(tmp_path, make, width, height, how="decode")
    assert width * height // 2 < grown < peak_bytes  # that it is measured at all is seen by the lower bound


def test_jpeg_decoded_at_full_size_takes_no_more_memory_than_is_stated(tmp_path: Path) -> None:
    grown = growth(tmp_path, progressive_colour, 8000, 5000, how="read")
    assert 3 * 8000 * 5000 < grown < jpeg.PEAK_BYTES
