"""Section `evaluation`: all heads of a task in one pass, against a pass for each head."""

from __future__ import annotations

from functools import partial

from mt_transformers import MultiTaskModel, MultiTaskTrainer, Task

from .measure import Measure, alternate, clock, ratio
from .settings import Settings
from .training_runs import classifier, load_tokenizer, make_trainer, read_rows

__all__ = ["measure"]

HEADS = 4


def measure(settings: Settings) -> list[Measure]:
    """
    Evaluate four heads on the same rows: of one task, and each of a task of its own.

    Args:
        settings ([`Settings`]): Sizes of the run.

    Returns:
        `list[Measure]`: Seconds of both, and how much faster one pass is.
    """
    rows = read_rows(settings.data, "tweeteval_emotion", "validation")
    rows = rows.select(range(min(len(rows), settings.rows)))
    names = [f"head{number}" for number in range(HEADS)]
    model = MultiTaskModel.from_backbone(
        settings.backbone, heads={name: classifier(rows.features["label"].names) for name in names}
    )
    together = {
        "all": Task(dataset={"validation": rows}, inputs={"text": "text"}, labels=dict.fromkeys(names, "label"))
    }
    apart = {
        name: Task(dataset={"validation": rows}, inputs={"text": "text"}, labels={name: "label"}) for name in names
    }
    tokenizer = load_tokenizer(settings)
    trainers = {
        "one pass": make_trainer(model, together, tokenizer, settings),
        "a pass for each head": make_trainer(model, apart, tokenizer, settings),
    }
    seconds = alternate(
        {name: partial(_time, trainer, settings) for name, trainer in trainers.items()},
        settings.repeats,
        "evaluation",
    )
    return [
        *(Measure("evaluation", f"{HEADS} heads, {name}", own, "s") for name, own in seconds.items()),
        Measure(
            "evaluation",
            f"{HEADS} heads, a pass for each head / one pass",
            ratio(seconds["a pass for each head"], seconds["one pass"]),
            "x",
        ),
    ]


def _time(trainer: MultiTaskTrainer, settings: Settings) -> float:
    start = clock(settings.device)
    trainer.evaluate()
    return clock(settings.device) - start
