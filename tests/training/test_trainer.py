"""Training: the loss of an optimizer step, which parameters move, what is logged, which batches come."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from datasets import ClassLabel, Dataset, Features, Value
from torch.nn import functional
from torch.nn.utils import parameters_to_vector
from transformers import TrainerCallback, TrainingArguments

from fixtures import tiny_inputs, tiny_tokenizer
from mt_transformers import Mixture, MultiTaskModel, MultiTaskTrainer, MultiTaskTrainingArguments, Task
from mt_transformers.data import MultiTaskBatchSampler
from mt_transformers.errors import InputError

Models = Callable[..., MultiTaskModel]
Trainers = Callable[..., MultiTaskTrainer]
AllKinds = tuple[dict[str, Task], dict[str, dict[str, Any]]]


def parameters(model: MultiTaskModel) -> dict[str, torch.Tensor]:
    """A copy of all parameters."""
    return {name: value.detach().clone() for name, value in model.named_parameters()}


def train_lines(trainer: MultiTaskTrainer) -> list[dict[str, Any]]:
    """The lines of the log that are about a training step."""
    return [line for line in trainer.state.log_history if "loss" in line]


# the loss of an optimizer step


@pytest.mark.parametrize("reduction", ["per_head", "per_row"])
@pytest.mark.parametrize("batches", ["mixed", "homogeneous"])
def test_accumulation_equals_one_large_batch(
    all_kinds: AllKinds, quiet_model: Models, make_trainer: Trainers, reduction: str, batches: Any
) -> None:
    """22 rows: two steps of 8 rows and one of 6, as 8, as 2 x 4 and as 4 x 2; every kind of label, some missing."""
    tasks, heads = all_kinds
    start = quiet_model(heads=heads, loss_reduction=reduction, loss_weights={"tags": 0.5}).double()
    # the tasks one after the other, each a multiple of nothing: homogeneous batches hold 16 and 6 rows
    mixture = Mixture(order="sequential" if batches == "homogeneous" else "random", batches=batches)
    moved = []
    for size, accumulated in ((8, 1), (4, 2), (2, 4)):
        model = quiet_model(heads=heads, loss_reduction=reduction, loss_weights={"tags": 0.5}).double()
        model.load_state_dict(start.state_dict())
        trainer = make_trainer(
            model,
            tasks,
            mixture=mixture,
            per_device_train_batch_size=size,
            gradient_accumulation_steps=accumulated,
            num_train_epochs=2,
            learning_rate=0.05,
            optim="sgd",
        )
        trainer.train()
        assert trainer.state.global_step == 6
        moved.append(parameters_to_vector(model.parameters()) - parameters_to_vector(start.parameters()))
    assert moved[0].norm() > 1e-2
    for other in moved[1:]:
        assert (other - moved[0]).norm() / moved[0].norm() < 1e-9


def hand_losses(model: MultiTaskModel, batches: list[dict[str, Any]]) -> dict[str, tuple[float, int]]:
    """For each head of `two_tasks` the sum of its item losses over some batches, and its items, each row alone."""
    found: dict[str, tuple[float, int]] = {}
    for batch in batches:
        for head, labels in batch["labels"].items():
            for row, label in enumerate(labels):
                length = int(batch["attention_mask"][row].sum())
                with torch.no_grad():
                    logits = model(input_ids=batch["input_ids"][row : row + 1, :length])[f"{head}_logits"][0]
                wanted = label[:length] if label.ndim else label
                losses = functional.cross_entropy(logits, wanted, ignore_index=-100, reduction="sum")
                total, items = found.get(head, (0.0, 0))
                found[head] = total + float(losses), items + int((wanted != -100).sum())
    return found


@pytest.mark.parametrize("reduction", ["per_head", "per_row"])
def test_the_log_has_each_heads_mean_and_each_tasks_share(
    two_tasks: dict[str, Task], quiet_model: Models, make_trainer: Trainers, reduction: str
) -> None:
    """Without learning the model stays as it is, so that every line can be computed by hand."""
    model = quiet_model(loss_weights={"slots": 3.0}, loss_reduction=reduction)
    trainer = make_trainer(
        model, two_tasks, num_train_epochs=1, gradient_accumulation_steps=2, learning_rate=0.0, logging_steps=1
    )
    batches = list(trainer.get_train_dataloader())
    trainer.train()
    lines = train_lines(trainer)
    assert len(lines) == 3
    model.eval()
    for line, step in zip(lines, (batches[:2], batches[2:4], batches[4:]), strict=True):
        by_hand = hand_losses(model, step)
        means = {head: total / items for head, (total, items) in by_hand.items()}
        tasks = torch.cat([batch["task_index"] for batch in step])
        rows = {"intent": (tasks == 0).sum(), "slots": (tasks == 0).sum(), "mood": (tasks == 1).sum()}
        factor = {head: float(rows[head] / len(tasks)) if reduction == "per_row" else 1.0 for head in means}
        weighted = sum(mean * factor[head] * (3.0 if head == "slots" else 1.0) for head, mean in means.items())
        assert line["loss"] == pytest.approx(weighted, rel=1e-5)
        assert {key: line[key] for key in line if key.startswith("loss_")} == pytest.approx(
            {f"loss_{head}": mean for head, mean in means.items()}, rel=1e-5
        )
        shares = [float((tasks == number).double().mean()) for number in (0, 1)]
        assert [line["share_requests"], line["share_moods"]] == pytest.approx(shares)


def test_a_line_of_the_log_covers_the_steps_since_the_last_one(
    two_tasks: dict[str, Task], quiet_model: Models, make_trainer: Trainers
) -> None:
    model = quiet_model()
    trainer = make_trainer(model, two_tasks, num_train_epochs=1, learning_rate=0.0, logging_steps=3)
    batches = list(trainer.get_train_dataloader())
    trainer.train()
    lines = train_lines(trainer)
    assert [line["step"] for line in lines] == [3, 6]
    for line, part in zip(lines, (batches[:3], batches[3:]), strict=True):
        for head, (total, items) in hand_losses(model.eval(), part).items():
            assert line[f"loss_{head}"] == pytest.approx(total / items, rel=1e-5)
        assert line["share_requests"] + line["share_moods"] == pytest.approx(1.0)


def test_an_evaluation_line_has_no_training_entries(
    two_tasks: dict[str, Task], quiet_model: Models, make_trainer: Trainers
) -> None:
    trainer = make_trainer(quiet_model(), two_tasks, max_steps=2, eval_strategy="steps", eval_steps=1)
    trainer.train()
    lines = [line for line in trainer.state.log_history if "eval_loss" in line]
    assert len(lines) == 2
    assert not [key for line in lines for key in line if key.startswith(("loss", "share_"))]


# which parameters move


def test_all_parameters_differ_after_training(
    two_tasks: dict[str, Task], quiet_model: Models, make_trainer: Trainers
) -> None:
    model = quiet_model()
    before = parameters(model)
    make_trainer(model, two_tasks, num_train_epochs=2, learning_rate=1e-2).train()
    after = parameters(model)
    assert [name for name in before if torch.equal(before[name], after[name])] == []


def test_heads_without_a_task_stay_as_they_are(
    two_tasks: dict[str, Task], quiet_model: Models, make_trainer: Trainers
) -> None:
    model = quiet_model()
    before = parameters(model)
    moods = {"moods": two_tasks["moods"]}
    make_trainer(model, moods, num_train_epochs=3, learning_rate=1e-2, weight_decay=0.5).train()
    after = parameters(model)
    still = {name for name in before if torch.equal(before[name], after[name])}
    assert still == {name for name in before if name.startswith(("heads.intent.", "heads.slots."))}


class KeepHeads(TrainerCallback):
    """Keeps the heads' classifiers as they are after every step."""

    def __init__(self, model: MultiTaskModel) -> None:
        self.model = model
        self.seen = [self.copy()]

    def copy(self) -> dict[str, torch.Tensor]:
        return {name: head.classifier.weight.detach().clone() for name, head in self.model.heads.items()}

    def on_step_end(self, *_: Any, **__: Any) -> None:
        self.seen.append(self.copy())


