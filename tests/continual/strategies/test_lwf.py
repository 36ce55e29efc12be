"""LwF: what heads answered before an experience is held on to on its rows."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from datasets import Dataset
from torch.nn import functional

from continual_streams import assert_same_gradients, class_stream, head_stream, inputs_of, make_continual, take_steps
from fixtures import tiny_tokenizer
from mt_transformers import Task
from mt_transformers.continual.scenario import Scenario
from mt_transformers.continual.strategies.lwf import LwF, distillation_losses
from mt_transformers.heads import get_head_config


def soft(logits: torch.Tensor, temperature: float) -> torch.Tensor:
    """y' of the paper's eq. 3."""
    powers = logits.softmax(dim=-1) ** (1 / temperature)
    return powers / powers.sum(dim=-1, keepdim=True)


@pytest.mark.parametrize("temperature", [1.0, 2.0, 5.0])
def test_the_loss_is_the_papers(temperature: float) -> None:
    torch.manual_seed(0)
    now, then = torch.randn(2, 4, 3, 5, dtype=torch.float64)
    expected = -(soft(then, temperature) * soft(now, temperature).log()).sum(dim=-1)
    torch.testing.assert_close(distillation_losses(now, then, temperature), expected)


def test_each_of_several_labels_is_a_choice_of_two() -> None:
    torch.manual_seed(0)
    now, then = torch.randn(2, 4, 3, dtype=torch.float64)
    pairs = [torch.stack([each, torch.zeros_like(each)], dim=-1) for each in (now, then)]
    expected = distillation_losses(*pairs, temperature=2.0).sum(dim=-1)
    torch.testing.assert_close(distillation_losses(now, then, 2.0, multi_label=True), expected)


@pytest.mark.parametrize(("kind", "head"), [("classes", "kind"), ("heads", "names_head")])
def test_a_step_has_the_gradients_of_the_paper(kind: str, head: str, tmp_path: Path) -> None:
    """Of a head that grows the first classes, of heads that were there before the answers to the new rows."""
    scenario = class_stream() if kind == "classes" else head_stream()
    options = {"name": "lwf", "alpha": 3.0, "temperature": 4.0}
    given = {"per_device_train_batch_size": 3, "gradient_accumulation_steps": 2}
    steps = take_steps(make_continual(tmp_path, scenario, options, **given), 1, 2)
    step, own = steps[-1], "kind" if kind == "classes" else "moods_head"
    labels = torch.cat([batch["labels"][own] for batch in step.batches])
    answers = [
        {name: torch.cat([model(**inputs_of(batch))[f"{name}_logits"] for batch in step.batches])}
        for model, name in ((step.model, own), (step.model, head), (steps[0].model, head))
    ]
    known = scenario.classes_after(head, 0)
    now, then = (each[head][:, :known] for each in answers[1:])
    held = -(soft(then.detach(), 4.0) * soft(now, 4.0).log()).sum(dim=-1).mean()
    assert_same_gradients(step, functional.cross_entropy(answers[0][own], labels) + 3.0 * held)


def tagging(**head: Any) -> Scenario:
    """The stream of heads, whose first one classifies words."""
    scenario = head_stream()
    config = {"head_type": "token_classification", "id2label": ["O", "X", "Y"], "classifier_dropout": 0.0, **head}
    splits = {split: _tagged(rows) for split, rows in scenario.tasks["names"].dataset.items()}
    task = Task(dataset=splits, inputs={"tokens": "tokens"}, labels={"names_head": "tags"})
    heads = {**scenario.heads, "names_head": get_head_config("names_head", config)}
    return replace(scenario, tasks={**scenario.tasks, "names": task}, heads=heads)


def _tagged(rows: Dataset) -> Dataset:
    words = [text.split() for text in rows["text"]]
    return Dataset.from_dict({"tokens": words, "tags": [[kind] * 3 for kind in rows["kind"]]})


def test_words_are_held_on_to_at_every_token(tmp_path: Path) -> None:
    steps = take_steps(make_continual(tmp_path, tagging(), "lwf"), 1, 2)
    step = steps[-1]
    (batch,) = step.batches
    now, then = (model(**inputs_of(batch))["names_head_logits"] for model in (step.model, steps[0].model))
    is_token = batch["attention_mask"] > 0
    held = -(soft(then.detach(), 2.0) * soft(now, 2.0).log()).sum(dim=-1)[is_token].mean()
    own = functional.cross_entropy(step.model(**inputs_of(batch))["moods_head_logits"], batch["labels"]["moods_head"])
    assert_same_gradients(step, own + held)


def test_answers_to_the_new_rows_change_less_than_in_naive_training(tmp_path: Path) -> None:
    scenario = head_stream(48)
    texts = scenario.tasks["moods"].dataset["train"]["text"][:]
    inputs = tiny_tokenizer()(texts, return_tensors="pt", padding=True)
    changes = []
    for strategy in ("naive", "lwf"):
        trainer = make_continual(tmp_path / strategy, scenario, strategy, num_train_epochs=3, learning_rate=3e-3)
        answers, end = [], trainer.strategy.end

        def asked(learner: Any, answers: Any = answers, end: Any = end) -> None:
            end(learner)
            with torch.no_grad():
                answers.append(learner.model.eval()(**inputs)["names_head_logits"].softmax(dim=-1))

        trainer.strategy.end = asked  # type: ignore[method-assign]
        trainer.train()
        changes.append(float((answers[1] - answers[0]).abs().sum(dim=-1).mean()))
    assert changes[1] < 0.5 * changes[0]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"alpha": -1.0}, "alpha: expected a number from 0 up, found -1.0"),
        ({"temperature": 0}, "temperature: expected a number above 0, found 0"),
        ({"temperature": float("inf")}, "temperature: expected a number from 0 up, found inf"),
    ],
)
def test_options_that_make_no_sense_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        LwF(**options)


def test_heads_without_shares_are_refused_unless_they_come_last() -> None:
    scenario = head_stream()
    LwF().check(tagging())
    with pytest.raises(ValueError, match="without a crf, found head 'names_head' of type token_"):
        LwF().check(tagging(crf=True))
    number = get_head_config("stars", {"head_type": "regression"})
    LwF().check(replace(scenario, heads={**scenario.heads, "moods_head": number}))
    with pytest.raises(ValueError, match="found head 'names_head' of type regression"):
        LwF().check(replace(scenario, heads={**scenario.heads, "names_head": number}))


def test_nothing_is_kept_between_experiences(tmp_path: Path) -> None:
    trainer = make_continual(tmp_path, class_stream(), "lwf")
    trainer.train()
    assert trainer.strategy.memory() == 0
