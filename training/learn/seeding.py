"""Random numbers that depend only on the seed and the epoch, so that a resumed run equals one that was not killed."""

from typing import Any

from lightning import LightningModule, Trainer, seed_everything
from lightning.pytorch.callbacks import Callback


def seed_epoch(seed: int, epoch: int) -> None:
    """Seed all that draws random numbers in an epoch, the loader's workers included."""
    seed_everything(seed + 1000 * epoch, workers=True, verbose=False)


class SeedEachEpoch(Callback):
    """Seeds every epoch by its number.

    Lightning draws the order of a run's first epoch before any hook: `train` has to call `seed_epoch` before it.
    """

    def __init__(self, seed: int) -> None:
        self._seed = seed

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Seed the order of the films, and what changes them in the loader's workers, which start now."""
        del pl_module
        seed_epoch(self._seed, trainer.current_epoch)

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        """Seed dropout, whatever was drawn since the epoch began."""
        del pl_module, batch
        if batch_idx == 0:
            seed_epoch(self._seed, trainer.current_epoch)
