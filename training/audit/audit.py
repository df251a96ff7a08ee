"""python -m training.audit.audit --data DIR [--model MODEL | --compare MODEL MODEL ...] [--out OUT] [--json FILE]

Audit a model for shortcuts: how much of the label shows without lungs, and what is left of the model's accuracy
when films are framed, marked and exposed as those of the other class are. OUT gets audit.md, audit.json, a plot, and
the films that it answers worst.

A MODEL is a model store or a run folder. It is judged on the films that it held out, where DIR is what it learned from,
and else on all films, as a site's. With --compare, several are judged on the films that all of them held out; where
they are named in the order of another measurement, best first, the table says which rows agree with it.
"""

import logging
from pathlib import Path
from typing import Any

from training import cli
from training.audit.measures import audit_rows, score_rows
from training.audit.models import held_out_by_all, open_model
from training.audit.nuisance import shown_without_lungs
from training.audit.report import comparison, comparison_table, markdown, plot, worst_films
from training.data.films import DecodedFilms
from training.errors import DataError
from training.figures import plots
from training.files import make_folder, write_json
from training.learn.run_folder import load_films

logger = logging.getLogger(__name__)


def main() -> None:
    """Audit, as the command line says."""
    parser = cli.parser(__doc__, "--data", "--json")
    parser.add_argument("--model", type=Path, default=Path("model_store"), help="a model store or a run folder")
    parser.add_argument("--compare", type=Path, nargs="+", help="models to compare instead, best first")
    parser.add_argument("--out", type=Path, default=Path("out/audit"), help="folder of the report")
    args = parser.parse_args()
    films = load_films(args.data)
    result = compare(args.compare, films) if args.compare else audit(args.model, films, args.out)
    if args.json:
        write_json(args.json, result, indent=1)
        if not args.compare:
            plot(result["rows"], args.json.with_suffix(".png"))
            plots.shrink(args.json.with_suffix(".png"))


def audit(folder: Path, films: DecodedFilms, out: Path) -> dict[str, Any]:
    """Audit one model, write the report to the folder `out`, and return what audit.json holds."""
    model = open_model(folder, films)
    kept = films if model.held_out is None else films.subset(model.held_out)
    judged = model.judged(kept)
    scored = score_rows(model.score, judged)
    result: dict[str, Any] = {
        "model": model.name,
        "films": len(kept.files),
        "patients": len(set(judged.patients)),
        "held_out": model.held_out is not None,
        "rows": audit_rows(scored, judged, model.contract),
        "without_lungs": {"films": len(films.files), "rows": shown_without_lungs(films)},
    }
    make_folder(out)
    write_json(out / "audit.json", result, indent=1)
    (out / "audit.md").write_text(markdown(result), encoding="utf-8")
    plot(result["rows"], out / "audit.png")
    worst_films(scored, judged, [file.path.name for file in kept.files], out / "worst_films.png")
    logger.info("%s", markdown(result))
    logger.info("written to %s", out)
    return result


def compare(folders: list[Path], films: DecodedFilms) -> dict[str, Any]:
    """Audit several models on the films that all of them held out, print a table, and return the figures.

    Raises:
        DataError: two are of one name, one learned from other films, or all films were learned from.
    """
    models = [open_model(folder, films) for folder in folders]
    if len({model.name for model in models}) < len(models):
        raise DataError(f"models have the same name: {', '.join(model.name for model in models)}")
    kept = films.subset(held_out_by_all(models))
    rows = {}
    for model in models:
        judged = model.judged(kept)
        rows[model.name] = audit_rows(score_rows(model.score, judged), judged, model.contract)
    result = {"films": len(kept.files), "patients": len({file.patient for file in kept.files}), **comparison(rows)}
    logger.info("%s", comparison_table(result))
    return result


if __name__ == "__main__":
    cli.run(main)
