"""What the commands share: their parser, logging, and one line and exit code 2 for a user's mistake."""

import argparse
import logging
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from handler.errors import ContractError
from training.errors import TrainingError

logger = logging.getLogger("training")

SHARED: Mapping[str, dict[str, Any]] = {
    "--data": {
        "type": Path,
        "required": True,
        "help": "folder {NORMAL,PNEUMONIA}/*, or a CSV path,label,patient; of runs, what they learned from",
    },
    "--model-store": {"type": Path, "default": Path("model_store"), "help": "folder of the shipped artefact"},
    "--run": {"type": Path, "required": True, "help": "a run folder of training.learn.train"},
    "--runs": {"type": Path, "nargs": "+", "required": True, "help": "run folders of training.learn.train"},
    "--out": {"type": Path, "required": True, "help": "folder of the results"},
    "--json": {"type": Path, "help": "also write the figures to this file"},
    "--copies": {"type": Path, "help": "folder of the same films at another size, by name"},
    "--backbone-weights": {"type": Path, "help": "safetensors file (default: torchvision's download)"},
}
"""Options that several commands have."""


def parser(doc: str | None, *shared: str) -> argparse.ArgumentParser:
    """Return a parser with options of SHARED, whose help is the docstring of the command's module.

    The docstring's first three words are the command, `python -m training.X`.
    """
    made = argparse.ArgumentParser(
        prog=" ".join((doc or "").split()[:3]),
        description=doc,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    for option in shared:
        made.add_argument(option, **SHARED[option])
    return made


def run(command: Callable[[], None]) -> None:
    """Run a command's main function and exit.

    Exit codes: 0 done; 2 a mistake in what it was given, printed in one line on stderr; 130 interrupted.
    """
    logging.basicConfig(format="%(message)s", stream=sys.stdout)
    for ours in ("training", "__main__"):
        logging.getLogger(ours).setLevel(logging.INFO)
    try:
        command()
    except (TrainingError, ContractError) as exc:
        sys.stderr.write(f"error: {' '.join(str(exc).split())}\n")
        sys.exit(2)
    except KeyboardInterrupt:
        sys.exit(130)
