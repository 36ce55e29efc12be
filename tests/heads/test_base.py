"""What heads share: numbers of the config as tensors."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch

from fixtures import tiny_inputs, tiny_model
from mt_transformers.heads import get_head_class, get_head_config

WEIGHTED = {"head_type": "sequence_classification", "id2label": ["a", "b"], "class_weights": [0.1, 3.0]}


def make_head() -> Any:
    config = get_head_config("topic", {**WEIGHTED, "pooling": "mean"})
    return get_head_class(config.head_type)(config, 4)


def test_a_constant_is_made_once_for_each_type() -> None:
    head = make_head()
    values, like = [0.1, 3.0], torch.zeros(1)
    made = head.constant(values, like)
    assert torch.equal(made, torch.tensor(values))
    assert head.constant(values, like) is made
    assert head.constant([0.1, 2.0], like).tolist() == pytest.approx([0.1, 2.0])
    doubled = head.constant(values, like.double())
    assert doubled.dtype == torch.float64
    # not rounded on the way there
    assert doubled.tolist() == values
    assert not made.requires_grad


def test_constants_are_no_weights() -> None:
    head = make_head()
    before = set(head.state_dict())
    head.constant([0.1, 3.0], torch.zeros(1))
    assert set(head.state_dict()) == before
    assert list(head.buffers()) == []
    assert copy.deepcopy(head).constant([0.1, 3.0], torch.zeros(1)).tolist() == pytest.approx([0.1, 3.0])


@pytest.mark.parametrize("mode", [torch.inference_mode, torch.no_grad])
def test_a_model_trains_after_a_prediction_has_made_its_constants(mode: Any) -> None:
    labels = {"topic": torch.tensor([0, 1, 1, 0])}
    used, fresh = (tiny_model({"topic": WEIGHTED}) for _ in range(2))
    fresh.load_state_dict(used.state_dict())
    with mode():
        used(**tiny_inputs(), labels=labels)
    for model in (used, fresh):
        model(**tiny_inputs(), labels=labels)["loss"].backward()
    ours, theirs = (model.heads["topic"].classifier.weight.grad for model in (used, fresh))
    assert ours.any()
    assert torch.equal(ours, theirs)
