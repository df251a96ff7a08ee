"""What the commands of this package share: logging, and one line and exit code 2 for a user's mistake."""

import logging
import sys
from collections.abc import Callable

from handler.errors import ContractError
from training.errors import TrainingError

logger = logging.getLogger("training")


def run(command: Callable[[], None]) -> None:
    """Run a command's main function and exit.

    Exit codes: 0 done; 2 a mistake in what it was given, told in one line on stderr; 130 interrupted.
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
