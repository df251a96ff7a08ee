"""The cost of the parts of one request, in process and without any server: the functions that the service calls."""

import time
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping, Sequence
from functools import partial
from pathlib import Path
from statistics import mean
from types import SimpleNamespace
from typing import Any

import yaml

from bench.contenders.scoring import MODEL_STORE, ROOT
from bench.films import BenchFilm, body, content_type
from bench.processes import together
from handler.formats.registry import open_film
from handler.imaging import INPUT_PX, decode
from handler.pneumonia_handler import PneumoniaHandler
from handler.shared_films import TransportNames
from proxy.http.form import read_film
from proxy.torchserve.film_buffer import FilmBuffer
from proxy.torchserve.transport import LONE_HEADER

CHUNK_BYTES = 65_536
"""What uvicorn reads from a socket at a time, at most."""

MAX_BYTES = 1 << 26

Part = Callable[[int], object]
"""Does a part of the work on the film of a number."""


def context(model_store: Path, *, lone: bool) -> SimpleNamespace:
    """Return what the handler uses of TorchServe's context, of lone requests or others."""
    config = (ROOT / "config" / "model-config.yaml").read_text(encoding="utf-8")
    return SimpleNamespace(
        model_yaml_config=yaml.safe_load(config),
        system_properties={"model_dir": str(model_store)},
        get_request_header=lambda _, key: "yes" if lone and key == LONE_HEADER else None,
        get_all_request_header=lambda _: {},
        set_response_status=lambda *_: None,
        set_response_content_type=lambda *_: None,
    )


def measure(
    films: Sequence[BenchFilm], seconds: float, *, processes: int, model_store: Path = MODEL_STORE
) -> dict[str, float]:
    """Return the mean milliseconds a film of each part, in so many processes at once; one process has lone requests.

    - `form`: the proxy takes the film out of a multipart form, into the memory that the workers read.
    - `jpeg`: the file's structure is checked and its pixels are decoded, DCT-scaled.
    - `decode`: `handler.imaging.decode`, of which `jpeg` is a part.
    - `engine`: inference.
    - `handle`: `PneumoniaHandler.handle`, of which all but the form is a part.

    Raises:
        LoadError: the processes do not end.
    """
    work = partial(_measure, lone=processes == 1, model_store=model_store)
    per_process = together(work, films, processes=processes, seconds=seconds)
    return {name: mean(costs[name] for costs in per_process) for name in per_process[0]}


def _measure(
    films: Sequence[BenchFilm], seconds: float, ready: Callable[[], object], *, lone: bool, model_store: Path
) -> dict[str, float]:
    handler = PneumoniaHandler()
    request = context(model_store, lone=lone)
    handler.initialize(request)
    handler.transport = TransportNames(lone_header=LONE_HEADER)
    forms = [body(film, "file") for film in films]
    pixels = [decode(film.data).pixels[None] for film in films]  # each (1, 224, 224)
    headers = {"content-type": content_type("file")}
    buffer = FilmBuffer(MAX_BYTES)

    def form(number: int) -> None:
        with buffer.place(len(forms[number])) as place:
            _finish(read_film(headers, _chunks(forms[number]), place, MAX_BYTES))

    parts: dict[str, Part] = {
        "form": form,
        "jpeg": lambda number: open_film(films[number].data).read(INPUT_PX),
        "decode": lambda number: decode(films[number].data),
        "engine": lambda number: handler.engine.logits(pixels[number], lone=lone),
        "handle": lambda number: handler.handle([{"body": bytearray(films[number].data)}], request),
    }
    mean_ms(parts, films=len(films), seconds=0)  # warms up
    ready()
    return mean_ms(parts, films=len(films), seconds=seconds)


def mean_ms(
    parts: Mapping[str, Part], *, films: int, seconds: float, clock: Callable[[], float] = time.perf_counter
) -> dict[str, float]:
    """Time the parts in turn, film by film, so that other work of the machine delays all alike.

    Goes over all films at least once, and until so many seconds of the clock have passed.
    """
    took_s = dict.fromkeys(parts, 0.0)
    turns = 0
    end = clock() + seconds
    while turns < films or clock() < end:
        for name, part in parts.items():
            began = clock()
            part(turns % films)
            took_s[name] += clock() - began
        turns += 1
    return {name: 1000 * took / turns for name, took in took_s.items()}


def _finish(coroutine: Coroutine[Any, Any, None]) -> None:
    """Run a coroutine that never waits: an event loop would add its own time."""
    try:
        coroutine.send(None)
    except StopIteration:
        return
    raise RuntimeError("the form's reader waits for something")


async def _chunks(data: bytes) -> AsyncIterator[bytes]:
    for start in range(0, len(data), CHUNK_BYTES):
        yield data[start : start + CHUNK_BYTES]
