"""Labelled films of known patients, without pixels."""

from pathlib import Path

import numpy as np

from handler.imaging import Facts
from training.data.films import DecodedFilms, FilmFile

FACTS = Facts(kind="PNG", width_px=224, height_px=224, colour=0.0, contrast=50.0)


def labelled(labels: list[int], patients: list[str]) -> DecodedFilms:
    files = tuple(
        FilmFile(path=Path(f"{index}.png"), label=label, patient=patient, subgroup="unknown")
        for index, (label, patient) in enumerate(zip(labels, patients, strict=True))
    )
    return DecodedFilms(
        files=files,
        pixels=np.zeros((len(files), 1, 1), np.uint8),
        labels=np.array(labels),
        facts=(FACTS,) * len(files),
        digests=tuple(str(index) for index in range(len(files))),
        skipped=(),
    )
