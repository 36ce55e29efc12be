"""A collated batch in parts: together they are the batch, whatever its heads read."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from backbones import FAMILIES
from fixtures import tiny_model
from head_tasks import TASKS, head_config, processing_for, task_for
from mt_transformers import MultiTaskTrainer, MultiTaskTrainingArguments, Task
from mt_transformers.data.task_parts import divide_by_task
from mt_transformers.errors import InputError

BACKBONES = {
    "image_classification": "vit",
    "audio_classification": "whisper",
    "causal_language_modeling": "llama",
}
TEXT = [name for name in TASKS if name not in ("image_classification", "audio_classification")]


def first_batch(
    heads: dict[str, str], tasks: dict[str, Task], family: str, folder: Path
) -> tuple[Any, dict[str, Any], dict[str, Any]]:
    """A model in float64, a batch of all rows of the tasks, and what losses are divided by."""
    torch.manual_seed(0)
    configs = {name: head_config(head_type) for name, head_type in heads.items()}
    model = tiny_model(configs, FAMILIES[family]()).double().eval()
    args = MultiTaskTrainingArguments(
        output_dir=str(folder), use_cpu=True, report_to=[], per_device_train_batch_size=8
    )
    trainer = MultiTaskTrainer(model, args, tasks, processing_class=processing_for(family))
    batch = dict(next(iter(trainer.get_train_dataloader())))
    assert len(batch["task_index"]) == 8
    return model, batch, trainer._counter.count([batch], torch.device("cpu"))


def loss_of(model: Any, batch: dict[str, Any], items: dict[str, Any]) -> torch.Tensor:
    inputs = {
        name: value.double() if torch.is_tensor(value) and value.is_floating_point() else value
        for name, value in batch.items()
        if name != "task_index"
    }
    loss: torch.Tensor = model(**inputs, num_items_in_batch=items)["loss"]
    return loss


def assert_parts_make_the_batch(model: Any, batch: dict[str, Any], items: dict[str, Any]) -> None:
    parts = divide_by_task(batch)
    assert sorted(parts) == [0, 1]
    assert [len(part["task_index"]) for part in parts.values()] == [4, 4]
    losses = [loss_of(model, part, items) for part in parts.values()]
    whole = loss_of(model, batch, items)
    assert all(loss.item() != 0 for loss in losses)
    torch.testing.assert_close(torch.stack(losses).sum(), whole, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("head_type", TASKS)
def test_a_head_that_two_tasks_feed(head_type: str, tmp_path: Path) -> None:
    family = BACKBONES.get(head_type, "bert")
    tasks = {name: task_for(head_type, family) for name in ("a", "b")}
    assert_parts_make_the_batch(*first_batch({"head": head_type}, tasks, family, tmp_path))


@pytest.mark.parametrize("head_type", [name for name in TEXT if name not in ("causal_language_modeling",)])
def test_heads_that_read_other_sequences(head_type: str, tmp_path: Path) -> None:
    """Beside one that reads several sequences a row, some of them further ones, or makes its own."""
    other = "sequence_classification" if head_type == "multiple_choice" else "multiple_choice"
    tasks = {
        name: Task(dataset=task.dataset, inputs=task.inputs, labels={name: task.labels["head"]})
        for name, task in {"one": task_for(head_type, "bert"), "two": task_for(other, "bert")}.items()
    }
    model, batch, items = first_batch({"one": head_type, "two": other}, tasks, "bert", tmp_path)
    assert_parts_make_the_batch(model, batch, items)
    for task, (name, part) in enumerate(zip(("one", "two"), divide_by_task(batch).values(), strict=True)):
        assert list(part["labels"]) == list(part["rows"]) == [name]
        # no sequence is carried that the task does not read
        assert len(part["input_ids"]) <= (batch["task_index"] == task).sum() * 3


def test_rows_that_fill_up_a_batch_are_left_out() -> None:
    batch = {
        "input_ids": torch.tensor([[1], [2], [3]]),
        "task_index": torch.tensor([-1, 4, -1]),
        "labels": {"a": torch.tensor([-100, 7, -100])},
        "rows": {"a": torch.tensor([1])},
        "flag": True,
    }
    parts = divide_by_task(batch)
    assert list(parts) == [4]
    assert parts[4]["input_ids"].tolist() == [[2]]
    assert (parts[4]["labels"]["a"].tolist(), parts[4]["rows"]["a"].tolist()) == ([7], [0])
    assert parts[4]["flag"] is True
    assert divide_by_task({**batch, "task_index": torch.tensor([-1, -1, -1])}) == {}


def test_inputs_that_have_no_rows() -> None:
    batch = {"pixel_values": torch.zeros(5, 2), "task_index": torch.tensor([0, 1]), "labels": {}, "rows": {}}
    with pytest.raises(InputError, match="conflict_steps: pixel_values has 5 entries for 2 rows"):
        divide_by_task(batch)
