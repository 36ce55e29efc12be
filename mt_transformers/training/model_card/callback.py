"""Collects what only a run knows of a model: the results, as they come, and what the user says of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from .contents import CardSection
from .scores import Evaluation

__all__ = ["MultiTaskModelCardCallback"]


class MultiTaskModelCardCallback(TrainerCallback):
    """
    Fills the model card of a [`MultiTaskTrainer`], which has one of its own unless it is given one.

    The card holds what was measured last on each split. With `load_best_model_at_end` it holds what was measured at
    the step whose weights were loaded, and what was measured afterwards.

    Args:
        model_name (`str`, *optional*): What the model is called. Defaults to the repository, or the folder.
        base_model (`str`, *optional*):
            Name of the backbone on the hub. Defaults to what it was loaded from; a folder is not named.
        language (`str` or `list[str]`, *optional*): Codes of the languages, such as `en`.
        license (`str`, *optional*): Its identifier on the hub, such as `apache-2.0`.
        tags (`Sequence[str]`, *optional*): Further tags.
        datasets (`Mapping[str, str]`, *optional*): For each task whose dataset is on the hub its name there.
        dataset_tags (`Sequence[str]`, *optional*): Names of further datasets on the hub.
        sections (`Sequence[CardSection]`, *optional*): What the card says besides, behind the results.

    Example:
        For a trainer that writes a card with these facts::

            known = MultiTaskModelCardCallback(language="en", license="apache-2.0", datasets={"snips": "snips"})
            MultiTaskTrainer(model, args, tasks=tasks, processing_class=tokenizer, callbacks=[known])
    """

    def __init__(
        self,
        *,
        model_name: str | None = None,
        base_model: str | None = None,
        language: str | list[str] | None = None,
        license: str | None = None,
        tags: Sequence[str] = (),
        datasets: Mapping[str, str] | None = None,
        dataset_tags: Sequence[str] = (),
        sections: Sequence[CardSection] = (),
    ) -> None:
        self.model_name = model_name
        self.base_model = base_model
        self.language = language
        self.license = license
        self.tags = list(tags)
        self.datasets = dict(datasets or {})
        self.dataset_tags = list(dataset_tags)
        self.sections = list(sections)
        self._evaluations: list[Evaluation] = []
        self._expected = ("validation", "eval")
        self._loaded_step: int | None = None

    def expect(self, split: str, prefix: str) -> None:
        """
        Say what the next evaluation is of, which its metrics do not tell.

        Args:
            split (`str`): The split.
            prefix (`str`): What the names of the metrics begin with.
        """
        self._expected = (split, prefix)

    def step(self, state: TrainerState) -> int:
        """
        Tell which weights the model has.

        Args:
            state (`TrainerState`): The trainer's state.

        Returns:
            `int`: Optimizer steps that led to them.
        """
        return state.global_step if self._loaded_step is None else self._loaded_step

    def evaluations(self, state: TrainerState) -> list[Evaluation]:
        """
        Choose what the card shows.

        Args:
            state (`TrainerState`): The trainer's state.

        Returns:
            `list[Evaluation]`: One for each split: of the weights at hand where they were evaluated, several tasks
            one after another put together, else the last.
        """
        step = self.step(state)
        found: dict[str, Evaluation] = {}
        for each in sorted(self._evaluations, key=lambda each: each.step == step):
            earlier = found.get(each.split)
            metrics = dict(each.metrics)
            if earlier is not None and (earlier.step, earlier.prefix) == (each.step, each.prefix):
                metrics = {**earlier.metrics, **metrics}
            found[each.split] = Evaluation(split=each.split, prefix=each.prefix, step=each.step, metrics=metrics)
        return list(found.values())

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        self._evaluations.clear()
        self._loaded_step = None

    def on_train_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        if args.load_best_model_at_end and state.best_global_step:
            self._loaded_step = state.best_global_step

    def on_evaluate(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        metrics: dict[str, float] | None = None,
        **kwargs: Any,
    ) -> None:
        split, prefix = self._expected
        self._evaluations.append(
            Evaluation(split=split, prefix=prefix, step=self.step(state), metrics=dict(metrics or {}))
        )
