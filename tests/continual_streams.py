"""
A tiny stream of classes that a tiny model can learn, and what trains on it.

Tests write `from continual_streams import ...`.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from datasets import ClassLabel, Dataset, Features, Value

from fixtures import BAD, CITIES, GOOD, NOUNS, SINGERS, tiny_bert_config, tiny_model, tiny_tokenizer
from mt_transformers import MultiTaskModel, MultiTaskTrainingArguments, Task
from mt_transformers.continual.class_scenarios import class_incremental
from mt_transformers.continual.scenario import Scenario
from mt_transformers.continual.task_scenarios import new_heads
from mt_transformers.continual.trainer import ContinualTrainer
from mt_transformers.heads import get_head_config

KINDS = ("singer", "city", "good", "bad", "noun", "function")
_WORDS = (SINGERS, CITIES, GOOD, BAD, NOUNS, ["weather", "by", "in", "the"])


def kinds_of_words(number: int, seed: int = 0, first: int = 0, last: int = len(KINDS)) -> Dataset:
    """`number` rows, three words of a kind each, in turn of the kinds from `first` to `last`."""
    random = np.random.default_rng(seed)
    labels = [first + index % (last - first) for index in range(number)]
    texts = [" ".join(random.choice(_WORDS[label], 3)) for label in labels]
    features = Features({"text": Value("string"), "kind": ClassLabel(names=list(KINDS))})
    return Dataset.from_dict({"text": texts, "kind": labels}, features=features)


def class_stream(rows: int = 48, **head: Any) -> Scenario:
    """Three experiences of two classes each, for a head `kind` that grows."""
    dataset = {"train": kinds_of_words(rows), "test": kinds_of_words(24, seed=1)}
    tasks = {"words": Task(dataset=dataset, inputs={"text": "text"}, labels={"kind": "kind"})}
    config = {"head_type": "sequence_classification", "classifier_dropout": 0.0, **head}
    return class_incremental(tasks, {"kind": get_head_config("kind", config)}, experiences=3)


def head_stream(rows: int = 24, **head: Any) -> Scenario:
    """Two experiences with a head each: singers or cities, good or bad."""
    tasks, heads = {}, {}
    for name, first in (("names", 0), ("moods", 2)):
        dataset = {
            "train": kinds_of_words(rows, first, first, first + 2),
            "test": kinds_of_words(8, 9, first, first + 2),
        }
        tasks[name] = Task(dataset=dataset, inputs={"text": "text"}, labels={f"{name}_head": "kind"})
        config = {"head_type": "sequence_classification", "classifier_dropout": 0.0, "id2label": list(KINDS), **head}
        heads[f"{name}_head"] = get_head_config(f"{name}_head", config)
    return new_heads(tasks, heads, order=None)


def quiet_model(scenario: Scenario, seed: int = 0) -> MultiTaskModel:
    """A tiny model without dropout, with the heads of the first experience."""
    torch.manual_seed(seed)
    bert = tiny_bert_config(hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0)
    return tiny_model({name: config.to_dict() for name, config in scenario.heads_after(0).items()}, bert)


def make_continual(folder: Path, scenario: Scenario, strategy: Any = "naive", **given: Any) -> ContinualTrainer:
    """A trainer on a tiny model: `make_continual(folder, scenario, strategy, **training arguments)`."""
    defaults: dict[str, Any] = {
        "output_dir": str(folder),
        "use_cpu": True,
        "report_to": [],
        "disable_tqdm": True,
        "save_strategy": "no",
        "logging_strategy": "no",
        "per_device_train_batch_size": 8,
        "num_train_epochs": 1,
        "learning_rate": 1e-3,
    }
    args = MultiTaskTrainingArguments(**{**defaults, **given})
    return ContinualTrainer(quiet_model(scenario), args, scenario, strategy, processing_class=tiny_tokenizer())


def weights(model: torch.nn.Module) -> dict[str, torch.Tensor]:
    """A copy of all weights."""
    return {name: value.detach().clone() for name, value in model.state_dict().items()}


@dataclass
class Step:
    """An optimizer step: what the model was before it, its rows, and the gradients that they gave."""

    model: MultiTaskModel
    batches: list[dict[str, Any]]
    gradients: dict[str, torch.Tensor]


def take_steps(trainer: ContinualTrainer, number: int, count: int) -> list[Step]:
    """Train in float64, and stop behind some optimizer steps of an experience; a list of these."""
    trainer.model.double()
    strategy = trainer.strategy
    rehearse, end_backward, steps = strategy.rehearse, strategy.end_backward, list[Step]()

    def begin_step(learner: Any, batches: Any) -> Any:
        if learner.number == number:
            steps.append(Step(copy.deepcopy(learner.model), list(batches), {}))
        return rehearse(learner, batches)

    def end_step(learner: Any) -> None:
        end_backward(learner)
        if learner.number == number:
            named = learner.model.named_parameters()
            steps[-1].gradients = {name: each.grad.clone() for name, each in named if each.grad is not None}
            if len(steps) == count:
                raise KeyboardInterrupt

    strategy.rehearse, strategy.end_backward = begin_step, end_step  # type: ignore[method-assign]
    try:
        trainer.train()
    except KeyboardInterrupt:
        return steps
    raise AssertionError(f"experience {number} had {len(steps)} steps only")


def inputs_of(batch: dict[str, Any]) -> dict[str, Any]:
    """What a backbone reads of a batch."""
    return {name: batch[name] for name in ("input_ids", "token_type_ids", "attention_mask")}


def assert_same_gradients(step: Step, loss: torch.Tensor) -> None:
    """That a loss, computed with the step's model, has the step's gradients."""
    loss.backward()
    expected = {name: each.grad for name, each in step.model.named_parameters() if each.grad is not None}
    assert expected.keys() == step.gradients.keys()
    for name, gradient in expected.items():
        torch.testing.assert_close(step.gradients[name], gradient, rtol=1e-9, atol=1e-12, msg=lambda t, n=name: n + t)
