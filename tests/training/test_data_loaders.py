"""Where batches come from: rows grouped by length, in whole windows and within an optimizer step."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from datasets import ClassLabel, Dataset, Features, Value
from training.recipes import recipe_values, write_recipe

from fixtures import INTENTS, MOODS, SLOTS, WORDS, tiny_model
from mt_transformers import Mixture, MultiTaskModel, MultiTaskTrainer, Task
from mt_transformers.errors import InputError
from mt_transformers.training import load_recipe, read_recipe, run_recipe

Models = Callable[..., MultiTaskModel]
Trainers = Callable[..., MultiTaskTrainer]

DROPPING = {
    "intent": {"head_type": "sequence_classification", "id2label": INTENTS},
    "slots": {"head_type": "token_classification", "id2label": SLOTS},
    "mood": {"head_type": "sequence_classification", "id2label": MOODS},
}
"""Heads with the default dropout, so that a run that goes on needs the state of the random numbers, too."""


def wordy_tasks() -> dict[str, Task]:
    """Two tasks of 36 and 18 rows, of 1 to 12 words each."""
    tasks = {}
    for name, head, rows, names in (("requests", "intent", 36, INTENTS), ("moods", "mood", 18, MOODS)):
        features = Features({"text": Value("string"), "label": ClassLabel(names=names)})
        texts = [" ".join(WORDS[: 1 + row * 5 % 12]) for row in range(rows)]
        split = Dataset.from_dict({"text": texts, "label": [row // 2 % 2 for row in range(rows)]}, features=features)
        tasks[name] = Task(dataset={"train": split}, inputs={"text": "text"}, labels={head: "label"})
    return tasks


def tokens_in(trainer: MultiTaskTrainer) -> list[tuple[int, int]]:
    """Tokens of each training batch that are computed, and that are not padding."""
    batches = [batch["attention_mask"] for batch in trainer.get_train_dataloader()]
    return [(mask.numel(), int(mask.sum())) for mask in batches]


def losses(trainer: MultiTaskTrainer) -> list[float]:
    """The loss of each step."""
    return [line["loss"] for line in trainer.state.log_history if "loss" in line]


def assert_same_weights(one: MultiTaskModel, other: MultiTaskModel) -> None:
    first, second = one.state_dict(), other.state_dict()
    assert [name for name in first if not torch.equal(first[name], second[name])] == []


@pytest.mark.parametrize("batches", ["mixed", "homogeneous"])
def test_batches_of_like_length_hold_the_same_rows(quiet_model: Models, make_trainer: Trainers, batches: Any) -> None:
    tokens = {}
    for strategy in ("random", "group_by_length"):
        mixture = Mixture(batches=batches)
        trainer = make_trainer(quiet_model(), wordy_tasks(), mixture=mixture, train_sampling_strategy=strategy)
        tokens[strategy] = tokens_in(trainer)
    computed, real = ({name: sum(each[part] for each in found) for name, found in tokens.items()} for part in (0, 1))
    assert real["group_by_length"] == real["random"]
    assert computed["random"] > 1.4 * real["random"]
    assert computed["group_by_length"] < 1.15 * real["random"]
    assert len(tokens["group_by_length"]) == len(tokens["random"])


def test_every_task_keeps_its_rows(two_tasks: dict[str, Task], quiet_model: Models, make_trainer: Trainers) -> None:
    options = {"train_sampling_strategy": "group_by_length", "num_train_epochs": 2, "logging_strategy": "epoch"}
    mixture = Mixture(sampling="uniform")
    trainer = make_trainer(quiet_model(), two_tasks, mixture=mixture, **options)
    trainer.train()
    shares = [line["share_moods"] for line in trainer.state.log_history if "loss" in line]
    assert shares == pytest.approx([0.5, 0.5])


@pytest.mark.parametrize("batches", ["mixed", "homogeneous"])
@pytest.mark.parametrize("strategy", ["group_by_length", "batch_rebalance"])
def test_a_resumed_run_equals_an_uninterrupted_one(
    make_trainer: Trainers, tmp_path: Path, batches: Any, strategy: str
) -> None:
    def trainer(folder: str) -> MultiTaskTrainer:
        return make_trainer(
            tiny_model({name: DROPPING[name] for name in ("intent", "mood")}),
            wordy_tasks(),
            mixture=Mixture(batches=batches),
            output_dir=str(tmp_path / folder),
            num_train_epochs=2,
            learning_rate=1e-2,
            gradient_accumulation_steps=3,
            save_strategy="steps",
            save_steps=3,
            train_sampling_strategy=strategy,
        )

    whole = trainer("whole")
    whole.train()
    for step in (3, 6, 9):
        resumed = trainer(f"from_{step}")
        resumed.train(resume_from_checkpoint=str(tmp_path / "whole" / f"checkpoint-{step}"))
        assert losses(resumed)[step:] == losses(whole)[step:]
        assert_same_weights(resumed.model, whole.model)


@pytest.mark.parametrize("batches", ["mixed", "homogeneous"])
@pytest.mark.parametrize("reduction", ["per_head", "per_row"])
def test_gradients_of_rebalanced_steps_are_those_of_random_ones(
    quiet_model: Models, make_trainer: Trainers, batches: Any, reduction: str
) -> None:
    """54 rows in steps of 4 batches of 4: the last step of an epoch has fewer, and its last batch fewer rows."""
    moved, computed = {}, {}
    for strategy in ("random", "batch_rebalance", "group_by_length"):
        torch.manual_seed(0)
        trainer = make_trainer(
            quiet_model(loss_reduction=reduction).double(),
            wordy_tasks(),
            mixture=Mixture(batches=batches),
            num_train_epochs=2,
            gradient_accumulation_steps=4,
            learning_rate=0.1,
            optim="sgd",
            train_sampling_strategy=strategy,
        )
        computed[strategy] = sum(tokens for tokens, _ in tokens_in(trainer))
        trainer.train()
        assert trainer.state.global_step == 8
        moved[strategy] = torch.cat([value.detach().flatten() for value in trainer.model.parameters()])
    assert torch.allclose(moved["random"], moved["batch_rebalance"], rtol=0, atol=1e-12)
    # which whole windows in another order do not give
    assert not torch.allclose(moved["random"], moved["group_by_length"], rtol=0, atol=1e-6)
    assert computed["batch_rebalance"] < 0.9 * computed["random"]


@pytest.mark.parametrize("strategy", ["group_by_length", "batch_rebalance"])
def test_streams_have_no_lengths(
    two_tasks: dict[str, Task], quiet_model: Models, make_trainer: Trainers, strategy: str
) -> None:
    tasks = {
        name: Task(
            dataset={"train": task.dataset["train"].to_iterable_dataset()}, inputs=task.inputs, labels=task.labels
        )
        for name, task in two_tasks.items()
    }
    mixture = Mixture(sampling="uniform")
    trainer = make_trainer(quiet_model(), tasks, mixture=mixture, max_steps=1, train_sampling_strategy=strategy)
    with pytest.raises(InputError, match=f"rows of streams have no length yet, found '{strategy}'"):
        trainer.train()


def test_a_recipe_names_strategy_and_ranks(tiny_backbone: str, tmp_path: Path) -> None:
    values = recipe_values(tiny_backbone, tmp_path)
    values["mixture"] = {"batches": "homogeneous", "same_task_on_all_ranks": False}
    values["training"]["train_sampling_strategy"] = "group_by_length"
    loaded = load_recipe(read_recipe(write_recipe(tmp_path, values)))
    assert loaded.recipe.mixture == Mixture(batches="homogeneous", same_task_on_all_ranks=False)
    assert loaded.arguments.train_sampling_strategy == "group_by_length"
    assert run_recipe(loaded)["train_loss"] > 0
