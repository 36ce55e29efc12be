"""How a trainer gives a model to others: the folder, its card, and the hub."""

from __future__ import annotations

import os
import shutil
import warnings
from collections.abc import Collection, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, cast

import datasets
from transformers.trainer import TRAINING_ARGS_NAME
from transformers.trainer_utils import PREFIX_CHECKPOINT_DIR, HubStrategy
from transformers.utils import CONFIG_NAME, PushInProgress, hf_api

from ..data import Mixture, MixturePlan, Task
from ..errors import InputError
from .arguments import MultiTaskTrainingArguments
from .evaluation_loop import EvaluationMixin
from .model_card import CardContents, MultiTaskModelCardCallback, may_write, write_model_card
from .planning import plan_training
from .sharded_training import ShardedTrainingMixin

__all__ = ["CARD_FILE", "PublishingMixin"]

CARD_FILE = "README.md"

_MODEL_FILES = (CONFIG_NAME, "*.safetensors", "*.safetensors.index.json", "adapter_config.json")


class PublishingMixin(ShardedTrainingMixin, EvaluationMixin):
    """
    Adds to a `Trainer` the model card, wherever a model is saved or pushed for others; checkpoints have none.

    The Trainer's training_args.bin is written nowhere: it is a pickle, which runs code where it is loaded, and holds
    `hub_token` and the folders of this machine. The card says what it says.
    """

    args: MultiTaskTrainingArguments
    tasks: dict[str, Task]
    mixture: Mixture

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        given = [each for each in self.callback_handler.callbacks if isinstance(each, MultiTaskModelCardCallback)]
        self.model_card_callback = given[0] if given else MultiTaskModelCardCallback()
        if not given:
            self.add_callback(self.model_card_callback)

    def evaluate(  # type: ignore[override]
        self,
        eval_dataset: str | Collection[str] | Mapping[str, datasets.Dataset] | None = None,
        ignore_keys: list[str] | None = None,
        metric_key_prefix: str = "eval",
        split: str = "validation",
    ) -> dict[str, float]:
        """As [`EvaluationMixin.evaluate`]; the model card shows what was measured."""
        given = isinstance(eval_dataset, Mapping)
        self.model_card_callback.expect(metric_key_prefix if given else split, metric_key_prefix)
        return super().evaluate(eval_dataset, ignore_keys, metric_key_prefix, split)

    def save_model(self, output_dir: str | None = None, _internal_call: bool = False) -> None:
        """As `Trainer.save_model`; a folder that is asked for has a model card."""
        super().save_model(output_dir, _internal_call)
        if self.args.should_save and not _internal_call:
            self._write_card(Path(output_dir or str(self.args.output_dir)))

    def _save(self, output_dir: str | None = None, state_dict: dict[str, Any] | None = None) -> None:
        super()._save(output_dir, state_dict)
        if self.args.should_save:
            (Path(output_dir or str(self.args.output_dir)) / TRAINING_ARGS_NAME).unlink(missing_ok=True)

    def create_model_card(
        self,
        language: str | None = None,
        license: str | None = None,
        tags: str | list[str] | None = None,
        model_name: str | None = None,
        finetuned_from: str | None = None,
        tasks: str | list[str] | None = None,
        dataset_tags: str | list[str] | None = None,
        dataset: str | list[str] | None = None,
        dataset_args: str | list[str] | None = None,
    ) -> None:
        """
        Write the model card into `output_dir`, as [`push_to_hub`] does, too.

        Args:
            language (`str`, *optional*): Code of the language.
            license (`str`, *optional*): Its identifier on the hub.
            tags (`str` or `list[str]`, *optional*): Further tags.
            model_name (`str`, *optional*):
                What the model is called in this card, unless the card's callback says it: [`push_to_hub`] always
                gives the repository's name.
            finetuned_from (`str`, *optional*): Name of the backbone on the hub.
            dataset_tags (`str` or `list[str]`, *optional*): Names of datasets on the hub.
            tasks, dataset, dataset_args: Must be None: the trainer's tasks say it.

        Raises:
            InputError: If one of these is given.
        """
        for name, value in (("tasks", tasks), ("dataset", dataset), ("dataset_args", dataset_args)):
            if value is not None:
                raise InputError(
                    f"create_model_card: expected no {name}, which the trainer's tasks say, found {value!r}."
                )
        known = self.model_card_callback
        known.language = language or known.language
        known.license = license or known.license
        known.base_model = finetuned_from or known.base_model
        known.tags += _as_list(tags)
        known.dataset_tags += _as_list(dataset_tags)
        if self.is_world_process_zero():
            self._write_card(Path(str(self.args.output_dir)), model_name)

    def card_contents(self, folder: Path, model_name: str | None = None) -> CardContents:
        """
        Collect what the model card says.

        Args:
            folder (`Path`): The folder that the model is saved to.
            model_name (`str`, *optional*): What the model is called, unless the card's callback says it.

        Returns:
            [`CardContents`].
        """
        known = self.model_card_callback
        rows = {
            name: {split: len(each) for split, each in splits.items()} for name, splits in self.prepared.splits.items()
        }
        sizes = {name: counts["train"] for name, counts in rows.items() if "train" in counts}
        step = known.step(self.state)
        repo_id = self.hub_model_id or self.args.hub_model_id
        # shares that follow the metrics are shown as they were in the first epoch
        mixture = replace(self.mixture)
        plan = None
        if step > 0 and sizes and not self.prepared.streams:
            plan = self._plan_for_card(sizes, mixture)
        name = (repo_id or "").rpartition("/")[2] or folder.resolve().name or "model"
        return CardContents(
            model=self.model,
            tasks=self.tasks,
            rows=rows,
            mixture=mixture,
            args=self.args,
            model_name=known.model_name or model_name or name,
            repo_id=repo_id or name,
            plan=plan,
            evaluations=known.evaluations(self.state),
            step=step,
            epochs=float(self.state.epoch or 0.0),
            base_model=known.base_model,
            language=known.language,
            license=known.license,
            tags=known.tags,
            datasets=known.datasets,
            dataset_tags=known.dataset_tags,
            sections=known.sections,
        )

    def _plan_for_card(self, sizes: Mapping[str, int], mixture: Mixture) -> MixturePlan | None:
        config = self.model.config
        return plan_training(sizes, self.tasks, mixture, self.args, config.loss_weights, config.loss_reduction)

    def _write_card(self, folder: Path, model_name: str | None = None) -> None:
        if may_write(folder / CARD_FILE):
            write_model_card(folder / CARD_FILE, self.card_contents(folder, model_name))
        else:
            warnings.warn(f"{folder / CARD_FILE} was written by hand and is left as it is.", stacklevel=3)

    def _push_from_checkpoint(self, checkpoint_folder: str) -> None:
        """Nothing: the Trainer asks for it before a checkpoint is whole, see [`push_checkpoint`]."""

    def push_checkpoint(self, checkpoint: Path) -> None:
        """
        Push model, card and, if `hub_strategy` says so, checkpoint while training goes on, as the Trainer does.

        Args:
            checkpoint (`Path`): The checkpoint, which is whole.
        """
        args = self.args
        if not self.is_world_process_zero() or args.hub_strategy == HubStrategy.END:
            return
        earlier = cast("PushInProgress | None", self.push_in_progress)
        pending: list[Any] = [] if earlier is None else [job for job in cast(Any, earlier.jobs) if not job.done()]
        if pending and not args.hub_always_push:
            return
        self.callback_handler.on_push_begin(args, self.state, self.control)
        folder = Path(str(args.output_dir))
        for pattern in _MODEL_FILES:
            for file in checkpoint.glob(pattern):
                unfinished = folder / f"_{file.name}"
                shutil.copy(file, unfinished)
                os.replace(unfinished, folder / file.name)
        cast(Any, self.processing_class).save_pretrained(folder)
        self.create_model_card()
        message = f"Training in progress, step {self.state.global_step}"
        push = partial(
            hf_api().upload_folder,
            repo_id=self.hub_model_id,
            token=args.hub_token,
            revision=args.hub_revision,
            run_as_future=True,
        )
        ignored = ["_*", f"{PREFIX_CHECKPOINT_DIR}-*"]
        jobs = [push(folder_path=str(folder), commit_message=message, ignore_patterns=ignored)]
        if args.hub_strategy in (HubStrategy.CHECKPOINT, HubStrategy.ALL_CHECKPOINTS):
            last = args.hub_strategy == HubStrategy.CHECKPOINT
            path = "last-checkpoint" if last else checkpoint.name
            jobs.append(push(folder_path=str(checkpoint), path_in_repo=path, commit_message=f"{message}, checkpoint"))
        vars(self)["push_in_progress"] = PushInProgress(cast(Any, [*pending, *jobs]))


def _as_list(names: str | list[str] | None) -> list[str]:
    return [names] if isinstance(names, str) else list(names or [])
