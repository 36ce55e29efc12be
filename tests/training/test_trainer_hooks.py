"""
What the package overrides and relies on in transformers, accelerate and torch, as it stands there.

transformers changes the methods of its Trainer without notice. Each signature is written out here as it is from the
floor of setup.cfg to the newest version tested; between these (5.17 and 5.23) none of them differs.
"""

from __future__ import annotations

import ast
import importlib
import inspect
import pkgutil
from collections.abc import Callable, Iterator
from types import FunctionType
from typing import Any

import pytest
import torch
import transformers.trainer
from torch import nn
from torch.nn.parallel import DistributedDataParallel
from transformers import DefaultFlowCallback, Trainer, TrainerCallback, TrainerControl, TrainerState, TrainingArguments
from transformers.trainer_callback import CallbackHandler

import mt_transformers.training
from mt_transformers import MultiTaskModel, MultiTaskTrainer, Task
from mt_transformers.data import MultiTaskBatchSampler

TRAINER_SIGNATURES = {
    "__init__": (
        "(self, model=None, args=None, data_collator=None, train_dataset=None, eval_dataset=None, "
        "processing_class=None, model_init=None, compute_loss_func=None, compute_metrics=None, callbacks=None, "
        "optimizers=(None, None), optimizer_cls_and_kwargs=None, preprocess_logits_for_metrics=None)"
    ),
    "train": "(self, resume_from_checkpoint=None, trial=None, ignore_keys_for_eval=None)",
    "get_batch_samples": "(self, epoch_iterator, num_batches, device)",
    "compute_loss": "(self, model, inputs, return_outputs=False, num_items_in_batch=None)",
    "training_step": "(self, model, inputs, num_items_in_batch=None)",
    "floating_point_ops": "(self, inputs)",
    "_track_num_input_tokens": "(self, inputs)",
    "log": "(self, logs, start_time=None)",
    "_save_checkpoint": "(self, model, trial)",
    "create_optimizer": "(self, model=None)",
    "compute_loss_context_manager": "(self)",
    "evaluation_loop": (
        "(self, dataloader, description, prediction_loss_only=None, ignore_keys=None, metric_key_prefix='eval')"
    ),
    "save_model": "(self, output_dir=None, _internal_call=False)",
    "_save": "(self, output_dir=None, state_dict=None)",
    "create_model_card": (
        "(self, language=None, license=None, tags=None, model_name=None, finetuned_from=None, tasks=None, "
        "dataset_tags=None, dataset=None, dataset_args=None)"
    ),
    "_push_from_checkpoint": "(self, checkpoint_folder)",
    "_load_from_checkpoint": "(self, resume_from_checkpoint, model=None)",
    "_load_best_model": "(self)",
    "_has_mixed_mesh_grads": "(self, model)",
    "_save_optimizer_and_scheduler": "(self, output_dir)",
    "_load_optimizer_and_scheduler": "(self, checkpoint)",
    "get_train_dataloader": "(self)",
    "get_eval_dataloader": "(self, eval_dataset=None)",
    "evaluate": "(self, eval_dataset=None, ignore_keys=None, metric_key_prefix='eval')",
    "predict": "(self, test_dataset, ignore_keys=None, metric_key_prefix='test')",
    "prediction_step": "(self, model, inputs, prediction_loss_only, ignore_keys=None)",
    "hyperparameter_search": (
        "(self, hp_space=None, compute_objective=None, n_trials=20, direction='minimize', backend=None, "
        "hp_name=None, **kwargs)"
    ),
}
"""The methods of `transformers.Trainer` that the package overrides."""

CALLED = {
    "_get_output_dir": "(self, trial)",
    "_prepare_inputs": "(self, inputs)",
}
"""The methods of `transformers.Trainer` that the package calls and that users rarely see."""

CALLBACK_SIGNATURES = {
    "on_epoch_begin": "(self, args, state, control, **kwargs)",
    "on_epoch_end": "(self, args, state, control, **kwargs)",
    "on_evaluate": "(self, args, state, control, **kwargs)",
    "on_optimizer_step": "(self, args, state, control, **kwargs)",
    "on_train_begin": "(self, args, state, control, **kwargs)",
    "on_train_end": "(self, args, state, control, **kwargs)",
}
"""The methods of `transformers.TrainerCallback` that the package overrides."""

