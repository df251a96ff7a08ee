"""python -m training.data.report --data DIR_OR_CSV --out OUT

Describe a data set before anything is learned from it: OUT/report.json has the numbers, OUT/report.md reads them out,
with a histogram of grey levels and a contact sheet beside it.
"""

import logging
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from training import cli
from training.data.duplicates import exact_copies, near_copies
from training.data.films import DecodedFilms, decode_films, find_films, relative
from training.figures import plots
from training.figures.metrics import LABELS, roc_auc
from training.figures.tables import table
from training.files import make_folder, write_json

logger = logging.getLogger(__name__)

PERCENTILES = (1, 5, 25, 50, 75, 95, 99)
SAMPLE = 16
"""Films of each class on the contact sheet."""


def report(films: DecodedFilms, data: Path) -> dict[str, Any]:
    """Return everything that is known of a data set, ready for JSON; paths are relative to `data` where they can be."""
    names = [relative(file.path, data) for file in films.files]
    return {
        "films": len(films.files),
        "classes": {name: _class(films, films.labels == label) for label, name in enumerate(LABELS)},
        "sizes_and_levels": _sizes_and_levels(films),
        "patients_in_both_classes": _patients_in_both(films),
        "unreadable": [{"file": relative(path, data), "reason": reason} for path, reason in films.skipped],
        "exact_copies": [
            {"files": [names[i] for i in group], **_kinship(films, group)} for group in exact_copies(films)
        ],
        "near_copies": [
            {
                "files": [names[pair.first], names[pair.second]],
                "distance": pair.distance,
                **_kinship(films, (pair.first, pair.second)),
            }
            for pair in near_copies(films)
        ],
    }


def _class(films: DecodedFilms, mask: npt.NDArray[np.bool_]) -> dict[str, Any]:
    """Return what is known of one class."""
    chosen = np.flatnonzero(mask)
    files = [films.files[i] for i in chosen]
    per_patient = Counter(file.patient for file in files)
    return {
        "films": len(files),
        "share": round(len(files) / len(films.files), 4),
        "subgroups": dict(sorted(Counter(file.subgroup for file in files).items())),
        "patients": len(per_patient),
        "films_per_patient": {str(films): count for films, count in sorted(Counter(per_patient.values()).items())},
        "formats": dict(sorted(Counter(films.facts[i].kind for i in chosen).items())),
        "levels": _levels(histogram(films, mask)),
    }


def _sizes_and_levels(films: DecodedFilms) -> dict[str, dict[str, Any]]:
    """Return simple measures of a film by class, and how well each by itself separates the classes.

    `roc_auc` is how often a PNEUMONIA film has more of it than a NORMAL one: far from 0.5, a model may learn that
    instead of the lungs.
    """
    facts = films.facts
    measures: dict[str, Sequence[float]] = {
        "file_bytes": [file.path.stat().st_size for file in films.files],
        "width_px": [fact.width_px for fact in facts],
        "height_px": [fact.height_px for fact in facts],
        "aspect": [fact.width_px / fact.height_px for fact in facts],
        "colour": [fact.colour for fact in facts],
        "mean_level": [float(pixels.mean()) for pixels in films.pixels],
        "contrast": [fact.contrast for fact in facts],
    }
    result = {}
    for name, values in measures.items():
        array = np.asarray(values, dtype=np.float64)
        by_class = {label: _spread(array[films.labels == index]) for index, label in enumerate(LABELS)}
        result[name] = {**by_class, "roc_auc": round(roc_auc(films.labels, array), 4)}
    return result


def _spread(array: npt.NDArray[np.float64]) -> dict[str, float]:
    """Return mean, standard deviation, extremes and percentiles."""
    percentiles = dict(zip((f"p{q}" for q in PERCENTILES), np.percentile(array, PERCENTILES), strict=True))
    result = {"mean": array.mean(), "std": array.std(), "min": array.min(), **percentiles, "max": array.max()}
    return {name: round(float(value), 3) for name, value in result.items()}


def histogram(films: DecodedFilms, mask: npt.NDArray[np.bool_]) -> npt.NDArray[np.float64]:
    """Return the share of each grey level (256,) in the decoded films that `mask` (N,) chooses; its sum is 1."""
    counts = sum(
        (np.bincount(pixels.ravel(), minlength=256) for pixels in films.pixels[mask]), start=np.zeros(256, np.int64)
    )
    shares: npt.NDArray[np.float64] = counts / counts.sum()
    return shares


def _levels(shares: npt.NDArray[np.float64]) -> dict[str, float]:
    """Return mean, standard deviation and percentiles of all pixels from their histogram."""
    levels = np.arange(256)
    mean = float(shares @ levels)
    std = float(np.sqrt(shares @ (levels - mean) ** 2))
    percentiles = np.searchsorted(np.cumsum(shares), np.array(PERCENTILES) / 100)
    return {
        "mean": round(mean, 3),
        "std": round(std, 3),
        **{f"p{q}": int(level) for q, level in zip(PERCENTILES, percentiles, strict=True)},
    }


def _patients_in_both(films: DecodedFilms) -> list[str]:
    normal, pneumonia = ({file.patient for file in films.files if file.label == label} for label in (0, 1))
    return sorted(normal & pneumonia)


