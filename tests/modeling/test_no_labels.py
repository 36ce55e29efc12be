"""Labels of no head at all: a process of several that only fills up a step."""

from __future__ import annotations

import torch

from fixtures import INTENTS, tiny_inputs, tiny_model

HEADS = {"intent": {"head_type": "sequence_classification", "id2label": INTENTS}}


def test_the_loss_is_0_and_reaches_the_backbone() -> None:
    model = tiny_model(HEADS)
    output = model(**tiny_inputs(1), labels={}, rows={}, num_items_in_batch={})
    assert output["loss"].item() == 0.0
    assert "intent_loss" not in output
    output["loss"].backward()
    grads = [parameter.grad for parameter in model.backbone.parameters()]
    # every weight: distributed training waits for all of them
    assert all(grad is not None and not grad.any() for grad in grads)
    assert all(parameter.grad is None for parameter in model.heads.parameters())


def test_without_labels_there_is_no_loss() -> None:
    model = tiny_model(HEADS)
    assert "loss" not in model(**tiny_inputs(2))
    assert "loss" not in model(**tiny_inputs(2), labels=None)
    assert torch.equal(model(**tiny_inputs(2), labels={})["loss"], torch.tensor(0.0))