def test_a_head_without_a_row_in_a_step_is_not_updated(
    two_tasks: dict[str, Task], quiet_model: Models, make_trainer: Trainers
) -> None:
    """Neither momentum nor weight decay moves it: 4 steps of one task, then 2 of the other."""
    model = quiet_model()
    keep = KeepHeads(model)
    trainer = make_trainer(
        model,
        two_tasks,
        mixture=Mixture(order="sequential", batches="homogeneous"),
        callbacks=[keep],
        num_train_epochs=1,
        learning_rate=1e-2,
        weight_decay=0.5,
    )
    trainer.train()
    moved = [
        {name for name in before if not torch.equal(before[name], after[name])}
        for before, after in zip(keep.seen[:-1], keep.seen[1:], strict=True)
    ]
    assert moved == [{"intent", "slots"}] * 4 + [{"mood"}] * 2


def test_the_loss_falls_and_the_tasks_are_learned(
    two_tasks: dict[str, Task], quiet_model: Models, make_trainer: Trainers
) -> None:
    trainer = make_trainer(
        quiet_model(),
        two_tasks,
        num_train_epochs=25,
        per_device_train_batch_size=8,
        learning_rate=1e-2,
        lr_scheduler_type="constant",
    )
    trainer.train()
    losses = [line["loss"] for line in train_lines(trainer)]
    assert losses[0] > 2.0
    assert max(losses[-3:]) < 0.3
    metrics = trainer.evaluate()
    assert metrics["eval_requests_intent_accuracy"] == 1.0
    assert metrics["eval_score"] > 0.75