Models = Callable[..., MultiTaskModel]
Trainers = Callable[..., MultiTaskTrainer]


def bare_signature(function: Callable[..., Any]) -> str:
    """Names, kinds and defaults of the parameters, without annotations."""
    signature = inspect.signature(function)
    parameters = [each.replace(annotation=inspect.Parameter.empty) for each in signature.parameters.values()]
    return str(signature.replace(parameters=parameters, return_annotation=inspect.Signature.empty))


def overrides(own: type, base: type) -> dict[str, FunctionType]:
    """The methods of `base` that `own`, or a class of the package that it inherits from, defines anew."""
    classes = [each for each in reversed(own.__mro__) if each.__module__.split(".")[0] == "mt_transformers"]
    found = {name: value for each in classes for name, value in vars(each).items() if isinstance(value, FunctionType)}
    return {name: value for name, value in found.items() if inspect.isroutine(getattr(base, name, None))}


def callback_classes() -> list[type[TrainerCallback]]:
    """All callbacks of the training room."""
    room = mt_transformers.training
    modules = [importlib.import_module(f"{room.__name__}.{each.name}") for each in pkgutil.iter_modules(room.__path__)]
    members = [value for module in modules for value in vars(module).values() if inspect.isclass(value)]
    return list(
        dict.fromkeys(
            value
            for value in members
            if issubclass(value, TrainerCallback) and value.__module__.split(".")[0] == "mt_transformers"
        )
    )


def calls_in_the_trainer() -> Iterator[tuple[str, ast.Call]]:
    """Each place where transformers' Trainer itself calls a method that the package overrides."""
    for node in ast.walk(ast.parse(inspect.getsource(transformers.trainer))):
        called = node.func if isinstance(node, ast.Call) else None
        of_self = (
            isinstance(called, ast.Attribute) and isinstance(called.value, ast.Name) and called.value.id == "self"
        )
        if of_self and called.attr in overrides(MultiTaskTrainer, Trainer):
            yield called.attr, node


def test_every_override_of_the_trainer_is_written_out_here() -> None:
    assert set(overrides(MultiTaskTrainer, Trainer)) == set(TRAINER_SIGNATURES)


@pytest.mark.parametrize("name", [*TRAINER_SIGNATURES, *CALLED])
def test_the_trainers_methods_are_as_written_out(name: str) -> None:
    assert bare_signature(getattr(Trainer, name)) == (TRAINER_SIGNATURES | CALLED)[name]


@pytest.mark.parametrize("name", [name for name in TRAINER_SIGNATURES if name != "__init__"])
def test_an_override_takes_what_the_overridden_method_takes(name: str) -> None:
    """By position and by name; `__init__`, whose third argument is `tasks`, is the one exception."""
    ours = inspect.signature(overrides(MultiTaskTrainer, Trainer)[name])
    asked = list(inspect.signature(getattr(Trainer, name)).parameters.values())[1:]
    theirs = [each.name for each in asked if each.kind is not each.VAR_KEYWORD]
    by_position = ours.bind("self", *theirs)
    by_name = ours.bind("self", **dict(zip(theirs, theirs, strict=True)))
    for bound in (by_position, by_name):
        # what lands in a catch-all is handed on as it came
        named = {key: value for key, value in bound.arguments.items() if key not in ("self", "args", "kwargs")}
        assert all(key == value for key, value in named.items())
    assert set(by_name.arguments) >= {"self", *theirs[:1]}


def test_an_override_can_be_called_as_the_trainer_calls_it() -> None:
    found = list(calls_in_the_trainer())
    # these are called by users, train by a search, too
    by_users = {"__init__", "train", "predict", "hyperparameter_search"}
    assert {name for name, _ in found} == set(TRAINER_SIGNATURES) - by_users
    for name, call in found:
        assert not any(isinstance(each, ast.Starred) for each in call.args)
        keywords = {each.arg: each for each in call.keywords if each.arg is not None}
        # push_to_hub hands on to the model card what its caller says of it
        assert len(keywords) == len(call.keywords) - (name == "create_model_card")
        inspect.signature(overrides(MultiTaskTrainer, Trainer)[name]).bind("self", *call.args, **keywords)


