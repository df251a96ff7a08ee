"""The input gate: what speaks against a picture being a film that the model knows, as reason codes and sentences.

The bounds on a film's facts are the contract's; how far a film may lie from those that were learned from is in
`gate.npz`, beside the model. `training.gate.fit` writes both.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Self

import numpy as np
import numpy.typing as npt

from handler import contract
from handler.imaging import Film, Facts
from handler.presentation import Turned

Reason = Literal[
    "not_a_chest_film",
    "unlike_training_films",
    "colour_picture",
    "inverted",
    "upside_down",
    "on_its_side",
    "mirrored",
    "too_small",
    "low_contrast",
    "unusual_exposure",
]
Policy = Literal["warn", "reject", "off"]

TURNED: dict[Turned, Reason] = {
    "upside down": "upside_down",
    "on its side": "on_its_side",
    "mirrored": "mirrored",
}
