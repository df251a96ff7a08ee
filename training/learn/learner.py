"""The learning step as a LightningModule: loss, metrics, optimizer, schedule."""

import math
from typing import Any

import torch
from lightning import LightningModule
from torch import Tensor, nn
from torch.optim.lr_scheduler import LambdaLR
from torchmetrics.classification import BinaryAUROC

from handler.network import PneumoniaNet
from training.learn.model import freeze
from training.learn.recipe import Recipe
from training.learn.schedule import warmup_then_cosine


class Learner(LightningModule):
    """Fine-tunes a PneumoniaNet by a recipe."""

    def __init__(self, net: PneumoniaNet, recipe: Recipe, class_weights: Tensor | None) -> None:
        """Wrap a network.

        Args:
            net: the network, with its pretrained weights.
            recipe: how it learns.
            class_weights: (2,), of the cross-entropy; None weighs the classes alike.
        """
        super().__init__()
        self.net = net.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.recipe = recipe
        # A tuple, so that the blocks are not registered a second time.
        self.frozen = tuple(freeze(net, trainable_blocks=recipe.trainable_blocks))
        self.train_loss = nn.CrossEntropyLoss(weight=class_weights, label_smoothing=recipe.label_smoothing)
        self.validation_loss = nn.CrossEntropyLoss()
        self.validation_auc = BinaryAUROC()

    def training_step(self, batch: tuple[Tensor, Tensor]) -> Tensor:
        """Return the loss of one batch, and log it."""
        loss = self.loss(batch)
        self.log("train_loss", loss, prog_bar=True, on_step=False, on_epoch=True, batch_size=len(batch[1]))
        return loss

    def loss(self, batch: tuple[Tensor, Tensor]) -> Tensor:
        """Return the loss of one batch: V augmentations of each film (B, V, 224, 224), uint8, and labels (B,)."""
        for block in self.frozen:
            block.eval()  # a frozen block's batch norm must not drift
        films, labels = batch
        views = films.shape[1]
        logits = self.net(films.flatten(0, 1).unsqueeze(1))  # (B * V, 2)
        loss: Tensor = self.train_loss(logits, labels.repeat_interleave(views))
        if views > 1:
            loss = loss + self.recipe.consistency * jensen_shannon(logits.float().unflatten(0, (-1, views)))
        return loss

    def validation_step(self, batch: tuple[Tensor, Tensor]) -> None:
        """Score one batch of films (B, 1, 224, 224), uint8, and labels (B,)."""
        films, labels = batch
        logits = self.net(films).float()
        self.validation_auc.update(logits[:, 1] - logits[:, 0], labels)
        self.log("val_loss", self.validation_loss(logits, labels), prog_bar=True, batch_size=len(labels))
        self.log("val_auc", self.validation_auc, prog_bar=True)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Note what the weights do not say of the network."""
        checkpoint["resolution_px"] = self.net.resolution_px

    def configure_optimizers(self) -> Any:
        """Return the optimizer and its schedule, a step at a time; batch norms and biases do not decay."""
        learning = [parameter for parameter in self.net.parameters() if parameter.requires_grad]
        groups = [
            {"params": [p for p in learning if p.ndim > 1], "weight_decay": self.recipe.weight_decay},
            {"params": [p for p in learning if p.ndim <= 1], "weight_decay": 0.0},
        ]
        kind = torch.optim.AdamW if self.recipe.optimizer == "adamw" else torch.optim.Adam
        optimizer = kind(groups, lr=self.recipe.learning_rate)
        steps = int(self.trainer.estimated_stepping_batches)
        schedule = LambdaLR(
            optimizer,
            warmup_then_cosine(
                steps=steps,
                warmup_steps=int(steps * self.recipe.warmup_epochs / self.recipe.epochs),
                final=self.recipe.final_learning_rate / self.recipe.learning_rate,
            ),
        )
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}


def jensen_shannon(logits: Tensor) -> Tensor:
    """Return the mean Jensen-Shannon divergence, in nats, between the distributions that each film's views are given.

    Source: Hendrycks et al., AugMix: A Simple Data Processing Method to Improve Robustness and Uncertainty, ICLR 2020.

    Args:
        logits: (B, V, C), float32.
    """
    each = logits.log_softmax(dim=2)
    mixture = each.logsumexp(dim=1, keepdim=True) - math.log(logits.shape[1])  # (B, 1, C)
    return (each.exp() * (each - mixture)).sum(dim=2).mean()
