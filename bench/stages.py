"""What the parts of one request cost in process, without any server: the public functions that the service calls.

    python -m bench.stages --processes 2 --seconds 3 FILM...

Prints one JSON object: the mean milliseconds of each part, over the processes.
"""

import json
import sys
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping
from dataclasses import asdict, dataclass, fields
from functools import partial
from multiprocessing.synchronize import Barrier
from pathlib import Path
from statistics import mean
from typing import Any

import yaml

from bench.contenders.scoring import MODEL_STORE, ROOT
from bench.films import BenchFilm, body, content_type
from bench.side_by_side import START_TIMEOUT_S, parser, together
from handler.formats.registry import open_film
from handler.imaging import INPUT_PX, decode
from handler.pneumonia_handler import PneumoniaHandler
from handler.shared_films import FilmTransport
from proxy.http.form import read_film
from proxy.torchserve.film_buffer import FilmBuffer
from proxy.torchserve.transport import LONE_HEADER

CHUNK_BYTES = 65_536
"""What uvicorn reads from a socket at a time, at most."""

MOST_BYTES = 1 << 26


@dataclass(frozen=True, slots=True, kw_only=True)
class Stages:
    """Mean milliseconds a film."""

    form: float
    """The proxy's parser: the film out of a multipart form, into the memory that the workers read."""
    jpeg: float
    """The decoder alone: the structure's check and the pixels, DCT-scaled."""
    decode: float
    """`handler.imaging.decode`, of which `jpeg` is a part."""
    engine: float
    """`handler.engine.Engine.run`."""
    handle: float
    """`PneumoniaHandler.handle`, of which all but the form is a part."""


class Context:
    """What the handler uses of TorchServe's context."""

    model_yaml_config = yaml.safe_load((ROOT / "config" / "model-config.yaml").read_text(encoding="utf-8"))

    def __init__(self, model_store: Path, *, alone: bool) -> None:
        self.system_properties = {"model_dir": str(model_store)}
        self._alone = alone

    def get_request_header(self, _: int, key: str) -> str | None:
        """Tell of one header at most: each row is a film."""
        return "yes" if self._alone and key == LONE_HEADER else None

    def set_response_status(self, *_: object) -> None:
        """Take a status."""

    def set_response_content_type(self, *_: object) -> None:
        """Take a content type."""


def measure(films: list[BenchFilm], seconds: float, barrier: Barrier | None = None, *, alone: bool) -> Stages:
    """Time every part over the films in turn, for so long in all; `alone` as `Engine.logits` takes it."""
    context = Context(MODEL_STORE, alone=alone)
    handler = PneumoniaHandler()
    handler.initialize(context)
    handler.transport = FilmTransport(lone_header=LONE_HEADER)
    forms = [body(film, "file") for film in films]
    pixels = [decode(film.data).pixels[None] for film in films]  # each (1, 224, 224)
    headers = {"content-type": content_type("file")}
    memory = FilmBuffer(MOST_BYTES)

    def form(turn: int) -> None:
        with memory.place(len(forms[turn])) as film:
            _finish(read_film(headers, _chunks(forms[turn]), film, MOST_BYTES))

    parts: dict[str, Callable[[int], Any]] = {
        "form": form,
        "jpeg": lambda turn: _load(films[turn].data),
        "decode": lambda turn: decode(films[turn].data),
        "engine": lambda turn: handler.engine.logits(pixels[turn], lone=alone),
        "handle": lambda turn: handler.handle([{"body": bytearray(films[turn].data)}], context),
    }
    if barrier is not None:
        barrier.wait(START_TIMEOUT_S)
    return Stages(**_mean_ms(parts, len(films), seconds))


def _mean_ms(parts: Mapping[str, Callable[[int], Any]], films: int, seconds: float) -> dict[str, float]:
    """Time the parts in turn, film by film, so that whatever else the machine does befalls all alike."""
    took_s = dict.fromkeys(parts, 0.0)
    rounds = -films  # the first films warm up
    end = time.perf_counter() + seconds
    while rounds < 1 or time.perf_counter() < end:
        for name, part in parts.items():
            began = time.perf_counter()
            part(rounds % films)
            if rounds >= 0:
                took_s[name] += time.perf_counter() - began
        rounds += 1
    return {name: 1000 * took / rounds for name, took in took_s.items()}


def _finish(coroutine: Coroutine[Any, Any, None]) -> None:
    """Run a coroutine that never waits; an event loop would add its own time, and on a busy machine the others'."""
    try:
        coroutine.send(None)
    except StopIteration:
        return
    raise RuntimeError("the form's reader waits for something")


async def _chunks(data: bytes) -> AsyncIterator[bytes]:
    for start in range(0, len(data), CHUNK_BYTES):
        yield data[start : start + CHUNK_BYTES]


def _load(data: bytes) -> None:
    """Have the file's decoder decode at the scale that `handler.imaging` asks for."""
    open_film(data).read(INPUT_PX)


def measure_all(films: list[BenchFilm], seconds: float, processes: int) -> Stages:
    """Time every part in so many processes at once, as busy workers are, and return the means.

    One process is a worker whose film is alone.
    """
    told = together(partial(measure, alone=processes == 1), films, seconds, processes=processes)
    return Stages(**{field.name: mean(getattr(one, field.name) for one in told) for field in fields(Stages)})


def main() -> None:
    """Run the command."""
    args = parser("bench.stages").parse_args()
    films = [BenchFilm(path.name, path.read_bytes()) for path in args.films]
    sys.stdout.write(json.dumps(asdict(measure_all(films, args.seconds, args.processes))) + "\n")


if __name__ == "__main__":
    main()
