"""Section `heads`: what a step costs with many heads of which two run, and what a model of very many heads costs."""

from __future__ import annotations

import tempfile
from functools import partial
from typing import Any

import psutil
from datasets import ClassLabel, Dataset, Features, Value

from mt_transformers import Mixture, MultiTaskModel, Task

from .measure import Measure, alternate, clock, ratio
from .settings import Settings
from .training_runs import Stopwatch, classifier, load_tokenizer, make_trainer

__all__ = ["measure"]

_LABELS = ["no", "yes"]
_TEXT = "the film is great and the book is not"


def measure(settings: Settings) -> list[Measure]:
    """
    Take the time of steps with two heads in each batch, against a model that has but these two; then build, save,
    load and evaluate a model with very many heads.

    Args:
        settings ([`Settings`]): Numbers of heads, steps.

    Returns:
        `list[Measure]`: Milliseconds of a step for each number of heads, ratios, and what very many heads cost.
    """
    counts = dict.fromkeys((2, *settings.head_counts))
    seconds = alternate(
        {str(count): partial(_time_steps, settings, count) for count in counts}, settings.repeats, "heads"
    )
    measures = [
        Measure("heads", f"{count} heads", [1000 * each / settings.head_steps for each in own], "ms a step")
        for count, own in seconds.items()
    ]
    measures += [
        Measure("heads", f"{count} heads / 2 heads", ratio(own, seconds["2"]), "x")
        for count, own in seconds.items()
        if count != "2"
    ]
    return measures + _many_heads(settings)


def _model(settings: Settings, heads: int) -> MultiTaskModel:
    return MultiTaskModel.from_backbone(
        settings.backbone, heads={f"head{number}": classifier(_LABELS) for number in range(heads)}
    )


def _tasks(heads: int, rows: int, split: str) -> dict[str, Task]:
    """A task for each head, with as many rows of one length."""
    features = Features({"text": Value("string"), "label": ClassLabel(names=_LABELS)})
    dataset = Dataset.from_dict({"text": [_TEXT] * rows, "label": [row % 2 for row in range(rows)]}, features=features)
    return {
        f"task{number}": Task(dataset={split: dataset}, inputs={"text": "text"}, labels={f"head{number}": "label"})
        for number in range(heads)
    }


def _time_steps(settings: Settings, heads: int) -> float:
    """Seconds of `head_steps` steps, the first ones of the run left out, in which the optimizer is set up."""
    after = 2
    # the rows of two tasks fill a batch, and the tasks come one after the other
    rows = settings.batch_size // min(2, heads)
    watch = Stopwatch(settings.device, after)
    trainer = make_trainer(
        _model(settings, heads),
        _tasks(heads, rows, "train"),
        load_tokenizer(settings),
        settings,
        Mixture(order="sequential"),
        (watch,),
        max_steps=settings.head_steps + after,
        per_device_train_batch_size=rows * min(2, heads),
    )
    trainer.train()
    return watch.seconds


def _many_heads(settings: Settings) -> list[Measure]:
    """Once each: seconds to build, save, load and evaluate, and memory that the model takes."""
    heads, process = settings.many_heads, psutil.Process()
    found: dict[str, tuple[float, str]] = {}
    before, start = process.memory_info().rss, clock(settings.device)
    model = _model(settings, heads)
    found["built"] = clock(settings.device) - start, "s"
    found["memory of the process, more than before"] = (process.memory_info().rss - before) / 2**20, "MiB"
    with tempfile.TemporaryDirectory() as folder:
        start = clock(settings.device)
        model.save_pretrained(folder)
        found["saved"] = clock(settings.device) - start, "s"
        start = clock(settings.device)
        MultiTaskModel.from_pretrained(folder)
        found["loaded"] = clock(settings.device) - start, "s"
    start = clock(settings.device)
    tasks: Any = _tasks(heads, 4, "validation")
    trainer = make_trainer(model, tasks, load_tokenizer(settings), settings)
    found["trainer set up"] = clock(settings.device) - start, "s"
    start = clock(settings.device)
    trainer.evaluate()
    found["evaluated, 4 rows each"] = clock(settings.device) - start, "s"
    return [Measure("heads", f"{heads} heads: {name}", [value], unit) for name, (value, unit) in found.items()]
