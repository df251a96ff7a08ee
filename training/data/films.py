"""Labelled films on disk: which there are, whose they are, and how they are split.

A data set is a folder `{NORMAL,PNEUMONIA}/*`, or a CSV with the columns `path,label,patient` whose paths are relative
to the CSV.
"""

import csv
import hashlib
import logging
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from sklearn.model_selection import StratifiedGroupKFold

from handler.errors import FilmError
from handler.imaging import Facts, decode
from training.errors import DataError
from training.figures.metrics import LABELS

logger = logging.getLogger(__name__)

FOLDS = 5
"""Parts that the patients are split into, where there are as many of each class."""
SUFFIXES = frozenset({".jpeg", ".jpg", ".png", ".jp2", ".dcm", ".dicom"})
DICOM_MARK = (128, b"DICM")
"""Where, and by which bytes, a DICOM file is known: archives name them without a suffix, or by numbers and points."""

_PATIENT = re.compile(r"(?P<pneumonia>person\d+)_(?P<cause>bacteria|virus)_|(?P<normal>(?:NORMAL2-)?IM-\d+)-")
"""Names of the public data set: `person1_bacteria_2.jpeg`, `IM-0115-0001.jpeg`, `NORMAL2-IM-0115-0001.jpeg`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FilmFile:
    """One labelled film on disk."""

    path: Path
    label: int
    """Index into LABELS."""
    patient: str
    """Who it is of; the path itself where that is not known, so that a split takes every film for its own patient."""
    subgroup: str
    """"bacteria" or "virus" where the name says so, else the series of a normal film, else "unknown"."""

    @property
    def has_patient(self) -> bool:
        """Whether it is known whose film it is."""
        return self.patient != str(self.path)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class DecodedFilms:
    """The films of a data set that could be read, decoded as the server decodes them."""

    files: tuple[FilmFile, ...]
    pixels: npt.NDArray[np.uint8]
    """(N, 224, 224), 0 to 255."""
    labels: npt.NDArray[np.int64]
    """(N,), indices into LABELS."""
    facts: tuple[Facts, ...]
    digests: tuple[str, ...]
    """SHA-256 of each file's bytes."""
    skipped: tuple[tuple[Path, str], ...]
    """Files that could not be read, each with the reason."""

    def subset(self, indices: npt.NDArray[np.int64]) -> "DecodedFilms":
        """Return the films at `indices`, in that order."""
        return DecodedFilms(
            files=tuple(self.files[i] for i in indices),
            pixels=self.pixels[indices],
            labels=self.labels[indices],
            facts=tuple(self.facts[i] for i in indices),
            digests=tuple(self.digests[i] for i in indices),
            skipped=(),
        )


def find_films(data: Path) -> list[FilmFile]:
    """List the films of a data set, sorted by path.

    Args:
        data: a folder `{NORMAL,PNEUMONIA}/*`, or a CSV with the columns `path,label,patient`.

    Raises:
        DataError: there is no such folder or file, a class is empty, or a row is wrong.
    """
    if data.is_file():
        films = _from_manifest(data)
    elif data.is_dir():
        films = _from_folder(data)
    else:
        raise DataError(f"{data}: no such folder or manifest")
    counts = Counter(film.label for film in films)
    for label, name in enumerate(LABELS):
        if not counts[label]:
            raise DataError(f"{data}: no film is labelled {name}")
    return sorted(films, key=lambda film: film.path)


def is_film(path: Path) -> bool:
    """Return whether a file is one of the films of its folder: by its suffix, or because it is a DICOM file."""
    if path.suffix.lower() in SUFFIXES:
        return True
    if not path.is_file() or path.name.startswith("."):
        return False
    place, mark = DICOM_MARK
    with path.open("rb") as file:
        return file.read(place + len(mark))[place:] == mark


def patient_and_subgroup(path: Path, label: int) -> tuple[str, str]:
    """Read patient and subgroup from a file name of the public data set."""
    match = _PATIENT.match(path.name)
    if match is None:
        return str(path), "unknown"
    if match["pneumonia"]:
        return match["pneumonia"], match["cause"]
    return match["normal"], match["normal"].rsplit("-", 1)[0] if label == 0 else "unknown"


