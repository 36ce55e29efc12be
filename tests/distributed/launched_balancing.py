"""What a test starts on several processes, and calls on one to compare: methods of balancing."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from fixtures import TASK_HEADS, tiny_bert_config, tiny_model, tiny_tokenizer, two_tasks
from launching import leave, spare_imports
from mt_transformers import MultiTaskTrainer, MultiTaskTrainingArguments
from mt_transformers.balancing.aggregations import AGGREGATIONS
from mt_transformers.balancing.weightings import WEIGHTINGS

LABELS = {
    "intent": ["PlayMusic", "GetWeather"],
    "slots": ["O", "B-singer", "I-singer", "B-city", "I-city"],
    "mood": ["negative", "positive"],
}
OPTIONS: dict[str, dict[str, Any]] = {
    "dwa": {"period": 2},
    # there are two tasks and three heads
    "krum": {"between": "heads"},
    "trimmed_mean": {"between": "heads"},
}
METHODS: dict[str, dict[str, Any]] = {
    **{name: {"name": name, **OPTIONS.get(name, {})} for name in (*WEIGHTINGS, *AGGREGATIONS)},
    "pcgrad between heads": {"name": "pcgrad", "between": "heads"},
    "mgda at the features": {"name": "mgda", "between": "heads", "at": "features"},
    "looking": {},
}
"""For each run its `balancing`; the last one looks at gradients now and then."""


def train(name: str, accumulated: int, folder: Path) -> None:
    """
    Train with a method, in float64 and 4 rows a step, and save the weights.

    Args:
        name (`str`): One of `METHODS`.
        accumulated (`int`): Micro-batches of a step.
        folder (`Path`): Where to save them.
    """
    processes = int(os.environ.get("WORLD_SIZE", "1"))
    torch.manual_seed(0)
    heads = {name: {**head, "id2label": LABELS[name], "classifier_dropout": 0.0} for name, head in TASK_HEADS.items()}
    bert = tiny_bert_config(hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0)
    model = tiny_model(heads, bert, loss_weights={"mood": 3.0}).double()
    args = MultiTaskTrainingArguments(
        output_dir=str(folder / "run"),
        use_cpu=True,
        report_to=[],
        disable_tqdm=True,
        save_strategy="no",
        per_device_train_batch_size=4 // accumulated // processes,
        gradient_accumulation_steps=accumulated,
        max_steps=6,
        learning_rate=0.01,
        weight_decay=0.1,
        balancing=METHODS[name] or None,
        conflict_steps=None if METHODS[name] else 2,
        logging_steps=1,
    )
    trainer = MultiTaskTrainer(model, args, two_tasks(), processing_class=tiny_tokenizer())
    trainer.train()
    if args.process_index == 0:
        torch.save(model.state_dict(), folder / f"{name}.pt")
        report = folder / "run" / "conflicts.json"
        if report.exists():
            report.rename(folder / f"{name}.json")


if __name__ == "__main__":
    spare_imports()
    for method in METHODS:
        train(method, 1, Path(sys.argv[1]))
    if torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()
    leave()
