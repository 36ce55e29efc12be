"""A head whose loss is NaN or infinite: the run stops and names it, or goes on as if it had no rows in that step."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from transformers import TrainerCallback

from mt_transformers import Mixture, MultiTaskModel, MultiTaskTrainer, Task
from mt_transformers.errors import InputError

Models = Callable[..., MultiTaskModel]
Trainers = Callable[..., MultiTaskTrainer]

OPTIONS: dict[str, Any] = {"max_steps": 4, "learning_rate": 1e-2, "weight_decay": 0.1}


class Spoil(TrainerCallback):
    """Puts a value into the first row's features of one training call of a head, or of the backbone's output."""

    def __init__(self, module: str, call: int, value: float = float("nan")) -> None:
        self.module, self.call, self.value = module, call, value
        self.calls = 0

    def on_train_begin(self, args: Any, state: Any, control: Any, model: Any = None, **_: Any) -> None:
        module = model.get_submodule(self.module)
        if self.module.startswith("heads."):
            module.register_forward_pre_hook(self.before_head, with_kwargs=True)
        else:
            module.register_forward_hook(self.after_layer)

    def factors(self, module: torch.nn.Module, features: torch.Tensor) -> torch.Tensor:
        factors = torch.ones_like(features)
        if module.training:
            self.calls += 1
            if self.calls == self.call:
                factors[0] = self.value
        return factors

    def before_head(self, module: torch.nn.Module, args: Any, kwargs: dict[str, Any]) -> Any:
        return args, {**kwargs, "encoded": kwargs["encoded"] * self.factors(module, kwargs["encoded"])}

    def after_layer(self, module: torch.nn.Module, args: Any, output: torch.Tensor) -> Any:
        return output * self.factors(module, output)


class Weights(TrainerCallback):
    """Keeps the weights behind every optimizer step."""

    def __init__(self) -> None:
        self.found: list[dict[str, torch.Tensor]] = []

    def on_train_begin(self, args: Any, state: Any, control: Any, model: Any = None, **_: Any) -> None:
        self.found.append({name: each.detach().clone() for name, each in model.named_parameters()})

    def on_step_end(self, args: Any, state: Any, control: Any, model: Any = None, **_: Any) -> None:
        self.found.append({name: each.detach().clone() for name, each in model.named_parameters()})


def changed(before: dict[str, torch.Tensor], after: dict[str, torch.Tensor]) -> set[str]:
    """The components that have other weights."""
    names = [name for name, value in before.items() if not torch.equal(value, after[name])]
    return {name.split(".")[1] if name.startswith("heads.") else "backbone" for name in names}


@pytest.mark.parametrize("accumulation", [1, 2])
def test_by_default_the_run_stops_and_names_head_task_and_step(
    two_tasks: dict[str, Task], quiet_model: Models, make_trainer: Trainers, accumulation: int
) -> None:
    model, weights = quiet_model(), Weights()
    # in each call both tasks have rows: the third step, or the second one's first half
    callbacks = [weights, Spoil("heads.intent", 3)]
    mixture = Mixture(sampling="uniform", order="round_robin")
    options = {**OPTIONS, "gradient_accumulation_steps": accumulation}
    trainer = make_trainer(model, two_tasks, mixture=mixture, callbacks=callbacks, **options)
    step = {1: 3, 2: 2}[accumulation]
    with pytest.raises(
        InputError,
        match=rf"^step {step}: the loss of head 'intent' is nan for 1 row\(s\) of task\(s\) requests. No weight",
    ):
        trainer.train()
    # nor does what was there before
    assert len(weights.found) == step
    assert changed(weights.found[-1], dict(model.named_parameters())) == set()
    assert all(torch.isfinite(each).all() for each in model.parameters())


def test_all_heads_at_fault_are_named(two_tasks: dict[str, Task], quiet_model: Models, make_trainer: Trainers) -> None:
    callbacks = [Spoil("heads.slots", 1), Spoil("heads.mood", 1, float("inf"))]
    mixture = Mixture(sampling="uniform", order="round_robin")
    trainer = make_trainer(quiet_model(), two_tasks, mixture=mixture, callbacks=callbacks, **OPTIONS)
    with pytest.raises(
        InputError, match=r"head 'slots' is nan .* requests; the loss of head 'mood' is nan .* moods\."
    ):
        trainer.train()


def test_a_skipped_head_is_not_updated_in_that_step_and_the_others_are(
    two_tasks: dict[str, Task], quiet_model: Models, make_trainer: Trainers
) -> None:
    model, weights = quiet_model(), Weights()
    mixture = Mixture(sampling="uniform", order="round_robin")
    callbacks = [weights, Spoil("heads.intent", 2)]
    trainer = make_trainer(model, two_tasks, mixture=mixture, callbacks=callbacks, nonfinite_loss="skip", **OPTIONS)
    trainer.train()
    steps = [changed(one, other) for one, other in zip(weights.found, weights.found[1:], strict=False)]
    everything = {"backbone", "intent", "slots", "mood"}
    assert steps == [everything, everything - {"intent"}, everything, everything]
    assert all(torch.isfinite(each).all() for each in model.parameters())
    lines = [line for line in trainer.state.log_history if "loss" in line]
    assert [line.get("skipped_intent") for line in lines] == [None, 1.0, None, None]
    assert not any(key.startswith("skipped") and key != "skipped_intent" for line in lines for key in line)
    # the other row of the step has a loss, and its gradient reaches the backbone
    assert [0 < line["loss_intent"] < 0.4 for line in lines] == [False, True, False, False]
    # what stood between backbone and heads is gone again
    assert not model.heads["mood"]._forward_pre_hooks


@pytest.mark.parametrize("batches", ["mixed", "homogeneous"])
def test_the_others_train_as_if_it_had_no_rows(
    two_tasks: dict[str, Task], quiet_model: Models, make_trainer: Trainers, batches: Any
) -> None:
    """A head that is beyond help from the start, beside a run in which nothing leads to it."""
    found = []
    for broken in (True, False):
        torch.manual_seed(0)
        model = quiet_model().double()
        tasks = dict(two_tasks)
        if broken:
            model.heads["intent"].classifier.weight.data.fill_(float("nan"))
        else:
            requests = tasks["requests"]
            tasks["requests"] = Task(
                dataset=requests.dataset, inputs=requests.inputs, labels={"slots": requests.labels["slots"]}
            )
        trainer = make_trainer(
            model,
            tasks,
            mixture=Mixture(batches=batches),
            nonfinite_loss="skip",
            gradient_accumulation_steps=2,
            **OPTIONS,
        )
        trainer.train()
        found.append({name: each for name, each in model.named_parameters() if "intent" not in name})
    assert len(found[0]) > 10
    for name, value in found[0].items():
        torch.testing.assert_close(value, found[1][name], rtol=1e-12, atol=1e-14)


def test_where_the_backbone_is_frozen_a_head_is_skipped_all_the_same(
    two_tasks: dict[str, Task], quiet_model: Models, make_trainer: Trainers
) -> None:
    model, weights = quiet_model(), Weights()
    model.backbone.requires_grad_(False)
    trainer = make_trainer(
        model,
        two_tasks,
        mixture=Mixture(sampling="uniform", order="round_robin"),
        callbacks=[weights, Spoil("heads.mood", 1)],
        nonfinite_loss="skip",
        **OPTIONS,
    )
    trainer.train()
    steps = [changed(one, other) for one, other in zip(weights.found, weights.found[1:], strict=False)]
    assert steps[:2] == [{"intent", "slots"}, {"intent", "slots", "mood"}]


def test_a_backbone_at_fault_leaves_the_whole_step_out(
    two_tasks: dict[str, Task], quiet_model: Models, make_trainer: Trainers
) -> None:
    """Zeros that flow back through features that are not finite do not stay zeros."""
    model, weights = quiet_model(), Weights()
    trainer = make_trainer(
        model,
        two_tasks,
        mixture=Mixture(sampling="uniform", order="round_robin"),
        callbacks=[weights, Spoil("backbone.model.embeddings", 2)],
        nonfinite_loss="skip",
        **OPTIONS,
    )
    trainer.train()
    steps = [changed(one, other) for one, other in zip(weights.found, weights.found[1:], strict=False)]
    everything = {"backbone", "intent", "slots", "mood"}
    assert steps == [everything, set(), everything, everything]
    line = [line for line in trainer.state.log_history if "loss" in line][1]
    assert {key: line[key] for key in line if key.startswith("skipped")} == {
        # row 0 is one of requests
        "skipped_backbone": 1.0,
        "skipped_intent": 1.0,
        "skipped_slots": 1.0,
    }


def test_an_unknown_way_is_refused(two_tasks: dict[str, Task], quiet_model: Models, make_trainer: Trainers) -> None:
    with pytest.raises(InputError, match="unknown nonfinite_loss 'ignore'"):
        make_trainer(quiet_model(), two_tasks, nonfinite_loss="ignore")
