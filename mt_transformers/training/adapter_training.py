"""What a trainer does otherwise where peft's adapters are trained, and not the backbone."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from transformers import Trainer
from transformers.utils import is_peft_available

from ..errors import InputError
from ..modeling import MultiTaskModel, base_model, load_adapters
from .arguments import MultiTaskTrainingArguments
from .head_gradients import average_gradients

if TYPE_CHECKING:
    from accelerate import Accelerator

__all__ = [
    "AdapterTrainingMixin",
    "average_adapter_gradients",
    "check_adapters",
    "check_heads_train",
    "is_adapted",
]


class AdapterTrainingMixin(Trainer):
    """Adds to a `Trainer` over several tasks what models in a `PeftModel` ask for; for others nothing changes."""

    model: MultiTaskModel
    args: MultiTaskTrainingArguments

    def _save(self, output_dir: str | None = None, state_dict: dict[str, Any] | None = None) -> None:
        """As `Trainer._save`; beside adapters the config of the model, which says what heads there are."""
        if not is_adapted(self.model):
            super()._save(output_dir, state_dict)
            return
        folder = Path(output_dir or str(self.args.output_dir))
        with _without_card_of_peft(folder / "README.md"):
            super()._save(output_dir, state_dict)
        if self.args.should_save:
            base_model(self.model).config.save_pretrained(folder)

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: Any = None) -> None:
        # the Trainer's way leaves one of several adapters trained, and heads that are missing as they are
        if is_adapted(self.model):
            load_adapters(self.model, resume_from_checkpoint)  # type: ignore[arg-type]
        else:
            super()._load_from_checkpoint(resume_from_checkpoint, model)

    def _load_best_model(self) -> None:
        # the Trainer finds none where there are several adapters
        if is_adapted(self.model):
            load_adapters(self.model, str(self.state.best_model_checkpoint))  # type: ignore[arg-type]
        else:
            super()._load_best_model()


@contextmanager
def _without_card_of_peft(card: Path) -> Iterator[None]:
    """Leave a card as it was, or absent: peft writes one of its own whenever adapters are saved."""
    before = card.read_bytes() if card.exists() else None
    yield
    if before is None:
        card.unlink(missing_ok=True)
    else:
        card.write_bytes(before)


def is_adapted(model: Any) -> bool:
    """
    Tell whether a model is peft's around another one.

    Args:
        model (`Any`): The model.

    Returns:
        `bool`.

    Example:
        >>> is_adapted(torch.nn.Linear(1, 1))
        False
    """
    if not is_peft_available():
        return False
    from peft import PeftModel

    return isinstance(model, PeftModel)


def check_adapters(model: MultiTaskModel, args: MultiTaskTrainingArguments) -> None:
    """
    Refuse training arguments that an adapter for each task cannot be combined with.

    Args:
        model ([`MultiTaskModel`]): The model, or peft's around it.
        args ([`MultiTaskTrainingArguments`]): The training arguments.

    Raises:
        InputError: If one is given, saying which.
    """
    if not model.task_adapters:
        return
    for name in ("padding_free", "torch_compile", "activation_checkpointing", "gradient_checkpointing"):
        # transformers 5.23 renamed the last; it can go once we drop support for versions older than that
        if vars(args).get(name):
            raise InputError(f"{name}: cannot be combined with an adapter for each task.")


def check_heads_train(model: MultiTaskModel, fed: Collection[str]) -> None:
    """
    Refuse to train adapters beside heads that peft has frozen.

    Args:
        model ([`MultiTaskModel`]): The model, or peft's around it.
        fed (`Collection[str]`): Heads that the tasks feed.

    Raises:
        InputError: If such a head is frozen, saying how to add the adapter.
    """
    if not is_adapted(model):
        return
    for name in fed:
        parameters = list(model.named_heads[name].parameters())
        if parameters and not any(each.requires_grad for each in parameters):
            raise InputError(
                f"head {name!r}: peft has frozen it, so that it would not be trained. Add adapters with "
                "get_peft_model or add_task_adapters of mt_transformers.modeling, further ones with "
                "complete_peft_config, and load them with is_trainable=True."
            )


def average_adapter_gradients(model: MultiTaskModel, accelerator: Accelerator) -> None:
    """
    Average the gradients of tasks' adapters over all processes, of those that have one on some process.

    Args:
        model ([`MultiTaskModel`]): The model, or peft's around it.
        accelerator (`Accelerator`): Knows the processes.
    """
    adapters = _adapter_parameters(model)
    has_rows = [any(each.grad is not None for each in parameters) for parameters in adapters.values()]
    found = torch.tensor(has_rows, dtype=torch.long, device=accelerator.device)
    torch.distributed.all_reduce(found, op=torch.distributed.ReduceOp.MAX)
    active = [each for each, rows in zip(adapters.values(), found.tolist(), strict=True) if rows]
    average_gradients([parameter for each in active for parameter in each], accelerator)


def _adapter_parameters(model: MultiTaskModel) -> Mapping[str, list[torch.nn.Parameter]]:
    """The parameters in the backbone that belong to each task's adapter."""
    found: dict[str, list[torch.nn.Parameter]] = {name: [] for name in sorted(model.task_adapters.values())}
    for name, parameter in model.backbone.named_parameters():
        owner = next((part for part in name.split(".") if part in found), None)
        if owner is not None and parameter.requires_grad:
            found[owner].append(parameter)
    return found
