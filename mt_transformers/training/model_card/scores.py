"""Which numbers of an evaluation are a head's, on which task and split."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from ...data import Task
from ...heads import HeadConfig

__all__ = ["Evaluation", "Score", "find_scores"]


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """What one call of [`MultiTaskTrainer.evaluate`] gave."""

    split: str
    """Split of the tasks; where rows were given, the prefix of the metrics' names."""
    prefix: str
    """What the names of the metrics begin with."""
    step: int
    """Optimizer step of the weights that were evaluated."""
    metrics: Mapping[str, float]


@dataclass(frozen=True, kw_only=True)
class Score:
    """One number."""

    task_name: str
    head: str
    metric: str
    value: float
    primary: bool
    """Whether it is the head's primary metric, of which `eval_score` is the mean over the heads."""


def find_scores(evaluation: Evaluation, tasks: Mapping[str, Task], heads: Mapping[str, HeadConfig]) -> list[Score]:
    """
    Find the heads' metrics among all that an evaluation gave.

    Args:
        evaluation ([`Evaluation`]): The metrics.
        tasks (`Mapping[str, Task]`): The tasks.
        heads (`Mapping[str, HeadConfig]`): The heads' configs.

    Returns:
        `list[Score]`: In the order of tasks and heads, each head's metrics as its config has them, then what they
        give under other names, as `entity_f1` gives `entity_precision`.

    Example:
        >>> from mt_transformers import get_head_config
        >>> heads = {"mood": get_head_config("mood", {"head_type": "sequence_classification", "num_labels": 2})}
        >>> tasks = {"moods": Task(dataset={}, inputs={"text": "text"}, labels={"mood": "label"})}
        >>> metrics = {"eval_moods_mood_accuracy": 0.5, "eval_moods_loss": 0.7}
        >>> found = find_scores(Evaluation(split="validation", prefix="eval", step=0, metrics=metrics), tasks, heads)
        >>> [(score.task_name, score.head, score.metric, score.value, score.primary) for score in found]
        [('moods', 'mood', 'accuracy', 0.5, True)]
    """
    starts = {
        (task_name, head): f"{evaluation.prefix}_{task_name}_{head}_"
        for task_name, task in tasks.items()
        for head in task.labels
    }
    named = {start + metric for (_, head), start in starts.items() for metric in heads[head].metric_names}
    others = {key: max(filter(key.startswith, starts.values()), default="", key=len) for key in evaluation.metrics}
    scores = []
    for (task_name, head), start in starts.items():
        names = list(heads[head].metric_names)
        primary = heads[head].primary_metric if names else ""
        names += [key.removeprefix(start) for key, own in others.items() if own == start and key not in named]
        scores += [
            Score(
                task_name=task_name,
                head=head,
                metric=metric,
                value=float(evaluation.metrics[start + metric]),
                primary=metric == primary,
            )
            for metric in names
            if start + metric in evaluation.metrics
        ]
    return scores
