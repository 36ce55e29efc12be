"""The model and the runs over four tasks of TweetEval that several sections share."""

from __future__ import annotations

from mt_transformers import MultiTaskModel

from .settings import Settings
from .training_runs import TWEETS, TrainingRuns, classifier, text_tasks

__all__ = ["tweet_runs"]


def tweet_runs(settings: Settings, rows: int, splits: tuple[str, ...] = ("train",)) -> TrainingRuns:
    """
    Runs over emotion, irony, offensive and hate, one classifier each on the pretrained backbone.

    Args:
        settings ([`Settings`]): Backbone and data.
        rows (`int`): Training rows of all tasks; 0 for all.
        splits (`tuple[str, ...]`, *optional*): The splits to read.

    Returns:
        [`TrainingRuns`].
    """
    tasks = text_tasks(settings.data, {name: f"tweeteval_{name}" for name in TWEETS}, rows, splits)
    labels = {name: task.dataset["train"].features["label"].names for name, task in tasks.items()}
    model = MultiTaskModel.from_backbone(
        settings.backbone, heads={name: classifier(names) for name, names in labels.items()}
    )
    return TrainingRuns(settings, model, tasks)
