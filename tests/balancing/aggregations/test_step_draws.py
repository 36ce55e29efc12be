"""Random numbers that follow from a seed and the number of the step."""

from __future__ import annotations

import itertools

import torch

from mt_transformers.balancing.aggregations.step_draws import StepDraws


def draw(draws: StepDraws, part: int = 0) -> torch.Tensor:
    """Some numbers."""
    with draws.drawing(part):
        return torch.rand(4)


def test_seed_step_and_part_decide() -> None:
    found = []
    for seed in range(3):
        draws = StepDraws(seed)
        for _ in range(3):
            draws.begin_step()
            found.extend(draw(draws, part) for part in range(3))
            assert torch.equal(draw(draws, 2), found[-1])
    assert not any(torch.equal(one, other) for one, other in itertools.combinations(found, 2))


def test_it_goes_on_where_it_was_saved() -> None:
    draws, resumed = StepDraws(1), StepDraws(1)
    draws.begin_step()
    resumed.load_state_dict(draws.state_dict())
    for each in (draws, resumed):
        each.begin_step()
    assert torch.equal(draw(draws), draw(resumed))


def test_the_global_generator_is_as_it_was_even_after_an_error() -> None:
    torch.manual_seed(5)
    before = torch.get_rng_state()
    try:
        with StepDraws(0).drawing():
            torch.rand(3)
            raise RuntimeError("stop")
    except RuntimeError:
        pass
    assert torch.equal(torch.get_rng_state(), before)
