"""Builders of files that are valid in their parts and hostile, broken or rare as a whole."""

import struct
import zlib
from collections.abc import Iterable, Sequence

import numpy as np
import numpy.typing as npt

SOI, EOI = b"\xff\xd8", b"\xff\xd9"
_PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"


def segment(marker: int, body: bytes = b"") -> bytes:
    """Return a JPEG's marker segment, its length included."""
    return bytes([0xFF, marker]) + struct.pack(">H", len(body) + 2) + body


def after_soi(data: bytes, extra: bytes) -> bytes:
    """Return a JPEG with segments put in front of its own."""
    return data[:2] + extra + data[2:]


def before_eoi(data: bytes, extra: bytes) -> bytes:
    """Return a JPEG with segments put between its last scan and its end."""
    end = data.rindex(EOI)
    return data[:end] + extra + data[end:]


def without_segment(data: bytes, marker: int) -> bytes:
    """Return a JPEG without its header's segments of one kind."""
    kept, position = data[:2], 2
    while data[position + 1] != 0xDA:
        (length,) = struct.unpack_from(">H", data, position + 2)
        if data[position + 1] != marker:
            kept += data[position : position + 2 + length]
        position += 2 + length
    return kept + data[position:]


def frame_of(data: bytes) -> int:
    """Return where a JPEG's frame header has its sample precision."""
    position = 2
    while data[position + 1] not in {0xC0, 0xC1, 0xC2, 0xC3, 0xF7}:
        position += 2 + struct.unpack_from(">H", data, position + 2)[0]
    return position + 4


def with_size(data: bytes, width: int, height: int) -> bytes:
    """Return a JPEG whose frame header claims another size."""
    frame = frame_of(data)
    return data[: frame + 1] + struct.pack(">HH", height, width) + data[frame + 5 :]


def with_frame(data: bytes, marker: int) -> bytes:
    """Return a JPEG that claims another coding."""
    frame = frame_of(data)
    return data[: frame - 3] + bytes([marker]) + data[frame - 2 :]


def progressive(width: int, height: int, bands: Iterable[tuple[int, int, int, int]]) -> bytes:
    """Return a progressive grey JPEG of nothing but zeros: 15 bits stand for 16,384 blocks in a scan of a band.

    Args:
        width: In pixels.
        height: In pixels.
        bands: Of every scan after the first: first and last coefficient, bit position before and now.
    """
    blocks = -(-width // 8) * -(-height // 8)
    frame = struct.pack(">BHHBBBB", 8, height, width, 1, 1, 0x11, 0)
    data = SOI + segment(0xDB, bytes([0]) + bytes([1] * 64)) + segment(0xC2, frame)
    data += segment(0xC4, b"\x00" + bytes([1] + [0] * 15) + b"\x00")
    data += segment(0xC4, b"\x10" + bytes([1] + [0] * 15) + b"\xe0")
    data += segment(0xDA, bytes([1, 1, 0, 0, 0, 0])) + bytes(-(-blocks // 8))
    runs = -(-blocks // 16_384)
    for first, last, high, low in bands:
        data += segment(0xDA, bytes([1, 1, 0, first, last, high << 4 | low])) + bytes(-(-runs * 15 // 8))
    return data + EOI


def chunk(kind: bytes, body: bytes = b"") -> bytes:
    """Return a PNG's chunk with its length and checksum."""
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def png_of(*chunks: bytes) -> bytes:
    """Return a PNG of these chunks."""
    return _PNG_SIGNATURE + b"".join(chunks)


def ihdr(width: int, height: int, *, bits: int = 8, colour: int = 0, interlaced: int = 0) -> bytes:
    """Return a PNG's header chunk."""
    return chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, bits, colour, 0, 0, interlaced))


def chunks_of(data: bytes) -> list[tuple[bytes, bytes]]:
    """Return the kinds and bodies of a PNG's chunks."""
    found, position = [], 8
    while position < len(data):
        (length,) = struct.unpack_from(">I", data, position)
        found.append((data[position + 4 : position + 8], data[position + 8 : position + 8 + length]))
        position += 12 + length
    return found


def with_chunks(data: bytes, extra: Sequence[bytes], *, before: bytes = b"IDAT") -> bytes:
    """Return a PNG with chunks put in front of the first of a kind."""
    place = data.index(before) - 4
    return data[:place] + b"".join(extra) + data[place:]


def lossless_jpeg(
    samples: npt.NDArray[np.uint16], bits: int, *, point: int = 0, restart_rows: int = 0, interleaved: bool = True
) -> bytes:
    """Return samples (H, W, C) as a lossless JPEG of predictor 1, every category coded with five bits.

    Args:
        samples: Their lowest `point` bits are dropped.
        bits: Of a sample.
        point: The point transform.
        restart_rows: Rows between two restart markers, 0 for none.
        interleaved: All components in one scan, or each in its own.
    """
    height, width, count = samples.shape
    components = b"".join(bytes([number + 1, 0x11, 0]) for number in range(count))
    data = SOI + segment(0xC3, struct.pack(">BHHB", bits, height, width, count) + components)
    data += segment(0xC4, b"\x00" + bytes([0, 0, 0, 0, 17] + [0] * 11) + bytes(range(17)))
    data += segment(0xDD, struct.pack(">H", restart_rows * width))
    for scan in [list(range(count))] if interleaved else [[number] for number in range(count)]:
        names = b"".join(bytes([number + 1, 0]) for number in scan)
        data += segment(0xDA, bytes([len(scan)]) + names + bytes([1, 0, point]))
        step = restart_rows or height
        for number, top in enumerate(range(0, height, step)):
            data += bytes([0xFF, 0xD0 + (number - 1) % 8]) if number else b""
            data += _lossless_rows(samples[top : top + step, :, scan].astype(int) >> point, 1 << (bits - point - 1))
    return data + EOI


def _lossless_rows(samples: npt.NDArray[np.int_], first: int) -> bytes:
    predicted = np.empty_like(samples)
    predicted[:, 1:] = samples[:, :-1]
    predicted[1:, 0] = samples[:-1, 0]
    predicted[0, 0] = first
    coded = ""
    for difference in ((samples - predicted + 32_768) % 65_536 - 32_768).reshape(-1).tolist():
        category = 16 if difference == -32_768 else abs(difference).bit_length()
        coded += f"{category:05b}"
        if 0 < category < 16:
            coded += f"{difference if difference > 0 else difference + (1 << category) - 1:0{category}b}"
    coded += "1" * (-len(coded) % 8)
    return int(coded, 2).to_bytes(len(coded) // 8).replace(b"\xff", b"\xff\x00")
