"""What the decoding of a film costs, against Pillow's scaled decode and resize, which checks nothing.

    python -m bench.decoding --films FOLDER [--rounds N] [--json FILE]

The two take turns, film by film, on one core. Prints the median milliseconds a film of processor time, their ratio, and
the time of an uncompressed DICOM file of 6 megapixels and 12 bits beside a JPEG of the same film.
"""

import argparse
import io
import json
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import median

import numpy as np
from PIL import Image
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import DigitalXRayImageStorageForPresentation, ExplicitVRLittleEndian

from bench.cli import run
from bench.films import BenchFilm, load_films
from handler.formats.registry import open_film
from handler.imaging import INPUT_SIZE, decode

DICOM_SIZE = (3000, 2000)


def main(args: argparse.Namespace) -> None:
    """Measure, and print the figures."""
    films = load_films(args.films)
    ours, pillow = in_turn((decode, pillow_draft), [film.data for film in films], rounds=args.rounds)
    jpeg, dicom = large_film(films)
    large_jpeg, large_dicom = (in_turn((decode,), [data], rounds=10 * args.rounds)[0] for data in (jpeg, dicom))
    figures = {
        "films": len(films),
        "decode_ms": round(ours, 3),
        "pillow_draft_ms": round(pillow, 3),
        "ratio": round(ours / pillow, 3),
        "jpeg_6_megapixels_ms": round(large_jpeg, 3),
        "dicom_6_megapixels_ms": round(large_dicom, 3),
        "dicom_ratio": round(large_dicom / large_jpeg, 3),
    }
    text = json.dumps(figures, indent=2) + "\n"
    sys.stdout.write(text)
    if args.json:
        args.json.write_text(text, encoding="utf-8")


def pillow_draft(data: bytes) -> None:
    """Decode a JPEG at the least scale of Pillow's that leaves 224 pixels, and squash it."""
    image = Image.open(io.BytesIO(data))
    image.draft(None, INPUT_SIZE)
    np.asarray(image.convert("L").resize(INPUT_SIZE, Image.Resampling.BICUBIC))


def in_turn(decoders: Sequence[Callable[[bytes], object]], films: Sequence[bytes], *, rounds: int) -> list[float]:
    """Return the median, over the rounds, of each decoder's mean milliseconds a film; the first round warms up."""
    took: list[list[float]] = [[] for _ in decoders]
    for _ in range(rounds + 1):
        spent = [0.0] * len(decoders)
        for data in films:
            for index, decoder in enumerate(decoders):
                began = time.process_time()
                decoder(data)
                spent[index] += time.process_time() - began
        for index, seconds in enumerate(spent):
            took[index].append(1000 * seconds / len(films))
    return [median(times[1:]) for times in took]


def large_film(films: Sequence[BenchFilm]) -> tuple[bytes, bytes]:
    """Return the first film at 6 megapixels, as a JPEG of quality 95 and as an uncompressed DICOM file of 12 bits."""
    source = open_film(films[0].data)
    pixels = source.read(max(source.header.width_px, source.header.height_px))
    image = Image.fromarray(pixels).convert("L").resize(DICOM_SIZE, Image.Resampling.BICUBIC)
    jpeg = io.BytesIO()
    image.save(jpeg, "JPEG", quality=95)
    data_set = Dataset()
    data_set.file_meta = FileMetaDataset()
    data_set.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    data_set.SOPClassUID, data_set.SOPInstanceUID = DigitalXRayImageStorageForPresentation, "1.2.3"
    data_set.Modality, data_set.BodyPartExamined, data_set.ViewPosition = "DX", "CHEST", "PA"
    data_set.Columns, data_set.Rows = DICOM_SIZE
    data_set.SamplesPerPixel, data_set.PhotometricInterpretation = 1, "MONOCHROME2"
    data_set.BitsAllocated, data_set.BitsStored, data_set.HighBit, data_set.PixelRepresentation = 16, 12, 11, 0
    data_set.PixelData = (np.asarray(image).astype(np.uint16) * 16).tobytes()
    dicom = io.BytesIO()
    data_set.save_as(dicom, enforce_file_format=True)
    return jpeg.getvalue(), dicom.getvalue()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--films", type=Path, required=True, help="folder of JPEG films")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", type=Path, help="where the figures go too")
    sys.exit(run(main, parser.parse_args()))
