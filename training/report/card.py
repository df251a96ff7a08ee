"""python -m training.report.card [--model-store model_store]

Render MODEL_CARD.md from contract.json and the JSON files of report/, through the template model_card.md.j2: no figure
in it is typed by hand. Jinja2, because a card is tables within prose: its loops stand in the template, where the prose
is read and edited.
"""

import json
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined, UndefinedError

from handler.contract import ModelContract
from training import cli
from training.audit.report import comparison_table, rows_table
from training.compare import scores
from training.errors import ArtefactError
from training.evaluate.operating_points import OPERATING_POINTS
from training.figures import tables
from training.files import sha256

logger = logging.getLogger(__name__)

TEMPLATE = "model_card.md.j2"
REPORTS = (
    "official_test",
    "report",
    "validation",
    "crossfit",
    "acquisitions",
    "uncertainty",
    "audit",
    "adults",
    "gate",
    "subgroups",
    "robustness",
    "prevalence",
    "confounders",
    "presentation",
    "invariance",
    "audit_history",
    "resolution",
)


def main() -> None:
    """Render the card, as the command line says."""
    parser = cli.parser(__doc__, "--model-store")
    args = parser.parse_args()
    card = args.model_store / "MODEL_CARD.md"
    card.write_text(render(args.model_store), encoding="utf-8")
    logger.info("written to %s", card)


def render(model_store: Path) -> str:
    """Return the model card of a model store, as Markdown.

    Raises:
        ContractError: the contract is missing or cannot be read.
        ArtefactError: a file of the report is missing, or of another contract.
    """
    contract, folder = ModelContract.load(model_store / "contract.json"), model_store / "report"
    reports = {name: _read(folder / f"{name}.json") for name in REPORTS}
    comparison = scores.read_scores(folder / "comparison.json")
    try:
        # The contract names the digest of its model: one comparison covers both.
        if reports["report"]["sha256"]["contract.json"] != sha256(model_store / "contract.json"):
            raise ArtefactError(f"{folder}: reports on another contract than {model_store} holds, run make report")
        for name in ("audit", "adults", "gate"):
            if reports[name]["model"] != contract.model_version:
                raise ArtefactError(
                    f"{folder / name}.json: of model {reports[name]['model']}, run make {name} JSON=..."
                )
        return (
            _environment()
            .get_template(TEMPLATE)
            .render(
                contract=contract,
                operating_points=OPERATING_POINTS,
                comparison=scores.table(comparison),
                compared=_films(comparison),
                audit_table=rows_table(reports["audit"]["rows"]),
                audit_history_table=comparison_table(reports["audit_history"]),
                sensitivity_compared=scores.SENSITIVITY,
                **reports,
            )
        )
    except (UndefinedError, KeyError, TypeError) as exc:
        raise ArtefactError(f"{folder}: not a report as this template wants it: {exc}") from exc


def _films(runs: Sequence[scores.ScoredRun]) -> str:
    """Return how many films the runs held out, "741" or "741 or 854"."""
    return " or ".join(sorted({f"{run.films:,}" for run in runs}))


def _read(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except OSError as exc:
        raise ArtefactError(f"{path}: {exc.strerror or exc}, run make report") from exc
    except ValueError as exc:
        raise ArtefactError(f"{path}: not JSON: {exc}") from exc


def _environment() -> Environment:
    environment = Environment(  # noqa: S701 - Markdown, not HTML
        loader=FileSystemLoader(Path(__file__).parent),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters |= {
        "percent": _percent,
        "share": _share,
        "interval": _interval,
        "range": tables.interval,
        "measure": tables.measure,
        "change": _change,
        "known": _known,
    }
    return environment


def _percent(share: float, digits: int = 1) -> str:
    """Return 0.9876 as "98.8 %"."""
    return f"{100 * share:.{digits}f} %"


def _share(share: float, ends: Sequence[float], digits: int = 1) -> str:
    """Return a share with the ends of its interval, in percent."""
    value, low, high = (f"{100 * part:.{digits}f}" for part in (share, *ends))
    return f"{value} [{low}, {high}] %"


def _interval(measure: Mapping[str, float]) -> str:
    """Return a share that carries its interval, in percent."""
    return _share(measure["value"], (measure["low"], measure["high"]))


def _known(measure: Mapping[str, float] | float | None, digits: int = 3) -> str:
    """Return a measure, with its interval where it has one, or "not known"."""
    if measure is None:
        return "not known"
    if isinstance(measure, float | int):
        return f"{measure:.{digits}f}"
    return f"{measure['value']:.{digits}f}" if measure["low"] is None else tables.measure(measure, digits)


def _change(row: Mapping[str, str]) -> str:
    """Return how films were changed, "noise, strong"."""
    return f"{row['corruption']}, {row['severity']}" if row["severity"] else row["corruption"]


if __name__ == "__main__":
    cli.run(main)
