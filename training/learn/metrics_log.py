"""The record of a run: `metrics.csv`, a row an epoch, and `curves.png` of it."""

import csv
import time
from pathlib import Path

from lightning import LightningModule, Trainer
from lightning.pytorch.callbacks import Callback

from training.figures.plots import training_curves

FIELDS = ("epoch", "train_loss", "val_loss", "val_auc", "learning_rate", "films_per_s")


class MetricsLog(Callback):
    """Writes the record after every epoch, so that a killed run keeps what it has."""

    def __init__(self, run: Path) -> None:
        self._path = run / "metrics.csv"
        self._curves = run / "curves.png"
        self._started_s = 0.0
        self._learning_s = 0.0

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Start the epoch's clock."""
        del trainer, pl_module
        self._started_s = time.monotonic()

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Stop the epoch's clock: what follows is not learning."""
        del trainer, pl_module
        self._learning_s = time.monotonic() - self._started_s

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Add the epoch's row, in place of an earlier one that was never checkpointed, and draw the curves."""
        del pl_module
        rows = [row for row in self._read() if row["epoch"] < trainer.current_epoch]
        films = trainer.num_training_batches * (trainer.train_dataloader.batch_size or 0)  # type: ignore[union-attr]
        metrics = trainer.callback_metrics
        rows.append(
            {
                "epoch": trainer.current_epoch,
                **{name: round(metrics[name].item(), 5) for name in ("train_loss", "val_loss", "val_auc")},
                "learning_rate": float(f"{trainer.optimizers[0].param_groups[0]['lr']:.3g}"),
                "films_per_s": round(films / self._learning_s, 1),
            }
        )
        with self._path.open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, FIELDS)
            writer.writeheader()
            writer.writerows(rows)
        training_curves(rows, self._curves)

    def _read(self) -> list[dict[str, float]]:
        if not self._path.exists():
            return []
        with self._path.open(newline="", encoding="utf-8") as file:
            return [
                {name: int(value) if name == "epoch" else float(value) for name, value in row.items()}
                for row in csv.DictReader(file)
            ]
