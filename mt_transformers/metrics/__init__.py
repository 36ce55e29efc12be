"""
The package's own metrics: `evaluate.Metric` classes over scikit-learn and seqeval that need no network.

`evaluate.load("accuracy")` downloads code at run time; `load_metric("accuracy")` does not. Importing this room imports
none of evaluate, scikit-learn, seqeval, datasets or torch: that happens when a metric or a metric class is asked for.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, NamedTuple

from ..errors import check_known

if TYPE_CHECKING:
    import evaluate

    from .answers import AnswerF1 as AnswerF1
    from .answers import ExactMatch as ExactMatch
    from .classification import F1 as F1
    from .classification import Accuracy as Accuracy
    from .classification import MatthewsCorrelation as MatthewsCorrelation
    from .entities import EntityF1 as EntityF1
    from .language_modeling import NegativeLogLikelihood as NegativeLogLikelihood
    from .language_modeling import Perplexity as Perplexity
    from .parsing import AttachmentScore as AttachmentScore
    from .regression import MeanSquaredError as MeanSquaredError
    from .regression import Pearson as Pearson
    from .regression import Spearman as Spearman

__all__ = [
    "F1",
    "METRIC_NAMES",
    "Accuracy",
    "AnswerF1",
    "AttachmentScore",
    "EntityF1",
    "ExactMatch",
    "MatthewsCorrelation",
    "MeanSquaredError",
    "NegativeLogLikelihood",
    "Pearson",
    "Perplexity",
    "Spearman",
    "higher_is_better",
    "load_metric",
]


class _Entry(NamedTuple):
    """Where a metric is defined, how it is built and which direction is better."""

    module: str
    class_name: str
    kwargs: dict[str, object]
    higher_is_better: bool


# Own name -> its entry. The names, the lazy classes and the directions come from this table.
_METRICS = {
    "accuracy": _Entry("classification", "Accuracy", {}, True),
    "answer_f1": _Entry("answers", "AnswerF1", {}, True),
    "entity_f1": _Entry("entities", "EntityF1", {}, True),
    "exact_match": _Entry("answers", "ExactMatch", {}, True),
    "f1_macro": _Entry("classification", "F1", {"average": "macro"}, True),
    "f1_micro": _Entry("classification", "F1", {"average": "micro"}, True),
    "f1_weighted": _Entry("classification", "F1", {"average": "weighted"}, True),
    "las": _Entry("parsing", "AttachmentScore", {"score": "las"}, True),
    "las_universal": _Entry("parsing", "AttachmentScore", {"score": "las_universal"}, True),
    "matthews_correlation": _Entry("classification", "MatthewsCorrelation", {}, True),
    "mse": _Entry("regression", "MeanSquaredError", {}, False),
    "nll": _Entry("language_modeling", "NegativeLogLikelihood", {}, False),
    "pearson": _Entry("regression", "Pearson", {}, True),
    "perplexity": _Entry("language_modeling", "Perplexity", {}, False),
    "spearman": _Entry("regression", "Spearman", {}, True),
    "uas": _Entry("parsing", "AttachmentScore", {"score": "uas"}, True),
}

_CLASSES = {entry.class_name: entry.module for entry in _METRICS.values()}

METRIC_NAMES: tuple[str, ...] = tuple(_METRICS)


def load_metric(name: str, *, allow_download: bool = False, **kwargs: object) -> evaluate.Metric:
    """
    Build the metric of this name.

    Args:
        name (`str`):
            One of `METRIC_NAMES`; with `allow_download` also anything that `evaluate.load` takes. The package's own
            metric comes first.
        allow_download (`bool`, *optional*, defaults to `False`):
            Hand a name that is not the package's own to `evaluate.load`, which downloads its code and runs it.
        kwargs:
            Arguments of the metric's constructor (`multilabel=True` for `accuracy` and `f1_*`, `scheme` and `strict`
            for `entity_f1`) or, for a downloaded metric, of `evaluate.load`.

    Returns:
        `evaluate.Metric`. For an own metric `compute(predictions=..., references=...)` gives a dict of floats in which
        `name` is a key.

    Raises:
        InputError: If the name is not the package's own and `allow_download` is False. It is a `ValueError`.
        TypeError: If an own metric does not take one of `kwargs`.

    Example:
        >>> load_metric("accuracy").compute(predictions=[0, 1, 1, 0], references=[0, 1, 0, 0])
        {'accuracy': 0.75}
        >>> load_metric("f1_macro", multilabel=True).compute(predictions=[[1, 0], [1, 1]], references=[[1, 0], [1, 1]])
        {'f1_macro': 1.0}
    """
    if allow_download and name not in _METRICS:
        import evaluate

        return evaluate.load(name, **kwargs)
    check_known([name], _METRICS, "metrics, without allow_download", "metric")
    entry = _METRICS[name]
    return _load_class(entry.class_name)(**entry.kwargs, **kwargs)


def higher_is_better(name: str) -> bool:
    """
    Say whether a larger value of an own metric is the better one.

    Args:
        name (`str`): One of `METRIC_NAMES`.

    Returns:
        `bool`.

    Raises:
        InputError: If the name is not the package's own: of a downloaded metric the direction is not known here.

    Example:
        >>> higher_is_better("f1_macro"), higher_is_better("mse")
        (True, False)
    """
    check_known([name], _METRICS, "metrics", "metric")
    return _METRICS[name].higher_is_better


def _load_class(class_name: str) -> type[evaluate.Metric]:
    """Import a metric class from its module."""
    metric_class: type[evaluate.Metric] = getattr(import_module(f".{_CLASSES[class_name]}", __name__), class_name)
    return metric_class


if not TYPE_CHECKING:
    # Hidden from type checkers: with a module-level `__getattr__` in sight they accept any misspelt name.
    def __getattr__(name: str) -> object:
        """Import a metric class on first use (PEP 562)."""
        if name not in _CLASSES:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        value = _load_class(name)
        globals()[name] = value
        return value


def __dir__() -> list[str]:
    """List the metric classes beside what is imported already."""
    return sorted({*globals(), *_CLASSES})