def test_every_override_of_a_callback_is_written_out_here() -> None:
    found = {name for each in callback_classes() for name in overrides(each, TrainerCallback)} - {"__init__"}
    assert found == set(CALLBACK_SIGNATURES)


@pytest.mark.parametrize("name", CALLBACK_SIGNATURES)
def test_the_callbacks_methods_are_as_written_out(name: str) -> None:
    assert bare_signature(getattr(TrainerCallback, name)) == CALLBACK_SIGNATURES[name]


@pytest.mark.parametrize("name", CALLBACK_SIGNATURES)
def test_a_callback_can_be_called_as_the_trainer_calls_it(name: str) -> None:
    """The handler's own call is recorded, with all that it passes on beside the arguments of the event."""
    recorded: list[tuple[tuple[Any, ...], dict[str, Any]]] = []
    recorder: Any = TrainerCallback()
    setattr(recorder, name, lambda *args, **kwargs: recorded.append((args, kwargs)))
    handler = CallbackHandler([recorder, DefaultFlowCallback()], None, None, None, None)
    given = {"args": TrainingArguments(), "state": TrainerState(), "control": TrainerControl()}
    event = getattr(handler, name)
    asked = [each for each in inspect.signature(event).parameters.values() if each.kind is not each.VAR_KEYWORD]
    event(*[given.get(each.name, each.name) for each in asked])
    [(args, kwargs)] = recorded
    classes = [each for each in callback_classes() if name in overrides(each, TrainerCallback)]
    assert classes
    for each in classes:
        bound = inspect.signature(overrides(each, TrainerCallback)[name]).bind("self", *args, **kwargs).arguments
        assert {key: bound[key] for key in given} == given
        if name == "on_evaluate":
            assert bound["metrics"] == "metrics"


def test_the_epoch_is_told_before_the_sampler_is_asked_for_batches(
    two_tasks: dict[str, Task], quiet_model: Models, make_trainer: Trainers, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`SamplerCallback` relies on it: `on_epoch_begin` comes before the iterator of the epoch is made."""
    events: list[Any] = []
    iterate, set_epoch = MultiTaskBatchSampler.__iter__, MultiTaskBatchSampler.set_epoch

    def told(self: MultiTaskBatchSampler, epoch: int) -> None:
        events.append(epoch)
        set_epoch(self, epoch)

    def asked(self: MultiTaskBatchSampler) -> Iterator[list[int]]:
        events.append("batches")
        return iterate(self)

    monkeypatch.setattr(MultiTaskBatchSampler, "set_epoch", told)
    monkeypatch.setattr(MultiTaskBatchSampler, "__iter__", asked)
    make_trainer(quiet_model(), two_tasks, num_train_epochs=2, per_device_train_batch_size=12).train()
    epochs = [[each for each in events[: place + 1] if each != "batches"][-1] for place, each in enumerate(events)]
    assert [epoch for epoch, each in zip(epochs, events, strict=True) if each == "batches"] == [0, 1]


def test_attributes_that_the_trainer_relies_on(
    two_tasks: dict[str, Task], quiet_model: Models, make_trainer: Trainers
) -> None:
    trainer = make_trainer(quiet_model(), two_tasks, per_device_train_batch_size=4)
    # what get_train_dataloader reads, because a search for the largest batch size changes it and not the arguments
    assert trainer._train_batch_size == 4
    trainer._update_auto_batch_size(2)
    assert trainer._train_batch_size == 2
    # without it the model would not be told the items of the whole step
    assert trainer.model_accepts_loss_kwargs is True
    assert trainer.sampler_callback in trainer.callback_handler.callbacks
    assert trainer.accelerator.sync_gradients is True
    assert trainer.accelerator.num_processes == 1


def test_ddp_takes_the_names_of_parameters_to_leave_alone() -> None:
    ignore = DistributedDataParallel._set_params_and_buffers_to_ignore_for_model
    assert bare_signature(ignore) == "(module, params_and_buffers_to_ignore)"
    model = nn.Linear(2, 1)
    ignore(model, ["bias"])
    # where DDP's constructor reads it
    assert model._ddp_params_and_buffers_to_ignore == ["bias"]
    assert "_ddp_params_and_buffers_to_ignore" in inspect.getsource(DistributedDataParallel.__init__)
    assert torch.distributed.is_available()
