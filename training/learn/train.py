"""python -m training.learn.train --data DIR --recipe NAME [--out DIR] [--copies DIR] [--start-from RUN] [--seed N]

Fine-tune MobileNetV2 on a folder of films. The run folder holds `config.yaml`, `metrics.csv` (a row an epoch),
`curves.png`, and `last.ckpt`, from which the same command goes on after a kill, and which ships: no epoch is chosen by
the films held out, which would flatter the figures on them, and prefer what reads how those films were taken.
"""

import dataclasses
import logging
import pickle
from collections.abc import Sequence
from pathlib import Path

import torch
import yaml
from lightning import Trainer, seed_everything
from lightning.pytorch.callbacks import Callback, EMAWeightAveraging, ModelCheckpoint, TQDMProgressBar
from torch import Tensor

from handler.network import PneumoniaNet
from training import cli
from training.data.copies import NO_COPIES, find_copies
from training.data.films import DecodedFilms, data_digest
from training.errors import ArtefactError
from training.learn.dataset import train_loader, validation_loader
from training.learn.export import load_checkpoint
from training.learn.learner import Learner
from training.learn.metrics_log import MetricsLog
from training.learn.model import load_backbone
from training.learn.recipe import Recipe
from training.learn.run_folder import divide, load_films, read_run
from training.learn.seeding import SeedEachEpoch, seed_epoch
from training.learn.step_rate import StepRate

logger = logging.getLogger(__name__)

RUNS = Path("runs")


def main() -> None:
    """Parse the command line and train."""
    parser = cli.parser(__doc__, "--data", "--copies")
    parser.add_argument("--recipe", required=True, help="a name in config/training/, or a YAML file")
    parser.add_argument("--out", type=Path, help="run folder (default: runs/RECIPE)")
    start = parser.add_mutually_exclusive_group()
    start.add_argument("--backbone-weights", type=Path, help="safetensors file (default: torchvision's download)")
    start.add_argument("--start-from", type=Path, help="run folder to start from, instead of ImageNet's weights")
    parser.add_argument("--seed", type=int, help="instead of the recipe's")
    args = parser.parse_args()
    recipe = Recipe.load(args.recipe)
    if args.seed is not None:
        recipe = dataclasses.replace(recipe, seed=args.seed)
    films = load_films(args.data)
    train(
        films,
        recipe=recipe,
        run=args.out or RUNS / recipe.name,
        start=args.start_from or args.backbone_weights,
        copies_folder=args.copies,
    )


def train(
    films: DecodedFilms,
    *,
    recipe: Recipe,
    run: Path,
    start: Path | None,
    copies_folder: Path | None = None,
) -> None:
    """Train into the folder `run`, going on from its last epoch if it was begun before.

    Args:
        films: what `run_folder.load_films` returns; the recipe says which of them are held out.
        recipe: how it learns.
        run: the folder.
        start: a run folder whose model is learned on from, which has to hold out the same films; or the
            weights of ImageNet, as for `model.load_backbone`.
        copies_folder: the same films at another size, by name; those of films held out are left out.

    Raises:
        DataError: the films cannot be learned from.
        ArtefactError: the pretrained weights, or the checkpoint to start or go on from, are of no use.
    """
    train_part, validation_part = divide(films, recipe)
    digest = data_digest(films, validation_part.tolist())
    start_run = start if start and start.is_dir() else None
    if recipe.start and not start_run:
        raise ArtefactError(f"{recipe.name} goes on from a run of {recipe.start}: name its folder with --start-from")
    if start_run:
        _require_start(start_run, recipe, digest)
    learning, held_out = films.subset(train_part), films.subset(validation_part)
    copies = find_copies(learning, copies_folder) if copies_folder else NO_COPIES
    last = prepare_run(run, recipe=recipe, digest=digest, copies_digest=copies.sha256)
    counts = len(learning.files), len(copies.pixels), len(held_out.files)
    logger.info("%s: %d films to learn from, %d of them in two copies, %d held out", recipe.name, *counts)

    seed_everything(recipe.seed, workers=True, verbose=False)
    net = PneumoniaNet(dropout=recipe.dropout, resolution_px=recipe.resolution_px)
    if start_run:
        net.load_state_dict(load_checkpoint(start_run / "last.ckpt").state_dict())
    else:
        load_backbone(net, start)
    learner = Learner(net, recipe, _class_weights(learning) if recipe.class_weights else None)
    seed_epoch(recipe.seed, _next_epoch(last) if last else 0)
    _trainer(recipe, run).fit(
        learner,
        train_loader(learning, recipe, copies),
        validation_loader(held_out, recipe),
        ckpt_path=last,
        weights_only=False,  # our own run folder's file; it holds the optimizer's and the callbacks' state
    )


