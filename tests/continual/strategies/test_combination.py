"""Strategies side by side."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import pytest
import torch

from continual_streams import class_stream, make_continual
from mt_transformers.continual.strategies import Aspect, Combination, Strategy, make_strategy
from mt_transformers.continual.strategies.naive import Naive


@dataclass(kw_only=True)
class Adding(Strategy):
    """Adds a constant times the sum of the logits."""

    name: ClassVar[str] = "adding"
    much: float = 1.0

    def added_loss(self, learner: Any, inputs: Any, outputs: Mapping[str, torch.Tensor]) -> torch.Tensor | None:
        return self.much * outputs["kind_logits"].sum()


@dataclass(kw_only=True)
class Deciding(Strategy):
    name: ClassVar[str] = "deciding"
    decides: ClassVar[frozenset[Aspect]] = frozenset({"rows"})


def test_strategies_of_one_kind_or_that_decide_the_same_are_refused() -> None:
    with pytest.raises(ValueError, match="'naive' and 'naive' cannot be combined, they are of one kind"):
        Combination([Naive(), Naive()])
    with pytest.raises(ValueError, match="'joint' and 'deciding' cannot be combined, they both decide about rows"):
        make_strategy(["joint", Deciding()])


def test_names_are_joined_and_options_listed() -> None:
    combination = make_strategy(["naive", Adding(much=2.0)])
    assert combination.name == "naive+adding"
    assert combination.options() == [{"name": "naive"}, {"name": "adding", "much": 2.0}]


def test_losses_are_added_up(tmp_path: Path) -> None:
    """Twice one half is one: the same weights."""

    @dataclass(kw_only=True)
    class Other(Adding):
        name: ClassVar[str] = "other"

    found = []
    for name, strategy in (("one", [Adding()]), ("two", [Adding(much=0.5), Other(much=0.5)]), ("none", ["naive"])):
        trainer = make_continual(tmp_path / name, class_stream(), strategy, optim="sgd", learning_rate=0.01)
        trainer.train()
        found.append(trainer.model.get_params())
    torch.testing.assert_close(found[0], found[1])
    assert not torch.allclose(found[0], found[2], atol=1e-4)


def test_strategies_of_ones_own_can_stand_beside_those_with_a_name(tmp_path: Path) -> None:
    trainer = make_continual(tmp_path, class_stream(), [{"name": "replay", "buffer_size": 6}, Adding(much=0.0)])
    assert trainer.train().strategy == "replay+adding"