def _kinship(films: DecodedFilms, group: Sequence[int]) -> dict[str, bool]:
    """Return what makes a copy worse than a wasted film: it contradicts itself, or leaks between parts of a split."""
    return {
        "across_labels": len({films.files[i].label for i in group}) > 1,
        "across_patients": len({films.files[i].patient for i in group}) > 1,
    }


def contact_sheet(films: DecodedFilms, path: Path, *, seed: int = 0) -> None:
    """Plot a random sample of each class."""
    rng = np.random.default_rng(seed)
    rows = []
    for label, name in enumerate(LABELS):
        of_class = np.flatnonzero(films.labels == label)
        sample = np.sort(rng.choice(of_class, size=min(SAMPLE, len(of_class)), replace=False))
        heading = f"{name}: {len(sample)} of {len(of_class):,} films, at random"
        rows.append((heading, [(films.files[i].path.name, films.pixels[i]) for i in sample]))
    plots.contact_sheet(rows, path)


def markdown(result: Mapping[str, Any]) -> str:
    """Return the report to read."""
    classes, copies, near = result["classes"], result["exact_copies"], result["near_copies"]
    extra = sum(len(group["files"]) - 1 for group in copies)
    return "\n\n".join(  # paragraphs
        [
            "# Data report",
            f"{result['films']:,} readable films, {len(result['unreadable'])} unreadable files.",
            f"{extra} exact copies of others, {len(near)} pairs of near duplicates.",
            "## Films and patients",
            table(["", *classes], [[name, *(one(c) for c in classes.values())] for name, one in _COUNTS.items()]),
            "A patient is read from the manifest or the file name; where neither has one, a film counts as a patient.",
            _list("Patients in both classes", result["patients_in_both_classes"]),
            "## Sizes and grey levels",
            table(
                ["", *(f"{label}: mean (5th to 95th percentile)" for label in LABELS), "ROC-AUC"],
                [
                    [name, *(_band(by_class[label]) for label in LABELS), f"{by_class['roc_auc']:.3f}"]
                    for name, by_class in result["sizes_and_levels"].items()
                ],
            ),
            "ROC-AUC: how often a PNEUMONIA film has more of it than a NORMAL one.",
            "Far from 0.5, a model may learn that instead of the lungs.",
            "![Grey levels by class](intensities.png)",
            "## Sample",
            "![Contact sheet](contact_sheet.png)",
            "## Copies",
            _list("Byte for byte", [_copy(group) for group in copies]),
            _list("Near duplicates", [f"{_copy(pair)}; {pair['distance']} of 256 bits apart" for pair in near]),
            "## Unreadable",
            _list("Files", [f"{one['file']}: {one['reason']}" for one in result["unreadable"]]),
            "",
        ]
    )


_COUNTS: dict[str, Callable[[Mapping[str, Any]], str]] = {
    "films": lambda c: f"{c['films']:,} ({c['share']:.1%})",
    "patients": lambda c: f"{c['patients']:,}",
    "subgroups": lambda c: _counts(c["subgroups"]),
    "films of a patient: patients": lambda c: _counts(c["films_per_patient"]),
    "formats": lambda c: _counts(c["formats"]),
    "grey level of a pixel: mean, standard deviation": lambda c: f"{c['levels']['mean']}, {c['levels']['std']}",
    "percentiles 1, 5, 25, 50, 75, 95, 99": lambda c: ", ".join(str(c["levels"][f"p{q}"]) for q in PERCENTILES),
}
"""A row of the table of films and patients: its name, and its cell for a class."""


def _counts(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{name}: {count:,}" for name, count in counts.items())


def _band(spread: Mapping[str, float]) -> str:
    return f"{spread['mean']:,.6g} ({spread['p5']:,.6g} to {spread['p95']:,.6g})"


def _copy(copy: Mapping[str, Any]) -> str:
    flags = [words for key, words in _FLAGS.items() if copy[key]]
    return " = ".join(copy["files"]) + (f" **({', '.join(flags)})**" if flags else "")


_FLAGS = {"across_labels": "labelled differently", "across_patients": "different patients"}


def _list(title: str, items: Sequence[str]) -> str:
    return "\n".join([f"{title}: {len(items)}", "", *(f"- {item}" for item in items)]).rstrip()


def main() -> None:
    """Write the report, as the command line says."""
    parser = cli.parser(__doc__, "--data", "--out")
    args = parser.parse_args()
    films = decode_films(find_films(args.data))
    make_folder(args.out)
    result = report(films, args.data)
    write_json(args.out / "report.json", result)
    (args.out / "report.md").write_text(markdown(result), encoding="utf-8")
    plots.intensities([histogram(films, films.labels == label) for label in (0, 1)], args.out / "intensities.png")
    contact_sheet(films, args.out / "contact_sheet.png")
    logger.info(
        "%d films, %d unreadable files, %d groups of copies, %d near duplicates: %s",
        result["films"],
        len(result["unreadable"]),
        len(result["exact_copies"]),
        len(result["near_copies"]),
        args.out / "report.md",
    )


if __name__ == "__main__":
    cli.run(main)
