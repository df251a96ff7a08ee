"""Ray Serve with the same decode and engine.

    RAY_SERVE_THROUGHPUT_OPTIMIZED=1 python -m bench.contenders.ray_serve --port 8000 --workers 2

One replica a core; `bench/roster.py` sets the variables of its documentation's page on high throughput.
Source: https://docs.ray.io/en/latest/serve/http-guide.html, and .../serve/advanced-guides/performance.html
"""

import argparse
import time
from typing import Any

import ray
from ray import serve
from starlette.requests import Request

from bench.contenders.scoring import Scorer


@serve.deployment
class Screening:
    """One film in, one answer out."""

    def __init__(self) -> None:
        self.scorer = Scorer()

    async def __call__(self, request: Request) -> dict[str, Any]:
        """Screen one film."""
        form = await request.form()
        film: Any = form["file"]
        return self.scorer.score(await film.read())


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--workers", type=int, required=True)
    parser.add_argument("--folder", required=True)
    arguments = parser.parse_args()
    # The proxy and the controller want a place beside the replicas, which are bound to no core anyway.
    ray.init(num_cpus=arguments.workers + 2, include_dashboard=False, _temp_dir=arguments.folder)
    serve.start(http_options={"host": "127.0.0.1", "port": arguments.port})
    deployment: Any = Screening
    serve.run(deployment.options(num_replicas=arguments.workers).bind(), route_prefix="/predict")
    while True:
        time.sleep(60)
