"""Heads of one's own in training: sequences made anew in each epoch, metrics from gold, predictions for logits."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from datasets import Dataset

from fixtures import tiny_model
from mt_transformers import Head, HeadConfig, Mixture, MultiTaskTrainer, Task, register_head
from mt_transformers.heads import EncodedRows, LabelSource, SourceRow

Trainers = Callable[..., MultiTaskTrainer]


@dataclass(kw_only=True)
class LengthConfig(HeadConfig):
    """A label is the number of words of a row, None for a negative one; gold is the text."""

    needs_gold: ClassVar[bool] = True
    returns_logits: ClassVar[bool] = False
    pairs: ClassVar[list[tuple[list[float], list[str]]]] = []
    """What metrics were computed from."""

    @property
    def default_metrics(self) -> tuple[str, ...]:
        return ("mse",)

    def encode_labels(self, values: Sequence[Any], source: LabelSource, rows: EncodedRows) -> list[Any]:
        return [None if value < 0 else float(value) for value in values]

    def encode_gold(self, values: Sequence[Any], source: LabelSource, rows: EncodedRows) -> list[Any]:
        return list(rows.inputs["text"])

    def collate_labels(self, labels: Sequence[Any], sequence_length: int) -> torch.Tensor:
        return torch.tensor([float("nan") if label is None else label for label in labels])

    def metric_inputs(
        self, metric: str, predictions: np.ndarray, labels: np.ndarray, gold: Sequence[Any] | None = None
    ) -> tuple[Any, Any]:
        assert gold is not None
        self.pairs.append((predictions.tolist(), list(gold)))
        kept = ~np.isnan(labels)
        return predictions[kept], labels[kept]


@register_head("length_for_test_trainer_heads")
class LengthHead(Head):
    """Counts the tokens that are not special; its one weight learns to add nothing."""

    config_class = LengthConfig

    def __init__(self, config: HeadConfig, hidden_size: int) -> None:
        super().__init__(config, hidden_size)
        self.extra = torch.nn.Parameter(torch.zeros(()))

    def forward(
        self, encoded: torch.Tensor, encoded_mask: torch.Tensor, labels: torch.Tensor | None = None
    ) -> dict[str, torch.Tensor]:
        logits = encoded_mask.sum(dim=1) - 2 + self.extra + 0 * encoded.sum(dim=(1, 2))
        if labels is None:
            return {"logits": logits}
        return {"logits": logits, "row_losses": torch.where(labels.isnan(), 0.0, (logits - labels.nan_to_num()) ** 2)}

    def predictions(self, outputs: dict[str, torch.Tensor], labels: torch.Tensor) -> torch.Tensor:
        return outputs["logits"]

    def decode(self, outputs: dict[str, torch.Tensor], rows: Sequence[SourceRow]) -> list[Any]:
        return outputs["logits"].tolist()


@dataclass(kw_only=True)
class EpochConfig(LengthConfig):
    """Makes its sequences: the row with [MASK] for its words; writes down the epochs that it was told."""

    needs_gold: ClassVar[bool] = False
    returns_logits: ClassVar[bool] = True
    makes_sequence: ClassVar[bool] = True
    label_column = "none"
    epochs: ClassVar[list[int]] = []

    def encode_labels(self, values: Sequence[Any], source: LabelSource, rows: EncodedRows) -> list[Any]:
        return [0.0] * len(values)

    def make_sequence(self, input_ids: Sequence[int], tokenizer: Any, epoch: int) -> tuple[list[int] | None, Any]:
        self.epochs.append(epoch)
        inner = [tokenizer.mask_token_id] * (len(input_ids) - 2)
        return [input_ids[0], *inner, input_ids[-1]], float(len(inner))

    def metric_inputs(
        self, metric: str, predictions: np.ndarray, labels: np.ndarray, gold: Sequence[Any] | None = None
    ) -> tuple[Any, Any]:
        assert gold is None
        return predictions, labels


@register_head("epoch_for_test_trainer_heads")
class EpochHead(LengthHead):
    config_class = EpochConfig


TEXTS = ["play music by dido", "play", "weather in rome", "the film is great .", "a book", "dido is in the new film ."]
COUNTS = [4, 1, 3, 5, 2, 7]
HEADS = {
    "length": {"head_type": "length_for_test_trainer_heads"},
    "epoch": {"head_type": "epoch_for_test_trainer_heads"},
}


@pytest.fixture(autouse=True)
def nothing_was_seen() -> None:
    LengthConfig.pairs.clear()
    EpochConfig.epochs.clear()


def task(counts: list[int], labels: dict[str, str | None]) -> Task:
    rows = Dataset.from_dict({"text": TEXTS, "count": counts})
    return Task(dataset={"train": rows, "validation": rows, "test": rows}, inputs={"text": "text"}, labels=labels)


def trainer_of(make_trainer: Trainers, labels: dict[str, str | None], counts: list[int], **given: Any) -> Any:
    model = tiny_model({name: HEADS[name] for name in labels})
    return make_trainer(model, {"t": task(counts, labels)}, **{"per_device_eval_batch_size": 2, **given})


@pytest.mark.parametrize("batch_size", [1, 4])
def test_metrics_get_the_gold_of_the_same_rows(make_trainer: Trainers, batch_size: int) -> None:
    counts = [4, 2, 3, 5, -1, 7]
    trainer = trainer_of(make_trainer, {"length": "count"}, counts, per_device_eval_batch_size=batch_size)
    # one of five labelled rows is off by one
    assert trainer.evaluate()["eval_t_length_mse"] == pytest.approx(1 / 5)
    ((predictions, gold),) = LengthConfig.pairs
    # evaluated the longest first, and in the order of the rows all the same
    assert (predictions, gold) == (COUNTS, TEXTS)


def test_gold_is_no_part_of_training(make_trainer: Trainers) -> None:
    trainer = trainer_of(make_trainer, {"length": "count"}, COUNTS, num_train_epochs=1)
    assert "gold_length" in trainer.splits["t"]["train"].column_names
    assert "gold_length" not in trainer.train_dataset[0]
    trainer.train()


def test_a_head_that_returns_no_logits_returns_its_predictions(make_trainer: Trainers) -> None:
    trainer = trainer_of(make_trainer, {"length": "count", "epoch": None}, COUNTS)
    answer = trainer.predict()["t"]
    assert answer.predictions["length"].tolist() == COUNTS
    assert answer.predictions["epoch"].tolist() == COUNTS
    assert answer.label_ids["length"].tolist() == COUNTS
    assert answer.metrics["test_t_length_mse"] == 0.0


def test_sequences_are_made_anew_in_each_epoch_and_fixed_in_evaluations(make_trainer: Trainers) -> None:
    trainer = trainer_of(make_trainer, {"epoch": None}, COUNTS, num_train_epochs=3, eval_strategy="epoch")
    trainer.train()
    rows = len(TEXTS)
    train, evaluate = [[epoch] * rows for epoch in range(3)], [-1] * rows
    assert EpochConfig.epochs == [*train[0], *evaluate, *train[1], *evaluate, *train[2], *evaluate]


def test_sequences_of_streams_are_made_anew_in_each_pass(make_trainer: Trainers) -> None:
    splits = task(COUNTS, {"epoch": None}).dataset
    streamed = {"train": splits["train"].to_iterable_dataset()}
    tasks = {"t": Task(dataset=streamed, inputs={"text": "text"}, labels={"epoch": None})}
    model = tiny_model({"epoch": HEADS["epoch"]})
    mixture = Mixture(sampling="uniform")
    given = {"max_steps": len(COUNTS), "per_device_train_batch_size": 2}
    make_trainer(model, tasks, mixture=mixture, **given).train()
    rows = len(COUNTS)
    # twice as many rows as a pass has, and what is read ahead
    assert EpochConfig.epochs[: 2 * rows] == [0] * rows + [1] * rows


def test_a_resumed_run_goes_on_with_its_epoch(make_trainer: Trainers) -> None:
    given = {"num_train_epochs": 3, "save_strategy": "steps", "save_steps": 2, "per_device_train_batch_size": 2}
    trainer = trainer_of(make_trainer, {"epoch": None}, COUNTS, **given)
    trainer.train()
    whole = list(EpochConfig.epochs)
    assert whole == [0] * 6 + [1] * 6 + [2] * 6
    EpochConfig.epochs.clear()
    # two of the second epoch's three steps are done
    again = trainer_of(make_trainer, {"epoch": None}, COUNTS, **given)
    again.train(resume_from_checkpoint=f"{again.args.output_dir}/checkpoint-4")
    assert EpochConfig.epochs[-6:] == [2] * 6
    assert set(EpochConfig.epochs[:-6]) == {1}


def test_a_sequence_of_its_own_trains_beside_another_head(make_trainer: Trainers) -> None:
    trainer = trainer_of(make_trainer, {"length": "count", "epoch": None}, COUNTS, num_train_epochs=1)
    batch = next(iter(trainer.get_train_dataloader()))
    rows = len(batch["task_index"])
    assert batch["input_ids"].shape[0] == 2 * rows
    assert batch["sequences"]["epoch"].tolist() == [[rows + row] for row in range(rows)]
    assert (batch["input_ids"][rows:] == 4).sum(dim=1).tolist() == batch["labels"]["length"].tolist()
    trainer.train()
    metrics = trainer.evaluate()
    assert metrics["eval_t_epoch_mse"] == metrics["eval_t_length_mse"]
