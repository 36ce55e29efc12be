"""Gradients that leave no trace, and are as long as the model says."""

from __future__ import annotations

from pathlib import Path

import torch

from continual_steps import scale_losses, stop_in_step
from continual_streams import head_stream
from fixtures import tiny_inputs, tiny_model
from mt_transformers.continual.strategies.gradients import (
    flatten_gradients,
    loss_gradients,
    loss_scale,
    trained_parameters,
)
from mt_transformers.continual.strategies.naive import Naive


def test_the_order_is_that_of_the_model_without_what_is_frozen() -> None:
    model = tiny_model()
    model.backbone.model.embeddings.requires_grad_(False)
    parameters = list(trained_parameters(model).values())
    loss = model(**tiny_inputs(), labels={"intent": torch.tensor([0, 1, 2, 0])})["loss"]
    found = loss_gradients(loss, parameters)
    assert all(each.grad is None for each in model.parameters())
    loss = model(**tiny_inputs(), labels={"intent": torch.tensor([0, 1, 2, 0])})["loss"]
    loss.backward()
    torch.testing.assert_close(flatten_gradients(found, parameters), model.get_grads(trainable_only=True))
    assert [each is None for each in found] == [each.grad is None for each in parameters]


def test_a_loss_of_frozen_parts_has_no_gradient() -> None:
    model = tiny_model()
    assert loss_gradients(torch.ones(()), list(model.parameters())[:2]) == [None, None]


def test_gradients_of_16_bits_become_ones_of_32() -> None:
    parameter = torch.nn.Parameter(torch.ones(2, dtype=torch.bfloat16))
    assert flatten_gradients([parameter.detach()], [parameter]).dtype == torch.float32


def test_losses_are_scaled_under_fp16_only(tmp_path: Path) -> None:
    learner = stop_in_step(tmp_path, head_stream(), Naive(), number=0)
    assert loss_scale(learner) == 1
    scale_losses(learner, 512.0)
    assert loss_scale(learner) == 512
