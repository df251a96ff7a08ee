import dataclasses
import math

import pytest
import torch

from tests.networks import lively_network
from training.learn.learner import Learner, jensen_shannon
from training.learn.recipe import Recipe


@pytest.fixture
def batch() -> tuple[torch.Tensor, torch.Tensor]:
    torch.manual_seed(0)
    return torch.randint(0, 256, (4, 1, 224, 224), dtype=torch.uint8), torch.tensor([0, 1, 0, 1])


def learner(**changes: object) -> Learner:
    recipe = dataclasses.replace(Recipe.load("finetune_last3"), **changes)  # type: ignore[arg-type]
    made = Learner(lively_network(seed=0), recipe, class_weights=None)
    made.log = lambda *_, **__: None  # type: ignore[method-assign]  # there is no trainer to log to
    return made.train()


def test_frozen_blocks_stay_as_they_are_through_a_step(batch: tuple[torch.Tensor, torch.Tensor]) -> None:
    made = learner()
    frozen = [value.clone() for block in made.frozen for value in block.state_dict().values()]
    optimizer = torch.optim.SGD([p for p in made.parameters() if p.requires_grad], lr=0.1)
    head = made.net.mobilenet.classifier[-1].weight.clone()
    made.training_step(batch).backward()
    optimizer.step()
    after = [value for block in made.frozen for value in block.state_dict().values()]
    assert all(torch.equal(*pair) for pair in zip(frozen, after, strict=True))
    assert not torch.equal(made.net.mobilenet.classifier[-1].weight, head)


def test_loss_falls_on_a_batch_seen_again(batch: tuple[torch.Tensor, torch.Tensor]) -> None:
    made = learner(trainable_blocks=1, dropout=0.0)
    optimizer = torch.optim.Adam([p for p in made.parameters() if p.requires_grad], lr=1e-3)
    losses = []
    for _ in range(6):
        optimizer.zero_grad()
        loss = made.training_step(batch)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0]


def test_state_holds_each_parameter_once() -> None:
    assert all(key.startswith("net.mobilenet.") for key in learner().state_dict() if "auc" not in key)


def test_checkpoint_tells_the_resolution() -> None:
    checkpoint: dict[str, object] = {}
    learner().on_save_checkpoint(checkpoint)
    assert checkpoint == {"resolution_px": 224}


def test_views_that_agree_cost_nothing_and_views_that_differ_do() -> None:
    alike = torch.tensor([[[1.0, -2.0], [1.0, -2.0]]])
    opposed = torch.tensor([[[50.0, -50.0], [-50.0, 50.0]]])
    assert jensen_shannon(alike).item() == pytest.approx(0.0, abs=1e-6)
    assert jensen_shannon(opposed).item() == pytest.approx(math.log(2))


def test_two_views_are_held_to_agree(batch: tuple[torch.Tensor, torch.Tensor]) -> None:
    films, labels = batch
    made = learner(consistency=1.0, dropout=0.0).eval()
    one = made.loss(batch)
    twice = made.loss((films.expand(-1, 2, -1, -1), labels))
    differing = made.loss((torch.cat([films, 255 - films], dim=1), labels))
    unweighted = learner(consistency=0.0, dropout=0.0).eval().loss((torch.cat([films, 255 - films], dim=1), labels))
    assert twice.item() == pytest.approx(one.item(), abs=1e-5)
    assert differing > unweighted
