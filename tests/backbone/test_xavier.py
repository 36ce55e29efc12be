"""Glorot's initial weights."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from fixtures import tiny_model
from mt_transformers import xavier


def test_weights_are_uniform_up_to_glorots_bound() -> None:
    layer = nn.Linear(200, 400)
    xavier(layer)
    bound = math.sqrt(6 / (200 + 400))
    assert 0.99 * bound < layer.weight.abs().max().item() <= bound
    assert layer.weight.std().item() == pytest.approx(bound / math.sqrt(3), rel=0.02)
    assert not layer.bias.any()


def test_a_layer_without_bias() -> None:
    layer = nn.Linear(2, 2, bias=False)
    before = layer.weight.clone()
    xavier(layer)
    assert not torch.equal(layer.weight, before)


@pytest.mark.parametrize("module", [nn.LayerNorm(2), nn.Embedding(2, 2), nn.Conv1d(2, 2, 1), nn.Dropout()])
def test_other_modules_stay(module: nn.Module) -> None:
    before = [each.clone() for each in module.parameters()]
    xavier(module)
    assert all(map(torch.equal, module.parameters(), before))


def test_it_begins_the_heads_of_a_model_anew_and_not_its_backbone() -> None:
    model = tiny_model()
    backbone, heads = model.backbone.get_params(), [head.classifier.weight.clone() for head in classifiers(model)]
    model.heads.apply(xavier)
    assert torch.equal(model.backbone.get_params(), backbone)
    for head, before in zip(classifiers(model), heads, strict=True):
        assert not torch.equal(head.classifier.weight, before)
        assert head.classifier.weight.abs().max() <= math.sqrt(6 / sum(before.shape))


def classifiers(model: nn.Module) -> list[nn.Module]:
    """The heads with a classifier."""
    return [head for head in model.heads.values() if hasattr(head, "classifier")]
