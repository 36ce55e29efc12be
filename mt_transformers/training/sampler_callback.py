"""Keeps the sampler and the collator of a run in step with the Trainer."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments
from transformers.trainer_utils import PREFIX_CHECKPOINT_DIR

from ..data import DataCollatorForMultiTask, MultiTaskBatchSampler

__all__ = ["MIXTURE_STATE_FILE", "SamplerCallback"]

MIXTURE_STATE_FILE = "mixture_state.json"


class SamplerCallback(TrainerCallback):
    """
    Tells sampler and collator their epoch, the sampler each evaluation's metrics, and keeps its state in the
    checkpoints.

    The Trainer's own way of telling the epoch does not reach through the sampler of a run that is resumed within an
    epoch (transformers 5.23); this runs before the epoch's iterator is made.
    """

    sampler: MultiTaskBatchSampler | None = None
    collator: DataCollatorForMultiTask | None = None
    loaded_state: dict[str, Any] | None = None

    def load_checkpoint(self, checkpoint: str | None) -> None:
        """Read the state that a checkpoint holds, for the sampler of the run that resumes from it."""
        file = Path(checkpoint or "") / MIXTURE_STATE_FILE
        found = bool(checkpoint) and file.exists()
        self.loaded_state = json.loads(file.read_text(encoding="utf-8")) if found else None

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
            self._write(args, state)

    def on_save(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        self._write(args, state)

    def _write(self, args: TrainingArguments, state: TrainerState) -> None:
        checkpoint = Path(str(args.output_dir)) / f"{PREFIX_CHECKPOINT_DIR}-{state.global_step}"
        if self.sampler is not None and args.should_save and checkpoint.is_dir():
            unfinished = checkpoint / f".{MIXTURE_STATE_FILE}"
            unfinished.write_text(json.dumps(self.sampler.state_dict()), encoding="utf-8")
            os.replace(unfinished, checkpoint / MIXTURE_STATE_FILE)
