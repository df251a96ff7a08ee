"""Small synthetic films, whole and broken: what tests send where a service would get radiographs."""

import io
import math
import struct
import zlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

from handler.imaging import decode

LABELS = ("NORMAL", "PNEUMONIA")


def grey(width: int = 96, height: int = 80, *, level: int = 120, seed: int = 0) -> Image.Image:
    """Return a grey film of smooth noise, unlike that of another seed, from black to white with its median at `level`.

    However its levels are stretched, a film of a higher level is the brighter one.
    """
    coarse = np.random.default_rng(seed).random((8, 8)).astype(np.float32)
    smooth = np.asarray(Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC))
    ranked = (smooth - smooth.min()) / (smooth.max() - smooth.min())
    power = math.log(level / 255) / math.log(np.median(ranked))
    return Image.fromarray(np.rint(255 * ranked**power).astype(np.uint8))


def half(width: int, height: int, *, side: str) -> Image.Image:
    """Return a film that is bright on one side, "left", "right", "top" or "bottom", and dark on the other."""
    rows, columns = np.mgrid[:height, :width]
    bright = {
        "left": columns < width // 2,
        "right": columns >= width // 2,
        "top": rows < height // 2,
        "bottom": rows >= height // 2,
    }
    return Image.fromarray(np.where(bright[side], 220, 20).astype(np.uint8))


def jpeg(image: Image.Image, *, orientation: int | None = None) -> bytes:
    """Return the image as a JPEG, with an EXIF orientation (1 to 8) where one is given."""
    exif = Image.Exif()
    if orientation is not None:
        exif[0x0112] = orientation
    return _saved(image, "JPEG", quality=95, exif=exif)


def png(image: Image.Image, **options: object) -> bytes:
    """Return the image as a PNG."""
    return _saved(image, "PNG", **options)


def png_of_16_bits(levels: npt.NDArray[np.uint16]) -> bytes:
    """Return grey levels (height, width) as a PNG of 16 bits."""
    return png(Image.fromarray(levels))


def with_bad_checksum(data: bytes) -> bytes:
    """Return a PNG with one bit of the checksum of its pixel data turned over."""
    start = data.index(b"IDAT")
    (length,) = struct.unpack(">I", data[start - 4 : start])
    crc = start + 4 + length
    return data[:crc] + bytes([data[crc] ^ 1]) + data[crc + 1 :]


def png_bomb(width: int, height: int) -> bytes:
    """Return a whole, valid PNG that claims width x height grey pixels and holds none of them."""
    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(b"")), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body)) for kind, body in chunks
    )


def jpeg_bomb(width: int, height: int) -> bytes:
    """Return a JPEG whose header claims width x height pixels."""
    data = jpeg(grey())
    frame = data.index(b"\xff\xc0") + 5  # marker, length and precision come before height and width
    return data[:frame] + struct.pack(">HH", height, width) + data[frame + 4 :]


def write_data_set(folder: Path, *, of_each: int = 6, per_patient: int = 2, levels: Sequence[int] = (70, 180)) -> Path:
    """Write a data set `{NORMAL,PNEUMONIA}/*.jpeg` named as the public one; PNEUMONIA is brighter."""
    for label, (name, level) in enumerate(zip(LABELS, levels, strict=True)):
        (folder / name).mkdir(parents=True)
        for number in range(of_each):
            patient = number // per_patient
            stem = (f"IM-{patient:04d}-{number:04d}", f"person{patient}_bacteria_{number}")[label]
            film = grey(level=level, seed=1000 * label + number)
            (folder / name / f"{stem}.jpeg").write_bytes(jpeg(film))
    return folder


def reference_pixels() -> npt.NDArray[np.uint8]:
    """Return the reference films as the model sees them, (N, 224, 224), and each again, darker and noisy."""
    films = [decode(film.read_bytes()).pixels for film in sorted(Path("reference").glob("*.jpeg"))]
    noise = np.random.default_rng(0)
    worse = [np.clip(film * 0.6 + noise.normal(20, 8, film.shape), 0, 255).astype(np.uint8) for film in films]
    return np.stack(films + worse)


def _saved(image: Image.Image, kind: str, **options: object) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def write_reference_films(folder: Path) -> None:
    """Write a small film of each label to a new folder, under the names of reference films."""
    folder.mkdir()
    (folder / "normal-1-224.jpeg").write_bytes(jpeg(grey(level=60)))
    (folder / "pneumonia-1-224.jpeg").write_bytes(jpeg(grey(level=190)))