# which batches come


def batches_of(trainer: MultiTaskTrainer) -> list[list[list[int]]]:
    return [batch["input_ids"].tolist() for batch in trainer.get_train_dataloader()]


def test_seed_and_data_seed_settle_the_batches(
    two_tasks: dict[str, Task], quiet_model: Models, make_trainer: Trainers
) -> None:
    def batches(**seeds: int) -> list[list[list[int]]]:
        return batches_of(make_trainer(quiet_model(), two_tasks, **seeds))

    assert batches(seed=1) == batches(seed=1)
    assert batches(seed=1) != batches(seed=0)
    assert batches(seed=1, data_seed=0) == batches(seed=0)
    assert batches(seed=1, data_seed=0) != batches(seed=1)


def test_every_epoch_has_its_own_order(
    two_tasks: dict[str, Task], quiet_model: Models, make_trainer: Trainers
) -> None:
    seen: list[list[list[int]]] = []

    class Keeping(MultiTaskTrainer):
        def training_step(self, model: Any, inputs: dict[str, Any], num_items_in_batch: Any = None) -> torch.Tensor:
            seen.append(inputs["input_ids"].tolist())
            return super().training_step(model, inputs, num_items_in_batch)

    args = make_trainer(quiet_model(), two_tasks, num_train_epochs=2).args
    trainer = Keeping(quiet_model(), args, tasks=two_tasks, processing_class=tiny_tokenizer())
    trainer.train()
    first, second = seen[:6], seen[6:]
    assert len(second) == 6
    assert first != second

    def rows(batches: list[list[list[int]]]) -> list[list[int]]:
        return sorted([token for token in row if token != 0] for batch in batches for row in batch)

    # proportional: every row once in each epoch
    assert rows(first) == rows(second)


def test_the_sampler_learns_its_epoch_before_the_iterator_is_made(
    two_tasks: dict[str, Task], quiet_model: Models, make_trainer: Trainers
) -> None:
    """By the trainer itself: what the Trainer does does not reach through the sampler of a resumed run."""
    trainer = make_trainer(quiet_model(), two_tasks)
    loader = trainer.get_train_dataloader()
    trainer.state.epoch = 2.0
    trainer.callback_handler.on_epoch_begin(trainer.args, trainer.state, trainer.control)
    expected = MultiTaskBatchSampler({"requests": 16, "moods": 8}, Mixture(), 4, seed=trainer.args.seed)
    assert list(loader.batch_sampler) != list(expected)
    expected.set_epoch(2)
    assert list(loader.batch_sampler) == list(expected)


