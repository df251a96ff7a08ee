"""python -m training.ablate --data DIR [--plan FILE] [--seeds N ...] [--runs DIR] [--json FILE] [--backbone-weights F]

Train every variant of an ablation with every seed, and compare them on the films that they held out. A variant is a
recipe with some fields changed; what is trained already is not trained again.
"""

import argparse
import dataclasses
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import yaml

from training import cli
from training.compare import score_run
from training.errors import RecipeError
from training.recipe import Recipe
from training.run_folder import load_films
from training.scores import ScoredRun, table, write_scores
from training.train import RUNS, train

logger = logging.getLogger(__name__)

PLAN = Path("config/ablation.yaml")


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What an ablation trains."""

    variants: tuple[Recipe, ...]

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read a plan: the recipe `base`, the fields `changes` of it that every variant has, and the `variants`.

        Raises:
            RecipeError: the file cannot be read, is no plan, or a variant is no recipe.
        """
        try:
            plan = yaml.safe_load(path.read_text(encoding="utf-8"))
            base = dataclasses.asdict(Recipe.load(plan["base"])) | plan["changes"]
            variants: list[dict[str, Any]] = plan["variants"]
            return cls(variants=tuple(Recipe.from_fields(base | fields, source=str(path)) for fields in variants))
        except (OSError, UnicodeDecodeError, yaml.YAMLError) as exc:
            raise RecipeError(f"{path}: cannot be read: {exc}") from exc
        except (KeyError, TypeError) as exc:
            raise RecipeError(f"{path}: not a plan of base, changes and variants: {exc!r}") from exc


def main() -> None:
    """Parse the command line, train and compare."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder or CSV of labelled films")
    parser.add_argument("--plan", type=Path, default=PLAN, help="which variants (default: %(default)s)")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2], help="of each variant (default: 0 1 2)")
    parser.add_argument("--runs", type=Path, default=RUNS / "ablation", help="where runs go (default: %(default)s)")
    parser.add_argument("--json", type=Path, help="also write the scores to this file")
    parser.add_argument("--backbone-weights", type=Path, help="safetensors file (default: torchvision's download)")
    args = parser.parse_args()
    variants = Plan.load(args.plan).variants
    scored = ablate(variants, data=args.data, seeds=args.seeds, runs=args.runs, backbone_weights=args.backbone_weights)
    logger.info("%s", table(scored))
    if args.json:
        write_scores(scored, args.json)


def ablate(
    variants: Sequence[Recipe], *, data: Path, seeds: Sequence[int], runs: Path, backbone_weights: Path | None
) -> list[ScoredRun]:
    """Train every variant with every seed into `runs/NAME-SEED`, and score them.

    Seeds are the outer loop: an ablation that is cut short has as many of every variant.

    Raises:
        DataError: the films cannot be learned from.
        ArtefactError: the pretrained weights, or a run that is already there, are of no use.
    """
    for seed in seeds:
        for variant in variants:
            recipe = dataclasses.replace(variant, seed=seed)
            train(data=data, recipe=recipe, run=_folder(runs, recipe), backbone_weights=backbone_weights)
    films = load_films(data)
    return [
        score_run(_folder(runs, dataclasses.replace(variant, seed=seed)), films)
        for variant in variants
        for seed in seeds
    ]


def _folder(runs: Path, recipe: Recipe) -> Path:
    return runs / f"{recipe.name}-{recipe.seed}"


if __name__ == "__main__":
    cli.run(main)
