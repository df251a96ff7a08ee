"""How much of the step's own rate a training keeps: what decoding, augmentation and the loop cost beside it."""

import copy
import logging
import time

import torch
from lightning import LightningModule, Trainer
from lightning.pytorch.callbacks import Callback
from torch import Tensor

from training.learn.learner import Learner

logger = logging.getLogger(__name__)

WARMUP_STEPS = 3
STEPS = 12


class StepRate(Callback):
    """After the last epoch, time the step by itself on a batch in memory, and log both rates.

    The step is taken by a copy of the network: what was learned is not touched. An epoch's rate counts from its first
    step, since filling the loader's queues once is no cost of a film.
    """

    def __init__(self) -> None:
        self._batch: tuple[Tensor, Tensor] | None = None
        self._started_s = 0.0
        self._rates: list[float] = []

    def on_train_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: object,
        batch: tuple[Tensor, Tensor],
        batch_idx: int,
    ) -> None:
        """Note when the first and the last step of an epoch end."""
        del pl_module, outputs
        self._batch = batch
        if batch_idx == 0:
            self._started_s = time.monotonic()
        elif batch_idx == int(trainer.num_training_batches) - 1:
            self._rates.append(batch_idx * len(batch[1]) / (time.monotonic() - self._started_s))

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Time the step by itself and log what the training kept of it."""
        if self._batch is None or not self._rates or not isinstance(pl_module, Learner):
            return
        step = _films_per_s(trainer, pl_module, self._batch)
        kept = sorted(self._rates)[len(self._rates) // 2]
        logger.info(
            "%.1f films/s while learning, %.2f of the step by itself on data in memory (%.1f)", kept, kept / step, step
        )


def _films_per_s(trainer: Trainer, learner: Learner, batch: tuple[Tensor, Tensor]) -> float:
    twin = Learner(copy.deepcopy(learner.net), learner.recipe, class_weights=learner.train_loss.weight).train()
    optimizer = torch.optim.AdamW([p for p in twin.parameters() if p.requires_grad], lr=1e-6)
    for step in range(WARMUP_STEPS + STEPS):
        if step == WARMUP_STEPS:
            started_s = time.monotonic()
        with trainer.precision_plugin.train_step_context():
            loss = twin.loss(batch)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        loss.item()  # on a GPU, wait for the step
    return STEPS * len(batch[1]) / (time.monotonic() - started_s)
