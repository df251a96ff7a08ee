"""BentoML with the same decode and engine.

    bentoml serve bench.contenders.bentoml:Screening --port 8000

A file arrives as its documentation has it, as a path. One server a core, load spread evenly: the workers of its own
setting `workers` share one listening socket, and connections that are kept alive all landed on one of them.
Source: https://docs.bentoml.com/en/latest/build-with-bentoml/iotypes.html#files
"""

from pathlib import Path
from typing import Any

import bentoml

from bench.contenders.scoring import Scorer


@bentoml.service(logging={"access": {"enabled": False}})
class Screening:
    """One film in, one answer out."""

    def __init__(self) -> None:
        self.scorer = Scorer()

    @bentoml.api
    def predict(self, file: Path) -> dict[str, Any]:
        """Screen one film."""
        return self.scorer.score(file.read_bytes())
