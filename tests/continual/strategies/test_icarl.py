"""iCaRL: exemplars by herding, binary losses with the old model's answers, the nearest mean of exemplars."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional

from continual_streams import (
    KINDS,
    assert_same_gradients,
    class_stream,
    head_stream,
    inputs_of,
    make_continual,
    take_steps,
    weights,
)
from fixtures import tiny_tokenizer
from mt_transformers.continual.strategies.icarl import ICarl, binary_losses, choose_by_herding
from mt_transformers.continual.trainer import ContinualTrainer
from mt_transformers.heads import get_head_config


def strategy_of(trainer: ContinualTrainer) -> ICarl:
    (strategy,) = trainer.strategy.strategies
    assert isinstance(strategy, ICarl)
    return strategy


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10_000), st.integers(1, 12), st.integers(0, 14))
def test_rows_are_chosen_as_the_paper_says(seed: int, rows: int, number: int) -> None:
    """Algorithm 4 as it is written: no other row would bring the mean of those chosen nearer to that of all."""
    generator = torch.Generator().manual_seed(seed)
    features = functional.normalize(torch.randn(rows, 4, generator=generator, dtype=torch.float64), dim=1)
    chosen = choose_by_herding(features, number)
    assert len(chosen) == len(set(chosen)) == min(number, rows)
    for count in range(1, len(chosen) + 1):
        before = chosen[: count - 1]
        left = [row for row in range(rows) if row not in before]
        means = (features[before].sum(dim=0) + features[left]) / count
        distances = (features.mean(dim=0) - means).norm(dim=1)
        # of rows that are equally near any may be chosen
        assert distances[left.index(chosen[count - 1])] <= distances.min() + 1e-12


def test_the_loss_is_that_of_algorithm_3() -> None:
    torch.manual_seed(0)
    logits, before = torch.randn(3, 5, dtype=torch.float64), torch.randn(3, 2, dtype=torch.float64)
    labels = torch.tensor([4, 0, -100])
    answers, old = logits.sigmoid(), before.sigmoid()
    for row in range(2):
        # the old model's answers for the first two classes, and whether it is the row's for the others
        wanted = [*old[row].tolist(), *(float(label == labels[row]) for label in range(2, 5))]
        terms = [y * answers[row, i].log() + (1 - y) * (1 - answers[row, i]).log() for i, y in enumerate(wanted)]
        torch.testing.assert_close(binary_losses(logits, labels, before)[row], -torch.stack(terms).sum())
    assert binary_losses(logits, labels, before)[2] == 0


def test_a_step_has_the_gradients_of_algorithm_3(tmp_path: Path) -> None:
    given: dict[str, Any] = {"per_device_train_batch_size": 3, "gradient_accumulation_steps": 2}
    trainer = make_continual(tmp_path, class_stream(), {"name": "icarl", "buffer_size": 12}, **given)
    steps = take_steps(trainer, 1, 4)
    step, labels = steps[-1], torch.cat([batch["labels"]["kind"] for batch in steps[-1].batches])
    now, then = (
        torch.cat([model(**inputs_of(batch))["kind_logits"] for batch in step.batches])
        for model in (step.model, steps[0].model)
    )
    targets = torch.cat([then[:, :2].detach().sigmoid(), functional.one_hot(labels, 4)[:, 2:]], dim=1)
    answers = now.sigmoid()
    losses = -(targets * answers.log() + (1 - targets) * (1 - answers).log()).sum(dim=1)
    assert_same_gradients(step, losses.mean())
    seen = torch.cat([batch["labels"]["kind"] for each in steps for batch in each.batches])
    assert (seen < 2).any(), "no exemplar was trained on"


def test_exemplars_are_as_many_of_each_class_and_the_first_ones_stay(tmp_path: Path) -> None:
    trainer = make_continual(tmp_path, class_stream(), {"name": "icarl", "buffer_size": 13})
    strategy, kept = strategy_of(trainer), []
    end = strategy.end

    def watched(learner: Any) -> None:
        end(learner)
        kept.append([(slot.group, slot.row["text"]) for slot in strategy.kept])

    strategy.end = watched  # type: ignore[method-assign]
    trainer.train()
    # 13 // 2, but there are 8 rows of a class at most, 13 // 4, 13 // 6
    assert [set(Counter(group for group, _ in each).values()) for each in kept] == [{6}, {3}, {2}]
    assert [len(dict.fromkeys(group for group, _ in each)) for each in kept] == [2, 4, 6]
    for before, after in pairwise(kept):
        for group in dict.fromkeys(group for group, _ in before):
            rows = [[text for own, text in each if own == group] for each in (before, after)]
            assert rows[1] == rows[0][: len(rows[1])]


@pytest.mark.parametrize("bias", [True, False])
def test_it_answers_by_the_nearest_mean_of_exemplars(bias: bool, tmp_path: Path) -> None:
    scenario = class_stream(classifier_bias=bias)
    trainer = make_continual(tmp_path, scenario, {"name": "icarl", "buffer_size": 12})
    trainer.train()
    assert trainer.trainer is not None
    strategy, model, learner = strategy_of(trainer), trainer.model.eval(), trainer.trainer.learner
    tokenizer, trained = tiny_tokenizer(), weights(trainer.model)

    def features(texts: list[str]) -> torch.Tensor:
        with torch.no_grad():
            found = model.features(**tokenizer(texts, return_tensors="pt", padding=True))
        assert isinstance(found, torch.Tensor)
        return functional.normalize(found, dim=1)

    texts = scenario.tasks["words"].dataset["test"]["text"][:]
    groups: dict[int, list[str]] = {}
    for slot in strategy.kept:
        groups.setdefault(int(slot.group.split(":")[1]), []).append(slot.row["text"])
    means = torch.stack([functional.normalize(features(groups[label]).mean(dim=0), dim=0) for label in range(6)])
    distances = (features(texts).unsqueeze(1) - means).square().sum(dim=-1)
    with strategy.answering(learner), torch.no_grad():
        logits = model(**tokenizer(texts, return_tensors="pt", padding=True))["kind_logits"]
        assert model.named_heads["kind"].last_layer is model.heads["kind"].classifier
    assert torch.equal(logits.argmax(dim=1), distances.argmin(dim=1))
    lengths = model.features(**tokenizer(texts, return_tensors="pt", padding=True)).norm(dim=1)
    # |x - m|^2 = 2 - 2 x m
    torch.testing.assert_close(2 - 2 * logits / lengths.unsqueeze(1), distances, rtol=0, atol=1e-5)
    assert all(torch.equal(value, trained[name]) for name, value in weights(model).items())


def test_what_fails_within_answering_leaves_the_trained_weights(tmp_path: Path) -> None:
    trainer = make_continual(tmp_path, class_stream(), {"name": "icarl", "buffer_size": 12})
    trainer.train()
    assert trainer.trainer is not None
    trained = weights(trainer.model)
    answering = []

    def fail() -> None:
        with trainer.strategy.answering(trainer.trainer.learner):
            answering.append(weights(trainer.model))
            raise KeyError

    with pytest.raises(KeyError):
        fail()
    name = "heads.kind.classifier.weight"
    assert not torch.equal(trained[name], answering[0][name])
    assert all(torch.equal(value, trained[name]) for name, value in weights(trainer.model).items())


def test_it_forgets_less_than_naive_training(tmp_path: Path) -> None:
    given: dict[str, Any] = {"num_train_epochs": 3, "learning_rate": 3e-3}
    strategies = ("naive", {"name": "icarl", "buffer_size": 30})
    scores = [
        make_continual(tmp_path / str(number), class_stream(96), each, **given).train().measures()["average_accuracy"]
        for number, each in enumerate(strategies)
    ]
    assert scores[1] > scores[0] + 0.4


def test_heads_that_do_not_grow_are_refused() -> None:
    with pytest.raises(ValueError, match="head 'names_head' of type sequence_classification: expected a head"):
        ICarl().check(head_stream())
    scenario = head_stream()
    tagger = get_head_config("names_head", {"head_type": "token_classification", "id2label": ["O", "X"]})
    with pytest.raises(ValueError, match="head 'names_head' of type token_classification: expected a head"):
        ICarl().check(replace(scenario, heads={**scenario.heads, "names_head": tagger}))


def test_label_smoothing_is_refused() -> None:
    with pytest.raises(ValueError, match=r"head 'kind' .*: expected no label_smoothing, .* found 0.1"):
        ICarl().check(class_stream(label_smoothing=0.1))


def test_a_buffer_without_a_place_for_each_class_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="'icarl': buffer: expected a size of at least 6"):
        make_continual(tmp_path, class_stream(), {"name": "icarl", "buffer_size": 5})


def test_a_class_without_a_training_row_is_refused(tmp_path: Path) -> None:
    scenario = class_stream()
    labels = scenario.tasks["words"].dataset["train"]["kind"][:]
    second = scenario.experiences[1]
    # without the rows of its first class
    lost = scenario.tasks["words"].dataset["train"].features["kind"].str2int(second.labels["kind"][0])
    rows = second.rows["words"]
    rows = {**rows, "train": np.array([row for row in rows["train"] if labels[row] != lost])}
    experiences = (scenario.experiences[0], replace(second, rows={"words": rows}), scenario.experiences[2])
    with pytest.raises(ValueError, match=rf"experience '{second.name}', head 'kind': .* class '{KINDS[lost]}'"):
        make_continual(tmp_path, replace(scenario, experiences=experiences), {"name": "icarl", "buffer_size": 12})