def _next_epoch(checkpoint: Path) -> int:
    """Return the epoch that follows a checkpoint; it is read whole, so that what fails later is not blamed on it.

    Raises:
        ArtefactError: it cannot be read.
    """
    try:
        return int(torch.load(checkpoint, map_location="cpu", weights_only=False)["epoch"]) + 1
    except (RuntimeError, KeyError, EOFError, OSError, pickle.UnpicklingError) as exc:
        raise ArtefactError(f"{checkpoint}: cannot go on from this checkpoint: {exc}") from exc


def _require_start(start: Path, recipe: Recipe, digest: str) -> None:
    """Check that a run is one that a recipe may go on from.

    Raises:
        ArtefactError: it is of another recipe, or held out other films.
    """
    its_recipe, its_digest = read_run(start)
    if its_recipe.name != recipe.start:
        wanted = f"a run of {recipe.start}" if recipe.start else "ImageNet's weights"
        raise ArtefactError(f"{start}: is a run of {its_recipe.name}, {recipe.name} begins with {wanted}")
    if its_digest != digest:
        raise ArtefactError(f"{start}: held out other films than {recipe.name} does, and would have seen some")


def prepare_run(
    run: Path, *, recipe: Recipe, digest: str, copies_digest: str = "", average_of: Sequence[str] = ()
) -> Path | None:
    """Write the run's `config.yaml`, or check that it is the same; return the checkpoint to go on from, if any.

    Raises:
        ArtefactError: the folder holds a run of another recipe or of other films.
    """
    config: dict[str, object] = {"recipe": dataclasses.asdict(recipe), "data_sha256": digest}
    if copies_digest:
        config["copies_sha256"] = copies_digest
    if average_of:
        config["average_of"] = list(average_of)
    path = run / "config.yaml"
    if path.exists():
        if yaml.safe_load(path.read_text(encoding="utf-8")) != config:
            raise ArtefactError(f"{run}: holds a run of another recipe or of other films, name another folder")
    else:
        run.mkdir(parents=True, exist_ok=True)
        path.write_text(yaml.safe_dump(config, sort_keys=False), encoding="utf-8")
    last = run / "last.ckpt"
    return last if last.exists() else None


def _trainer(recipe: Recipe, run: Path) -> Trainer:
    callbacks: list[Callback] = [
        SeedEachEpoch(recipe.seed),
        # At the end of the epoch, when its mean loss is done with: a resumed run begins a new one.
        ModelCheckpoint(dirpath=run, filename="last", enable_version_counter=False, save_on_train_epoch_end=True),
        TQDMProgressBar(refresh_rate=10),
        MetricsLog(run),
        StepRate(),
    ]
    if recipe.ema_decay:
        callbacks.insert(0, EMAWeightAveraging(decay=recipe.ema_decay))
    return Trainer(
        max_epochs=recipe.epochs,
        precision="bf16-mixed" if _has_bf16() else "32-true",
        callbacks=callbacks,
        logger=False,
        num_sanity_val_steps=0,
        gradient_clip_val=1.0,
        enable_model_summary=False,
    )


def _has_bf16() -> bool:
    """Return whether bf16 is faster than fp32 here; on a CPU without the instructions it is emulated, and slower."""
    return torch.cuda.is_available() or torch.cpu._is_avx512_bf16_supported()  # torch has no public way


def _class_weights(films: DecodedFilms) -> Tensor:
    """Return the weights (2,) that make both classes count alike."""
    counts = torch.bincount(torch.from_numpy(films.labels), minlength=2)
    return counts.sum() / (2.0 * counts)


if __name__ == "__main__":
    cli.run(main)
