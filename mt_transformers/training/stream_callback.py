"""Spares a resumed run the preparation of rows that it only drops."""

from __future__ import annotations

from typing import Any

from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from ..data import MultiTaskStream

__all__ = ["StreamCallback"]


class StreamCallback(TrainerCallback):
    """
    Tells a stream how many batches the Trainer drops when a run is resumed; they come empty, and quickly.

    The Trainer drops them from what the loader gives (transformers 5.23, `skip_first_batches`); this runs before it
    asks for the first one.

    Args:
        stream ([`MultiTaskStream`]): The stream.
        batch_size (`int`): Rows of a micro-batch on each process.
    """

    def __init__(self, stream: MultiTaskStream, batch_size: int) -> None:
        self._stream = stream
        self._batch_size = batch_size
        self._begun = False

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        self._begun = False

    def on_epoch_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        # an epoch that a callback ended early is followed by one of which nothing is dropped
        steps = 0 if self._begun or args.ignore_data_skip else state.global_step % state.max_steps
        self._begun = True
        self._stream.skip_batches(steps * args.gradient_accumulation_steps, self._batch_size)

    def on_train_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        self._stream.skip_batches(0, self._batch_size)
