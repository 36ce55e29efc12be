"""The training arguments that a reader needs to train the model again."""

from __future__ import annotations

from dataclasses import MISSING, Field, fields
from enum import Enum
from typing import Any

from ..arguments import MultiTaskTrainingArguments

__all__ = ["changed_arguments"]

_ALWAYS = ("per_device_train_batch_size", "learning_rate", "num_train_epochs", "seed")
_TEXTS = ("metric_for_best_model", "nonfinite_loss", "train_sampling_strategy", "optim_args")
"""Arguments whose text says something of the training. Any other text may be a path, a token or a name."""
_BY_COMPONENT = ("learning_rates", "weight_decays", "freeze_until")
"""Arguments with a number for the backbone and for heads."""
_OTHER_MATTERS = ("logging_", "log_", "report_", "hub_", "push_", "save_", "ddp_", "dataloader_", "do_", "disable_")
"""Beginnings of arguments that say how a run reports, saves and reads, and nothing of its weights."""
_OTHERS = frozenset(
    {
        "enable_jit_checkpoint",
        "eval_do_concat_batches",
        # follows from metric_for_best_model
        "greater_is_better",
        "ignore_data_skip",
        "local_rank",
        "prediction_loss_only",
        "preprocessing_num_proc",
        "restore_callback_states_from_checkpoint",
        "resume_from_checkpoint",
        "skip_memory_metrics",
    }
)


def changed_arguments(args: MultiTaskTrainingArguments) -> dict[str, Any]:
    """
    Find the arguments that make a training what it is: those that differ from the defaults, and a few that every
    reader looks for.

    Only numbers (of components, too), switches and choices are among them. Paths, tokens and names of repositories are
    texts, and of texts only those are taken that are known to be none of these.

    Args:
        args ([`MultiTaskTrainingArguments`]): The training arguments.

    Returns:
        `dict[str, Any]`: Their values, in the order in which they are defined.

    Example:
        >>> args = MultiTaskTrainingArguments("out", use_cpu=True, learning_rate=3e-4, hub_token="hf_secret")
        >>> found = changed_arguments(args)
        >>> list(found), found["learning_rate"]
        (['per_device_train_batch_size', 'num_train_epochs', 'learning_rate', 'seed', 'use_cpu'], 0.0003)
    """
    found = {}
    for each in fields(args):
        value = getattr(args, each.name)
        shown = value.value if isinstance(value, Enum) else value
        if _is_wanted(each, value) and (each.name in _ALWAYS or _differs(shown, _default(each))):
            found[each.name] = shown
    if args.max_steps > 0:
        found.pop("num_train_epochs", None)
    return found


def _is_wanted(argument: Field[Any], value: Any) -> bool:
    if not argument.init or argument.name in _OTHERS or argument.name.startswith(_OTHER_MATTERS):
        return argument.name == "dataloader_drop_last"
    if argument.name in _BY_COMPONENT:
        return True
    return isinstance(value, bool | int | float | Enum) or (argument.name in _TEXTS and isinstance(value, str))


def _default(argument: Field[Any]) -> Any:
    default = argument.default if argument.default_factory is MISSING else argument.default_factory()
    return default.value if isinstance(default, Enum) else default


def _differs(value: Any, default: Any) -> bool:
    """Whether a value was chosen; None, which transformers turns into False, is no other value than False."""
    return value != default and bool(value or default)
