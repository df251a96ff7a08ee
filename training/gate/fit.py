"""python -m training.gate.fit --data DIR [--run DIR] [--copies DIR] [--adults DIR] [--pictures DIR] [--model-store DIR]

Fit the input gate of the shipped model and measure it: writes MODEL_STORE/gate.npz, the gate's part of contract.json,
and report/gate.json. It learns from the films that the model learned from, as they are and under the acquisitions that
the calibration uses, and from their copies at full size where those are at hand. Its limits are chosen on the films
that the model held out. Adults' films and other pictures (`training.gate.gather`) are only measured.
"""

import json
import logging
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from handler.contract import ModelContract
from handler.engine import Engine
from handler.gate import FILE, Gate
from training import cli
from training.changes.counterfactuals import ACQUISITIONS, served, taken_otherwise
from training.data.films import DecodedFilms, data_digest, decode_films, find_films
from training.errors import ArtefactError, DataError
from training.evaluate.adults import find_adults
from training.evaluate.calibrate import bounds
from training.evaluate.evaluate import THREADS
from training.files import write_json
from training.gate.detector import fit, limited
from training.gate.measures import Sets, alternatives, measures, table
from training.gate.pictures import read_pictures
from training.gate.views import Views, seen
from training.learn.recipe import Recipe
from training.learn.run_folder import divide, load_films, read_run

logger = logging.getLogger(__name__)

ACQUIRED = 1500
"""Films learned from that are also fitted on under each acquisition."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Parts:
    """The films of a model: those that it learned from, and those that it held out."""

    learned: DecodedFilms
    held_out: DecodedFilms
    copies: DecodedFilms | None
    """Of either, at another size."""


def main() -> None:
    """Fit, measure and write, as the command line says."""
    parser = cli.parser(__doc__, "--data", "--copies", "--model-store")
    parser.add_argument("--run", type=Path, help="the model's run folder (default: the recipe that the report names)")
    parser.add_argument("--adults", type=Path, help="folder {no_finding,pneumonia}/* of adults' films, only measured")
    parser.add_argument("--pictures", type=Path, help="folder KIND/* of other pictures, only measured")
    args = parser.parse_args()
    store: Path = args.model_store
    contract = ModelContract.load(store / "contract.json")
    recipe = read_run(args.run)[0] if args.run else reported_recipe(store / "report" / "report.json")
    parts = find_parts(contract, recipe, args.data, args.copies)
    # In float32: the limits must not depend on the processor that chose them.
    engine = Engine(store / "pneumonia.onnx", exact=True, threads=THREADS)
    sets = look(engine, parts)
    detector = fit(sets.fitted.statistics, model_sha256=contract.model_sha256)
    acquired = Views.together(list(sets.acquired.values()))
    detector = limited(detector, detector.distances(sets.children.statistics), detector.distances(acquired.statistics))
    detector.save(store / FILE)
    contract = replace(contract, gate=bounds(parts.learned, store / FILE))
    contract.save(store / "contract.json")
    gate = Gate.load(store, contract)
    sets = replace(
        sets,
        adults=seen(engine, find_adults(args.adults)) if args.adults else None,
        pictures=read_pictures(args.pictures, engine) if args.pictures else {},
    )
    report: dict[str, Any] = {"model": contract.model_version, **measures(gate, sets)}
    report["served_otherwise"] = otherwise(gate, store, parts.held_out, sets)
    report["alternatives"] = alternatives(sets)
    (store / "report").mkdir(exist_ok=True)
    write_json(store / "report" / "gate.json", report, indent=1)
    logger.info("%s", table(report))


def reported_recipe(report: Path) -> Recipe:
    """Return the recipe of the shipped model.

    Raises:
        ArtefactError: its report is missing or names none.
    """
    try:
        fields = json.loads(report.read_text(encoding="utf-8"))["recipe"]
    except (OSError, ValueError, KeyError) as exc:
        raise ArtefactError(f"{report}: names no recipe, run make report: {exc}") from exc
    return Recipe.from_fields(fields, source=str(report))


def find_parts(contract: ModelContract, recipe: Recipe, data: Path, copies: Path | None) -> Parts:
    """Return the films that the shipped model learned from and held out.

    Raises:
        DataError: these are not the films of the model.
    """
    films = load_films(data)
    learned, held_out = divide(films, recipe)
    if data_digest(films, held_out.tolist()) != contract.data_sha256:
        raise DataError(f"{data}: holds other films than those of the model")
    return Parts(
        learned=films.subset(learned),
        held_out=films.subset(held_out),
        copies=decode_films(find_films(copies)) if copies else None,
    )


def look(engine: Engine, parts: Parts) -> Sets:
    """Return what the model sees of the films that are fitted on, and of those that are not."""
    patients = {file.patient for file in parts.held_out.files}
    learned, held_out = seen(engine, parts.learned), seen(engine, parts.held_out)
    copies = seen(engine, parts.copies) if parts.copies else None
    own = np.array([patient in patients for patient in copies.patients]) if copies else None
    drawn = np.sort(np.random.default_rng(0).permutation(len(parts.learned.files))[:ACQUIRED])
    some = parts.learned.subset(drawn)
    fitted = [learned, *(_acquired(engine, some, name) for name in ACQUISITIONS)]
    if copies is not None and own is not None:
        fitted.append(copies.of(~own))
    return Sets(
        as_they_are=learned,
        fitted=Views.together(fitted),
        held_out=held_out,
        copies=copies.of(own) if copies is not None and own is not None else None,
        acquired={name: _acquired(engine, parts.held_out, name) for name in ACQUISITIONS},
        adults=None,
        pictures={},
    )


def _acquired(engine: Engine, films: DecodedFilms, name: str) -> Views:
    changed = served(taken_otherwise(ACQUISITIONS[name], films.pixels, films.labels))
    return seen(engine, replace(films, pixels=changed))


def otherwise(gate: Gate, store: Path, films: DecodedFilms, sets: Sets) -> dict[str, int]:
    """Return of how many films held out the reasons differ as this machine serves them, perhaps in half precision."""
    as_served = seen(Engine(store / "pneumonia.onnx", threads=THREADS), films)
    pairs = zip(gate.reasons(as_served.films, as_served.statistics), sets.held_out.reasons(gate), strict=True)
    return {"films": len(films.files), "differ": sum(one != other for one, other in pairs)}


if __name__ == "__main__":
    cli.run(main)
