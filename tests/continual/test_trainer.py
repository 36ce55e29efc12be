"""Experiences one after another: what is learnt, measured, and gone on with."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from continual_streams import class_stream, head_stream, make_continual, quiet_model, weights
from fixtures import tiny_tokenizer
from mt_transformers import MultiTaskTrainer, MultiTaskTrainingArguments
from mt_transformers.continual.scenario import Scenario
from mt_transformers.continual.trainer import ContinualTrainer
from mt_transformers.errors import InputError


def test_the_first_experience_is_learnt_as_any_trainer_learns_it(tmp_path: Path) -> None:
    """The same rows, in the same order, to the same bits."""
    scenario = head_stream()
    trainer = make_continual(tmp_path / "continual", scenario)
    learnt: dict[str, torch.Tensor] = {}
    end = trainer.strategy.end

    def keep(learner: Any) -> None:
        end(learner)
        learnt.update({} if learner.number else weights(learner.model))

    trainer.strategy.end = keep  # type: ignore[method-assign]
    trainer.train()
    args = MultiTaskTrainingArguments(
        output_dir=str(tmp_path / "alone"),
        use_cpu=True,
        report_to=[],
        disable_tqdm=True,
        save_strategy="no",
        per_device_train_batch_size=8,
        num_train_epochs=1,
        learning_rate=1e-3,
    )
    model = quiet_model(scenario)
    MultiTaskTrainer(model, args, {"names": scenario.tasks["names"]}, processing_class=tiny_tokenizer()).train()
    assert learnt.keys() == weights(model).keys()
    assert [key for key, value in weights(model).items() if not torch.equal(learnt[key], value)] == []


def test_scores_are_those_of_the_rows_of_each_experience(tmp_path: Path) -> None:
    """The last line of the matrix, from the predictions of the final model row by row."""
    trainer = make_continual(tmp_path, class_stream(), num_train_epochs=3)
    results = trainer.train()
    assert trainer.trainer is not None
    with trainer.concluding() as last:
        predicted = last.predict(split="test")["words"]
    logits, labels = dict(predicted.predictions)["kind"], dict(predicted.label_ids)["kind"]
    correct = logits.argmax(axis=-1) == labels
    for number, experience in enumerate(trainer.scenario.experiences):
        assert results.matrix[2, number] == pytest.approx(correct[experience.rows["words"]["test"]].mean())
    np.testing.assert_array_equal(results.heads["kind"], results.matrix)
    # before a class is there nothing can be asked about it
    assert np.isnan(results.matrix[np.triu_indices(3, 1)]).all()
    assert not np.isnan(results.initial[0])
    assert np.isnan(results.initial[1:]).all()
    assert len(results.seconds) == 3


def test_in_the_end_all_rows_of_all_tasks_are_evaluated(tmp_path: Path) -> None:
    trainer = make_continual(tmp_path, head_stream())
    results = trainer.train()
    with trainer.concluding() as last:
        metrics = last.evaluate(split="test", metric_key_prefix="test")
        assert last.args.output_dir == str(tmp_path)
    assert metrics["test_names_names_head_accuracy"] == results.matrix[1, 0]
    assert metrics["test_moods_moods_head_accuracy"] == results.matrix[1, 1]


def test_a_run_that_was_over_is_concluded_without_training(tmp_path: Path) -> None:
    trainer = make_continual(tmp_path, class_stream(), {"name": "replay", "buffer_size": 6})
    results = trainer.train()
    again = make_continual(tmp_path, class_stream(), {"name": "replay", "buffer_size": 6})
    assert again.train(resume_from_checkpoint=True).to_dict() == results.to_dict()
    assert again.trainer is None
    with trainer.concluding() as one, again.concluding() as other:
        assert one.evaluate(split="test")["eval_loss"] == other.evaluate(split="test")["eval_loss"]


def test_a_run_that_broke_off_in_its_first_experience_knows_its_setting(tmp_path: Path) -> None:
    trainer = make_continual(tmp_path, class_stream(), save_strategy="steps", save_steps=1)
    break_off(trainer, step=2)
    assert (tmp_path / "experience-000" / "checkpoint-1").is_dir()
    other = make_continual(tmp_path, class_stream(), {"name": "replay", "buffer_size": 6})
    with pytest.raises(InputError, match="has the strategy"):
        other.train(resume_from_checkpoint=True)


def test_a_run_that_begins_anew_knows_nothing_of_the_one_before(tmp_path: Path) -> None:
    """Not even when it breaks off itself before its first checkpoint, and is resumed."""
    given: dict[str, Any] = {"save_strategy": "steps", "save_steps": 1}
    whole = make_continual(tmp_path / "whole", class_stream(), **given)
    whole.train()
    older = make_continual(tmp_path / "run", class_stream(), **given, num_train_epochs=3)
    break_off(older, step=5)
    assert (tmp_path / "run" / "experience-000" / "checkpoint-4").is_dir()
    newer = make_continual(tmp_path / "run", class_stream(), **given)
    break_off(newer, step=1)
    assert not (tmp_path / "run" / "experience-000" / "checkpoint-4").exists()
    resumed = make_continual(tmp_path / "run", class_stream(), **given)
    resumed.train(resume_from_checkpoint=True)
    expected = weights(whole.model)
    assert [key for key, value in weights(resumed.model).items() if not torch.equal(expected[key], value)] == []


def break_off(trainer: ContinualTrainer, step: int) -> None:
    """Train up to a step of the first experience."""
    end_step, steps = trainer.strategy.end_step, list[int]()

    def stop(learner: Any) -> None:
        end_step(learner)
        steps.append(1)
        if len(steps) == step:
            raise KeyboardInterrupt

    trainer.strategy.end_step = stop  # type: ignore[method-assign]
    with pytest.raises(KeyboardInterrupt):
        trainer.train()


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"args": None}, "args: expected MultiTaskTrainingArguments, found NoneType"),
        ({"processing_class": None}, "processing_class: expected the backbone's tokenizer"),
        ({"eval_split": "validation"}, "experience 'experience_00': expected rows of the split 'validation'"),
        ({"strategy": "nave"}, "strategy: unknown name 'nave'"),
        ({"loss_weights": {"kid": 1.0}}, "loss_weights: unknown head 'kid', did you mean 'kind'"),
    ],
)
def test_what_cannot_be_is_refused_before_any_training(given: dict[str, Any], message: str, tmp_path: Path) -> None:
    scenario: Scenario = class_stream()
    args = MultiTaskTrainingArguments(output_dir=str(tmp_path), use_cpu=True, report_to=[])
    arguments = {"args": args, "strategy": "naive", "processing_class": tiny_tokenizer(), **given}
    with pytest.raises(InputError, match=message):
        ContinualTrainer(quiet_model(scenario), scenario=scenario, **arguments)
