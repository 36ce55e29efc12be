"""DER and DER++: the gradients that the paper's equations give, written out by hand; options; what is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from continual_streams import class_stream, kinds_of_words, make_continual
from mt_transformers import Task
from mt_transformers.continual.strategies.der import Der
from mt_transformers.continual.strategies.derpp import DerPP
from mt_transformers.continual.task_scenarios import new_heads
from mt_transformers.heads import get_head_config


class Recorded:
    """Keeps, at each step, what a strategy was given and drew, and the gradients that came of it."""

    def __init__(self, trainer: Any) -> None:
        self.model, self.strategy = trainer.model, trainer.strategy.strategies[0]
        self.steps: list[dict[str, Any]] = []
        draw, end_backward, rehearse = self.strategy.draw, self.strategy.end_backward, self.strategy.rehearse

        def recording_rehearse(learner: Any, batches: Any) -> Any:
            self.steps.append({"number": learner.number, "batches": batches, "drawn": []})
            return rehearse(learner, batches)

        def recording_draw(learner: Any, batches: Any) -> Any:
            drawn = draw(learner, batches)
            slots = [self.strategy.buffer[slot] for slot in drawn.slots]
            kept = [slot.logits["kind"].clone() for slot in slots]
            self.steps[-1]["drawn"].append(([slot.prepared for slot in slots], kept))
            return drawn

        def recording_end(learner: Any) -> None:
            end_backward(learner)
            classifier = self.model.named_heads["kind"].classifier
            step = self.steps[-1]
            step["weight"], step["bias"] = classifier.weight.detach().clone(), classifier.bias.detach().clone()
            step["gradient"] = classifier.weight.grad.clone()
            step["features"] = lambda batch: (
                learner.forward(batch, heads=["kind"], returnt="features").detach().numpy()
            )
            step["own"] = (step["features"](step["batches"][0]), step["batches"][0]["labels"]["kind"].numpy())
            step["rehearsed"] = [
                (step["features"](learner.collate(rows)), [row["labels_kind"] for row in rows], kept)
                for rows, kept in step["drawn"]
                if rows
            ]

        self.strategy.draw, self.strategy.end_backward = recording_draw, recording_end
        self.strategy.rehearse = recording_rehearse


def cross_entropy_gradient(features: np.ndarray, labels: Any, weight: np.ndarray, bias: np.ndarray) -> np.ndarray:
    """d/dW of the mean cross-entropy of a linear layer: (softmax - one-hot)^T features / rows."""
    logits = features @ weight.T + bias
    softmax = np.exp(logits - logits.max(1, keepdims=True))
    softmax /= softmax.sum(1, keepdims=True)
    return (softmax - np.eye(len(weight))[np.asarray(labels)]).T @ features / len(features)


def distance_gradient(features: np.ndarray, kept: Any, weight: np.ndarray, bias: np.ndarray) -> np.ndarray:
    """d/dW of the mean over rows and classes of (h(x) - z)^2; a class that came later has the lowest logit kept."""
    targets = np.stack(
        [np.concatenate([z, [z.min()] * (len(weight) - len(z))]) for z in (each.numpy() for each in kept)]
    )
    errors = features @ weight.T + bias - targets
    return 2 * errors.T @ features / errors.size


@pytest.mark.parametrize("micro_batches", [1, 2])
@pytest.mark.parametrize(("kind", "more"), [(Der, {}), (DerPP, {"beta": 0.3})])
def test_gradients_are_those_of_the_papers_equations(
    kind: type[Der], more: dict[str, float], micro_batches: int, tmp_path: Path
) -> None:
    strategy = kind(buffer_size=6, alpha=0.7, **more)  # type: ignore[arg-type]
    given = {"per_device_train_batch_size": 4 // micro_batches, "gradient_accumulation_steps": micro_batches}
    trainer = make_continual(
        tmp_path, class_stream(), strategy, optim="sgd", learning_rate=0.5, max_grad_norm=0, **given
    )
    trainer.model.double()
    trainer.model.freeze_backbone()
    recorded = Recorded(trainer)
    trainer.train()
    later = [step for step in recorded.steps if step["number"] > 0]
    assert len(later) == 8
    for step in later:
        weight, bias = step["weight"].numpy(), step["bias"].numpy()
        # at the end of the step, whose weights are those of its start
        assert weight.dtype == np.float64
        own = [(step["features"](batch), batch["labels"]["kind"].numpy()) for batch in step["batches"]]
        features, labels = np.concatenate([each for each, _ in own]), np.concatenate([each for _, each in own])
        expected = cross_entropy_gradient(features, labels, weight, bias)
        rehearsed, _, kept = step["rehearsed"][0]
        expected += 0.7 * distance_gradient(rehearsed, kept, weight, bias)
        if isinstance(strategy, DerPP):
            rehearsed, classes, _ = step["rehearsed"][1]
            expected += 0.3 * cross_entropy_gradient(rehearsed, classes, weight, bias)
        np.testing.assert_allclose(step["gradient"].numpy(), expected, rtol=0, atol=1e-12)


def test_logits_are_those_of_the_last_time_that_a_row_was_trained_on(tmp_path: Path) -> None:
    """With a learning rate of 0 the model's answers never change; with another one they are not those of the end."""
    for rate, alike in ((0.0, True), (0.05, False)):
        trainer = make_continual(tmp_path / str(rate), class_stream(), Der(buffer_size=12), learning_rate=rate)
        kept: list[tuple[torch.Tensor, torch.Tensor]] = []
        strategy: Any = trainer.strategy.strategies[0]

        def end(learner: Any, strategy: Any = strategy, kept: Any = kept) -> None:
            if learner.number == 0:
                now = learner.forward(strategy.collate(learner, range(len(strategy.buffer))), returnt="out")
                kept += [(slot.logits["kind"], each) for slot, each in zip(strategy.buffer.slots, now, strict=True)]

        strategy.end = end
        trainer.train()
        assert len(kept) == 12
        assert all(torch.allclose(before, now, atol=1e-5) for before, now in kept) == alike