def count_patients(files: Iterable[FilmFile]) -> tuple[int, int]:
    """Return how many patients are known, and how many films have no patient id."""
    files = list(files)
    return len({file.patient for file in files if file.has_patient}), sum(not file.has_patient for file in files)


def decode_films(files: Sequence[FilmFile]) -> DecodedFilms:
    """Read and decode films with the server's own decoding; what cannot be read is logged and skipped.

    Raises:
        DataError: no film of a class could be read.
    """
    with ThreadPoolExecutor() as pool:  # the decoders run without the GIL
        outcomes = list(pool.map(_decode, files))
    kept, skipped = [], []
    for file, outcome in zip(files, outcomes, strict=True):
        if isinstance(outcome, str):
            logger.warning("skipped %s: %s", file.path, outcome)
            skipped.append((file.path, outcome))
        else:
            kept.append((file, *outcome))
    if len({file.label for file, *_ in kept}) < len(LABELS):
        raise DataError(f"no readable film of a class: {len(skipped)} of {len(files)} files were skipped")
    return DecodedFilms(
        files=tuple(file for file, *_ in kept),
        pixels=np.stack([pixels for _, pixels, _, _ in kept]),
        labels=np.array([file.label for file, *_ in kept], dtype=np.int64),
        facts=tuple(facts for _, _, facts, _ in kept),
        digests=tuple(digest for *_, digest in kept),
        skipped=tuple(skipped),
    )


def without_copies(films: DecodedFilms) -> DecodedFilms:
    """Drop films whose bytes equal an earlier one's, so that none can stand on both sides of a split."""
    first = {digest: index for index, digest in reversed(list(enumerate(films.digests)))}
    for index, digest in enumerate(films.digests):
        if films.labels[index] != films.labels[first[digest]]:
            raise DataError(
                f"{films.files[index].path} is a copy of {films.files[first[digest]].path}, labelled otherwise"
            )
    return films.subset(np.array(sorted(first.values()), dtype=np.int64))


