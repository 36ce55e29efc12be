"""All processes run and differentiate the same parts of the backbone, whichever heads their rows go to."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from fixtures import tiny_inputs, tiny_model
from mt_transformers import MultiTaskModel
from mt_transformers.training.shared_reading import reading_alike

HEADS: dict[str, dict[str, Any]] = {
    "low": {"head_type": "token_classification", "num_labels": 2, "layer": 1},
    "top": {"head_type": "token_classification", "num_labels": 2},
    "mix": {"head_type": "token_classification", "num_labels": 2, "layer": "scalar_mix"},
    "spare": {"head_type": "token_classification", "num_labels": 2},
}


def layers_with_gradients(model: MultiTaskModel) -> list[int]:
    layers = model.backbone.model.encoder.layer
    found = [{parameter.grad is not None for parameter in layer.parameters()} for layer in layers]
    assert all(len(each) == 1 for each in found)
    return [number for number, each in enumerate(found) if each == {True}]


def step(model: MultiTaskModel, head: str | None) -> None:
    """Backward from a batch with labels for one head, or for none."""
    labels = {name: torch.full((4, 6), -100) for name in HEADS}
    if head is not None:
        labels[head][:, 1] = 1
    model(**tiny_inputs(), labels=labels)["loss"].backward()


@pytest.mark.parametrize(
    ("own", "active", "expected"),
    [
        # what another process reads gets zeros here
        ("low", ["low", "top"], [0, 1]),
        ("low", ["low", "mix"], [0, 1]),
        # a process without a row goes as far as the others do, and no further
        (None, ["low"], [0]),
        (None, ["top"], [0, 1]),
        ("low", ["low"], [0]),
        ("top", ["top", "low"], [0, 1]),
        # no head is active where one process trains alone
        ("top", [], [0, 1]),
    ],
)
def test_gradients_reach_what_the_heads_of_the_step_read(
    own: str | None, active: list[str], expected: list[int]
) -> None:
    model = tiny_model(HEADS).train()
    with reading_alike(model, ["low", "top", "mix"], lambda: active):
        step(model, own)
    assert layers_with_gradients(model) == expected


@pytest.mark.parametrize("own", ["low", "top", "mix"])
def test_gradients_keep_their_values(own: str) -> None:
    alone, together = tiny_model(HEADS).double().train(), tiny_model(HEADS).double().train()
    together.load_state_dict(alone.state_dict())
    for model in (alone, together):
        for module in model.modules():
            if isinstance(module, torch.nn.Dropout):
                module.p = 0.0
    step(alone, own)
    with reading_alike(together, ["low", "top", "mix"], lambda: ["low", "top", "mix"]):
        step(together, own)
    for (name, one), two in zip(alone.named_parameters(), together.parameters(), strict=True):
        if one.grad is not None:
            torch.testing.assert_close(two.grad, one.grad, rtol=1e-12, atol=0.0, msg=name)
        elif two.grad is not None:
            assert not two.grad.any(), name


def test_evaluation_is_left_as_it_is() -> None:
    model = tiny_model(HEADS)
    seen: list[dict[str, Any]] = []
    model.backbone.register_forward_pre_hook(lambda *given: seen.append(given[-1]), with_kwargs=True)
    expected = model(**tiny_inputs(), heads=["top"])["top_logits"]
    with reading_alike(model, ["low", "top"], lambda: ["low"]):
        assert torch.equal(model(**tiny_inputs(), heads=["top"])["top_logits"], expected)
    assert [each["layers"] for each in seen] == [False, False]


def test_every_process_asks_for_the_outputs_of_all_fed_heads() -> None:
    model = tiny_model(HEADS).train()
    seen: list[dict[str, Any]] = []
    with reading_alike(model, ["low", "top"], lambda: ["top"]):
        model.backbone.register_forward_pre_hook(lambda *given: seen.append(given[-1]), with_kwargs=True)
        step(model, "top")
    assert (seen[0]["layers"], seen[0]["outputs"]) == (True, {"encoded_text"})
    # another run of the same model, over other heads, is not to hear of this one
    step(model, "top")
    assert (seen[1]["layers"], seen[1]["outputs"]) == (False, {"encoded_text"})
