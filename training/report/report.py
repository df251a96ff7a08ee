"""python -m training.report.report --data DIR --run RUN [--model-store model_store] [--out model_store/report]

Score the shipped model, through the code that answers in the server, on the films that its run held out, and write
what the model card is made of: validation.json, crossfit.json, subgroups.json, robustness.json, prevalence.json,
confounders.json, report.json (which films, which digests, which commands) and two plots.

The shipped calibration and thresholds were chosen on these same films. What they are worth is therefore cross-fitted:
chosen anew on four fifths of the patients and judged on the last, in turn.
"""

import dataclasses
import json
import logging
from pathlib import Path
from typing import Any

import torch

from training import cli
from training.data.films import DecodedFilms
from training.errors import ArtefactError
from training.evaluate.evaluate import Shipped, table
from training.evaluate.operating_points import SENSITIVITY_LOW
from training.figures import plots
from training.figures.metrics import LABELS
from training.files import make_folder, sha256, write_json
from training.learn.export import exported_net, load_checkpoint
from training.learn.recipe import Recipe
from training.learn.run_folder import average_of, copies_digest, load_films, parts, read_run
from training.report.measures import Answers, answer_all, confounders, measures

logger = logging.getLogger(__name__)

ARTEFACTS = ("pneumonia.onnx", "pneumonia.safetensors", "contract.json")
PLOTS = ("roc.png", "reliability.png")


def main() -> None:
    """Write the report, as the command line says."""
    parser = cli.parser(__doc__, "--data", "--run", "--model-store")
    parser.add_argument("--out", type=Path, help="folder of the report (default: report/ in the model store)")
    args = parser.parse_args()
    shipped, out = Shipped.load(args.model_store), args.out or args.model_store / "report"
    require_same_model(args.model_store, args.run)
    learned, held_out = parts(load_films(args.data), args.run)
    make_folder(out)
    answers = answer_all(shipped, held_out)
    result = measures(shipped, answers)
    result["confounders"] = confounders(learned)
    result["report"] = provenance(args.model_store, args.run, learned=learned, held_out=held_out)
    write(out, answers, result)
    logger.info("%s", table(result["validation"]))
    logger.info("written to %s", out)


def require_same_model(store: Path, run: Path) -> None:
    """Check that a model store's weights are a run's, rounded as `training.learn.export` rounds them.

    Raises:
        ArtefactError: they are not, or one of the files is missing or corrupt.
    """
    ours = exported_net(store / "pneumonia.safetensors").state_dict()
    theirs = load_checkpoint(run / "last.ckpt").half().float().state_dict()
    if not all(torch.equal(ours[key], theirs[key]) for key in ours):
        raise ArtefactError(f"{store}: holds another model than that of {run}")


def provenance(store: Path, run: Path, *, learned: DecodedFilms, held_out: DecodedFilms) -> dict[str, Any]:
    """Return where a model and its figures come from: recipe, films, digests and the commands that make them again.

    Raises:
        ArtefactError: an artefact is missing.
    """
    recipe, data_sha256 = read_run(run)
    copies = copies_digest(run)
    digests = {name: sha256(store / name) for name in ARTEFACTS}
    version = json.loads((store / "contract.json").read_text(encoding="utf-8"))["model_version"]
    return {
        "model_version": version,
        "recipe": dataclasses.asdict(recipe),
        "films": {"learned": count(learned), "held_out": count(held_out)},
        "thresholds_chosen_on": "held_out",
        "rule_out_sensitivity_low": SENSITIVITY_LOW,
        "sha256": digests | {"data": data_sha256} | ({"copies": copies} if copies else {}),
        "commands": commands(
            recipe, f"runs/{run.resolve().name}", version, copies=bool(copies), averaged=bool(average_of(run))
        ),
    }


def count(films: DecodedFilms) -> dict[str, Any]:
    """Return how many films and patients there are, in all and of each label."""
    result: dict[str, Any] = {"films": len(films.files), "patients": len({file.patient for file in films.files})}
    for label, name in enumerate(LABELS):
        of_label = [file.patient for file in films.files if file.label == label]
        result[name] = {"films": len(of_label), "patients": len(set(of_label))}
    return result


def commands(recipe: Recipe, run: str, version: str, *, copies: bool = False, averaged: bool = False) -> list[str]:
    """Return the commands that made a run's artefacts; DIR is the folder of the films, COPIES that of second copies.

    REPORT is the model store's folder `report`.
    """
    start, last = f"runs/{recipe.start}", f"runs/{recipe.name}" if averaged else run
    train = "python -m training.learn.train --data DIR"
    second = " --copies COPIES" * copies + f" --start-from {start}" * bool(recipe.start)
    return [
        *[f"{train} --recipe {recipe.start} --seed {recipe.seed} --out {start}"] * bool(recipe.start),
        f"{train} --recipe {recipe.name} --seed {recipe.seed} --out {last}{second}",
        *[f"python -m training.learn.average --data DIR --runs {start} {last} --out {run}"] * averaged,
        f"python -m training.learn.export --run {run}",
        f"python -m training.evaluate.calibrate --run {run} --data DIR --version {version}",
        f"python -m training.gate.fit --data DIR --run {run} --copies COPIES --adults ADULTS --pictures PICTURES",
        "python -m training.evaluate.reference",
        "python -m training.compare.compare --data DIR --runs RUN... --json REPORT/comparison.json",
        "python -m training.compare.resolution --data DIR --films COPIES --runs RUN... --json REPORT/resolution.json",
        "python -m training.audit.audit --data DIR --json REPORT/audit.json",
        "python -m training.evaluate.adults --data ADULTS --json REPORT/adults.json",
        "python -m training.evaluate.invariance --data DIR --json REPORT/invariance.json",
        f"python -m training.report.report --run {run} --data DIR",
        "python -m training.report.card",
    ]


def write(out: Path, answers: Answers, result: dict[str, Any]) -> None:
    """Write the report's JSON files and plots to the folder `out`."""
    for name, content in result.items():
        write_json(out / f"{name}.json", content)
    fitted, crossfitted = answers.fitted, answers.crossfitted
    plots.roc(fitted.labels, fitted.log_odds, result["validation"], out / PLOTS[0])
    # What the shipped calibration is on the films that it was fitted on would flatter it.
    ece = {"ece": result["crossfit"]["ece"]["value"]}
    plots.reliability(crossfitted.labels, crossfitted.p_pneumonia, ece, out / PLOTS[1])
    for name in PLOTS:
        plots.shrink(out / name)


if __name__ == "__main__":
    cli.run(main)
