"""What a strategy works with: rows, batches, and the model's answers to them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from continual_streams import KINDS, class_stream, head_stream, make_continual
from mt_transformers.continual.experience_trainer import ExperienceTrainer
from mt_transformers.continual.learner import Learner
from mt_transformers.continual.sources import ROW_NUMBER, SOURCES


@pytest.fixture
def trainer(tmp_path: Path) -> ExperienceTrainer:
    """The trainer of the first experience of three."""
    return make_continual(tmp_path, class_stream(), per_device_eval_batch_size=3)._make_trainer(0)


@pytest.fixture
def learner(trainer: ExperienceTrainer) -> Learner:
    """The learner of the first experience of three."""
    return trainer.learner


def test_rows_are_those_of_an_experience(learner: Learner) -> None:
    for number in range(3):
        rows = learner.rows_of(number)["words"]
        expected = learner.scenario.experiences[number].rows["words"]["train"]
        np.testing.assert_array_equal(rows[ROW_NUMBER][:], expected)
        assert set(rows["labels_kind"][:]) == {2 * number, 2 * number + 1}


def test_a_raw_row_is_prepared_to_the_row_that_was_prepared(learner: Learner) -> None:
    raw = [learner.raw_row("words", number) for number in (5, 0)]
    assert [KINDS[row["kind"]] for row in raw] == ["function", "singer"]
    prepared = learner.prepare("words", raw)
    assert prepared == [learner.prepared_row("words", number) for number in (5, 0)]
    assert ROW_NUMBER not in prepared[0]
    assert learner.head_labels(prepared[0]) == {"kind": 5}


def test_rows_out_of_a_buffer_can_be_trained_on_with_others(learner: Learner) -> None:
    from datasets import concatenate_datasets

    buffered = learner.to_dataset("words", [learner.prepared_row("words", 7)])
    both = concatenate_datasets([learner.rows_of(0)["words"], buffered])
    assert both[ROW_NUMBER][-2:] == [learner.scenario.experiences[0].rows["words"]["train"][-1], -1]
    assert both[len(both) - 1]["input_ids"] == learner.prepared_row("words", 7)["input_ids"]


def test_batches_are_of_the_size_of_evaluation_and_in_order(learner: Learner) -> None:
    rows = [learner.prepared_row("words", number) for number in (0, 1, 6, 7)]
    batches = list(learner.batches(rows))
    assert [len(batch["input_ids"]) for batch in batches] == [3, 1]
    assert torch.cat([batch["labels"]["kind"] for batch in batches]).tolist() == [0, 1, 0, 1]


def test_the_model_answers_as_it_does_without_a_trainer(learner: Learner) -> None:
    batch = learner.collate([learner.prepared_row("words", number) for number in (0, 1)])
    assert SOURCES in batch
    learner.model.eval()
    with torch.no_grad():
        answered = learner.forward(batch)
        logits = learner.model(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"])["kind_logits"]
    torch.testing.assert_close(answered["kind_logits"], logits)
    expected = torch.nn.functional.cross_entropy(logits, torch.tensor([0, 1]))
    torch.testing.assert_close(answered["loss"], expected)
    doubled = learner.forward(batch, num_items_in_batch={"kind": torch.tensor(4.0)})["loss"]
    torch.testing.assert_close(doubled, expected / 2)


def test_items_of_all_batches_are_counted(learner: Learner) -> None:
    batches = [learner.collate([learner.prepared_row("words", each) for each in rows]) for rows in ((0, 1), (6,))]
    assert int(learner.divisors(batches)["kind"]) == 3


def test_before_a_trainer_is_made_there_is_no_accelerator(tmp_path: Path) -> None:
    continual = make_continual(tmp_path, head_stream())
    learner = continual._learner(1)
    assert learner.trained_tasks() == ["names", "moods"]
    with pytest.raises(RuntimeError, match="no trainer was made yet"):
        _ = learner.accelerator
