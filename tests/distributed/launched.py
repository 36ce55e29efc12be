"""What a test starts on several processes, and calls on one to compare: short runs on a tiny model in float64."""

from __future__ import annotations

import json
import sys
import warnings
from dataclasses import fields
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset
from transformers import TrainerCallback

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from fixtures import (
    INTENTS,
    MOODS,
    SLOTS,
    WORDS,
    tiny_bert_config,
    tiny_inputs,
    tiny_model,
    tiny_tokenizer,
    two_tasks,
)
from launching import leave, spare_imports
from mt_transformers import Mixture, MultiTaskTrainer, MultiTaskTrainingArguments, Task

RUNS: dict[str, dict[str, Any]] = {
    # one row a process: nearly every step has heads on one process only
    "rows": {"mixture": {}, "global_batch": 2, "accumulation": 1},
    "homogeneous": {
        "mixture": {"batches": "homogeneous", "order": "round_robin"},
        "global_batch": 4,
        "accumulation": 1,
    },
    "accumulated": {"mixture": {}, "global_batch": 2, "accumulation": 2},
    "per_row": {"mixture": {}, "global_batch": 4, "accumulation": 1, "loss_reduction": "per_row"},
    "checkpointed": {"mixture": {}, "global_batch": 2, "accumulation": 1, "checkpointing": True},
    # rows of two sequences, and sequences that a head makes itself
    "sequences": {"mixture": {}, "global_batch": 4, "accumulation": 1, "sequences": True},
    # in some steps rows of one head, on one process, have a loss that is no number
    "skipping": {"mixture": {}, "global_batch": 2, "accumulation": 2, "nonfinite_loss": "skip"},
    # 13 rows an epoch: one process has none in the last step
    "short": {
        "mixture": {"sampling": "weighted", "weights": {"requests": 1, "moods": 2}, "instances_per_epoch": 14},
        "global_batch": 2,
        "accumulation": 1,
    },
    # each process has batches of its own, as one has that accumulates them; 9 batches an epoch
    "apart": {
        "mixture": {"batches": "homogeneous", "same_task_on_all_ranks": False},
        "global_batch": 6,
        "accumulation": 2,
    },
    "grouped": {"mixture": {}, "global_batch": 4, "accumulation": 1, "strategy": "group_by_length"},
    "rebalanced": {"mixture": {}, "global_batch": 4, "accumulation": 2, "strategy": "batch_rebalance"},
    # the layers above have no gradient
    "below": {"mixture": {}, "global_batch": 4, "accumulation": 1, "layer": 1},
    # in many steps a process has rows of the frozen head alone, which train nothing
    "frozen": {"mixture": {}, "global_batch": 2, "accumulation": 2, "frozen": ("backbone", "mood")},
    "staged": {
        "mixture": {},
        "global_batch": 2,
        "accumulation": 2,
        "frozen": ("slots",),
        "training": {"freeze_until": {"backbone": 6, "mood": 3}, "learning_rates": {"intent": 5e-3}},
    },
}
"""Each run's mixture, rows of a global micro-batch, and micro-batches of an optimizer step."""

STEPS = 20

# transformers 5.23 renamed it; the old name can go once we drop support for versions older than that
_NAMES = {each.name for each in fields(MultiTaskTrainingArguments)}
_CHECKPOINTING = "activation_checkpointing" if "activation_checkpointing" in _NAMES else "gradient_checkpointing"

_DROPOUT = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}


class _StrayHeads(TrainerCallback):
    """Notes a head that was not in a step and still has a gradient when the optimizer steps."""

    def __init__(self) -> None:
        self.found: list[str] = []

    def on_pre_optimizer_step(self, args: Any, state: Any, control: Any, model: Any = None, **kwargs: Any) -> None:
        """Look at the head that no task feeds."""
        if any(parameter.grad is not None for parameter in model.heads["idle"].parameters()):
            self.found.append(f"step {state.global_step}")