def test_the_mixture_and_the_batch_size_reach_the_batches(
    two_tasks: dict[str, Task], quiet_model: Models, make_trainer: Trainers
) -> None:
    def tasks_of(**given: Any) -> list[list[int]]:
        trainer = make_trainer(quiet_model(), two_tasks, **given)
        return [batch["task_index"].tolist() for batch in trainer.get_train_dataloader()]

    one_by_one = Mixture(order="sequential", batches="homogeneous")
    assert tasks_of(mixture=one_by_one) == [[0] * 4] * 4 + [[1] * 4] * 2
    assert tasks_of(mixture=one_by_one, per_device_train_batch_size=5) == [[0] * 5] * 3 + [[0], [1] * 5, [1] * 3]
    assert tasks_of(mixture=one_by_one, per_device_train_batch_size=5, dataloader_drop_last=True) == [
        *[[0] * 5] * 3,
        [1] * 5,
    ]


def test_max_length_cuts_the_rows(two_tasks: dict[str, Task], quiet_model: Models, make_trainer: Trainers) -> None:
    moods = {"moods": two_tasks["moods"]}
    assert make_trainer(quiet_model(), moods).splits["moods"]["train"]["length"][:] == [7] * 8
    assert make_trainer(quiet_model(), moods, max_length=5).splits["moods"]["train"]["length"][:] == [5] * 8
    with pytest.raises(InputError, match="max_length: expected 3 to 64 tokens, found 65"):
        make_trainer(quiet_model(), moods, max_length=65)


