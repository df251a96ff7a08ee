"""python -m bench.decoding --films FOLDER [--json FILE]

Measures the decoding of a film against Pillow's scaled decode and resize, which checks nothing, in turn on one core.
Prints the median milliseconds a film of processor time, their ratio, and the same of an uncompressed DICOM file of 6
megapixels and 12 bits beside a JPEG of the same film.
"""

import argparse
import io
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from statistics import median

import numpy as np
from PIL import Image
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import DigitalXRayImageStorageForPresentation, ExplicitVRLittleEndian

from bench.cli import run, write_figures
from bench.films import load_films
from bench.stages import Part, mean_ms
from handler.imaging import INPUT_SIZE, decode

LARGE_SIZE = (3000, 2000)
ROUNDS = 5


def main(args: argparse.Namespace) -> None:
    """Measure, and print the figures."""
    films = [film.data for film in load_films(args.films)]
    jpeg, dicom = large_files(films[0])
    small = {"decode": lambda n: decode(films[n]), "pillow": lambda n: pillow_draft(films[n])}
    large = {"jpeg": lambda _: decode(jpeg), "dicom": lambda _: decode(dicom)}
    ms = {**median_ms(small, len(films)), **median_ms(large, 10)}
    figures = {
        "films": len(films),
        "decode_ms": ms["decode"],
        "pillow_draft_ms": ms["pillow"],
        "ratio": round(ms["decode"] / ms["pillow"], 3),
        "jpeg_6_megapixels_ms": ms["jpeg"],
        "dicom_6_megapixels_ms": ms["dicom"],
        "dicom_ratio": round(ms["dicom"] / ms["jpeg"], 3),
    }
    write_figures(figures, args.json)


def median_ms(decoders: Mapping[str, Part], films: int) -> dict[str, float]:
    """Return the median, over the rounds, of each decoder's mean milliseconds a film; the first round warms up."""
    times = [mean_ms(decoders, films=films, seconds=0, clock=time.process_time) for _ in range(ROUNDS + 1)]
    return {name: round(median(one[name] for one in times[1:]), 3) for name in decoders}


def pillow_draft(data: bytes) -> None:
    """Decode a JPEG at the least scale of Pillow's that leaves 224 pixels, and squash it."""
    image = Image.open(io.BytesIO(data))
    image.draft(None, INPUT_SIZE)
    np.asarray(image.convert("L").resize(INPUT_SIZE, Image.Resampling.BICUBIC))


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
    parser.add_argument("--json", type=Path, help="where the figures go too")
    sys.exit(run(main, parser.parse_args()))
