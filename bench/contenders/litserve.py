"""LitServe with the same decode and engine.

    python -m bench.contenders.litserve --port 8000 --workers 2

Its best settings by its own documentation: one inference worker a core, and the fast queue.
Source: https://lightning.ai/docs/litserve/features/request-response-format, and .../features/concurrency
"""

import argparse
from typing import Any

import litserve as ls

from bench.contenders.scoring import Scorer


class Screening(ls.LitAPI):
    """One film in, one answer out."""

    def setup(self, device: str) -> None:  # noqa: ARG002  (LitServe's own signature)
        """Load the model, in each worker."""
        self.scorer = Scorer()

    def decode_request(self, request: ls.Request) -> bytes:
        """Take the film out of the form, which is what arrives in the worker."""
        film: bytes = request["file"].file.read()
        return film

    def predict(self, film: bytes) -> dict[str, Any]:
        """Screen one film."""
        return self.scorer.score(film)

    def encode_response(self, output: dict[str, Any]) -> dict[str, Any]:
        """Answer in JSON, which LitServe makes of a dictionary."""
        return output


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--workers", type=int, required=True)
    arguments = parser.parse_args()
    server = ls.LitServer(Screening(), accelerator="cpu", workers_per_device=arguments.workers, fast_queue=True)
    server.run(host="127.0.0.1", port=arguments.port, log_level="warning", generate_client_file=False)
