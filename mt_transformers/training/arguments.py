"""Training arguments: those of the Trainer, with the defaults that several heads need."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from transformers import TrainingArguments

from ..errors import InputError

__all__ = ["NO_DEEPSPEED", "MultiTaskTrainingArguments"]

NO_DEEPSPEED = (
    "deepspeed is not supported: its optimizer holds all parameters as one, so that weight decay and momentum would "
    "move heads without a row, and its exchange of gradients takes the same heads on all processes. Use fsdp, with "
    "which the backbone is sharded and heads without a row are left alone."
)
"""Why DeepSpeed is refused, wherever it was asked for."""


@dataclass
class MultiTaskTrainingArguments(TrainingArguments):
    """
    Arguments of [`MultiTaskTrainer`]: all of `transformers.TrainingArguments`, and these.

    Changed defaults: `metric_for_best_model` is `"eval_score"`, the mean of every head's primary metric;
    `remove_unused_columns` is False, since the tasks say which columns are used; `ddp_find_unused_parameters` is
    False, since heads without a row are left out of the exchange of gradients; the trainer turns it on where parts of
    the backbone may idle, see [`backbone_may_idle`].

    Args:
        max_length (`int`, *optional*):
            Length to which rows are cut (tokens). Defaults to what tokenizer and backbone take.
        preprocessing_num_proc (`int`, *optional*): Processes that prepare the rows.

    Raises:
        InputError: If an argument is set that cannot hold with several heads.
    """

    max_length: int | None = field(
        default=None,
        metadata={"help": "Length to which rows are cut (tokens); by default what tokenizer and backbone take."},
    )
    preprocessing_num_proc: int | None = field(
        default=None, metadata={"help": "Processes that prepare the rows (tokenization)."}
    )
    metric_for_best_model: str | None = field(
        default="eval_score",
        metadata={
            "help": "Metric that chooses the best model; eval_score is the mean of every head's primary metric."
        },
    )
    remove_unused_columns: bool = field(
        default=False, metadata={"help": "Must stay False: the tasks say which columns are used."}
    )
    ddp_find_unused_parameters: bool | None = field(
        default=False, metadata={"help": "Not needed: heads without a row are no part of DDP's buckets."}
    )

    def __post_init__(self) -> None:
        if self.deepspeed:
            raise InputError(NO_DEEPSPEED)
        super().__post_init__()
        if self.remove_unused_columns:
            raise InputError("remove_unused_columns: expected False, the tasks say which columns are used.")
        if self.label_smoothing_factor != 0:
            raise InputError("label_smoothing_factor: set label_smoothing in the heads' configs instead.")
        if not self.average_tokens_across_devices:
            raise InputError(
                "average_tokens_across_devices: expected True, a head's items are counted over all devices."
            )
        if self.n_gpu > 1:
            raise InputError(
                f"{self.n_gpu} GPUs in one process: start one process a GPU, with accelerate launch or torchrun."
            )
        config: Any = self.fsdp_config
        if self.fsdp and (config["xla"] or int(config.get("version", 2)) != 2):
            raise InputError("fsdp_config: expected version 2 without xla, which shards the backbone by its blocks.")
