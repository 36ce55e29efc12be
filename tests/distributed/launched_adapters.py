"""What a test of adapters starts on several processes, and calls on one to compare: short runs in float64."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from fixtures import INTENTS, MOODS, SLOTS, tiny_bert_config, tiny_model, tiny_tokenizer, two_tasks
from launching import leave, spare_imports
from mt_transformers import Mixture, MultiTaskTrainer, MultiTaskTrainingArguments
from mt_transformers.modeling import add_task_adapters, get_peft_model

RUNS: dict[str, dict[str, Any]] = {
    "shared": {"mixture": {}, "accumulation": 1},
    # one row a process: in many steps an adapter has rows on one process only, or on none
    "each": {"mixture": {}, "accumulation": 1},
    "each_homogeneous": {"mixture": {"batches": "homogeneous"}, "accumulation": 2},
}
"""Each run's mixture and micro-batches of an optimizer step, of two rows over all processes."""

_DROPOUT = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}


def train(name: str, folder: Path, seed: int = 0) -> None:
    """
    Train one of `RUNS` and save the weights, the metrics and what has changed in the backbone.

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
    tasks = two_tasks()
    of_tasks = {task_name: list(task.labels) for task_name, task in tasks.items()} | {"idle": ["idle"]}
    torch.manual_seed(seed)
    model = tiny_model(heads, tiny_bert_config(**_DROPOUT), tasks=of_tasks).double()
    config = LoraConfig(r=2)
    adapted = (get_peft_model if name == "shared" else add_task_adapters)(model, config)
    args = MultiTaskTrainingArguments(
        output_dir=str(folder / name),
        max_steps=6,
        gradient_accumulation_steps=run["accumulation"],
        learning_rate=1e-2,
        weight_decay=0.1,
        save_strategy="no",
        disable_tqdm=True,
        use_cpu=True,
    )
    args.per_device_train_batch_size = 2 // args.world_size
    trainer = MultiTaskTrainer(adapted, args, tasks, Mixture(**run["mixture"]), tiny_tokenizer())
    before = {key: value.clone() for key, value in adapted.state_dict().items()}
    # an evaluation before the training must not keep DDP, or what stands in for it, out of it
    trainer.evaluate()
    trainer.train()
    metrics = trainer.evaluate()
    if trainer.is_world_process_zero():
        after = adapted.state_dict()
        moved = [key for key, value in after.items() if not torch.equal(value, before[key])]
        torch.save(after, folder / f"{name}.pt")
        (folder / f"{name}.json").write_text(json.dumps({"metrics": metrics, "moved": moved}))


def main() -> None:
    """Make all runs; the other process begins with other weights."""
    folder = Path(sys.argv[1])
    torch.distributed.init_process_group("gloo")
    rank = torch.distributed.get_rank()
    for name in RUNS:
        train(name, folder, seed=rank)
    torch.distributed.destroy_process_group()


if __name__ == "__main__":
    spare_imports()
    main()
    leave()
