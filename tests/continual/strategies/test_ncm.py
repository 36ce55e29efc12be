"""The nearest class mean: the same answers as an explicit search, in whatever order experiences come."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from continual_streams import class_stream, head_stream, make_continual, weights
from mt_transformers.continual.scenario import Scenario
from mt_transformers.continual.strategies import make_strategy
from mt_transformers.continual.strategies.ncm import nearest_mean_classifier
from mt_transformers.continual.trainer import ContinualTrainer
from mt_transformers.errors import InputError


def features_of(trainer: ContinualTrainer, head: str, task: str, split: str) -> tuple[torch.Tensor, torch.Tensor]:
    """What the classifier reads of all rows of a split at once, in float64, and their labels."""
    assert trainer.trainer is not None
    learner = trainer.trainer.learner
    rows = learner.prepared.splits[task][split]
    batch = learner.collate(list(rows))
    labels = batch["labels"][head]
    inputs = {
        name: value for name, value in batch.items() if name in ("input_ids", "attention_mask", "token_type_ids")
    }
    model = trainer.model.eval()
    with torch.no_grad():
        return model(**inputs, heads=[head], returnt="features").double(), labels


@pytest.mark.parametrize("normalize", [True, False])
def test_answers_are_those_of_the_nearest_mean_of_all_rows(normalize: bool, tmp_path: Path) -> None:
    trainer = make_continual(tmp_path, class_stream(), {"name": "ncm", "normalize": normalize})
    before = weights(trainer.model)
    results = trainer.train()
    features, labels = features_of(trainer, "kind", "words", "train")
    tested, truth = features_of(trainer, "kind", "words", "test")
    if normalize:
        features, tested = (each / each.norm(dim=1, keepdim=True) for each in (features, tested))
    means = torch.stack([features[labels == number].mean(dim=0) for number in range(6)])
    if normalize:
        means = means / means.norm(dim=1, keepdim=True)
    nearest = torch.cdist(tested, means).argmin(dim=1)
    raw, _ = features_of(trainer, "kind", "words", "test")
    head: Any = trainer.model.named_heads["kind"]
    assert torch.equal(head.classifier(raw.float()).argmax(dim=1), nearest)
    assert results.measures()["average_accuracy"] == pytest.approx((nearest == truth).double().mean().item())
    after = weights(trainer.model)
    assert all(torch.equal(after[name], value) for name, value in before.items() if "classifier" not in name)


def test_the_two_forms_differ() -> None:
    """A mean that is near in angle and far in distance."""
    sums, rows = torch.tensor([[10.0, 0.0], [0.0, 1.0]]), torch.tensor([1.0, 1.0])
    row = torch.tensor([1.5, 1.0])
    answers = []
    for normalize in (True, False):
        weight, bias = nearest_mean_classifier(sums, rows, normalize)
        answers.append((weight @ row + bias).argmax().item())
    assert answers == [0, 1]


def reversed_stream(scenario: Scenario) -> Scenario:
    """The same experiences, the last one first, for heads that do not grow."""
    return replace(scenario, experiences=tuple(reversed(scenario.experiences)))


def test_the_order_of_experiences_does_not_matter(tmp_path: Path) -> None:
    found = []
    for number, scenario in enumerate([head_stream(), reversed_stream(head_stream())]):
        trainer = make_continual(tmp_path / str(number), scenario, "ncm")
        trainer.train()
        found.append({name: value for name, value in weights(trainer.model).items() if "classifier" in name})
    for name, value in found[0].items():
        torch.testing.assert_close(found[1][name], value)


def test_a_class_without_rows_is_never_the_answer(tmp_path: Path) -> None:
    """The heads know all six kinds, and each learns two of them."""
    trainer = make_continual(tmp_path, head_stream(), "ncm")
    trainer.train()
    for head, task, known in (("names_head", "names", {0, 1}), ("moods_head", "moods", {2, 3})):
        classifier: Any = trainer.model.named_heads[head]
        far = torch.randn(500, classifier.classifier.in_features) * 100
        assert set(classifier.classifier(far).argmax(dim=1).tolist()) == known, task


def test_a_run_that_was_interrupted_between_experiences_ends_with_the_same_bits(tmp_path: Path) -> None:
    whole = make_continual(tmp_path / "whole", class_stream(), "ncm")
    whole.train()
    broken = make_continual(tmp_path / "broken", class_stream(), "ncm")
    learn = broken.strategy.learn

    def break_off(learner: Any) -> bool:
        if learner.number == 2:
            raise KeyboardInterrupt
        return learn(learner)

    broken.strategy.learn = break_off  # type: ignore[method-assign]
    with pytest.raises(KeyboardInterrupt):
        broken.train()
    resumed = make_continual(tmp_path / "broken", class_stream(), "ncm")
    resumed.train(resume_from_checkpoint=True)
    assert resumed.strategy.memory() == whole.strategy.memory() == 6 * 33 * 8
    for name, value in weights(whole.model).items():
        assert torch.equal(weights(resumed.model)[name], value), name


def test_it_beats_training_on_one_experience_after_another(tmp_path: Path) -> None:
    scores = {}
    for name in ("naive", "ncm"):
        trainer = make_continual(tmp_path / name, class_stream(rows=96), name, num_train_epochs=2, learning_rate=3e-3)
        scores[name] = trainer.train().measures()["average_accuracy"]
    assert scores["ncm"] > scores["naive"] + 0.2


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        (
            {"hidden_sizes": [8]},
            r"strategy 'ncm': head 'kind' of type sequence_classification: expected no hidden_siz",
        ),
        ({"pooling": "attention"}, "expected a pooling without weights"),
        ({"classifier_bias": False}, "expected classifier_bias to be true"),
    ],
)
def test_heads_that_it_cannot_serve_are_refused(fields: dict[str, Any], message: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=message):
        make_continual(tmp_path, class_stream(**fields), "ncm")


def test_heads_of_other_types_are_refused() -> None:
    from mt_transformers.heads import get_head_config

    scenario = head_stream()
    regression = get_head_config("moods_head", {"head_type": "regression"})
    scenario = replace(scenario, heads={**scenario.heads, "moods_head": regression})
    with pytest.raises(InputError, match="head 'moods_head' of type regression: expected a sequence_classification"):
        make_strategy("ncm").check(scenario)


def test_an_option_that_is_no_truth_value_is_refused() -> None:
    with pytest.raises(InputError, match="normalize: expected true or false, found 'yes'"):
        make_strategy({"name": "ncm", "normalize": "yes"})


def test_batches_do_not_matter(tmp_path: Path) -> None:
    found = []
    for size in (3, 64):
        trainer = make_continual(tmp_path / str(size), class_stream(), "ncm", per_device_eval_batch_size=size)
        trainer.train()
        found.append(weights(trainer.model)["heads.kind.classifier.weight"].numpy())
    np.testing.assert_allclose(found[0], found[1], atol=1e-6)
