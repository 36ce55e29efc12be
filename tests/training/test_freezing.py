"""Training where some of the model is frozen: what is frozen stays, to the bit, and the rest trains as ever."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import pytest
import torch
from transformers import TrainerCallback

from mt_transformers import Mixture, MultiTaskModel, MultiTaskTrainer, Task
from mt_transformers.errors import InputError

Models = Callable[..., MultiTaskModel]
Trainers = Callable[..., MultiTaskTrainer]
State = dict[str, torch.Tensor]

COMPONENTS = ("backbone", "intent", "slots", "mood")


def component(name: str) -> str:
    return "backbone" if name.startswith("backbone.") else name.split(".")[1]


def state_of(model: MultiTaskModel) -> State:
    return {name: value.detach().clone() for name, value in model.state_dict().items()}


def moved(before: State, after: State) -> set[str]:
    """Components of which some weight has changed."""
    return {component(name) for name, value in before.items() if not torch.equal(value, after[name])}


class States(TrainerCallback):
    """Keeps the weights after every optimizer step, and before the first."""

    def __init__(self, model: MultiTaskModel) -> None:
        self.model = model
        self.found = [state_of(model)]

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Keep them."""
        self.found.append(state_of(self.model))

    def moves(self) -> list[set[str]]:
        """For each step the components that it has moved."""
        return [moved(one, two) for one, two in zip(self.found, self.found[1:], strict=False)]


# every step has rows of both tasks
BOTH: dict[str, Any] = {
    "mixture": Mixture(order="round_robin", sampling="uniform"),
    "learning_rate": 1e-2,
    "weight_decay": 0.1,
}


@pytest.fixture
def seeded_model(quiet_model: Models) -> Callable[[], MultiTaskModel]:
    """Makes the same model again and again."""

    def make() -> MultiTaskModel:
        torch.manual_seed(0)
        return quiet_model().double()

    return make


# ------------------------------------------------------------------------------------------------------------------
# frozen from the start


@pytest.mark.parametrize(
    ("backbone", "heads"), [(True, ()), (True, ("slots",)), (True, ("intent", "slots")), (False, ("intent",))]
)
@pytest.mark.parametrize("batches", ["mixed", "homogeneous"])
def test_what_is_frozen_stays_to_the_bit(
    backbone: bool,
    heads: tuple[str, ...],
    batches: str,
    two_tasks: dict[str, Task],
    seeded_model: Callable[[], MultiTaskModel],
    make_trainer: Trainers,
) -> None:
    """Under weight decay and momentum; batches all of whose heads are frozen train nothing, and stop nothing."""
    model = seeded_model()
    for name in heads:
        model.freeze_head(name)
    if backbone:
        model.freeze_backbone()
    before = state_of(model)
    mixture = Mixture(order="round_robin", sampling="uniform", batches=batches)
    trainer = make_trainer(model, two_tasks, **{**BOTH, "mixture": mixture}, max_steps=4)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore" if not backbone else "error")
        trainer.train()
    frozen = {*heads, *(["backbone"] if backbone else [])}
    assert moved(before, state_of(model)) == set(COMPONENTS) - frozen
    assert {name for line in trainer.state.log_history for name in line} >= {"loss_intent", "loss_slots", "loss_mood"}


def test_the_loss_of_a_frozen_head_trains_the_backbone_as_ever(
    two_tasks: dict[str, Task], seeded_model: Callable[[], MultiTaskModel], make_trainer: Trainers
) -> None:
    """In the first step the gradient of the backbone is that without freezing."""
    after = []
    for frozen in (False, True):
        model = seeded_model()
        if frozen:
            model.freeze_head("intent")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            make_trainer(model, two_tasks, **BOTH, optim="sgd", max_grad_norm=0.0, max_steps=1).train()
        after.append({name: value for name, value in state_of(model).items() if component(name) == "backbone"})
    assert all(torch.equal(value, after[1][name]) for name, value in after[0].items())


