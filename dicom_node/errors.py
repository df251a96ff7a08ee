"""What can go wrong in the DICOM node.

NodeError
├── SettingsError       a bad setting, a taken port, a queue of another node: exit code 2
├── RefusedObjectError  an object that is not taken; carries the status that its sender is told
└── StepError           a film could not be screened, or a result not delivered
    ├── RetryLaterError     not now: the service or the destination is down, busy, or wrongly set up
    ├── DoubtfulError       not this one, perhaps for good: tried again a few times
    └── HopelessError       not this one, for good
"""

import traceback
from pathlib import Path


class NodeError(Exception):
    """Base of all errors of this package. No message repeats a value of a DICOM object."""


class SettingsError(NodeError):
    """A setting, or what it points to, cannot be used; the message names both in one line."""


class RefusedObjectError(NodeError):
    """An object is not taken."""

    def __init__(self, status: int, message: str, *, instance: tuple[str, str] | None = None) -> None:
        super().__init__(message)
        self.status = status
        """Of a C-STORE response (PS3.7, Annex C; PS3.4, Table B.2-1); STOW-RS uses the same numbers."""
        self.instance = instance
        """Its SOP class and instance UID, where it has them."""


class StepError(NodeError):
    """A film could not be screened, or a result not delivered."""


class RetryLaterError(StepError):
    """The service or the destination does not answer as it should; what waits for it may succeed later."""

    def __init__(self, message: str, *, after_s: float = 0.0) -> None:
        super().__init__(message)
        self.after_s = after_s
        """The other side's own wish."""


class DoubtfulError(StepError):
    """This one failed where others would not, for a reason that may pass."""


class HopelessError(StepError):
    """This one failed, and another try would give the same."""


def where(exc: BaseException) -> str:
    """Return an exception's kind and place, without its message: that may have a value of a DICOM object."""
    frames = traceback.extract_tb(exc.__traceback__)
    place = f" in {Path(frames[-1].filename).name}:{frames[-1].lineno}" if frames else ""
    return f"{type(exc).__name__}{place}"
