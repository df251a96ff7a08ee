"""The conformal rule of a contract: which films are called uncertain.

Label-conditional split conformal prediction: of the films of each label that were held out, all but as many as the
coverage allows may lie beyond the bound. Chosen under every acquisition, the most cautious bound counts, so that the
coverage holds for films of another look as well as for those of the source.

Source: Vovk, Gammerman, Shafer, Algorithmic Learning in a Random World, 2005, section 4.5.
"""

import math

import numpy as np

from handler.contract import Uncertainty
from handler.screening import served
from training.figures.metrics import Floats, Labels

COVERAGE = 0.95
"""Of the films of each label: of the 191 NORMAL ones that the shipped recipe holds out, 9 may lie beyond the bound. A
higher coverage makes more films uncertain, most of which are screened right."""


def conformal(p_pneumonia: Floats, labels: Labels, *, coverage: float = COVERAGE) -> Uncertainty:
    """Return the rule for p_pneumonia (A, N) of films under A acquisitions and their labels (N,).

    Where there are too few films of a label to state the coverage, any film may have it.
    """
    p = served(p_pneumonia)
    return Uncertainty(
        coverage=coverage,
        pneumonia_from=min(_bound(one, coverage) for one in p[:, labels == 1]),
        normal_to=round(1.0 - min(_bound(1.0 - one, coverage) for one in p[:, labels == 0]), 4),
    )


def _bound(values: Floats, coverage: float) -> float:
    """Return the value, in [0, 1], that a further one reaches with probability `coverage`, if it is drawn alike."""
    below = math.floor((1.0 - coverage) * (len(values) + 1) + 1e-9)
    return float(np.sort(values)[below - 1]) if below else 0.0
