"""Pictures that are no chest films, by kind: read as the server reads them, as they are and in grey."""

import io
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from handler.engine import Engine
from handler.errors import FilmError
from handler.imaging import decode
from training.errors import DataError
from training.gate.views import Views, seen_of

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Pictures:
    """The pictures of a kind."""

    as_they_are: Views
    grey: Views
    """The same without their colours."""
    refused: int
    """Files that are answered with an error, blank or too elongated: the gate does not come to them."""


def read_pictures(folder: Path, engine: Engine) -> Mapping[str, Pictures]:
    """Return the pictures of a folder KIND/*.

    Raises:
        DataError: there is none, or none of a kind can be read.
    """
    kinds = sorted(path for path in folder.iterdir() if path.is_dir()) if folder.is_dir() else []
    if not kinds:
        raise DataError(f"{folder}: wants folders of pictures, one a kind")
    return {kind.name: _kind(kind, engine) for kind in kinds}


def _kind(folder: Path, engine: Engine) -> Pictures:
    plain, grey, refused = [], [], 0
    for path in sorted(folder.iterdir()):
        data = path.read_bytes()
        try:
            pair = decode(data), decode(_in_grey(data))
        except FilmError as exc:
            logger.info("refused %s: %s", path, exc)
            refused += 1
        else:
            plain.append(pair[0])
            grey.append(pair[1])
    if not plain:
        raise DataError(f"{folder}: no picture can be read")
    return Pictures(as_they_are=seen_of(engine, plain), grey=seen_of(engine, grey), refused=refused)


def _in_grey(data: bytes) -> bytes:
    file = io.BytesIO()
    with Image.open(io.BytesIO(data)) as image:
        image.convert("RGB").convert("L").save(file, "PNG")
    return file.getvalue()
