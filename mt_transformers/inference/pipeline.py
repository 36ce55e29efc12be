"""The model as a transformers pipeline."""

from __future__ import annotations

from collections.abc import Sized
from typing import Any

from transformers import Pipeline
from transformers.pipelines import PIPELINE_REGISTRY

from ..data import Processing, load_processing
from ..errors import InputError, check_known
from ..modeling import MultiTaskModel, base_model
from .predictor import MultiTaskPredictor

__all__ = ["PIPELINE_TASK", "MultiTaskPipeline"]

PIPELINE_TASK = "multi-task"
"""Name of the pipeline: `pipeline("multi-task", model=folder)`."""

_OPTIONS = ("heads", "top_k", "threshold")
_BATCH_SIZE = 32


class MultiTaskPipeline(Pipeline):
    """
    Answers of all heads from one pass, as a transformers pipeline.

    It takes what a row may be, see [`check_row`]: a text, a tuple of two texts, a list of words (within a list of
    rows), or a dict of inputs. One row gets one answer, a dict head -> decoded output. What has a length (a list, a
    column of a dataset, a dataset whose columns are inputs) gets a list of answers. Anything else that yields rows,
    such as a generator, gets an iterator, in memory that does not grow with the number of rows. Rows of like length
    share a batch; answers come in the order of the rows.

    Args:
        model ([`MultiTaskModel`]): The model, or the `PeftModel` around it.
        tokenizer, image_processor, feature_extractor, processor (*optional*):
            What prepares its inputs; without any they are loaded from where the model was loaded.
        heads, top_k, threshold (*optional*): As [`MultiTaskPredictor`] takes them, for all calls.
        batch_size (`int`, *optional*, defaults to 32): Rows that are encoded together.
        kwargs (`Any`): `device` and what else `transformers.Pipeline` takes.

    Raises:
        InputError: If the model is none with several heads, or lacks what its inputs need.

    Example:
        Of a trained folder::

            import mt_transformers
            from transformers import pipeline

            answer = pipeline("multi-task", model="out")
            answer("play some jazz", top_k=3)
            answer(["play some jazz", "book a table"], heads=["intent"])
    """

    # the ones that are there
    _load_tokenizer = None
    _load_image_processor = None
    _load_feature_extractor = None
    _load_processor = None

    model: MultiTaskModel

    def __init__(self, model: Any, batch_size: int = _BATCH_SIZE, **kwargs: Any) -> None:
        try:
            model = base_model(model)
        except InputError as error:
            raise InputError(f"pipeline {PIPELINE_TASK!r}: {error}") from error
        super().__init__(model, batch_size=batch_size, **kwargs)
        self.predictor = MultiTaskPredictor(model, self._processing_class(), batch_size)

    def _processing_class(self) -> Any:
        possible = (self.processor, self.tokenizer, self.image_processor, self.feature_extractor)
        given = [Processing.of(part) for part in possible if part is not None]
        if not given:
            return load_processing(str(self.model.name_or_path), self.model.backbone.output_names)
        found = [
            [part for each in given if (part := getattr(each, name)) is not None]
            for name in ("tokenizer", "image_processor", "feature_extractor")
        ]
        processing = Processing(*(parts[0] if parts else None for parts in found))
        processing.check_vocabulary(repr(self.model.name_or_path))
        return processing

    def _sanitize_parameters(self, **kwargs: Any) -> tuple[dict[str, Any], dict[str, Any], dict[str, Any]]:
        check_known(kwargs, _OPTIONS, f"pipeline {PIPELINE_TASK!r}", "option")
        return {}, {name: value for name, value in kwargs.items() if value is not None}, {}

    def __call__(  # type: ignore[override]
        self, inputs: Any, batch_size: int | None = None, **kwargs: Any
    ) -> Any:
        """
        Answer one row, or many.

        Args:
            inputs (`Any`): A row, or what yields rows.
            batch_size (`int`, *optional*): Rows that are encoded together. Defaults to the pipeline's.
            kwargs (`Any`): `heads`, `top_k`, `threshold`, as [`MultiTaskPredictor`] takes them.

        Returns:
            `dict[str, Any]`, `list[dict[str, Any]]` or an iterator over such dicts: For each row each head's answer.

        Raises:
            InputError: If an option or a row cannot be used.
        """
        _, options, _ = self._sanitize_parameters(**kwargs)
        options = {**self._forward_params, **options, "batch_size": batch_size}
        if _is_row(inputs):
            return self.predictor([inputs], **options)[0]
        if isinstance(inputs, list):
            return self.predictor(inputs, **options)
        if not hasattr(inputs, "__iter__") and not hasattr(inputs, "__getitem__"):
            raise InputError(f"expected a row or rows, found {type(inputs).__name__}.")
        answers = self.predictor.stream(inputs, **options)
        return list(answers) if isinstance(inputs, Sized) else answers

    def preprocess(self, input_: Any, **_: Any) -> dict[str, Any]:
        """A row, checked."""
        return self.predictor.check(input_)

    def _forward(self, input_tensors: Any, **options: Any) -> Any:
        return self.predictor([input_tensors], **options)[0]

    def postprocess(self, model_outputs: Any, **_: Any) -> Any:
        """The answer, which the heads have decoded."""
        return model_outputs


def _is_row(inputs: Any) -> bool:
    """Whether this is one row; a list is always several."""
    if isinstance(inputs, tuple):
        return len(inputs) == 2 and all(isinstance(each, str) for each in inputs)
    return isinstance(inputs, str | dict)


if PIPELINE_TASK not in PIPELINE_REGISTRY.supported_tasks:
    PIPELINE_REGISTRY.register_pipeline(
        PIPELINE_TASK, pipeline_class=MultiTaskPipeline, pt_model=MultiTaskModel, type="multimodal"
    )
