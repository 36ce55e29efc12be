"""Affinities of tasks: against their definition, on cases with a known answer, and from a recipe."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import torch
from datasets import ClassLabel, Dataset, Features, Value
from training.recipes import write_recipe

from fixtures import MOODS, tiny_bert_config, tiny_model, tiny_tokenizer
from mt_transformers import MultiTaskTrainer, MultiTaskTrainingArguments, Task
from mt_transformers.balancing.affinity import AffinityMeter, AffinityReport
from mt_transformers.baselines import affinity
from mt_transformers.baselines.affinity import LookAhead, measure_affinity
from mt_transformers.data.task_parts import divide_by_task
from mt_transformers.errors import InputError
from mt_transformers.training import load_recipe, read_recipe

RATE = 0.01


def one_row(label: int, head: str) -> Task:
    features = Features({"text": Value("string"), "label": ClassLabel(names=MOODS)})
    rows = Dataset.from_dict({"text": ["the film is great ."], "label": [label]}, features=features)
    return Task(dataset={"train": rows}, inputs={"text": "text"}, labels={head: "label"})


def quiet_trainer(tasks: dict[str, Task], folder: Path, **given: Any) -> MultiTaskTrainer:
    """In float64 without dropout, heads `x` and `y` with equal weights."""
    torch.manual_seed(0)
    head = {"head_type": "sequence_classification", "id2label": MOODS, "classifier_dropout": 0.0}
    bert = tiny_bert_config(hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0)
    model = tiny_model({"x": head, "y": head}, bert).double()
    model.heads["y"].load_state_dict(model.heads["x"].state_dict())
    defaults = {"conflict_steps": 1, "max_steps": 1, "learning_rate": RATE, "per_device_train_batch_size": 8}
    own = {"output_dir": str(folder), "use_cpu": True, "report_to": [], "disable_tqdm": True, "save_strategy": "no"}
    args = MultiTaskTrainingArguments(**own, **{**defaults, **given})
    return MultiTaskTrainer(model, args, tasks, processing_class=tiny_tokenizer())


def metered(tasks: dict[str, Task], folder: Path, **given: Any) -> tuple[MultiTaskTrainer, AffinityMeter]:
    """Such a trainer, and the meter of its tasks."""
    trainer = quiet_trainer(tasks, folder, **given)
    probe = trainer.conflict_probe
    meter = AffinityMeter(probe.report.names)
    probe.on_look = LookAhead(probe, meter, trainer._get_learning_rate, trainer.accelerator)
    return trainer, meter


def test_tasks_that_want_the_same(tmp_path: Path) -> None:
    trainer, meter = metered({"a": one_row(1, "x"), "b": one_row(1, "y")}, tmp_path)
    trainer.train()
    report = meter.report()
    assert report.cosines == [[pytest.approx(1.0)] * 2] * 2
    assert report.conflicts == [[0.0, 0.0]] * 2
    [[own, other], row] = report.lookahead
    assert own is not None
    assert own > 0
    assert [other, *row] == [pytest.approx(own)] * 3


def test_tasks_that_want_the_opposite(tmp_path: Path) -> None:
    """Of one row with two classes the gradients in the logits lie on a line."""
    trainer, meter = metered({"a": one_row(1, "x"), "b": one_row(0, "y")}, tmp_path)
    trainer.train()
    report = meter.report()
    assert report.cosines == [[pytest.approx(1.0), pytest.approx(-1.0)], [pytest.approx(-1.0), pytest.approx(1.0)]]
    assert report.conflicts == [[0.0, 1.0], [1.0, 0.0]]
    values = torch.tensor(report.lookahead)
    assert values.sign().tolist() == [[1.0, -1.0], [-1.0, 1.0]]


@pytest.mark.parametrize("accumulated", [1, 2])
def test_the_definition(accumulated: int, two_tasks: dict[str, Task], tmp_path: Path) -> None:
    """1 - loss after / loss before, of a step along the gradient of one task in the backbone alone."""
    moods = two_tasks["moods"]
    rows = moods.dataset["train"]
    tasks = {
        "a": Task(dataset={"train": rows}, inputs={"text": "text"}, labels={"x": "label"}),
        "b": Task(dataset={"train": rows.select(range(4))}, inputs={"text": "text"}, labels={"y": "label"}),
    }
    size = {"per_device_train_batch_size": 12 // accumulated, "gradient_accumulation_steps": accumulated}
    trainer, meter = metered(tasks, tmp_path, **size)
    model = copy.deepcopy(trainer.model)
    batches = list(trainer.get_train_dataloader())[:accumulated]
    items = trainer._counter.count(batches, torch.device("cpu"))

    def losses(other: Any) -> list[torch.Tensor]:
        found = [torch.zeros((), dtype=torch.float64)] * 2
        for batch in batches:
            for task, part in divide_by_task(batch).items():
                inputs = {name: value for name, value in part.items() if name != "task_index"}
                found[task] = found[task] + other(**inputs, num_items_in_batch=items)["loss"]
        return found

    before = losses(model)
    expected = []
    for task in range(2):
        stepped = copy.deepcopy(model)
        losses(stepped)[task].backward()
        with torch.no_grad():
            for parameter in stepped.backbone.parameters():
                if parameter.grad is not None:
                    parameter -= RATE * parameter.grad
        expected.append([1 - (after / first).item() for after, first in zip(losses(stepped), before, strict=True)])
    trainer.train()
    report = meter.report()
    assert report.looks == 1
    for found, row in zip(report.lookahead, expected, strict=True):
        assert found == pytest.approx(row, rel=1e-9)
    assert min(row[place] for place, row in enumerate(expected)) > 0


def test_training_does_not_notice(two_tasks: dict[str, Task], tmp_path: Path) -> None:
    """Steps are taken back to the bit."""
    tasks = {"a": one_row(1, "x"), "b": one_row(0, "y")}
    trainer, _ = metered(tasks, tmp_path, max_steps=3)
    trainer.train()
    assert trainer.state.global_step == 3
    plain = quiet_trainer(tasks, tmp_path, max_steps=3, conflict_steps=None)
    plain.train()
    for name, value in plain.model.state_dict().items():
        assert torch.equal(trainer.model.state_dict()[name], value), name


def measured(folder: Path, values: dict[str, Any], *args: Any) -> AffinityReport:
    return measure_affinity(load_recipe(read_recipe(write_recipe(folder, values))), *args)


def test_from_a_recipe(tmp_path: Path, values: dict[str, Any]) -> None:
    values["training"] |= {"balancing": "uw", "save_strategy": "epoch", "bf16": True}
    report = measured(tmp_path, values)
    assert report.names == ["requests", "moods", "tempers"]
    assert report.looks == 8
    # what bfloat16 would round away
    assert torch.tensor([[each or 0.0 for each in row] for row in report.lookahead]).diagonal().min() > 0
    # the same rows under another name
    assert report.cosines[1][2] is not None
    assert all(norm is not None and norm > 0 for norm in report.norms)
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["affinity"]
    assert (tmp_path / "out" / "affinity" / "conflicts.json").is_file()


def test_a_number_of_steps(tmp_path: Path, values: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    values["training"]["num_train_epochs"] = 50
    assert measured(tmp_path, values, 3).looks == 3
    monkeypatch.setattr(affinity, "_LOOKS", 4)
    assert measured(tmp_path, values, 9).looks == 5


def test_a_warm_up_begins_with_a_step_that_leads_nowhere(tmp_path: Path, values: dict[str, Any]) -> None:
    values["training"]["warmup_steps"] = 1
    report = measured(tmp_path, values, 1)
    assert report.looks == 1
    assert {each for row in report.lookahead for each in row} == {None}


@pytest.mark.parametrize(
    ("change", "steps", "message"),
    [
        ({}, 0, "steps: expected a number of optimizer steps from 1 up, found 0"),
        ({"experiences": {"scenario": "new_tasks"}}, None, "experiences: tasks that are learnt one after another"),
        ({"mixture": {"sampling": "dynamic"}}, None, "dynamic shares follow the scores"),
    ],
)
def test_what_is_refused(
    change: dict[str, Any], steps: int | None, message: str, tmp_path: Path, values: dict[str, Any]
) -> None:
    with pytest.raises(InputError, match=message):
        measured(tmp_path, {**values, **change}, steps)
    assert not (tmp_path / "out").exists()


def test_one_task_has_nothing_to_agree_with(tmp_path: Path, values: dict[str, Any]) -> None:
    alone = {**values, "tasks": {"moods": values["tasks"]["moods"]}, "heads": {"mood": values["heads"]["mood"]}}
    with pytest.raises(InputError, match="expected at least two tasks to be compared, found moods"):
        measured(tmp_path, alone)
