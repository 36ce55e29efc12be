"""Keeps the sampler and the collator of a run in step with the Trainer."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments
from transformers.trainer_utils import PREFIX_CHECKPOINT_DIR

from ..data import DataCollatorForMultiTask, MultiTaskBatchSampler
from .checkpoints import finish_checkpoint, is_whole

__all__ = ["SamplerCallback"]


class SamplerCallback(TrainerCallback):
    """
    Tells sampler and collator their epoch, the sampler each evaluation's metrics, and holds the sampler's state for
    the checkpoints.

    The Trainer's own way of telling the epoch does not reach through the sampler of a run that is resumed within an
    epoch (transformers 5.23); this runs before the epoch's iterator is made.
    """

    sampler: MultiTaskBatchSampler | None = None
    collator: DataCollatorForMultiTask | None = None
    loaded_state: dict[str, Any] | None = None
    """State of the checkpoint that the next run resumes from."""

    def state_dict(self) -> dict[str, Any]:
        """What a resumed run needs, as JSON values."""
        return {} if self.sampler is None else self.sampler.state_dict()

    def set_sampler(self, sampler: MultiTaskBatchSampler) -> None:
        """Take a new run's sampler, with the state of the checkpoint that the run resumes from."""
        self.sampler = sampler
        if self.loaded_state is not None:
            sampler.load_state_dict(self.loaded_state)

    def on_epoch_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        if self.sampler is not None:
            self.sampler.set_epoch(int(state.epoch or 0))
        if self.collator is not None:
            self.collator.set_epoch(int(state.epoch or 0))

    def on_evaluate(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        metrics: dict[str, float] | None = None,
        **kwargs: Any,
    ) -> None:
        if self.sampler is not None and metrics is not None:
            self.sampler.update_from_metrics(metrics)
            # a checkpoint of this step may be older than its evaluation
            checkpoint = Path(str(args.output_dir)) / f"{PREFIX_CHECKPOINT_DIR}-{state.global_step}"
            if args.should_save and is_whole(checkpoint):
                finish_checkpoint(checkpoint, self.state_dict())
