"""The mode of heads changes where it has to, and costs nothing where it has not."""

from __future__ import annotations

import pytest
from torch import nn

from fixtures import tiny_model
from mt_transformers.modeling.head_dict import HeadDict


class Counting(nn.Dropout):
    calls = 0

    def train(self, mode: bool = True) -> Counting:
        self.calls += 1
        super().train(mode)
        return self


def test_only_heads_in_the_other_mode_are_walked_through() -> None:
    heads = HeadDict({name: Counting() for name in "abc"})
    heads.eval()
    assert [head.calls for head in heads.values()] == [1, 1, 1]
    heads["b"].train()
    heads.eval()
    assert [head.calls for head in heads.values()] == [1, 3, 1]
    assert not any(module.training for module in heads.modules())
    heads.train()
    assert all(module.training for module in heads.modules())


@pytest.mark.parametrize("mode", [True, False])
def test_the_mode_of_a_model_reaches_every_part_of_it(mode: bool) -> None:
    model = tiny_model({name: {"head_type": "token_classification", "num_labels": 3} for name in ("a", "b")})
    model.train(not mode)
    model.train(mode)
    assert {module.training for module in model.modules()} == {mode}
