"""python -m bench.decoding --films FOLDER [--rounds N] [--json FILE]

Measures the decoding of a film against Pillow's scaled decode and resize, which checks nothing, in turn on one core.
Prints the median milliseconds a film of processor time, their ratio, and the same of an uncompressed DICOM file of 6
megapixels and 12 bits beside a JPEG of the same film.
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
from bench.films import load_films
from handler.imaging import INPUT_SIZE, decode

LARGE_SIZE = (3000, 2000)


def main(args: argparse.Namespace) -> None:
    """Measure, and print the figures."""
    films = [film.data for film in load_films(args.films)]
    ours, pillow = mean_ms((decode, pillow_draft), films, rounds=args.rounds)
    jpeg, dicom = (mean_ms((decode,), [large], rounds=10 * args.rounds)[0] for large in large_files(films[0]))
    figures = {
        "films": len(films),
        "decode_ms": round(ours, 3),
        "pillow_draft_ms": round(pillow, 3),
        "ratio": round(ours / pillow, 3),
        "jpeg_6_megapixels_ms": round(jpeg, 3),
        "dicom_6_megapixels_ms": round(dicom, 3),
        "dicom_ratio": round(dicom / jpeg, 3),
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


def mean_ms(decoders: Sequence[Callable[[bytes], object]], films: Sequence[bytes], *, rounds: int) -> list[float]:
    """Return the median, over the rounds, of each decoder's mean milliseconds a film; the first round warms up."""
    took_s = np.zeros((rounds + 1, len(decoders)))
    for of_round in took_s:
        for data in films:
            for index, decoder in enumerate(decoders):
                began = time.process_time()
                decoder(data)
                of_round[index] += time.process_time() - began
    return [1000 * median(times) / len(films) for times in took_s[1:].T]


def large_files(film: bytes) -> tuple[bytes, bytes]:
    """Return a film at 6 megapixels, as a JPEG of quality 95 and as an uncompressed DICOM file of 12 bits."""
    image = Image.open(io.BytesIO(film)).convert("L").resize(LARGE_SIZE, Image.Resampling.BICUBIC)
    jpeg, dicom = io.BytesIO(), io.BytesIO()
    image.save(jpeg, "JPEG", quality=95)
    data_set = Dataset()
    data_set.file_meta = FileMetaDataset()
    data_set.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    data_set.SOPClassUID, data_set.SOPInstanceUID = DigitalXRayImageStorageForPresentation, "1.2.3"
    data_set.Modality, data_set.BodyPartExamined, data_set.ViewPosition = "DX", "CHEST", "PA"
    data_set.set_pixel_data(np.asarray(image).astype(np.uint16) * 16, "MONOCHROME2", 12)
    data_set.save_as(dicom, enforce_file_format=True)
    return jpeg.getvalue(), dicom.getvalue()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--films", type=Path, required=True, help="folder of JPEG films")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", type=Path, help="where the figures go too")
    sys.exit(run(main, parser.parse_args()))