@pytest.mark.parametrize(
    ("frozen", "told"),
    [
        ((), None),
        (("intent",), "The heads intent are frozen"),
        (("slots", "mood"), "The heads slots, mood are frozen"),
    ],
)
def test_frozen_heads_over_a_backbone_that_trains_are_warned_of(
    frozen: tuple[str, ...], told: str | None, two_tasks: dict[str, Task], quiet_model: Models, make_trainer: Trainers
) -> None:
    model = quiet_model()
    for name in frozen:
        model.freeze_head(name)
    del two_tasks["moods"]
    trainer = make_trainer(model, two_tasks, max_steps=2)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        trainer.train()
    messages = [str(each.message) for each in caught if "will drift as the backbone moves" in str(each.message)]
    assert len(messages) == (0 if told is None else 1)
    assert told is None or messages[0].startswith(told)


@pytest.mark.filterwarnings("error")
def test_a_head_that_is_frozen_in_part_or_over_a_frozen_backbone_is_not_warned_of(
    two_tasks: dict[str, Task], quiet_model: Models, make_trainer: Trainers
) -> None:
    model = quiet_model()
    model.heads["intent"].classifier.bias.requires_grad_(False)
    make_trainer(model, two_tasks, max_steps=1).train()
    model = quiet_model()
    model.freeze_backbone()
    model.freeze_head("intent")
    make_trainer(model, two_tasks, max_steps=1).train()


def test_a_training_of_nothing_is_refused(
    two_tasks: dict[str, Task], quiet_model: Models, make_trainer: Trainers
) -> None:
    model = quiet_model()
    model.freeze_backbone()
    for name in ("intent", "slots"):
        model.freeze_head(name)
    make_trainer(model, two_tasks, max_steps=1).train()
    del two_tasks["moods"]
    with pytest.raises(
        InputError, match=r"nothing to train: the backbone is frozen, and so is every head .*intent, sl"
    ):
        make_trainer(model, two_tasks, max_steps=1).train()


def test_a_trainer_is_not_told_of_what_is_unfrozen_later(
    two_tasks: dict[str, Task], quiet_model: Models, make_trainer: Trainers
) -> None:
    """Its optimizer has no place for it; to freeze more is fine."""
    model = quiet_model()
    model.freeze_backbone()
    model.freeze_head("mood")
    trainer = make_trainer(model, two_tasks, max_steps=2)
    trainer.train()
    model.unfreeze_head("mood")
    with pytest.raises(
        InputError, match=r"heads\.mood\..* was unfrozen after this trainer had begun to train: make a"
    ):
        trainer.train()
    model.freeze_head("mood")
    model.freeze_head("slots")
    before = state_of(model)
    trainer.train()
    assert moved(before, state_of(model)) == {"intent"}


# ------------------------------------------------------------------------------------------------------------------
# frozen for some steps


@pytest.mark.parametrize("accumulation", [1, 2])
@pytest.mark.parametrize("optim", ["sgd", "adamw_torch"])
def test_a_component_moves_from_its_step_on(
    accumulation: int,
    optim: str,
    two_tasks: dict[str, Task],
    seeded_model: Callable[[], MultiTaskModel],
    make_trainer: Trainers,
) -> None:
    model = seeded_model()
    states = States(model)
    make_trainer(
        model,
        two_tasks,
        **BOTH,
        optim=optim,
        freeze_until={"backbone": 3, "heads": 1, "mood": 2, "intent": 0},
        gradient_accumulation_steps=accumulation,
        max_steps=5,
        callbacks=[states],
    ).train()
    assert states.moves() == [
        {"intent"},
        {"intent", "slots"},
        {"intent", "slots", "mood"},
        set(COMPONENTS),
        set(COMPONENTS),
    ]


def test_no_state_of_the_optimizer_is_made_before(
    two_tasks: dict[str, Task], seeded_model: Callable[[], MultiTaskModel], make_trainer: Trainers
) -> None:
    """AdamW counts the steps of each parameter, for its bias correction."""
    model = seeded_model()
    trainer = make_trainer(model, two_tasks, **BOTH, freeze_until={"backbone": 3, "mood": 4}, max_steps=4)
    trainer.train()
    assert trainer.optimizer is not None
    state = trainer.optimizer.state
    steps = {name: int(state[each]["step"]) for name, each in model.named_parameters() if each in state}
    assert {component(name): number for name, number in steps.items()} == {"backbone": 1, "intent": 4, "slots": 4}
    assert len({(component(name), number) for name, number in steps.items()}) == 3


