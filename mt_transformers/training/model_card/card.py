"""The text of a model card."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import fields
from importlib.metadata import version
from pathlib import Path
from typing import Any

from jinja2 import Environment, StrictUndefined

from ...data import Mixture
from ...heads import HeadConfig
from ...version import __version__
from ...whole_files import whole_file
from .changed_arguments import changed_arguments
from .contents import CardContents
from .markdown import escape, table
from .metadata import LIBRARY, card_metadata
from .scores import Evaluation, find_scores
from .usage import usage_example

__all__ = ["may_write", "render_model_card", "write_model_card"]

_TEMPLATE = Path(__file__).parents[1] / "model_card.md.jinja"
_MARK = "<!-- Written by mt_transformers, and again with each save. Remove this line to keep what you write here. -->"

_LABELS_SHOWN = 8
_LABEL_LENGTH = 40
"""Length to which labels are cut (characters)."""
_HEADS_SHOWN = 20
"""Heads up to which tables are not folded away."""
_FRAMEWORKS = ("transformers", "torch", "datasets", "accelerate", "tokenizers")


def may_write(file: Path) -> bool:
    """
    Tell whether a card may be written in place of a file, which may be the page of somebody's project.

    Args:
        file (`Path`): The file.

    Returns:
        `bool`: True if there is none, or one that was written here and not taken over by hand.
    """
    return not file.exists() or _MARK in file.read_text(encoding="utf-8", errors="replace")


def write_model_card(file: Path, contents: CardContents) -> None:
    """
    Write a model card; it appears whole or not at all.

    Args:
        file (`Path`): The file.
        contents ([`CardContents`]): What the card is made from.
    """
    with whole_file(file) as unfinished:
        unfinished.write_text(render_model_card(contents), encoding="utf-8")


def render_model_card(contents: CardContents) -> str:
    """
    Render a model card.

    Args:
        contents ([`CardContents`]): What the card is made from.

    Returns:
        `str`: Metadata between two lines of dashes, then Markdown.
    """
    environment = Environment(
        undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True, keep_trailing_newline=True
    )
    template = environment.from_string(_TEMPLATE.read_text(encoding="utf-8"))
    metadata = card_metadata(contents)
    foreign = {type(config).__module__ for config in contents.heads.values() if _is_foreign(config)}
    return template.render(
        metadata=metadata.to_yaml(),
        mark=_MARK,
        title=escape(contents.model_name),
        base_model=escape(metadata.base_model or contents.model.backbone.info.model_type),
        num_heads=len(contents.heads),
        fold=len(contents.heads) > _HEADS_SHOWN,
        foreign_modules=sorted(foreign),
        package=LIBRARY + ("[vision]" if any("images" in task.inputs for task in contents.tasks.values()) else ""),
        usage=usage_example(contents.repo_id, contents.tasks),
        heads=_heads_table(contents),
        backbone_parameters=_count(contents.model.backbone.parameters()),
        tasks=_tasks_table(contents),
        results=[_Results(each, contents) for each in contents.evaluations],
        sections=contents.sections,
        step=contents.step,
        epochs=f"{contents.epochs:.4g}",
        processes=contents.args.world_size,
        mixture=_mixture_facts(contents.mixture),
        mixture_table=_mixture_table(contents),
        batches=contents.plan.batches if contents.plan is not None else 0,
        arguments=table(
            ["argument", "value"],
            [[f"`{name}`", escape(value)] for name, value in changed_arguments(contents.args).items()],
        ),
        versions=[(LIBRARY, __version__), *((name, version(name)) for name in _FRAMEWORKS)],
    )


class _Results:
    """The table of one evaluation, and its heading."""

    def __init__(self, evaluation: Evaluation, contents: CardContents) -> None:
        scores = find_scores(evaluation, contents.tasks, contents.heads)
        rows = [
            [f"`{each.task_name}`", f"`{each.head}`", _bold(escape(each.metric), each.primary), _number(each.value)]
            for each in scores
        ]
        self.split = escape(evaluation.split)
        self.step = evaluation.step
        self.table = table(["task", "head", "metric", "value"], rows) if rows else ""


class _Number(float):
    """A number that prints with four digits, and flush right."""

    def __str__(self) -> str:
        return f"{float(self):.4f}" if math.isfinite(self) else "not a number" if math.isnan(self) else repr(self)


def _number(value: float) -> _Number:
    return _Number(value)


def _bold(text: str, bold: bool) -> str:
    return f"**{text}**" if bold else text


def _heads_table(contents: CardContents) -> str:
    heads, weights = contents.model.named_heads, contents.model.config.loss_weights
    rows: list[list[object]] = []
    for name, head in heads.items():
        metrics = [_bold(escape(metric), number == 0) for number, metric in enumerate(head.config.metric_names)]
        labels, parameters = _labels(head.config), _count(head.parameters())
        row = [f"`{name}`", f"`{head.config.head_type}`", labels, ", ".join(metrics), weights.get(name, 1.0)]
        rows.append([*row, parameters])
    return table(["head", "type", "labels", "metrics", "loss weight", "parameters"], rows)


def _labels(config: HeadConfig) -> str:
    """Number and first names of a head's labels; what a regression predicts has names, too, where they were given."""
    values = config.to_dict()
    names = list((values.get("id2label") or {}).values())
    if not names:
        return escape(values.get("num_labels") or "")
    shown = [escape(name if len(str(name)) <= _LABEL_LENGTH else f"{str(name)[:_LABEL_LENGTH]}...") for name in names]
    rest = len(names) - _LABELS_SHOWN
    return f"{len(names)}: {', '.join(shown[:_LABELS_SHOWN])}" + (f" and {rest} more" if rest > 0 else "")


def _count(parameters: Iterable[Any]) -> int:
    return sum(each.numel() for each in parameters)


def _is_foreign(config: HeadConfig) -> bool:
    """Whether a head's class is no part of this package, so that whoever loads it has to import it first."""
    return type(config).__module__.split(".")[0] != LIBRARY


def _tasks_table(contents: CardContents) -> str:
    splits = [name for name in ("train", "validation", "test") if any(name in rows for rows in contents.rows.values())]
    rows: list[list[object]] = []
    for name, task in contents.tasks.items():
        inputs, heads = (", ".join(f"`{each}`" for each in names) for names in (task.inputs, task.labels))
        counts = [contents.rows.get(name, {}).get(split, "") for split in splits]
        dataset = contents.datasets.get(name)
        shown = f"`{name}`" if dataset is None else f"`{name}` ([{escape(dataset)}](https://hf.co/datasets/{dataset}))"
        rows.append([shown, inputs, heads, *counts])
    return table(["task", "inputs", "heads", *(f"{split} rows" for split in splits)], rows)


def _mixture_facts(mixture: Mixture) -> list[str]:
    """The settings of a mixture, those that have their default left out but for the first."""
    always = ("sampling", "order", "batches")
    chosen = [
        each.name for each in fields(mixture) if each.name in always or getattr(mixture, each.name) != each.default
    ]
    return [f"{name} `{getattr(mixture, name)}`" for name in chosen]


def _mixture_table(contents: CardContents) -> str:
    if contents.plan is None:
        return ""
    rows = [
        [f"`{each.task_name}`", round(100 * each.share, 1), each.rows_per_epoch, each.batches, round(each.repeats, 2)]
        for each in contents.plan.tasks
    ]
    return table(["task", "share (%)", "rows an epoch", "batches an epoch", "times an epoch sees a row"], rows)
