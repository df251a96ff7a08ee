"""python -m training.presentation.train --data DIR [--adults DIR] [--measure DIR ...] [--out FILE] [--report FILE]

Learn how films are presented (`handler.presentation`): as positives or negatives, and in which of eight orientations.
All films are taken to be upright positives. Cross-fitted by patient, their recognition is measured in all sixteen
presentations; what is shipped has learned from all of them. Films of adults, of which there are few, are learned from
and measured likewise; those of `--measure` are only measured, by networks that have not seen their patients.
"""

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from handler import presentation
from handler.errors import FilmError
from handler.imaging import INPUT_SIZE, Facts, decode
from handler.presentation import Margins, Network, judge
from training import cli
from training.changes.corruptions import SEVERITIES
from training.data.films import DecodedFilms, decode_films, find_films, is_film, split_by_patient, without_copies
from training.errors import DataError
from training.figures import tables
from training.files import write_json
from training.presentation.measures import (
    TURNED,
    Changed,
    Films,
    Rate,
    Recognition,
    find_margins,
    recognition,
    recognition_of_changed,
    scored,
)
from training.presentation.net import learn, reduced

logger = logging.getLogger(__name__)

FOLDS = 5
EPOCHS = 20
EVERY = 10
"""One of so many films is also measured after the changes of `training.changes.corruptions`."""

