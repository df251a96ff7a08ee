"""Whether a contender answers as the bare loop does; one that does not is not timed.

A faster server of another model is no comparison.
"""

from collections.abc import Mapping, Sequence

from bench.contender import Live, p_pneumonia
from bench.errors import ContenderError
from bench.films import BenchFilm
from handler.contract import ModelContract

SAME_ENGINE_TOLERANCE = 0.02
"""On p_pneumonia: as of the reference films, room for another processor's rounding and nothing else."""

TORCH_TOLERANCE = 0.1
"""On p_pneumonia of eager torch, which gets another picture: decoded in full instead of DCT-scaled, and resized by
torchvision's bilinear filter instead of Pillow's bicubic. The pixels differ by about a grey level, which can move a
film near the threshold by some hundredths. Another model, wrong colours or a missing normalisation move most films by
far more."""


def check(up: Live, films: Sequence[BenchFilm], expected: Mapping[str, float], contract: ModelContract) -> None:
    """Compare the answers to all films, from every address.

    A decision may differ only where the expected probability lies within the tolerance of the threshold.

    Args:
        up: the contender.
        films: what it is asked.
        expected: p_pneumonia of the bare loop by the film's name.
        contract: calibration and threshold.

    Raises:
        ContenderError: it answers otherwise, or not at all.
    """
    tolerance = SAME_ENGINE_TOLERANCE if up.contender.same_engine else TORCH_TOLERANCE
    threshold = contract.operating_point(contract.default_operating_point).threshold
    for url in up.urls:
        for film in films:
            wanted = expected[film.name]
            told = p_pneumonia(up.ask(film, url), contract.calibration)
            flipped = (told >= threshold) != (wanted >= threshold) and abs(wanted - threshold) > tolerance
            if abs(told - wanted) > tolerance or flipped:
                raise ContenderError(
                    f"{up.contender.name}: p_pneumonia {told:.4f} for {film.name}, the bare loop says {wanted:.4f} "
                    f"(tolerance {tolerance:g})"
                )
