"""Each component's learning rate and weight decay: every parameter moves by its own, in one optimizer step."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from transformers import Trainer

from mt_transformers import MultiTaskModel, MultiTaskTrainer, Task
from mt_transformers.errors import InputError
from mt_transformers.training import apply_overrides, load_yaml
from mt_transformers.training.components import find_component
from mt_transformers.training.recipe_loading import read_arguments

Models = Callable[..., MultiTaskModel]
Trainers = Callable[..., MultiTaskTrainer]

RATES = {"backbone": 1e-5, "heads": 1e-3, "intent": 5e-3}
EXPECTED = {"backbone": 1e-5, "intent": 5e-3, "slots": 1e-3, "mood": 1e-3}


def component(name: str) -> str:
    return "backbone" if name.startswith("backbone.") else name.split(".")[1]


def one_step(trainer: MultiTaskTrainer) -> tuple[dict[str, torch.Tensor], dict[str, torch.Tensor]]:
    """Values before an optimizer step and after it, of the parameters that have a gradient, which is given to them."""
    optimizer = trainer.create_optimizer()
    named = {name: each for name, each in trainer.model.named_parameters() if each.requires_grad}
    for parameter in named.values():
        parameter.grad = torch.ones_like(parameter)
    before = {name: each.detach().clone() for name, each in named.items()}
    optimizer.step()
    return before, {name: each.detach() for name, each in named.items()}


def values_in(groups: list[dict[str, Any]], model: MultiTaskModel, key: str) -> dict[str, Any]:
    """What the group of each parameter says; each is in one group."""
    found: dict[int, Any] = {}
    for group in groups:
        for parameter in group["params"]:
            assert id(parameter) not in found
            found[id(parameter)] = group[key]
    return {name: found[id(each)] for name, each in model.named_parameters() if each.requires_grad}


@pytest.mark.parametrize("optim", ["sgd", "adamw_torch"])
def test_each_component_moves_by_its_own_rate(
    optim: str, two_tasks: dict[str, Task], quiet_model: Models, make_trainer: Trainers
) -> None:
    """With gradients of one SGD goes the rate; AdamW goes it, too, in its first step."""
    model = quiet_model().double()
    trainer = make_trainer(model, two_tasks, optim=optim, learning_rates=RATES, learning_rate=0.5)
    before, after = one_step(trainer)
    assert {component(name) for name in before} == set(EXPECTED)
    for name, value in before.items():
        rate = EXPECTED[component(name)]
        torch.testing.assert_close(value - after[name], torch.full_like(value, rate), rtol=1e-6, atol=1e-12, msg=name)


def test_each_component_decays_by_its_own_weight_decay(
    two_tasks: dict[str, Task], quiet_model: Models, make_trainer: Trainers
) -> None:
    """SGD: w - rate * (1 + decay * w); biases and norms have no decay."""
    model = quiet_model().double()
    given = {"heads": 0.5, "backbone": 0.0, "mood": 0.25}
    expected = {"backbone": 0.0, "intent": 0.5, "slots": 0.5, "mood": 0.25}
    trainer = make_trainer(
        model, two_tasks, optim="sgd", learning_rate=0.1, weight_decays=given, learning_rates={"slots": 0.2}
    )
    names = set(trainer.get_decay_parameter_names(model))
    before, after = one_step(trainer)
    kinds = set()
    for name, value in before.items():
        decay = expected[component(name)] if name in names else 0.0
        kinds.add((component(name), decay))
        rate = 0.2 if component(name) == "slots" else 0.1
        torch.testing.assert_close(after[name], value - rate * (1 + decay * value), rtol=1e-12, atol=1e-12, msg=name)
    assert kinds >= {("intent", 0.5), ("intent", 0.0), ("mood", 0.25), ("slots", 0.5), ("backbone", 0.0)}


def test_what_has_no_entry_trains_with_the_common_values(
    two_tasks: dict[str, Task], quiet_model: Models, make_trainer: Trainers
) -> None:
    model = quiet_model()
    given = {"learning_rate": 0.25, "weight_decay": 0.125}
    trainer = make_trainer(model, two_tasks, learning_rates={"mood": 0.5}, weight_decays={"slots": 0.0}, **given)
    groups = trainer.create_optimizer().param_groups
    rates, decays = values_in(groups, model, "lr"), values_in(groups, model, "weight_decay")
    decaying = set(trainer.get_decay_parameter_names(model))
    for name in rates:
        assert rates[name] == (0.5 if component(name) == "mood" else 0.25)
        assert decays[name] == (0.125 if name in decaying and component(name) != "slots" else 0.0)
    # the first group, whose rate is logged, is the backbone's
    assert groups[0]["params"][0] is model.get_input_embeddings().weight


def test_without_settings_the_optimizer_is_the_trainers_own(
    two_tasks: dict[str, Task], quiet_model: Models, make_trainer: Trainers
) -> None:
    model = quiet_model()
    trainer = make_trainer(model, two_tasks, weight_decay=0.1)
    own = trainer.create_optimizer()
    trainer.optimizer = None
    plain = Trainer.create_optimizer(trainer)
    assert type(own) is type(plain)
    assert own.defaults == plain.defaults
    for ours, theirs in zip(own.param_groups, plain.param_groups, strict=True):
        assert {name: value for name, value in ours.items() if name != "params"} == {
            name: value for name, value in theirs.items() if name != "params"
        }
        assert list(map(id, ours["params"])) == list(map(id, theirs["params"]))


def test_the_schedule_scales_every_group(
    two_tasks: dict[str, Task], quiet_model: Models, make_trainer: Trainers
) -> None:
    trainer = make_trainer(
        quiet_model(), two_tasks, learning_rates=RATES, max_steps=4, lr_scheduler_type="linear", learning_rate=0.5
    )
    trainer.train()
    assert trainer.optimizer is not None
    groups = trainer.optimizer.param_groups
    assert {group["initial_lr"] for group in groups} == set(EXPECTED.values())
    assert all(group["lr"] == 0 for group in groups)
    logged = [line["learning_rate"] for line in trainer.state.log_history if "learning_rate" in line]
    assert logged == pytest.approx([1e-5 * (1 - step / 4) for step in range(4)], rel=1e-9)


def test_an_optimizer_class_of_ones_own_is_used(
    two_tasks: dict[str, Task], quiet_model: Models, make_trainer: Trainers
) -> None:
    model = quiet_model().double()
    trainer = make_trainer(model, two_tasks, learning_rates={"mood": 0.5})
    trainer.optimizer_cls_and_kwargs = (torch.optim.SGD, {"lr": 0.25})
    before, after = one_step(trainer)
    assert isinstance(trainer.optimizer, torch.optim.SGD)
    for name, value in before.items():
        rate = 0.5 if component(name) == "mood" else 0.25
        torch.testing.assert_close(value - after[name], torch.full_like(value, rate), rtol=1e-9, atol=1e-12)


def test_an_optimizer_that_lacks_parameters_is_refused(
    two_tasks: dict[str, Task], quiet_model: Models, make_trainer: Trainers
) -> None:
    class Empty(torch.optim.SGD):
        """Keeps no parameter of those that it is given."""

        def __init__(self, params: Any, lr: float) -> None:
            super().__init__([torch.zeros(1)], lr=lr)

    trainer = make_trainer(quiet_model(), two_tasks, learning_rates={"mood": 0.5})
    trainer.optimizer_cls_and_kwargs = (Empty, {"lr": 0.25})
    with pytest.raises(InputError, match=r"expected an optimizer that holds heads\.mood\..*, which Empty does not"):
        trainer.create_optimizer()


def test_a_run_with_rates_goes_on_from_its_middle(
    two_tasks: dict[str, Task], quiet_model: Models, make_trainer: Trainers
) -> None:
    """Learned rates, momentum and schedule of each group are in the checkpoint."""
    given: dict[str, Any] = {
        "learning_rates": RATES,
        "weight_decays": {"slots": 0.3},
        "max_steps": 4,
        "save_strategy": "steps",
        "save_steps": 2,
    }
    torch.manual_seed(0)
    whole = quiet_model()
    first = {name: value.clone() for name, value in whole.state_dict().items()}
    trainer = make_trainer(whole, two_tasks, **given)
    trainer.train()
    resumed = quiet_model()
    resumed.load_state_dict(first)
    make_trainer(resumed, two_tasks, **given).train(f"{trainer.args.output_dir}/checkpoint-2")
    for name, value in whole.state_dict().items():
        assert torch.equal(value, resumed.state_dict()[name]), name


@pytest.mark.parametrize("frozen", [False, True])
def test_a_run_does_not_go_on_with_other_groups(
    frozen: bool, two_tasks: dict[str, Task], quiet_model: Models, make_trainer: Trainers
) -> None:
    given: dict[str, Any] = {"max_steps": 2, "save_strategy": "steps", "save_steps": 1}
    trainer = make_trainer(quiet_model(), two_tasks, **given)
    trainer.train()
    model = quiet_model()
    if frozen:
        model.freeze_backbone()
    other = make_trainer(model, two_tasks, **given, **({} if frozen else {"learning_rates": RATES}))
    with pytest.raises(InputError, match=r"checkpoint-1' has other groups of parameters\. Set learning_rates and wei"):
        other.train(f"{trainer.args.output_dir}/checkpoint-1")


# ------------------------------------------------------------------------------------------------------------------
# what is refused


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"learning_rates": {"intnet": 1e-3}}, "learning_rates: unknown component 'intnet', did you mean 'intent'"),
        ({"weight_decays": {"head": 0.1}}, "weight_decays: unknown component 'head', did you mean 'heads'"),
        ({"freeze_until": {"requests": 3}}, "freeze_until: unknown component 'requests'.* Known: backbone, heads, in"),
    ],
)
def test_unknown_components_are_refused_before_rows_are_read(
    given: dict[str, Any], message: str, two_tasks: dict[str, Task], quiet_model: Models, make_trainer: Trainers
) -> None:
    # rows that could not be prepared
    two_tasks["requests"].dataset = {"train": None}  # type: ignore[assignment]
    with pytest.raises(InputError, match=message):
        make_trainer(quiet_model(), two_tasks, **given)


def test_a_head_that_is_called_heads_is_named_by_nothing(
    two_tasks: dict[str, Task], quiet_model: Models, make_trainer: Trainers
) -> None:
    model = quiet_model()
    model.add_head("heads", {"head_type": "regression", "mean": [0.0], "std": [1.0]})
    with pytest.raises(InputError, match="learning_rates: 'heads' means all heads, but one of them has that name"):
        make_trainer(model, two_tasks, learning_rates={"heads": 0.5})
    make_trainer(model, two_tasks, learning_rates={"mood": 0.5})


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("learning_rates", 0.0, "a finite number above 0 for 'mood', found 0.0"),
        ("learning_rates", -1e-3, "a finite number above 0"),
        ("learning_rates", math.nan, "a finite number above 0"),
        ("learning_rates", "1e-3", "a finite number above 0 for 'mood', found '1e-3'"),
        ("learning_rates", True, "a finite number above 0"),
        ("weight_decays", math.inf, "a finite number from 0 up"),
        ("weight_decays", -0.1, "a finite number from 0 up"),
        ("freeze_until", -1, "a whole number of optimizer steps from 0 up"),
        ("freeze_until", 1.5, "a whole number of optimizer steps from 0 up for 'mood', found 1.5"),
        ("freeze_until", False, "a whole number of optimizer steps"),
    ],
)
def test_values_that_cannot_be_are_refused(name: str, value: Any, message: str) -> None:
    with pytest.raises(InputError, match=f"{name}: expected {message}"):
        read_arguments({"output_dir": "out", "use_cpu": True, name: {"mood": value}})


@pytest.mark.parametrize("name", ["learning_rates", "weight_decays", "freeze_until"])
def test_what_is_no_mapping_is_refused(name: str) -> None:
    with pytest.raises(InputError, match=f"{name}: expected a mapping of components to numbers, found 0.1"):
        read_arguments({"output_dir": "out", "use_cpu": True, name: 0.1})
    assert getattr(read_arguments({"output_dir": "out", "use_cpu": True, name: None}), name) == {}


@pytest.mark.parametrize("optim", ["lomo", "adalomo", "galore_adamw_layerwise"])
def test_optimizers_that_step_within_the_backward_pass_are_refused(optim: str) -> None:
    given = {"output_dir": "out", "use_cpu": True, "optim": optim}
    with pytest.raises(InputError, match=f"optim: '{optim}' steps within the backward pass"):
        read_arguments({**given, "freeze_until": {"backbone": 1}})
    read_arguments(given)


def test_an_optimizer_of_ones_own_has_its_groups_already(
    two_tasks: dict[str, Task], quiet_model: Models, make_trainer: Trainers
) -> None:
    model = quiet_model()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    made = make_trainer(model, two_tasks, max_steps=1)
    for settings in ({"learning_rates": {"mood": 0.5}}, {"weight_decays": {"mood": 0.5}}):
        args = type(made.args)(output_dir=str(made.args.output_dir), use_cpu=True, report_to=[], **settings)
        with pytest.raises(InputError, match="an optimizer of your own has its groups already"):
            MultiTaskTrainer(
                model, args, two_tasks, processing_class=made.processing_class, optimizers=(optimizer, None)
            )


# ------------------------------------------------------------------------------------------------------------------
# recipes


def test_recipes_and_the_command_line_give_them() -> None:
    values = load_yaml("training: {output_dir: out, use_cpu: true, learning_rates: {backbone: 1e-5, heads: 1e-3}}")
    apply_overrides(values, ["--training.learning_rates.backbone", "2e-5", "--training.weight_decays.intent", "0"])
    apply_overrides(values, ["--training.freeze_until.backbone=10"])
    found = read_arguments(values["training"])
    assert found.learning_rates == {"backbone": 2e-5, "heads": 1e-3}
    assert (found.freeze_until, found.weight_decays) == ({"backbone": 10}, {"intent": 0})


def test_names_in_a_model_of_peft_lead_to_the_same_components() -> None:
    assert find_component("base_model.model.heads.intent.modules_to_save.default.classifier.bias") == "intent"
    assert find_component("base_model.model.backbone.model.encoder.layer.0.lora_A.default.weight") == "backbone"