Folds = npt.NDArray[np.int64]
"""(N,), by which network each film is judged: one that has not seen its patient."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class CrossFitted:
    """A network for every fold, and one that saw everything."""

    networks: tuple[Network, ...]
    """Of the folds; the last saw everything."""
    folds: Folds
    adult_folds: Folds

    def judging(self, folds: Folds) -> list[Network]:
        """Return the network that judges each film."""
        return [self.networks[fold] for fold in folds]

    def judging_others(self, films: DecodedFilms, others: DecodedFilms) -> list[Network]:
        """Return networks that have not seen the patients of `others`, `films` being what was learned from."""
        folds = {file.patient: fold for file, fold in zip(films.files, self.folds.tolist(), strict=True)}
        return [self.networks[folds.get(file.patient, FOLDS)] for file in others.files]


def main() -> None:
    """Parse the command line, learn, measure and write."""
    parser = cli.parser(__doc__, "--data")
    parser.add_argument("--adults", type=Path, help="folder of adults' films, one a patient, also learned from")
    parser.add_argument("--measure", type=Path, nargs="*", default=[], help="more data sets, only measured on")
    parser.add_argument("--out", type=Path, default=presentation.SHIPPED, help="where the weights go")
    parser.add_argument("--report", type=Path, default=Path("model_store/report/presentation.json"))
    parser.add_argument("--epochs", type=int, default=EPOCHS)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    films = without_copies(decode_films(find_films(args.data)))
    adults = decoded_adults(args.adults) if args.adults else np.empty((0, *INPUT_SIZE), dtype=np.uint8)
    fitted = cross_fit(films, adults, epochs=args.epochs, seed=args.seed)
    pixels, networks = as_presented(films), fitted.judging(fitted.folds)
    scores = scored(pixels, networks)
    margins = find_margins(scores)
    presentation.save(args.out, fitted.networks[-1], margins)
    for file, said in zip(films.files, (judge(one, margins) for one in scores), strict=True):
        for warning in said.warnings():  # to be looked at: are they upright positives?
            logger.info("%s: %s", file.path, warning)
    sets = {"training films": recognition(pixels, networks, margins)}
    if len(adults):
        sets["adults"] = recognition(adults, fitted.judging(fitted.adult_folds), margins)
    for folder in args.measure:
        others = decode_films(find_films(folder))
        sets[folder.name] = recognition(as_presented(others), fitted.judging_others(films, others), margins)
    changed = {
        severity: recognition_of_changed(pixels[::EVERY], networks[::EVERY], margins, severity=severity)
        for severity in SEVERITIES
    }
    write_report(args.report, sets, changed, margins)
    logger.info("%s, %s\n%s\n%s", args.out, args.report, table(sets), changed_table(changed))


def as_presented(films: DecodedFilms) -> Films:
    """Return the films as their files present them: what was taken for a negative is turned back."""
    return np.stack([_as_presented(film, facts) for film, facts in zip(films.pixels, films.facts, strict=True)])


def decoded_adults(folder: Path) -> Films:
    """Return all films of a folder, by path, as their files present them.

    Raises:
        DataError: the folder holds too few films that can be read.
    """
    films = []
    for path in sorted(folder.rglob("*")):
        if is_film(path):
            try:
                film = decode(path.read_bytes())
                films.append(_as_presented(film.pixels, film.facts))
            except (OSError, FilmError) as exc:
                logger.warning("skipped %s: %s", path, exc)
    if len(films) < FOLDS:
        raise DataError(f"{folder}: {len(films)} films can be read, at least {FOLDS} are needed")
    return np.stack(films)


def _as_presented(film: Films, facts: Facts) -> Films:
    return 255 - film if facts.presentation.negative else film


def cross_fit(films: DecodedFilms, adults: Films, *, epochs: int, seed: int) -> CrossFitted:
    """Learn a network for every fold of the films' patients, and one from everything.

    Args:
        films: taken to be upright positives.
        adults: the same, each of another patient; may be empty.
        epochs: how often each film is seen.
        seed: of the networks; the folds are the same for all.

    Raises:
        DataError: a class has fewer patients than folds.
    """
    torch.set_num_threads(1)  # so that sums do not depend on the machine's cores; more would gain little
    small, small_adults = reduced(as_presented(films)), reduced(adults)
    folds = np.empty(len(small), dtype=np.int64)
    adult_folds = np.random.default_rng(0).permutation(len(adults)) % FOLDS
    networks = []
    for fold in range(FOLDS):
        train, held_out = split_by_patient(films, folds=FOLDS, fold=fold, seed=0)
        folds[held_out] = fold
        networks.append(learn(small[train], small_adults[adult_folds != fold], epochs=epochs, seed=seed + fold))
        logger.info("fold %d of %d learned", fold + 1, FOLDS)
    networks.append(learn(small, small_adults, epochs=epochs, seed=seed + FOLDS))
    return CrossFitted(networks=tuple(networks), folds=folds, adult_folds=adult_folds)


def write_report(
    path: Path, sets: Mapping[str, Recognition], changed: Mapping[str, Mapping[str, Changed]], margins: Margins
) -> None:
    """Write what was measured as JSON, every rate with its 95 % Wilson interval."""
    report = {
        "margins": {turned: margins.of(turned) for turned in TURNED},
        "sets": {name: _as_json(one.rates()) for name, one in sets.items()},
        "changed": {
            severity: {name: _as_json(one.rates()) for name, one in by_name.items()}
            for severity, by_name in changed.items()
        },
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    write_json(path, report)


def _as_json(rates: Mapping[str, Rate]) -> dict[str, dict[str, float]]:
    return {name: rate.as_json() for name, rate in rates.items()}


def table(sets: Mapping[str, Recognition]) -> str:
    """Return the sets as a Markdown table."""
    names = next(iter(sets.values())).rates()
    rows = [[name.replace("_", " "), *(str(one.rates()[name]) for one in sets.values())] for name in names]
    return tables.table(["", *sets], rows)


def changed_table(changed: Mapping[str, Mapping[str, Changed]]) -> str:
    """Return the changes as a Markdown table."""
    rows = [
        [f"{severity} {name}", *(str(rate.count) for rate in one.rates().values()), str(one.turned.of)]
        for severity, by_name in changed.items()
        for name, one in by_name.items()
    ]
    return tables.table(["changed films", "negative", "uncertain", "turned", "of"], rows)


if __name__ == "__main__":
    cli.run(main)
