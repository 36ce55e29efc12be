"""The trainer for experiences that come one after another."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import datasets
import numpy as np
from transformers import TrainerCallback, set_seed

from ..data import Mixture, PreparedTasks, Processing, find_max_length
from ..errors import InputError
from ..modeling import MultiTaskModel
from ..training import MultiTaskTrainingArguments
from ..training.checkpoints import last_checkpoint
from .experience_settings import arguments_for, check_run
from .experience_trainer import ExperienceTrainer
from .growth import grow_model
from .learner import Learner
from .progress import Progress, experience_folder
from .results import ContinualResults
from .scenario import Scenario
from .sources import SourceCollator, number_rows
from .strategies import Combination, make_strategy

__all__ = ["ContinualTrainer"]


class ContinualTrainer:
    """
    Learn the experiences of a scenario one after another, and evaluate all of them after each.

    Each experience is trained by a [`MultiTaskTrainer`] of its own, with optimizer and schedule of its own: the
    training arguments hold for each. Heads, and classes of heads, join the model when their experience comes.

    Args:
        model ([`MultiTaskModel`]): The model; heads of later experiences need not be there.
        args ([`MultiTaskTrainingArguments`]): The training arguments.
        scenario ([`Scenario`]): The experiences.
        strategy (`str`, `Mapping`, [`Strategy`] or a list of them, *optional*, defaults to `"naive"`):
            What is done against forgetting, see [`make_strategy`].
        mixture ([`Mixture`], *optional*): How the rows of an experience's tasks are interleaved.
        processing_class (`Any`): The backbone's tokenizer, or what else reads its inputs.
        callbacks (`Sequence[TrainerCallback]`, *optional*): For the trainer of each experience.
        loss_weights (`Mapping[str, float]`, *optional*): Weight of the loss of heads that join, 1 where none is given.
        eval_split (`str`, *optional*): The split that experiences are evaluated on. Defaults to `test` where all
            experiences have one, else `validation`.

    Raises:
        InputError: If scenario, strategy, model and rows do not fit; before any training.
    """

    def __init__(
        self,
        model: MultiTaskModel,
        args: MultiTaskTrainingArguments,
        scenario: Scenario,
        strategy: Any = "naive",
        *,
        mixture: Mixture | None = None,
        processing_class: Any = None,
        callbacks: Sequence[TrainerCallback] = (),
        loss_weights: Mapping[str, float] | None = None,
        eval_split: str | None = None,
    ) -> None:
        self.model, self.args, self.scenario = model, args, scenario
        self.strategy: Combination = make_strategy(strategy)
        self.strategy.check(scenario)
        _check_given(model, args, processing_class, self.strategy.name)
        self._loss_weights = dict(loss_weights or {})
        check_run(args, mixture, self._loss_weights, scenario)
        self._mixture, self._processing_class, self._callbacks = mixture, processing_class, list(callbacks)
        self._eval_split = _find_split(scenario, eval_split)
        self._prepared = self._prepare()
        self._progress = Progress.of(Path(str(args.output_dir)), scenario, self.strategy)
        self._begin_model(0)
        self.strategy.start(self._learner(0))
        self.trainer: ExperienceTrainer | None = None
        """The trainer of the experience that was learnt last."""

    def _prepare(self) -> PreparedTasks:
        """All rows of all experiences, so that one that cannot be used is found before any training."""
        args = self.args
        tokenizer = Processing.of(self._processing_class).tokenizer
        max_length = find_max_length(tokenizer, self.model.backbone.max_positions, args.max_length)
        prepared = PreparedTasks(
            self.scenario.tasks, self.scenario.heads, self._processing_class, max_length, args.preprocessing_num_proc
        )
        with args.main_process_first(desc="preparing the rows"):
            prepared.prepare()
        for splits in prepared.splits.values():
            if "train" in splits:
                splits["train"] = number_rows(splits["train"])
        return prepared

    def train(self, resume_from_checkpoint: bool | None = None) -> ContinualResults:
        """
        Learn all experiences.

        Args:
            resume_from_checkpoint (`bool`, *optional*):
                Whether to go on where a run in `output_dir` was interrupted, within an experience or between two.
                Otherwise what such a run has left there goes.

        Returns:
            [`ContinualResults`]: What was measured.

        Raises:
            InputError: If the run to be resumed was one of another scenario or strategy.
        """
        found = self._progress.read() if resume_from_checkpoint else None
        first, results = (0, self._new_results()) if found is None else found
        if found is None and self.args.process_index == 0:
            self._progress.begin(results)
        if first > 0:
            self._begin_model(first - 1)
            folder = self._progress.load_weights(first, self.model)
            self.strategy.load(folder, self._learner(first - 1))
        last = len(self.scenario.experiences) - 1
        for number in range(max(first, last) if self.strategy.at_once else first, last + 1):
            self._learn(number, results, resume=found is not None)
        return results

    @contextmanager
    def concluding(self) -> Iterator[ExperienceTrainer]:
        """
        Evaluate and save what was learnt: within the context the model answers in the strategy's way.

        Yields:
            [`ExperienceTrainer`]: That of the last experience, for all tasks and all rows.
        """
        trainer = self.trainer or self._make_trainer(len(self.scenario.experiences) - 1)
        trainer.conclude(self.scenario.tasks, self._prepared, self.args)
        with self.strategy.answering(trainer.learner):
            yield trainer

    def close(self) -> None:
        """Remove from `output_dir` what a resumed run would begin with, once the results are saved."""
        if self.args.process_index == 0:
            self._progress.close(len(self.scenario.experiences))

    def _learn(self, number: int, results: ContinualResults, resume: bool) -> None:
        """Learn one experience, measure and save."""
        self._begin_model(number)
        trainer = self.trainer = self._make_trainer(number)
        learner = trainer.learner
        if number == 0:
            self._measure(trainer, -1, results)
        start = time.perf_counter()
        self.strategy.begin(learner)
        if not self.strategy.learn(learner):
            checkpoint = last_checkpoint(str(learner.args.output_dir)) if resume else None
            trainer.train(checkpoint)
        self.strategy.end(learner)
        results.seconds.append(time.perf_counter() - start)
        results.buffer_bytes = self.strategy.memory()
        self._measure(trainer, number, results)
        if trainer.is_world_process_zero():
            self._progress.save(results, number + 1, self.model, self.strategy)
        trainer.accelerator.wait_for_everyone()

    def _make_trainer(self, number: int) -> ExperienceTrainer:
        given = (self._mixture, self._processing_class)
        return ExperienceTrainer(self._learner(number), self.strategy, *given, callbacks=list(self._callbacks))

    def _begin_model(self, number: int) -> None:
        """Give the model the heads of an experience, whose first weights belong to what the seed settles."""
        set_seed(self._seed(number))
        tasks = {name: list(task.labels) for name, task in self.scenario.tasks.items()}
        grow_model(self.model, self.scenario.heads_after(number), tasks=tasks, loss_weights=self._loss_weights)

    def _seed(self, number: int) -> int:
        return int(self.args.seed) + number

    def _learner(self, number: int) -> Learner:
        args = arguments_for(
            self.args,
            self.model.named_heads,
            output_dir=str(experience_folder(Path(str(self.args.output_dir)), number)),
            seed=self._seed(number),
            push_to_hub=False,
        )
        heads = {name: head.config for name, head in self.model.named_heads.items()}
        multiple = 8 if args.device.type == "cuda" else None
        return Learner(
            model=self.model,
            scenario=self.scenario,
            number=number,
            prepared=self._prepared,
            args=args,
            collator=SourceCollator(self._processing_class, heads, multiple),
        )

    # what is measured

    def _new_results(self) -> ContinualResults:
        names = [each.name for each in self.scenario.experiences]
        return ContinualResults.begin(strategy=self.strategy.name, scenario=self.scenario.kind, experiences=names)

    def _measure(self, trainer: ExperienceTrainer, after: int, results: ContinualResults) -> None:
        """Score all experiences that can be answered after one, -1 for before the first."""
        scores: dict[int, float] = {}
        heads: dict[str, dict[int, float]] = {}
        with self.strategy.answering(trainer.learner):
            for number in range(len(self.scenario.experiences)):
                if self.scenario.can_answer(after, number):
                    found = trainer.score_prepared(self._rows_to_evaluate(number), "eval")
                    scores[number] = found.finish()["eval_score"]
                    for head, score in found.head_scores().items():
                        heads.setdefault(head, {})[number] = score
        if after < 0:
            results.initial[list(scores)] = list(scores.values())
            return
        results.record(after, scores, heads)
        measures = {name: value for name, value in results.measures().items() if not np.isnan(value)}
        trainer.log({f"score_{results.experiences[number]}": score for number, score in scores.items()} | measures)

    def _rows_to_evaluate(self, number: int) -> dict[str, datasets.Dataset]:
        rows = self.scenario.experiences[number].rows
        return {
            task: self._prepared.splits[task][self._eval_split].select(splits[self._eval_split])
            for task, splits in rows.items()
            if len(splits.get(self._eval_split, ())) > 0
        }


def _check_given(model: MultiTaskModel, args: Any, processing_class: Any, strategy: str) -> None:
    if not isinstance(args, MultiTaskTrainingArguments):
        raise InputError(f"args: expected MultiTaskTrainingArguments, found {type(args).__name__}.")
    if processing_class is None:
        raise InputError("processing_class: expected the backbone's tokenizer, or what else reads its inputs.")
    if model.task_adapters:
        # rows out of a buffer, and answers of old heads to new rows, would go through the wrong one
        raise InputError(
            f"strategy {strategy!r}: expected a model without adapters of tasks, found one for "
            f"{', '.join(model.task_adapters)}."
        )


def _find_split(scenario: Scenario, asked: str | None) -> str:
    """The split that every experience can be evaluated on."""
    for split in (asked,) if asked is not None else ("test", "validation"):
        lacking = [
            experience.name
            for experience in scenario.experiences
            if not any(len(splits.get(split, ())) > 0 for splits in experience.rows.values())
        ]
        if not lacking:
            return split
    raise InputError(f"experience {lacking[0]!r}: expected rows of the split {split!r} to evaluate it, found none.")
