"""The learning rate over a run."""

import math
from collections.abc import Callable


def warmup_then_cosine(*, steps: int, warmup_steps: int, final: float) -> Callable[[int], float]:
    """Return the factor on the learning rate at a step: linear from near 0 to 1, then a cosine down to `final`.

    Source: Loshchilov and Hutter, SGDR, ICLR 2017; Goyal et al., Accurate, Large Minibatch SGD, 2017.
    """

    def factor(step: int) -> float:
        if step < warmup_steps:
            return (step + 1) / (warmup_steps + 1)
        progress = min(1.0, (step - warmup_steps) / max(1, steps - warmup_steps))
        return final + (1.0 - final) * 0.5 * (1.0 + math.cos(math.pi * progress))

    return factor
