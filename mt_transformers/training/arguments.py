"""Training arguments: those of the Trainer, with the defaults that several heads need."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, field
from typing import Any

from transformers import TrainingArguments
from transformers.training_args import OptimizerNames

from ..errors import InputError, check_known

__all__ = ["NO_DEEPSPEED", "MultiTaskTrainingArguments"]

NO_DEEPSPEED = (
    "deepspeed is not supported: its optimizer holds all parameters as one, so that weight decay and momentum would "
    "move heads without a row, and its exchange of gradients takes the same heads on all processes. Use fsdp, with "
    "which the backbone is sharded and heads without a row are left alone."
)
"""Why DeepSpeed is refused, wherever it was asked for."""

_LEAST = {
    "learning_rates": "a finite number above 0",
    "weight_decays": "a finite number from 0 up",
    "freeze_until": "a whole number of optimizer steps from 0 up",
}
"""Fields that have an entry for a component, and what each entry is."""

_STEPS_EARLY = re.compile("layerwise|lomo")

_STRATEGIES = ("random", "group_by_length", "batch_rebalance")


@dataclass
class MultiTaskTrainingArguments(TrainingArguments):
    """
    Arguments of [`MultiTaskTrainer`]: all of `transformers.TrainingArguments`, and these.

    Changed defaults: `metric_for_best_model` is `"eval_score"`, the mean of every head's primary metric;
    `remove_unused_columns` is False, since the tasks say which columns are used; `ddp_find_unused_parameters` is
    False, since heads without a row are left out of the exchange of gradients; the trainer turns it on where parts of
    the backbone may idle, see [`backbone_may_idle`].

    `train_sampling_strategy` changes nothing about which rows the mixture takes, nor how many of which task. With
    `"group_by_length"` rows of like length share a batch, found among those of 50 global batches (of 50 for each task
    where batches are homogeneous); each task's rows change places among themselves, so that every batch has as many
    of each task as with `"random"`. With `"batch_rebalance"` the rows of each optimizer step are those of `"random"`,
    and so are its gradients; within the step rows of like length share a micro-batch, on every process. Lengths are
    tokens; images, and recordings in files, are all alike.

    Args:
        max_length (`int`, *optional*):
            Length to which rows are cut (tokens). Defaults to what tokenizer and backbone take.
        preprocessing_num_proc (`int`, *optional*): Processes that prepare the rows.
        padding_free (`bool`, *optional*, defaults to `False`):
            Whether the rows of a batch run as one sequence without padding, through flash attention's variable
            lengths; for backbones of text that were loaded with `attn_implementation="flash_attention_2"`.
        nonfinite_loss (`str`, *optional*, defaults to `"raise"`):
            What happens where a head's loss is NaN or infinite: `raise` stops the run before a weight is changed, with
            an error that names head, tasks and step; `skip` leaves these rows out, does not update the head in that
            optimizer step, and logs `skipped_<head>` (optimizer steps).
        learning_rates (`dict[str, float]`, *optional*):
            Learning rate of `backbone`, of all `heads`, or of a head by its name, which goes before `heads`; what has
            none trains with `learning_rate`. The schedule scales all of them alike; `learning_rate` in the log is that
            of the first parameters, as a rule the backbone's.
        weight_decays (`dict[str, float]`, *optional*):
            Weight decay of components, likewise; biases and norms have none.
        freeze_until (`dict[str, int]`, *optional*):
            Number of optimizer steps at the start of the run in which a component, likewise, is left as it is, with
            no weight decay and no momentum. `{"backbone": 500}` first fits new heads to the features as they are.
            Source: linear probing, then fine-tuning, Kumar et al. (2022), https://arxiv.org/abs/2202.10054.
        balancing (`str` or `dict`, *optional*):
            How the tasks are balanced: the name of a method, or a mapping with `name` and its options, see
            [`make_balancing`]. By default the heads' losses, each times its `loss_weights`, are summed.
        conflict_steps (`int`, *optional*):
            Every how many optimizer steps the gradients of the tasks in the backbone are compared, for the report of
            conflicts; training is the same with and without it. Methods that aggregate gradients compare them anyway.

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
    padding_free: bool = field(
        default=False,
        metadata={"help": "Run a batch as one sequence without padding; needs flash attention's variable lengths."},
    )
    nonfinite_loss: str = field(
        default="raise",
        metadata={
            "help": "What happens where a head's loss is NaN or infinite: raise, or skip the head in that step.",
            "choices": ["raise", "skip"],
        },
    )
    learning_rates: dict[str, float] = field(
        default_factory=dict,
        metadata={"help": "Learning rate of backbone, heads (all of them) or a head by its name."},
    )
    weight_decays: dict[str, float] = field(
        default_factory=dict,
        metadata={"help": "Weight decay of backbone, heads (all of them) or a head by its name."},
    )
    freeze_until: dict[str, int] = field(
        default_factory=dict,
        metadata={"help": "Optimizer steps in which backbone, heads (all) or a head by its name is left as it is."},
    )
    balancing: dict[str, Any] | str | None = field(
        default=None, metadata={"help": "Method by which tasks are balanced: its name, or name and options."}
    )
    conflict_steps: int | None = field(
        default=None,
        metadata={"help": "Every how many optimizer steps the gradients of the tasks are compared; by default never."},
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
        check_known([self.nonfinite_loss], ("raise", "skip"), "training", "nonfinite_loss")
        if self.label_smoothing_factor != 0:
            raise InputError("label_smoothing_factor: set label_smoothing in the heads' configs instead.")
        if not self.average_tokens_across_devices:
            raise InputError(
                "average_tokens_across_devices: expected True, a head's items are counted over all devices."
            )
        if self.conflict_steps is not None and (type(self.conflict_steps) is not int or self.conflict_steps < 1):
            raise InputError(
                f"conflict_steps: expected a number of optimizer steps from 1 up, found {self.conflict_steps!r}."
            )
        self._check_sampling()
        self._check_components()
        if self.n_gpu > 1:
            raise InputError(
                f"{self.n_gpu} GPUs in one process: start one process a GPU, with accelerate launch or torchrun."
            )
        config: Any = self.fsdp_config
        if self.fsdp and (config["xla"] or int(config.get("version", 2)) != 2):
            raise InputError("fsdp_config: expected version 2 without xla, which shards the backbone by its blocks.")

    def _check_components(self) -> None:
        for name, least in _LEAST.items():
            given = getattr(self, name) or {}
            if not isinstance(given, dict):
                raise InputError(f"{name}: expected a mapping of components to numbers, found {given!r}.")
            for component, value in given.items():
                kinds = int if name == "freeze_until" else int | float
                is_number = isinstance(value, kinds) and not isinstance(value, bool) and math.isfinite(value)
                if not is_number or value < 0 or (value == 0 and name == "learning_rates"):
                    raise InputError(f"{name}: expected {least} for {component!r}, found {value!r}.")
            setattr(self, name, dict(given))
        optim = OptimizerNames(self.optim).value
        if any(getattr(self, name) for name in _LEAST) and _STEPS_EARLY.search(optim):
            raise InputError(
                f"optim: {optim!r} steps within the backward pass, all parameters alike: it cannot be "
                f"combined with {', '.join(_LEAST)}."
            )

    def _check_sampling(self) -> None:
        if self.train_sampling_strategy == "sequential":
            raise InputError("train_sampling_strategy: for task after task set the mixture's order to 'sequential'.")
        check_known([self.train_sampling_strategy], _STRATEGIES, "training", "train_sampling_strategy")
        if self.length_column_name != "length":
            raise InputError(
                f"length_column_name: expected 'length', as prepared rows have it, found {self.length_column_name!r}."
            )
