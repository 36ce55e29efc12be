"""Section `balancing`: what a step costs in which each task has a gradient of its own."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from datasets import load_dataset
from transformers import AutoTokenizer

from mt_transformers import MultiTaskModel
from mt_transformers.balancing import GradientRows, GramianAggregation, make_balancing
from mt_transformers.data import TASK_INDEX, DataCollatorForMultiTask
from mt_transformers.data.parts import PARTS, CollatorByTask
from mt_transformers.training.gradient_balancer import sparse_embeddings

from .measure import Measure, alternate, clock, ratio
from .settings import Settings
from .training_runs import classifier

__all__ = ["TARGETS", "measure_counts"]

METHOD = "pcgrad"
TARGETS = {(4, 32): 1.5, (4, 128): 1.2}
"""Tasks and rows of a batch -> what a step may cost, times the plain one."""

_LABELS = ["anger", "joy", "optimism", "sadness"]


@dataclass
class BalancedSteps:
    """
    Optimizer steps over the same rows: plain, with a gradient for each task by splitting, and by TorchJD.

    Args:
        settings ([`Settings`]): Backbone, data and sizes.
        tasks (`int`): Number of tasks; their rows are disjoint.
    """

    settings: Settings
    tasks: int
    _next: dict[str, int] = field(default_factory=dict, init=False)

    def __post_init__(self) -> None:
        names = [f"task_{number}" for number in range(self.tasks)]
        self.model = MultiTaskModel.from_backbone(
            self.settings.backbone, heads={name: classifier(_LABELS) for name in names}
        )
        self.model.train().to(self.settings.device)
        self.shared = list(self.model.backbone.parameters())
        self.rows = GradientRows(self.shared)
        self.optimizer = torch.optim.AdamW(self.model.parameters(), lr=1e-5)
        self.method = make_balancing(METHOD, names, names)
        tokenizer: Any = AutoTokenizer.from_pretrained(self.settings.backbone)
        heads = {name: head.config for name, head in self.model.named_heads.items()}
        self._collate = DataCollatorForMultiTask(tokenizer, heads)
        file = str(self.settings.data / "tweeteval_emotion" / "train.parquet")
        found: Any = load_dataset("parquet", data_files=file, split="train")
        texts = tokenizer(list(found["text"]), truncation=True, max_length=self.settings.max_length)
        self._rows = [
            {
                **{name: texts[name][place] for name in tokenizer.model_input_names},
                TASK_INDEX: place % self.tasks,
                f"labels_{names[place % self.tasks]}": label,
            }
            for place, label in enumerate(found["label"])
        ]

    def _take(self, variant: str) -> list[dict[str, Any]]:
        """The next rows of a variant; every variant has the same ones."""
        start = self._next.get(variant, 0)
        self._next[variant] = start + self.settings.batch_size
        return [self._rows[(start + place) % len(self._rows)] for place in range(self.settings.batch_size)]

    def _losses(self, batch: dict[str, Any]) -> Any:
        inputs = {name: value for name, value in batch.items() if name != TASK_INDEX}
        return self.model(**_on(inputs, self.settings.device))

    def _finish(self, start: float) -> float:
        self.optimizer.step()
        self.optimizer.zero_grad()
        return clock(self.settings.device) - start

    def plain(self) -> float:
        """Seconds of a step on the sum of all losses."""
        batch = self._collate(self._take("plain"))
        start = clock(self.settings.device)
        self._losses(batch)["loss"].backward()
        return self._finish(start)

    def split(self) -> float:
        """Seconds of a step with a forward and a backward pass for each task's rows, as the trainer has it."""
        batch = CollatorByTask(self._collate)(self._take("split"))
        start = clock(self.settings.device)
        with sparse_embeddings(self.model.backbone):
            for task, part in batch[PARTS].items():
                self._losses(part)["loss"].backward()
                self.rows.take(task)
        tasks = self.rows.tasks
        assert isinstance(self.method, GramianAggregation)
        weights = self.method.weigh(self.rows.gramian(tasks), tasks)
        self.rows.combine(dict(zip(tasks, weights.tolist(), strict=True)))
        return self._finish(start)

    def torchjd(self) -> float:
        """Seconds of a step with TorchJD's `mtl_backward` on the batch as a whole."""
        from torchjd.aggregation import PCGrad
        from torchjd.autojac import jac_to_grad, mtl_backward

        batch = self._collate(self._take("torchjd"))
        start = clock(self.settings.device)
        outputs = self._losses(batch)
        heads = self.model.named_heads
        found = [name for name in heads if f"{name}_loss" in outputs]
        mtl_backward(
            [outputs[f"{name}_loss"] for name in found],
            features=[outputs["encoded_text"]],
            tasks_params=[list(heads[name].parameters()) for name in found],
            shared_params=self.shared,
            # all at once would be slower: attention's backward pass has no rule for it on a CPU (torch 2.13)
            parallel_chunk_size=1,
        )
        jac_to_grad([each for each in self.shared if getattr(each, "jac", None) is not None], PCGrad())
        return self._finish(start)


def _on(value: Any, device: str) -> Any:
    if isinstance(value, dict):
        return {name: _on(each, device) for name, each in value.items()}
    return value.to(device) if torch.is_tensor(value) else value


def measure_counts(settings: Settings, counts: Sequence[int]) -> list[Measure]:
    """
    Measure steps with batches of one size.

    Args:
        settings ([`Settings`]): Sizes of the run.
        counts (`Sequence[int]`): Numbers of tasks.

    Returns:
        `list[Measure]`: For each number of tasks milliseconds of the plain step, and how many times as long steps with
        a gradient for each task take, by splitting and by TorchJD.
    """
    measures: list[Measure] = []
    for count in counts:
        steps = BalancedSteps(settings, count)
        what = f"{count} tasks, {settings.batch_size} rows"
        seconds = alternate(
            {"plain": steps.plain, "split": steps.split, "torchjd": steps.torchjd}, settings.repeats, what
        )
        split, torchjd = (ratio(seconds[name], seconds["plain"]) for name in ("split", "torchjd"))
        measures += [
            Measure("balancing", f"{what}, plain step", [1000 * each for each in seconds["plain"]], "ms"),
            Measure("balancing", f"{what}, split by task", split, "x", TARGETS.get((count, settings.batch_size))),
            Measure("balancing", f"{what}, mtl_backward of TorchJD", torchjd, "x"),
            Measure("balancing", f"{what}, split / mtl_backward", ratio(split, torchjd), "x", at_most=0.5),
        ]
    return measures
