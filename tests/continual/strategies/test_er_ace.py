"""ER-ACE: own rows among the step's own classes, rehearsed rows among all."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.nn import functional

from continual_streams import assert_same_gradients, class_stream, head_stream, inputs_of, make_continual, take_steps
from mt_transformers.continual.strategies.er_ace import ErAce, cross_entropy_among
from mt_transformers.heads import get_head_config


@pytest.mark.parametrize("label_smoothing", [0.0, 0.2])
@pytest.mark.parametrize("weights", [None, [0.5, 3.0, 1.0, 2.0]])
def test_the_loss_is_that_of_a_head_with_these_classes_only(weights: Any, label_smoothing: float) -> None:
    torch.manual_seed(0)
    logits = torch.randn(5, 4, dtype=torch.float64)
    labels, present = torch.tensor([1, 3, 3, 1, -100]), torch.tensor([False, True, False, True])
    of_classes = None if weights is None else torch.tensor(weights, dtype=torch.float64)
    found = cross_entropy_among(logits, labels, present, weights=of_classes, label_smoothing=label_smoothing)
    expected = functional.cross_entropy(
        logits[:, [1, 3]],
        torch.tensor([0, 1, 1, 0, -100]),
        weight=None if of_classes is None else of_classes[[1, 3]],
        reduction="none",
        label_smoothing=label_smoothing,
    )
    torch.testing.assert_close(found, expected)


def test_absent_classes_get_no_gradient_and_rows_without_a_label_none() -> None:
    logits = torch.randn(2, 3, requires_grad=True)
    cross_entropy_among(logits, torch.tensor([0, -100]), torch.tensor([True, True, False])).sum().backward()
    assert logits.grad is not None
    assert (logits.grad[0, :2] != 0).all()
    assert logits.grad[0, 2] == 0
    assert (logits.grad[1] == 0).all()


def test_no_class_at_all_is_a_loss_of_zero() -> None:
    logits = torch.randn(2, 3, requires_grad=True)
    losses = cross_entropy_among(logits, torch.tensor([-100, -100]), torch.zeros(3, dtype=torch.bool))
    losses.sum().backward()
    assert losses.tolist() == [0, 0]
    assert logits.grad is not None
    assert (logits.grad == 0).all()


@pytest.mark.parametrize("number", [0, 1])
def test_a_step_has_the_gradients_of_the_paper(number: int, tmp_path: Path) -> None:
    """L_ace = L_ce(rows of the buffer, all classes) + L_ce(own rows, the classes of own rows)."""
    given = {"per_device_train_batch_size": 3, "gradient_accumulation_steps": 2}
    trainer = make_continual(tmp_path, class_stream(), {"name": "er_ace", "buffer_size": 12}, **given)
    strategy, drawn = trainer.strategy.strategies[0], []
    assert isinstance(strategy, ErAce)
    draw = strategy.draw
    strategy.draw = lambda *given: drawn.append(draw(*given)) or drawn[-1]  # type: ignore[method-assign]
    step = take_steps(trainer, number, 2)[-1]
    assert trainer.trainer is not None
    learner = trainer.trainer.learner
    labels = torch.cat([batch["labels"]["kind"] for batch in step.batches])
    logits = torch.cat([step.model(**inputs_of(batch))["kind_logits"] for batch in step.batches])
    present = torch.arange(logits.shape[1]) if number == 0 else labels.unique()
    places = (labels.unsqueeze(1) == present).int().argmax(dim=1)
    loss = functional.cross_entropy(logits[:, present], places)
    rehearsed = strategy.collate(learner, drawn[-1].slots)
    rehearsed_logits = step.model(**inputs_of(rehearsed))["kind_logits"]
    loss = loss + functional.cross_entropy(rehearsed_logits, rehearsed["labels"]["kind"])
    assert len(present) < logits.shape[1] or number == 0
    assert len(drawn[-1].slots) == 6
    assert_same_gradients(step, loss)


def test_it_forgets_less_than_naive_training(tmp_path: Path) -> None:
    given: dict[str, Any] = {"num_train_epochs": 6, "learning_rate": 3e-3}
    strategies = ("naive", {"name": "er_ace", "buffer_size": 30})
    scores = [
        make_continual(tmp_path / str(number), class_stream(96), each, **given).train().measures()["average_accuracy"]
        for number, each in enumerate(strategies)
    ]
    assert scores[1] > scores[0] + 0.2


@pytest.mark.parametrize(
    ("kind", "head"),
    [
        ("token_classification", {"id2label": ["O", "X"]}),
        ("sequence_classification", {"problem_type": "multi_label_classification", "id2label": ["a", "b"]}),
    ],
)
def test_heads_without_one_class_a_row_are_refused(kind: str, head: dict[str, Any]) -> None:
    scenario = head_stream()
    heads = {**scenario.heads, "moods_head": get_head_config("moods_head", {"head_type": kind, **head})}
    with pytest.raises(ValueError, match=f"'er_ace': expected .* 'moods_head' of type {kind}"):
        ErAce().check(replace(scenario, heads=heads))
