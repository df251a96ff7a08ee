"""python -m training.compare.ablate --data DIR [--plan FILE] [--seeds N ...] [--runs DIR] [--json FILE]

Train every variant of an ablation with every seed, and compare them on the films that they held out. A variant is a
recipe with some fields changed; what is trained already is not trained again.
"""

import dataclasses
import logging
from collections.abc import Sequence
from pathlib import Path

import yaml

from training import cli
from training.compare.compare import score_run
from training.compare.scores import ScoredRun, table, write_scores
from training.data.films import DecodedFilms
from training.errors import RecipeError
from training.learn.recipe import Recipe
from training.learn.run_folder import load_films
from training.learn.train import RUNS, train

logger = logging.getLogger(__name__)

PLAN = Path("config/ablation.yaml")


def main() -> None:
    """Parse the command line, train and compare."""
    parser = cli.parser(__doc__, "--data", "--json", "--backbone-weights")
    parser.add_argument("--plan", type=Path, default=PLAN, help="which variants (default: %(default)s)")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2], help="of each variant (default: 0 1 2)")
    parser.add_argument("--runs", type=Path, default=RUNS / "ablation", help="where runs go (default: %(default)s)")
    args = parser.parse_args()
    variants, films = read_plan(args.plan), load_films(args.data)
    scored = ablate(variants, films, seeds=args.seeds, runs=args.runs, backbone_weights=args.backbone_weights)
    logger.info("%s", table(scored))
    if args.json:
        write_scores(scored, args.json)


def read_plan(path: Path) -> list[Recipe]:
    """Return the variants of a plan: the recipe `base`, the fields `changes` that all have, and each one's own fields.

    Raises:
        RecipeError: the file cannot be read, is no plan, or a variant is no recipe.
    """
    try:
        plan = yaml.safe_load(path.read_text(encoding="utf-8"))
        base = dataclasses.asdict(Recipe.load(plan["base"])) | plan["changes"]
        return [Recipe.from_fields(base | fields, source=str(path)) for fields in plan["variants"]]
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as exc:
        raise RecipeError(f"{path}: cannot be read: {exc}") from exc
    except (KeyError, TypeError) as exc:
        raise RecipeError(f"{path}: not a plan of base, changes and variants: {exc!r}") from exc


def ablate(
    variants: Sequence[Recipe],
    films: DecodedFilms,
    *,
    seeds: Sequence[int],
    runs: Path,
    backbone_weights: Path | None,
) -> list[ScoredRun]:
    """Train every variant with every seed into `runs/NAME-SEED`, and score them.

    Seeds are the outer loop: an ablation that is cut short has as many of every variant.

    Raises:
        DataError: the films cannot be learned from.
        ArtefactError: the pretrained weights, or a run that is already there, are of no use.
    """
    recipes = [dataclasses.replace(variant, seed=seed) for seed in seeds for variant in variants]
    folders = [runs / f"{recipe.name}-{recipe.seed}" for recipe in recipes]
    for recipe, folder in zip(recipes, folders, strict=True):
        train(films, recipe=recipe, run=folder, start=backbone_weights)
    return [score_run(folder, films) for folder in folders]


if __name__ == "__main__":
    cli.run(main)
