"""python -m training.learn.average --data DIR --runs RUN RUN [RUN ...] --out RUN

Average the weights of runs that held out the same films, a run and what went on from it, or several seeds, and
re-estimate the batch norms over the films that they learned from. The result is a run folder that
`training.learn.export` and all that follows take like any other.

Source: Wortsman et al., Robust Fine-Tuning of Zero-Shot Models, CVPR 2022, and Model Soups, ICML 2022; Izmailov et al.,
Averaging Weights Leads to Wider Optima, UAI 2018.
"""

import dataclasses
import logging
from collections.abc import Sequence
from pathlib import Path

import torch
from lightning import seed_everything
from torch import Tensor, nn

from handler.network import PneumoniaNet
from training import cli
from training.data.films import DecodedFilms
from training.errors import ArtefactError
from training.learn.dataset import train_loader
from training.learn.export import load_checkpoint
from training.learn.run_folder import copies_digest, load_films, parts, read_run
from training.learn.train import prepare_run

logger = logging.getLogger(__name__)

BATCHES = 40
"""Of changed training films over which batch norms are estimated: 1,280 films at 32 a batch."""


def main() -> None:
    """Parse the command line and average."""
    parser = cli.parser(__doc__, "--data", "--runs", "--out")
    args = parser.parse_args()
    average(args.runs, films=load_films(args.data), out=args.out)
    logger.info("%s: the average of %s", args.out, ", ".join(map(str, args.runs)))


def average(runs: Sequence[Path], *, films: DecodedFilms, out: Path) -> None:
    """Write the average of runs to the run folder `out`.

    Args:
        runs: run folders of one resolution, that held out the same films.
        films: what `run_folder.load_films` returns of the films that they learned from.
        out: the folder; its `config.yaml` is the last run's, and names all of them.

    Raises:
        ArtefactError: one is not a run folder or has no checkpoint, they held out other films or differ in resolution,
            or `out` holds another run.
        DataError: they learned from other films.
    """
    read = [read_run(run) for run in runs]
    recipe, digest = read[-1]
    for run, (other, other_digest) in zip(runs, read, strict=True):
        if (other.resolution_px, other_digest) != (recipe.resolution_px, digest):
            raise ArtefactError(f"{run}: of another resolution than {runs[-1]}, or held out other films: no average")
    learned, _ = parts(films, runs[-1])
    net = averaged([load_checkpoint(run / "last.ckpt") for run in runs])
    seed_everything(recipe.seed, workers=True, verbose=False)
    views = (batch for batch, _ in train_loader(learned, recipe))
    estimate_batch_norms(net, [next(views) for _ in range(min(BATCHES, len(learned.files) // recipe.batch_size))])
    names = [one.name for one, _ in read]
    averaged_recipe = dataclasses.replace(recipe, description=f"the mean of the weights of {', '.join(names)}")
    prepare_run(out, recipe=averaged_recipe, digest=digest, copies_digest=copies_digest(runs[-1]), average_of=names)
    state = {f"net.{key}": value for key, value in net.state_dict().items()}
    torch.save({"resolution_px": net.resolution_px, "state_dict": state}, out / "last.ckpt")


def averaged(nets: Sequence[PneumoniaNet]) -> PneumoniaNet:
    """Return the first network with the mean of all networks' weights; its batch norms are of no use as they are."""
    states = [net.state_dict() for net in nets]
    mean = {
        key: torch.stack([state[key].double() for state in states]).mean(dim=0).to(value.dtype)
        for key, value in states[0].items()
    }
    nets[0].load_state_dict(mean)
    return nets[0]


def estimate_batch_norms(net: PneumoniaNet, batches: Sequence[Tensor]) -> None:
    """Set the means and variances of a network's batch norms to those over batches of films.

    Args:
        net: the network, left in evaluation mode.
        batches: each (B, V, 224, 224), uint8: V changed views of B films.
    """
    norms = [module for module in net.modules() if isinstance(module, nn.BatchNorm2d)]
    momenta = [norm.momentum for norm in norms]
    net.eval()
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # the plain mean over the batches
        norm.train()
    with torch.no_grad():
        for films in batches:
            net(films.flatten(0, 1).unsqueeze(1))  # (B * V, 1, 224, 224)
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum
    net.eval()


if __name__ == "__main__":
    cli.run(main)
