"""What every strategy has to hold: each runs, remembers, and learns the same however a step is cut up."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from continual_streams import class_stream, head_stream, make_continual, weights
from mt_transformers.continual.scenario import Scenario
from mt_transformers.continual.strategies import STRATEGIES, make_strategy

# small enough for every option to matter on 48 rows
OPTIONS: dict[str, dict[str, Any]] = {
    "replay": {"buffer_size": 12},
    "der": {"buffer_size": 12},
    "derpp": {"buffer_size": 12},
    "er_ace": {"buffer_size": 12},
    "twf": {"buffer_size": 12},
    "icarl": {"buffer_size": 12},
    "gdumb": {"buffer_size": 12},
    "agem": {"buffer_size": 12},
    "gem": {"buffer_size": 12},
    "ewc_online": {"fisher_rows": 12},
    "l2p": {"pool_size": 4, "prompt_length": 2, "top_k": 2},
}
SCENARIOS = {"classes": class_stream, "heads": head_stream}
# strategies for a head that grows only, or for what else the scenario must be
ONLY: dict[str, tuple[str, ...]] = {"icarl": ("classes",)}
# what heads need beside their type
HEADS: dict[str, dict[str, Any]] = {"ranpac": {"hidden_sizes": [16], "hidden_act": "relu"}}


def settings() -> list[Any]:
    """Each strategy with each scenario that it can serve."""
    pairs = [(name, scenario) for name in STRATEGIES for scenario in ONLY.get(name, tuple(SCENARIOS))]
    return [pytest.param(name, scenario, id=f"{name}-{scenario}") for name, scenario in pairs]


def strategy_of(name: str) -> dict[str, Any]:
    return {"name": name, **OPTIONS.get(name, {})}


@pytest.mark.parametrize(("name", "kind"), settings())
def test_it_learns_all_experiences_and_measures_each(name: str, kind: str, tmp_path: Path) -> None:
    scenario = SCENARIOS[kind](**HEADS.get(name, {}))
    trainer = make_continual(tmp_path, scenario, strategy_of(name))
    results = trainer.train()
    last = len(scenario.experiences) - 1
    assert all(0 <= score <= 1 for score in results.matrix[last].tolist())
    assert results.strategy == name
    measured = results.matrix[:last, 0].tolist()
    assert all(math.isnan(score) for score in measured) == trainer.strategy.at_once
    assert list(trainer.model.named_heads) == list(scenario.heads)


@pytest.mark.parametrize(("name", "kind"), settings())
def test_accumulation_changes_nothing(name: str, kind: str, tmp_path: Path) -> None:
    """Two micro-batches of 4 rows are one batch of 8, for the weights and for what is remembered."""
    runs = []
    for micro_batches in (1, 2):
        given: dict[str, Any] = {"per_device_train_batch_size": 8 // micro_batches}
        # Adam's usual 1e-8 makes steps of the rounding of gradients that are next to nothing
        given |= {"gradient_accumulation_steps": micro_batches, "adam_epsilon": 1e-6}
        scenario = SCENARIOS[kind](**HEADS.get(name, {}))
        trainer = make_continual(tmp_path / str(micro_batches), scenario, strategy_of(name), **given)
        trainer.train()
        runs.append(weights(trainer.model))
    for key, value in runs[0].items():
        torch.testing.assert_close(
            runs[1][key], value, rtol=1e-3, atol=2e-5, msg=lambda text, key=key: f"{key}: {text}"
        )


@pytest.mark.parametrize(("name", "kind"), settings())
def test_a_run_that_was_interrupted_ends_as_one_that_was_not(name: str, kind: str, tmp_path: Path) -> None:
    """Interrupted within the last experience, behind a checkpoint in the middle of its epoch."""
    given: dict[str, Any] = {"per_device_train_batch_size": 4}
    whole = make_continual(tmp_path / "whole", SCENARIOS[kind](**HEADS.get(name, {})), strategy_of(name), **given)
    expected = whole.train()
    given |= {"save_strategy": "steps", "save_steps": 1}
    broken = make_continual(tmp_path / "broken", SCENARIOS[kind](**HEADS.get(name, {})), strategy_of(name), **given)
    if not interrupt(broken, step=2):
        pytest.skip("it does not train step by step")
    resumed = make_continual(tmp_path / "broken", SCENARIOS[kind](**HEADS.get(name, {})), strategy_of(name), **given)
    found = resumed.train(resume_from_checkpoint=True)
    np.testing.assert_array_equal(found.matrix, expected.matrix)
    for key, value in weights(whole.model).items():
        torch.testing.assert_close(weights(resumed.model)[key], value, rtol=0, atol=0)


def interrupt(trainer: Any, step: int) -> bool:
    """Break a run off behind a step of the last experience; whether it came so far."""
    strategy = trainer.strategy
    end_step, steps = strategy.end_step, []

    def broken_off(learner: Any) -> None:
        end_step(learner)
        if learner.number == len(learner.scenario.experiences) - 1:
            steps.append(learner.number)
        if len(steps) > step:
            raise KeyboardInterrupt

    strategy.end_step = broken_off
    try:
        trainer.train()
    except KeyboardInterrupt:
        return True
    return False


@pytest.mark.parametrize("name", STRATEGIES)
def test_options_are_json_and_make_an_equal_strategy(name: str) -> None:
    made = make_strategy(strategy_of(name))
    assert make_strategy(made.options()).options() == made.options()
    assert made.options()[0]["name"] == name


@pytest.mark.parametrize("name", STRATEGIES)
def test_options_that_are_none_are_refused(name: str) -> None:
    with pytest.raises(ValueError, match=f"strategy '{name}'"):
        make_strategy({"name": name, "no_option": 1})


def test_every_scenario_is_one(tmp_path: Path) -> None:
    assert all(isinstance(make(), Scenario) for make in SCENARIOS.values())
