from pathlib import Path

import yaml

CONFIG = Path(__file__).parents[2] / "config"


def test_workers_on_a_gpu_differ_in_their_batches_and_the_lone_film_only() -> None:
    cpu, gpu = (yaml.safe_load((CONFIG / f"model-config{suffix}.yaml").read_text()) for suffix in ("", "-gpu"))
    # A GPU runs a lone film as quickly as it can anyway.
    assert "lone_threads" not in gpu["handler"]
    del cpu["handler"]["lone_threads"]
    assert {key for key in cpu.keys() | gpu.keys() if cpu.get(key) != gpu.get(key)} == {"batchSize", "maxBatchDelay"}