def test_preprocessing_num_proc_reaches_the_preparation(
    two_tasks: dict[str, Task], quiet_model: Models, make_trainer: Trainers, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []
    plain_map = Dataset.map

    def spying_map(self: Dataset, *args: Any, **kwargs: Any) -> Dataset:
        asked.append(kwargs.pop("num_proc", None))
        return plain_map(self, *args, **kwargs)

    monkeypatch.setattr(Dataset, "map", spying_map)
    rows = Dataset.from_dict({"text": ["a film"] * 1001, "label": [0, 1] * 500 + [0]})
    features = Features({"text": Value("string"), "label": ClassLabel(names=["negative", "positive"])})
    task = Task(dataset={"train": rows.cast(features)}, inputs={"text": "text"}, labels={"mood": "label"})
    asked.clear()
    make_trainer(quiet_model(), {"moods": task}, preprocessing_num_proc=3)
    assert asked == [3]


def test_a_data_collator_of_ones_own_is_used(
    two_tasks: dict[str, Task], quiet_model: Models, make_trainer: Trainers
) -> None:
    default = make_trainer(quiet_model(), two_tasks).data_collator
    calls = []

    def collate(rows: list[dict[str, Any]]) -> dict[str, Any]:
        calls.append(len(rows))
        return default(rows)

    make_trainer(quiet_model(), two_tasks, data_collator=collate, max_steps=1).train()
    assert calls[0] == 4


# what the data tells the model


def scores(model: MultiTaskModel) -> torch.Tensor:
    with torch.no_grad():
        return model.eval()(**tiny_inputs())["score_logits"]


def test_regression_statistics_reach_model_and_config(
    all_kinds: AllKinds, quiet_model: Models, make_trainer: Trainers
) -> None:
    tasks, heads = all_kinds
    model = quiet_model(heads=heads)
    # without statistics the answers are in standardised units
    standardized = scores(model)
    make_trainer(model, tasks)
    # the targets are -3, -2, ..., 4
    mean, std = 0.5, (63 / 12) ** 0.5
    assert model.config.heads["score"]["mean"] == pytest.approx([mean])
    assert model.config.heads["score"]["std"] == pytest.approx([std])
    assert torch.allclose(scores(model), standardized * std + mean, atol=1e-6)


def test_statistics_that_the_head_has_are_kept(
    all_kinds: AllKinds, quiet_model: Models, make_trainer: Trainers
) -> None:
    tasks, heads = all_kinds
    model = quiet_model(heads={**heads, "score": {"head_type": "regression", "mean": [7.0], "std": [2.0]}})
    before = scores(model)
    make_trainer(model, tasks)
    assert (model.config.heads["score"]["mean"], model.config.heads["score"]["std"]) == ([7.0], [2.0])
    assert torch.equal(scores(model), before)


# what is refused


def test_other_arguments_are_refused(two_tasks: dict[str, Task], quiet_model: Models, tmp_path: Any) -> None:
    args: Any = TrainingArguments(output_dir=str(tmp_path), use_cpu=True, report_to=[])
    with pytest.raises(InputError, match="args: expected MultiTaskTrainingArguments, found TrainingArguments"):
        MultiTaskTrainer(quiet_model(), args, tasks=two_tasks, processing_class=tiny_tokenizer())


def test_a_missing_tokenizer_is_refused(two_tasks: dict[str, Task], quiet_model: Models, tmp_path: Any) -> None:
    args = MultiTaskTrainingArguments(output_dir=str(tmp_path), use_cpu=True, report_to=[])
    with pytest.raises(
        InputError, match="processing_class: expected the backbone's tokenizer, or what else reads its inputs"
    ):
        MultiTaskTrainer(quiet_model(), args, tasks=two_tasks)


def test_a_task_that_feeds_an_unknown_head_is_refused(
    two_tasks: dict[str, Task], quiet_model: Models, make_trainer: Trainers
) -> None:
    two_tasks["moods"].labels = {"moood": "label"}
    with pytest.raises(InputError, match=r"task 'moods', column 'label': unknown head 'moood', did you mean 'mood'"):
        make_trainer(quiet_model(), two_tasks)


def test_metrics_of_one_name_are_refused(
    quiet_model: Models, make_trainer: Trainers, two_tasks: dict[str, Task]
) -> None:
    """Task `a` with head `b_c` and task `a_b` with head `c` would both report eval_a_b_c_accuracy."""
    names = {"head_type": "sequence_classification", "id2label": ["negative", "positive"]}
    model = quiet_model(heads={"b_c": names, "c": names})
    moods = two_tasks["moods"]
    tasks = {
        "a": Task(dataset=moods.dataset, inputs=moods.inputs, labels={"b_c": "label"}),
        "a_b": Task(dataset=moods.dataset, inputs=moods.inputs, labels={"c": "label"}),
    }
    with pytest.raises(InputError, match="eval_a_b_c_accuracy would stand for"):
        make_trainer(model, tasks)


def test_training_without_a_train_split_is_refused(
    two_tasks: dict[str, Task], quiet_model: Models, make_trainer: Trainers
) -> None:
    moods = two_tasks["moods"]
    only_test = Task(dataset={"test": moods.dataset["test"]}, inputs=moods.inputs, labels=moods.labels)
    trainer = make_trainer(quiet_model(), {"moods": only_test}, num_train_epochs=1)
    with pytest.raises(InputError, match="no task has a train split"):
        trainer.train()


# what a step costs


def test_operations_are_those_of_the_backbone(
    two_tasks: dict[str, Task], quiet_model: Models, make_trainer: Trainers
) -> None:
    """6 for each token and parameter; heads that no batch uses add nothing."""
    model = quiet_model()
    trainer = make_trainer(model, two_tasks, max_steps=2)
    inputs = tiny_inputs()
    weights = sum(each.numel() for name, each in model.backbone.named_parameters() if "embeddings.weight" not in name)
    assert trainer.floating_point_ops(inputs) == 6 * inputs["input_ids"].numel() * weights
    assert trainer.floating_point_ops({"inputs_embeds": torch.zeros(1, 1, 1)}) == 0
    trainer.train()
    assert trainer.state.total_flos > 0
