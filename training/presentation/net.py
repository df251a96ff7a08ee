"""The network of `handler.presentation` in torch, and how it learns: only from upright positives.

It scores a picture in all sixteen presentations, so that every film is its own counterexample fifteen times. Pictures
that are no chest film have a separate answer, the score 0, and are made from noise, shapes, photographs, and
pieces and sheets of films.
"""

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from handler.presentation import BLOCK, PATCH, PATCHES, SIDE, Network, block_sums
from training.presentation.pictures import other_pictures, varied

CHANNELS = 16
HIDDEN = 32
DROPOUT = 0.1
BATCH = 128
OTHERS = 32
"""Pictures in a batch that are no chest film."""
EXTRA = 32
"""Films in a batch of the smaller set, if there is one."""
PEAK_RATE = 4e-3
WEIGHT_DECAY = 0.05


class PresentationNet(nn.Module):
    """Scores (B, 16) of pictures (B, 32, 32) from -1, black, to 1, in the order of `handler.presentation.Scores`."""

    patches: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("patches", torch.from_numpy(PATCHES), persistent=False)
        self.square = nn.Linear(PATCH * PATCH, CHANNELS)
        self.hidden = nn.Linear((SIDE // PATCH) ** 2 * CHANNELS, HIDDEN)
        self.score = nn.Linear(HIDDEN, 1)
        self.dropout = nn.Dropout(DROPOUT)

    def forward(self, pictures: Tensor) -> Tensor:
        """Score the pictures."""
        squares = pictures.flatten(1)[:, self.patches] @ self.square.weight.T  # (B, 8, 64, C)
        both = torch.stack([self.square.bias + squares, self.square.bias - squares], dim=1)  # (B, 2, 8, 64, C)
        seen = self.dropout(F.relu(both).flatten(3))  # (B, 2, 8, 64 * C)
        scores: Tensor = self.score(self.dropout(F.relu(self.hidden(seen)))).flatten(1)
        return scores

    def exported(self) -> Network:
        """Return the network as it is served: its weights rounded to half floats."""

        def half(weights: Tensor) -> npt.NDArray[np.float64]:
            return weights.detach().half().double().numpy()

        return Network(
            square=half(self.square.weight.T),
            square_bias=half(self.square.bias),
            hidden=half(self.hidden.weight.T),
            hidden_bias=half(self.hidden.bias),
            score=half(self.score.weight[0]),
            score_bias=float(half(self.score.bias)[0]),
        )


def reduced(films: npt.NDArray[np.uint8]) -> Tensor:
    """Return films (N, 224, 224) as means of 4x4 pixels, uint8 (N, 56, 56): what variations are made of."""
    means = films.reshape(len(films), 56, 4, 56, 4).mean(axis=(2, 4), dtype=np.float32)
    return torch.from_numpy(means.round().astype(np.uint8))


def seen(films: npt.NDArray[np.uint8]) -> Tensor:
    """Return films (N, 224, 224) as the network sees them, (N, 32, 32) from -1 to 1."""
    sums = np.stack([block_sums(film) for film in films]).astype(np.float32)
    return torch.from_numpy(sums / (BLOCK * BLOCK * 127.5) - 1.0)


def learn(films: Tensor, extra: Tensor, *, epochs: int, seed: int) -> Network:
    """Return a network that has learned from films.

    Args:
        films: upright positives, from `reduced`.
        extra: more of them, of which there are few: some are in every batch. May be empty.
        epochs: how often each of `films` is seen.
        seed: of the weights, the order and the variations.
    """
    torch.manual_seed(seed)
    generator = torch.Generator().manual_seed(seed)
    net = PresentationNet().train()
    optimiser = torch.optim.AdamW(net.parameters(), lr=PEAK_RATE, weight_decay=WEIGHT_DECAY)
    steps = epochs * max(1, len(films) // BATCH)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, PEAK_RATE, total_steps=steps)
    for batch in _batches(films, extra, epochs=epochs, generator=generator):
        others = other_pictures(batch[:OTHERS], generator)
        scores = net(torch.cat([varied(batch, generator), others]))  # (B, 16)
        scores = F.pad(scores, (0, 1))  # (B, 17), the last for no chest film
        answers = torch.tensor([0] * len(batch) + [scores.shape[1] - 1] * len(others))
        optimiser.zero_grad()
        F.cross_entropy(scores, answers).backward()
        optimiser.step()
        schedule.step()
    return net.eval().exported()


def _batches(films: Tensor, extra: Tensor, *, epochs: int, generator: torch.Generator) -> Iterator[Tensor]:
    size = min(BATCH, len(films))
    for _ in range(epochs):
        order = torch.randperm(len(films), generator=generator)
        for start in range(0, len(films) - size + 1, size):
            batch = films[order[start : start + size]]
            if len(extra):
                batch = torch.cat([batch, extra[torch.randint(len(extra), (EXTRA,), generator=generator)]])
            yield batch