def test_logits_of_words_are_kept_for_the_rows_own_positions(tmp_path: Path) -> None:
    rows = kinds_of_words(16).map(lambda row: {"tokens": row["text"].split(), "tags": [row["kind"] % 2] * 3})
    task = Task(dataset={"train": rows, "test": rows}, inputs={"tokens": "tokens"}, labels={"tags": "tags"})
    heads = {"tags": get_head_config("tags", {"head_type": "token_classification", "id2label": ["a", "b"]})}
    tasks = {"first": task, "second": task}
    trainer = make_continual(tmp_path, new_heads(tasks, heads, order=None), Der(buffer_size=5))
    trainer.train()
    strategy: Any = trainer.strategy.strategies[0]
    # [CLS], three words, [SEP]
    assert {tuple(slot.logits["tags"].shape) for slot in strategy.buffer.slots} == {(5, 2)}


@pytest.mark.parametrize(
    ("name", "options", "found"), [(Der, {"alpha": -1.0}, "alpha"), (DerPP, {"beta": True}, "beta")]
)
def test_a_weight_that_is_none_is_refused(name: Any, options: dict[str, Any], found: str) -> None:
    with pytest.raises(ValueError, match=f"{found}: expected a number from 0 up"):
        name(**options)


def test_a_head_without_logits_for_a_row_is_refused_by_name() -> None:
    rows = kinds_of_words(4).map(
        lambda row: {"tokens": row["text"].split(), "heads": [0, 1, 1], "deprels": ["root", "a", "a"]}
    )
    labels: Any = {"tree": {"heads": "heads", "deprels": "deprels"}}
    task = Task(dataset={"train": rows, "test": rows}, inputs={"tokens": "tokens"}, labels=labels)
    heads = {"tree": get_head_config("tree", {"head_type": "dependency_parsing", "id2label": ["root", "a"]})}
    scenario = new_heads({"first": task, "second": task}, heads, order=None)
    with pytest.raises(ValueError, match="strategy 'der': head 'tree' of type dependency_parsing has no logits"):
        Der().check(scenario)