def test_a_component_trains_from_its_step_on_as_if_the_run_began_there(
    two_tasks: dict[str, Task], seeded_model: Callable[[], MultiTaskModel], make_trainer: Trainers
) -> None:
    """A frozen head first, then all: by SGD with momentum, whose steps are those of two runs."""
    del two_tasks["moods"]
    given: dict[str, Any] = {"optim": "sgd", "optim_args": None, "learning_rate": 0.1, "lr_scheduler_type": "constant"}
    given |= {"max_grad_norm": 0.5, "per_device_train_batch_size": 16, "weight_decay": 0.1}
    model = seeded_model()
    states = States(model)
    staged = make_trainer(model, two_tasks, **given, freeze_until={"slots": 1}, max_steps=2, callbacks=[states])
    staged.train()
    # by hand: the first step of a model whose head is frozen, with the norm that is clipped, and one of the whole
    expected = seeded_model()
    expected.freeze_head("slots")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        make_trainer(expected, two_tasks, **given, max_steps=1).train()
    for name, value in state_of(expected).items():
        torch.testing.assert_close(states.found[1][name], value, rtol=1e-12, atol=1e-14)
    expected.unfreeze_head("slots")
    make_trainer(expected, two_tasks, **given, max_steps=1).train()
    for name, value in state_of(expected).items():
        torch.testing.assert_close(states.found[2][name], value, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("middle", [1, 3, 4])
def test_a_run_goes_on_from_before_at_and_after_the_step(
    middle: int, two_tasks: dict[str, Task], seeded_model: Callable[[], MultiTaskModel], make_trainer: Trainers
) -> None:
    given = {**BOTH, "freeze_until": {"backbone": 3}, "max_steps": 6, "save_strategy": "steps", "save_steps": middle}
    model = seeded_model()
    trainer = make_trainer(model, two_tasks, **given)
    trainer.train()
    resumed = seeded_model()
    states = States(resumed)
    again = make_trainer(resumed, two_tasks, **given, callbacks=[states])
    again.train(f"{trainer.args.output_dir}/checkpoint-{middle}")
    for name, value in state_of(model).items():
        assert torch.equal(value, states.found[-1][name]), name
    # the first of these moves is from the new weights to those of the checkpoint, and a step
    frozen = [step for step in range(middle + 1, 6) if "backbone" not in states.moves()[step - middle]]
    assert frozen == list(range(middle + 1, 3))


def test_what_is_frozen_for_some_steps_is_logged_as_ever(
    two_tasks: dict[str, Task], seeded_model: Callable[[], MultiTaskModel], make_trainer: Trainers
) -> None:
    """The norm in the log is that of the gradients that are left."""
    norms = []
    for until in ({}, {"backbone": 1, "intent": 1}, {"backbone": 1, "heads": 1}):
        trainer = make_trainer(seeded_model(), two_tasks, **BOTH, freeze_until=until, max_steps=1)
        trainer.train()
        norms.append(next(line for line in trainer.state.log_history if "grad_norm" in line))
    assert norms[0]["grad_norm"] > norms[1]["grad_norm"] > norms[2]["grad_norm"] == 0
    assert norms[0]["loss_intent"] == norms[1]["loss_intent"] == norms[2]["loss_intent"]


def test_steps_in_which_heads_are_skipped_count(
    two_tasks: dict[str, Task], seeded_model: Callable[[], MultiTaskModel], make_trainer: Trainers
) -> None:
    """A head whose loss is no number is passed over, whether it is frozen for now or not."""
    model = seeded_model()
    states = States(model)
    torch.nn.init.constant_(model.heads["mood"].classifier.bias, float("nan"))
    states.found[0] = state_of(model)
    make_trainer(
        model,
        two_tasks,
        **BOTH,
        freeze_until={"backbone": 1, "mood": 1},
        nonfinite_loss="skip",
        max_steps=2,
        callbacks=[states],
    ).train()
    known = [{each for each in moves if each != "mood"} for moves in states.moves()]
    assert known == [{"intent", "slots"}, {"backbone", "intent", "slots"}]
