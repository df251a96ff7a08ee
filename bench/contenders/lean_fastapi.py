"""The leanest thing that a user could write: FastAPI with the decode and the engine in process.

    python -m uvicorn bench.contenders.lean_fastapi:app --port 8000 --no-access-log

One such process a core. The endpoint is a coroutine: for one thread's worth of work a thread pool would
only add to it.
Source: https://fastapi.tiangolo.com/tutorial/request-files/
"""

from typing import Annotated, Any

from fastapi import FastAPI, File

from bench.contenders.scoring import Scorer

app = FastAPI()
scorer = Scorer()


@app.post("/predict")
async def predict(file: Annotated[bytes, File()]) -> dict[str, Any]:
    """Screen one film."""
    return scorer.score(file)