class _Spoil(TrainerCallback):
    """Makes the logits of one intent NaN in every fourth step."""

    def __init__(self, model: Any) -> None:
        self.spoils = False
        self.labels = torch.empty(0)
        model.heads["intent"].register_forward_pre_hook(self.before_head, with_kwargs=True)
        model.heads["intent"].classifier.register_forward_hook(self.after_classifier)

    def on_step_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Know the step."""
        self.spoils = state.global_step % 4 == 1

    def before_head(self, module: Any, args: Any, kwargs: dict[str, Any]) -> None:
        """Know the labels."""
        self.labels = kwargs["labels"]

    def after_classifier(self, module: Any, args: Any, logits: torch.Tensor) -> torch.Tensor | None:
        """Spoil the rows that have this label."""
        if not (self.spoils and module.training):
            return None
        return logits * torch.where(self.labels == 1, float("nan"), 1.0)[:, None]


def pairs() -> Task:
    """Sentences of 2 to 5 words, and how near they are."""
    rows = [
        {"first": " ".join(WORDS[row : row + 2]), "second": " ".join(WORDS[: 2 + row % 4]), "score": float(row)}
        for row in range(8)
    ]
    split = Dataset.from_list(rows)
    return Task(
        dataset={"train": split, "validation": split},
        inputs={"sentences": ["first", "second"]},
        labels={"near": "score"},
    )


def train(name: str, folder: Path, seed: int = 0) -> None:
    """
    Train one of `RUNS` and save the weights, the metrics and the log.

    Args:
        name (`str`): The run.
        folder (`Path`): Where to save them.
        seed (`int`, *optional*, defaults to 0): Seed of the weights; another one on other processes must not matter.
    """
    run = RUNS[name]
    heads = {
        "intent": {"head_type": "sequence_classification", "id2label": INTENTS, "classifier_dropout": 0.0},
        "slots": {"head_type": "token_classification", "id2label": SLOTS, "classifier_dropout": 0.0},
        "mood": {"head_type": "sequence_classification", "id2label": MOODS, "classifier_dropout": 0.0},
        "idle": {"head_type": "regression", "mean": [0.0], "std": [1.0]},
    }
    heads = {head: {**values, "layer": run.get("layer", -1)} for head, values in heads.items()}
    tasks = two_tasks()
    if run.get("sequences"):
        heads |= {
            "mlm": {"head_type": "masked_language_modeling"},
            "near": {"head_type": "sentence_similarity", "min_score": 0.0, "max_score": 7.0},
        }
        moods = tasks["moods"]
        tasks["moods"] = Task(dataset=moods.dataset, inputs=moods.inputs, labels={**moods.labels, "mlm": None})
        tasks["pairs"] = pairs()
    torch.manual_seed(seed)
    model = tiny_model(
        heads,
        tiny_bert_config(**_DROPOUT),
        loss_weights={"slots": 2.0},
        loss_reduction=run.get("loss_reduction", "per_head"),
    ).double()
    for part in run.get("frozen", ()):
        (model.backbone if part == "backbone" else model.heads[part]).requires_grad_(False)
    args = MultiTaskTrainingArguments(
        output_dir=str(folder / name),
        max_steps=STEPS,
        gradient_accumulation_steps=run["accumulation"],
        learning_rate=1e-3,
        weight_decay=0.1,
        logging_steps=5,
        save_strategy="no",
        disable_tqdm=True,
        use_cpu=True,
        nonfinite_loss=run.get("nonfinite_loss", "raise"),
        train_sampling_strategy=run.get("strategy", "random"),
        **({_CHECKPOINTING: True} if run.get("checkpointing") else {}),
        **run.get("training", {}),
    )
    args.per_device_train_batch_size = run["global_batch"] // args.world_size
    if not run["mixture"].get("same_task_on_all_ranks", True):
        args.per_device_train_batch_size = run["global_batch"] // run["accumulation"]
        args.gradient_accumulation_steps = run["accumulation"] // args.world_size
    stray = _StrayHeads()
    callbacks = [stray, *([_Spoil(model)] if "nonfinite_loss" in run else [])]
    trainer = MultiTaskTrainer(model, args, tasks, Mixture(**run["mixture"]), tiny_tokenizer(), callbacks=callbacks)
    idle = [parameter.detach().clone() for parameter in model.heads["idle"].parameters()]
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".* will drift as the backbone moves")
        trainer.train()
    metrics = trainer.evaluate()
    moved = not all(map(torch.equal, idle, model.heads["idle"].parameters()))
    if trainer.is_world_process_zero():
        torch.save(model.state_dict(), folder / f"{name}.pt")
        report = {"metrics": metrics, "log": trainer.state.log_history, "stray": stray.found, "idle_moved": moved}
        (folder / f"{name}.json").write_text(json.dumps(report))


def track(rank: int, processes: int) -> list[dict[str, float]]:
    """
    Feed one process's share of 7 rows to a model that tracks metrics.

    Args:
        rank (`int`): Which process: it has the rows whose number leaves this rest.
        processes (`int`): How many there are.

    Returns:
        `list[dict[str, float]]`: The metrics of all rows, twice; those behind a reset; and those of a round in which
        only the last process had rows.
    """
    torch.manual_seed(0)
    heads = {
        "tags": {"head_type": "token_classification", "id2label": ["x", "y"]},
        "score": {"head_type": "regression", "mean": [0.0], "std": [1.0]},
        "odd": {"head_type": "regression", "mean": [0.0], "std": [1.0]},
        "idle": {"head_type": "regression", "mean": [0.0], "std": [1.0]},
    }
    model = tiny_model(heads).double()
    model.track_metrics = True
    inputs = tiny_inputs(7)

    def feed(rows: range) -> None:
        for row in rows:
            # every row alone and without padding: 4 to 6 tokens
            length = int(inputs["attention_mask"][row].sum())
            labels = {
                "tags": torch.arange(length).unsqueeze(0) * row % 2,
                "score": torch.tensor([[row * 0.5]], dtype=torch.float64),
                # on two processes only the second one has rows of this head
                "odd": torch.tensor([[row * 2.0 if row % 2 else float("nan")]], dtype=torch.float64),
                "idle": torch.tensor([[float("nan")]], dtype=torch.float64),
            }
            model(input_ids=inputs["input_ids"][row : row + 1, :length], labels=labels)

    feed(range(rank, 7, processes))
    reports = [model.get_metrics(), model.get_metrics(reset=True), model.get_metrics()]
    if rank == processes - 1:
        feed(range(5))
    return [*reports, model.get_metrics()]


EVALUATED = (1, 2, 3, 4, 5, 7, 8, 9, 16)
"""Rows of the splits that are evaluated, in global batches of 4."""


def evaluate(folder: Path) -> None:
    """Evaluate and predict splits of every size with a model that knows nothing, and keep what came out."""
    tasks = two_tasks()
    heads = {
        "intent": {"head_type": "sequence_classification", "id2label": INTENTS},
        "slots": {"head_type": "token_classification", "id2label": SLOTS},
        "mood": {"head_type": "sequence_classification", "id2label": MOODS},
    }
    torch.manual_seed(0)
    model = tiny_model(heads, tiny_bert_config(**_DROPOUT)).double()
    args = MultiTaskTrainingArguments(output_dir=str(folder / "evaluated"), disable_tqdm=True, use_cpu=True)
    args.per_device_eval_batch_size = 4 // args.world_size
    trainer = MultiTaskTrainer(model, args, tasks, processing_class=tiny_tokenizer())
    rows = tasks["requests"].dataset["train"]
    found: dict[str, Any] = {}
    for size in EVALUATED:
        given = {"requests": rows.select(range(size))}
        metrics = trainer.evaluate(given)
        predicted = trainer.predict(given)["requests"]
        labels: Any = predicted.label_ids
        logits = {head: values[labels[head] != -100] for head, values in dict(predicted.predictions).items()}
        found[str(size)] = {
            "metrics": {name: value for name, value in metrics.items() if name.startswith("eval_requests")},
            "logits": {head: values.tolist() for head, values in logits.items()},
        }
    if trainer.is_world_process_zero():
        (folder / "evaluated.json").write_text(json.dumps(found))


def main() -> None:
    """Train all runs, the processes' weights starting from different seeds, evaluate, and track metrics."""
    from accelerate import PartialState

    state = PartialState(cpu=True)
    for name in RUNS:
        train(name, Path(sys.argv[1]), seed=state.process_index)
        state.wait_for_everyone()
    evaluate(Path(sys.argv[1]))
    tracked = track(state.process_index, state.num_processes)
    Path(sys.argv[1], f"tracked_{state.process_index}.json").write_text(json.dumps(tracked))
    state.wait_for_everyone()
    state.destroy_process_group()


if __name__ == "__main__":
    spare_imports()
    main()
    leave()