def split_by_patient(
    films: DecodedFilms, *, folds: int, fold: int, seed: int
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Return the indices of the training and the validation part: stratified by label, no patient in both.

    Args:
        films: the films to split.
        folds: how many parts the films are divided into; one of them validates.
        fold: which one, 0 to folds - 1.
        seed: of the shuffle.

    Raises:
        DataError: a class has fewer patients than folds.
    """
    patients = np.array([file.patient for file in films.files])
    for label, name in enumerate(LABELS):
        count = len(set(patients[films.labels == label]))
        if count < folds:
            raise DataError(f"{count} patients of {name} cannot be split into {folds} folds")
    splitter = StratifiedGroupKFold(n_splits=folds, shuffle=True, random_state=seed)
    train, validation = list(splitter.split(patients, films.labels, groups=patients))[fold]
    both = set(patients[train]) & set(patients[validation])
    if both:
        raise DataError(f"patients in both parts: {', '.join(sorted(both))}")
    return train, validation


def folds_for(films: DecodedFilms) -> int:
    """Return how many parts the films can be split into by patient, FOLDS at most.

    Raises:
        DataError: a class has films of one patient only.
    """
    patients = [{file.patient for file in films.files if file.label == label} for label in range(len(LABELS))]
    for name, of_class in zip(LABELS, patients, strict=True):
        if len(of_class) < 2:  # noqa: PLR2004 - one to choose on, one to judge
            raise DataError(f"films of at least two patients of each class are wanted, {name} has one")
    return min(FOLDS, *map(len, patients))


def split_ends(films: DecodedFilms, *, folds: int) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Return the indices of the training part, and of the patients numbered first and last in every series.

    Patients of the public data set are numbered as they came. Those in between are learned from, so that the part held
    out is of other periods, as the films of another year would be.

    Args:
        films: the films to split, their patients named by series and number.
        folds: one of so many parts is held out, half of it from each end.

    Raises:
        DataError: a patient has no number, or nothing of a class is left to learn from.
    """
    numbers = np.array([_number(file) for file in films.files])
    series = np.array([file.subgroup for file in films.files])
    outside = np.zeros(len(numbers), dtype=np.bool_)
    for name in sorted(set(series)):
        inside = series == name
        first, last = np.quantile(numbers[inside], [0.5 / folds, 1 - 0.5 / folds])
        outside |= inside & ((numbers <= first) | (numbers >= last))
    patients = np.array([file.patient for file in films.files])
    validation = np.isin(patients, patients[outside])
    for part in (validation, ~validation):
        if set(films.labels[part]) != {0, 1}:
            raise DataError(f"the series are too short to hold out their ends: {len(numbers)} films")
    return np.flatnonzero(~validation), np.flatnonzero(validation)


def split_series(films: DecodedFilms, *, fold: int) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Return the indices of the training part, and of one whole series of each class: a source never seen.

    Args:
        films: the films to split, every class of several series.
        fold: which series of each class, by name, is held out.

    Raises:
        DataError: a class has no such series, or no other.
    """
    series = np.array([file.subgroup for file in films.files])
    held_out = []
    for label, name in enumerate(LABELS):
        of_class = sorted(set(series[films.labels == label]))
        if len(of_class) < max(2, fold + 1):
            raise DataError(f"{name} has only the series {', '.join(of_class)}: none to hold out as fold {fold}")
        held_out.append(of_class[fold])
    patients = np.array([file.patient for file in films.files])
    # Whoever has films of both series is held out too, but judges nothing.
    validation = np.isin(series, held_out)
    train = ~validation & ~np.isin(patients, patients[validation])
    return np.flatnonzero(train), np.flatnonzero(validation)


def relative(path: Path, data: Path) -> str:
    """Return a film's path as results name it: relative to the folder or manifest of its data set, where it can be."""
    root = data if data.is_dir() else data.parent
    return (path.relative_to(root) if path.is_relative_to(root) else path).as_posix()


def data_digest(films: DecodedFilms, validation: Iterable[int]) -> str:
    """Return the SHA-256 over label, patient, part and content digest of every film: what a model learned from."""
    held_out = set(validation)
    lines = sorted(
        f"{digest},{LABELS[file.label]},{file.patient},{'validation' if index in held_out else 'train'}\n"
        for index, (file, digest) in enumerate(zip(films.files, films.digests, strict=True))
    )
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def _number(file: FilmFile) -> int:
    match = re.search(r"\d+$", file.patient)
    if match is None:
        raise DataError(f"{file.path}: its patient {file.patient!r} has no number")
    return int(match[0])


def _from_folder(folder: Path) -> list[FilmFile]:
    films = []
    for label, name in enumerate(LABELS):
        if not (folder / name).is_dir():
            raise DataError(f"{folder}: has no folder {name}")
        for path in (folder / name).rglob("*"):
            if is_film(path):
                patient, subgroup = patient_and_subgroup(path, label)
                films.append(FilmFile(path=path, label=label, patient=patient, subgroup=subgroup))
    return films


def _from_manifest(manifest: Path) -> list[FilmFile]:
    films = []
    try:
        with manifest.open(newline="", encoding="utf-8-sig") as lines:
            rows = csv.DictReader(lines)
            if missing := {"path", "label"} - set(rows.fieldnames or ()):
                raise DataError(f"{manifest}: has no column {', '.join(sorted(missing))}")
            for row in rows:
                place = f"{manifest}:{rows.line_num}"
                if None in row or None in row.values():
                    raise DataError(f"{place}: has not as many columns as the header")
                if row["label"] not in LABELS:
                    raise DataError(f"{place}: label must be NORMAL or PNEUMONIA, got {row['label']!r}")
                if not row["path"]:
                    raise DataError(f"{place}: names no path")
                path = manifest.parent / row["path"]
                label = LABELS.index(row["label"])
                patient, subgroup = patient_and_subgroup(path, label)
                films.append(FilmFile(path=path, label=label, patient=row.get("patient") or patient, subgroup=subgroup))
    except OSError as exc:
        raise DataError(f"{manifest}: {exc.strerror}") from exc
    except (UnicodeDecodeError, csv.Error) as exc:
        raise DataError(f"{manifest}: not a CSV in UTF-8: {exc}") from exc
    return films


def _decode(file: FilmFile) -> tuple[npt.NDArray[np.uint8], Facts, str] | str:
    """Return pixels, facts and digest of one film, or why there are none."""
    try:
        data = file.path.read_bytes()
        film = decode(data)
    except OSError as exc:
        return exc.strerror or str(exc)
    except FilmError as exc:
        return str(exc)
    return film.pixels, film.facts, hashlib.sha256(data).hexdigest()
