"""What the package's own metrics share: they live in memory and answer under their own name."""

from __future__ import annotations

import inspect
import os
from typing import TYPE_CHECKING

import evaluate

if TYPE_CHECKING:
    import datasets
    import numpy.typing as npt

__all__ = ["InMemoryMetric"]


class InMemoryMetric(evaluate.Metric):
    """
    An `evaluate.Metric` that writes nothing to disk and needs no network.

    `compute(predictions=..., references=...)` hands its arguments straight to the metric. Evaluate's Arrow table,
    which takes a second or more for 100,000 rows of ten values, serves only rows that came through `add` or
    `add_batch`. In a distributed run the predictions are gathered first and the metric is computed in one process.

    Subclasses define `_compute`, which checks its input and never sees an empty metric's `None`.

    Args:
        own_name (`str`):
            Name of the metric and of its main key in the result.
        features (`datasets.Features` or `list[datasets.Features]`):
            Columns `predictions` and `references` as `add` and `add_batch` store them; of several the first that fits.
        config_name (`str`, *optional*):
            Name of the variant, for the metric's info.
    """

    def __init__(
        self,
        own_name: str,
        features: datasets.Features | list[datasets.Features],
        config_name: str | None = None,
    ) -> None:
        # `super().__init__` calls `_info` and `_build_data_dir`, which read these two.
        self._own_name = own_name
        self._own_features = features
        super().__init__(config_name=config_name, keep_in_memory=True)

    @property
    def name(self) -> str:
        """The metric's own name (`str`), as in `METRIC_NAMES`; evaluate would take the class's."""
        return self._own_name

    def compute(
        self, *, predictions: npt.ArrayLike | None = None, references: npt.ArrayLike | None = None
    ) -> dict[str, float]:
        """
        Compute the metric over the given rows and those added before.

        Args:
            predictions (array or nested list of shape `(rows,)` or `(rows, ...)`, *optional*):
                What the model predicts; may be left out after `add` or `add_batch`.
            references (array or nested list of the same shape, *optional*):
                What is true.

        Returns:
            `dict[str, float]`, the metric's own name a key.

        Raises:
            ValueError: If there is nothing to compute, or predictions and references do not match.
        """
        if self.writer is not None:
            result: dict[str, float] = super().compute(predictions=predictions, references=references)
            return result
        if predictions is None or references is None:
            raise ValueError(
                f"{self.name}: expected predictions and references, or rows added before, "
                f"found predictions {type(predictions).__name__} and references {type(references).__name__}."
            )
        return self._compute(predictions=predictions, references=references)

    def _compute(self, *, predictions: npt.ArrayLike, references: npt.ArrayLike) -> dict[str, float]:
        raise NotImplementedError

    def _info(self) -> evaluate.MetricInfo:
        return evaluate.MetricInfo(
            description=inspect.getdoc(type(self)) or "", citation="", features=self._own_features
        )

    def _build_data_dir(self) -> str:
        # evaluate 0.4.6 creates this folder even for a metric kept in memory, and then leaves it empty. Can be removed
        # once we drop support for the versions that do.
        return os.path.join(self._data_dir_root, self.name, self.config_name)
