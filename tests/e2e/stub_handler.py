"""A TorchServe handler with no model: the film's first bytes say how it behaves.

Packed alone into a .mar by `archives.py`; it runs inside a TorchServe worker and imports nothing of ours.

    b"sleep 1.5 ..."  answers after 1.5 seconds
    b"crash ..."      ends the worker's process
    b"raise ..."      raises, as a handler with a fault would
    b"refuse ..."     answers 415 in the shared error shape
    anything else     p_pneumonia = 0.9 where the film has b"pneumonia" in it, else 0.1
"""

import json
import os
import time
from pathlib import Path
from typing import Any


class StubHandler:
    """Answers one request at a time; the model configuration keeps batchSize at 1."""

    def initialize(self, context: Any) -> None:
        self.context = context

    def handle(self, data: list[dict[str, Any]], context: Any) -> list[bytes]:
        body = bytes(data[0].get("body") or data[0].get("file") or b"")
        transport = json.loads(os.environ.get("FILM_TRANSPORT", "{}"))
        if context.get_request_header(0, "Content-Type") == transport.get("content_type", ""):
            with Path(transport["memory"]).open("rb") as memory:
                places = (map(int, line.split()[:2]) for line in body.splitlines())
                films = [os.pread(memory.fileno(), size, start) for start, size in places]
            return [
                b"".join(b"%d %d\n%b" % (status, len(result), result) for status, result in map(self.answer, films))
            ]
        status, result = self.answer(body)
        context.set_response_content_type(0, "application/json")
        context.set_response_status(status, "", 0)
        return [result]

    def answer(self, film: bytes) -> tuple[int, bytes]:
        order, _, argument = film.partition(b" ")
        if order == b"sleep":
            time.sleep(float(argument.split()[0]))
        elif order == b"crash":
            os._exit(1)
        elif order == b"raise":
            raise RuntimeError("the stub was result to raise")
        elif order == b"refuse":
            return 415, json.dumps({"error": {"code": "unsupported_film", "message": "not a film"}}).encode()
        p_pneumonia = 0.9 if b"pneumonia" in film else 0.1
        prediction = "PNEUMONIA" if p_pneumonia > 0.5 else "NORMAL"
        return 200, json.dumps({"prediction": prediction, "p_pneumonia": p_pneumonia, "note": "stub"}).encode()
