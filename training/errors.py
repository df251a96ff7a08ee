"""Everything that this package raises for a user's input, as a tree.

TrainingError
├── DataError        a folder, manifest or film set that cannot be learned from or scored
├── RecipeError      a recipe that is unknown, or has an unknown, missing or invalid field
└── ArtefactError    a checkpoint, run folder, weights file or model that is missing, corrupt or of another kind
"""


class TrainingError(Exception):
    """Base of all errors raised in this package; its message is one line that names what is wrong."""


class DataError(TrainingError):
    """A folder, manifest or film set cannot be learned from or scored."""


class RecipeError(TrainingError):
    """A recipe is unknown, or has an unknown, missing or invalid field."""


class ArtefactError(TrainingError):
    """A checkpoint, run folder, weights file or model is missing, corrupt or of another kind."""
