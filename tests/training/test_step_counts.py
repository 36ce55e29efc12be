"""What a step's losses are divided by, and what the log adds up: exact numbers."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from accelerate import Accelerator

from fixtures import SLOTS
from mt_transformers.heads import HeadConfig, get_head_config
from mt_transformers.training.step_counts import StepCounter, TrainingLog

CPU = torch.device("cpu")
IDS = torch.zeros(4, 3, dtype=torch.long)
TASKS = torch.zeros(4, dtype=torch.long)
NAN = float("nan")


@pytest.fixture
def heads() -> dict[str, HeadConfig]:
    values = {
        "intent": {"head_type": "sequence_classification", "num_labels": 3},
        "slots": {"head_type": "token_classification", "id2label": SLOTS},
        "several": {
            "head_type": "sequence_classification",
            "num_labels": 2,
            "problem_type": "multi_label_classification",
        },
        "stars": {"head_type": "regression"},
    }
    return {name: get_head_config(name, each) for name, each in values.items()}


@pytest.fixture
def accelerator() -> Accelerator:
    return Accelerator(cpu=True)


@pytest.fixture
def batches() -> list[dict[str, Any]]:
    """Two micro-batches of 4 and 2 rows."""
    return [
        {
            "input_ids": IDS,
            "task_index": torch.tensor([0, 0, 1, 0]),
            "labels": {
                # 3 rows
                "intent": torch.tensor([0, -100, 2, 1]),
                # 4 words of 2 rows
                "slots": torch.tensor([[0, 1, -100], [-100, -100, -100], [3, 0, -100], [-100, -100, -100]]),
                # 2 numbers
                "stars": torch.tensor([[1.0], [NAN], [NAN], [2.0]]),
            },
        },
        {
            "input_ids": IDS[:2],
            "task_index": torch.tensor([1, 1]),
            "labels": {
                # 1 row
                "intent": torch.tensor([-100, 2]),
                # 3 words of 1 row
                "slots": torch.tensor([[0, 1, 2], [-100, -100, -100]]),
                # 1 row of 2 yes or no
                "several": torch.tensor([[NAN, NAN], [0.0, 1.0]]),
            },
        },
    ]


def test_per_head_divides_by_the_items_of_the_whole_step(
    heads: dict[str, HeadConfig], accelerator: Accelerator, batches: list[dict[str, Any]]
) -> None:
    found = StepCounter(heads, "per_head", accelerator).count(batches, CPU)
    assert {name: value.item() for name, value in found.items()} == {
        "intent": 4,
        "slots": 7,
        "stars": 2,
        "several": 2,
    }


def test_per_row_multiplies_each_mean_by_the_share_of_the_rows(
    heads: dict[str, HeadConfig], accelerator: Accelerator, batches: list[dict[str, Any]]
) -> None:
    """Items x rows of the step (6) / rows with a label of the head."""
    found = StepCounter(heads, "per_row", accelerator).count(batches, CPU)
    assert {name: value.item() for name, value in found.items()} == {
        "intent": 4 * 6 / 4,
        "slots": 7 * 6 / 3,
        "stars": 2 * 6 / 2,
        "several": 2 * 6 / 1,
    }


def test_rows_that_only_fill_a_batch_do_not_count(
    heads: dict[str, HeadConfig], accelerator: Accelerator, batches: list[dict[str, Any]]
) -> None:
    """Their task is -1 and they have no label."""
    filler = {"input_ids": IDS[:1], "task_index": torch.tensor([-1]), "labels": {"intent": torch.tensor([-100])}}
    counter = StepCounter(heads, "per_row", accelerator)
    assert counter.count([*batches, filler], CPU) == counter.count(batches, CPU)
    log = TrainingLog(heads, ["a", "b"], accelerator)
    log.add(batches[1], {"intent_row_losses": torch.tensor([4.0])}, torch.tensor([0, 1]))
    log.add(filler, {"intent_row_losses": torch.zeros(0)}, torch.tensor([-1]))
    assert log.read() == {"loss_intent": 4.0, "share_a": 0.5, "share_b": 0.5}


def test_steps_do_not_add_up(
    heads: dict[str, HeadConfig], accelerator: Accelerator, batches: list[dict[str, Any]]
) -> None:
    counter = StepCounter(heads, "per_head", accelerator)
    counter.count(batches, CPU)
    found = counter.count(batches[1:], CPU)
    assert {name: value.item() for name, value in found.items()} == {"intent": 1, "slots": 3, "several": 2}


@pytest.mark.parametrize("reduction", ["per_head", "per_row"])
def test_a_head_without_an_item_is_divided_by_one(
    heads: dict[str, HeadConfig], accelerator: Accelerator, reduction: Any
) -> None:
    batch = {"task_index": TASKS, "labels": {"intent": torch.full((4,), -100)}}
    found = StepCounter(heads, reduction, accelerator).count([batch], CPU)
    assert found["intent"].item() == 1


@pytest.mark.parametrize("batch", [{"task_index": TASKS}, {"task_index": TASKS, "labels": {}}])
def test_batches_without_labels_have_no_divisor(
    heads: dict[str, HeadConfig], accelerator: Accelerator, batch: dict[str, Any]
) -> None:
    assert StepCounter(heads, "per_head", accelerator).count([batch], CPU) == {}


def test_the_log_adds_up_sums_items_and_rows(
    heads: dict[str, HeadConfig], accelerator: Accelerator, batches: list[dict[str, Any]]
) -> None:
    log = TrainingLog(heads, ["a", "b", "c"], accelerator)
    log.add(
        batches[0],
        {
            "intent_row_losses": torch.tensor([1.0, 2.0, 5.0]),
            "slots_row_losses": torch.tensor([3.0, 4.0]),
            "stars_row_losses": torch.tensor([0.5, 0.25]),
        },
        torch.tensor([0, 0, 1, 0]),
    )
    log.add(
        batches[1],
        {
            "intent_row_losses": torch.tensor([4.0]),
            "slots_row_losses": torch.tensor([7.0]),
            "several_row_losses": torch.tensor([1.5]),
        },
        torch.tensor([1, 1]),
    )
    assert log.read() == {
        "loss_intent": 12 / 4,
        "loss_slots": 14 / 7,
        "loss_stars": 0.75 / 2,
        "loss_several": 1.5 / 2,
        "share_a": 3 / 6,
        "share_b": 3 / 6,
        "share_c": 0.0,
    }


def test_reading_the_log_empties_it(
    heads: dict[str, HeadConfig], accelerator: Accelerator, batches: list[dict[str, Any]]
) -> None:
    log = TrainingLog(heads, ["a", "b"], accelerator)
    assert log.read() == {}
    log.add(batches[1], {"intent_row_losses": torch.tensor([4.0])}, torch.tensor([1, 1]))
    assert log.read() == {"loss_intent": 4.0, "share_a": 0.0, "share_b": 1.0}
    assert log.read() == {}
    log.add(batches[1], {"slots_row_losses": torch.tensor([6.0])}, torch.tensor([0, 1]))
    assert log.read() == {"loss_slots": 2.0, "share_a": 0.5, "share_b": 0.5}


def test_the_log_keeps_no_graph(
    heads: dict[str, HeadConfig], accelerator: Accelerator, batches: list[dict[str, Any]]
) -> None:
    """Else it would hold the activations of every step until it is read."""
    log = TrainingLog(heads, ["a", "b"], accelerator)
    losses = (torch.ones(1, requires_grad=True) * 2).requires_grad_()
    log.add(batches[1], {"intent_row_losses": losses}, torch.tensor([0, 1]))
    held = [value for value in vars(log).values() if isinstance(value, torch.Tensor)]
    assert held
    assert not [value for value in held if value.requires_grad]
