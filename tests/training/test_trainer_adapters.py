"""Training adapters of peft, with the heads and without the backbone."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
import torch
from training.conftest import TrainerMaker

from fixtures import MOODS, tiny_inputs, two_tasks
from launching import launch, load_script
from mt_transformers import Mixture, MultiTaskModel, MultiTaskTrainingArguments
from mt_transformers.errors import InputError
from mt_transformers.inference import load_model
from mt_transformers.modeling import add_task_adapters, base_model, complete_peft_config, get_peft_model, save_adapters

peft = pytest.importorskip("peft")

TASKS = {"requests": ["intent", "slots"], "moods": ["mood"]}
MODES = {"shared": get_peft_model, "each": add_task_adapters}


@pytest.fixture
def adapt(quiet_model: Callable[..., MultiTaskModel], tmp_path: Path) -> Callable[..., Any]:
    """Makes a saved tiny model with adapters, always the same: `adapt("shared")` or `adapt("each")`."""

    def make(mode: str, **config: Any) -> Any:
        torch.manual_seed(0)
        quiet_model(tasks=TASKS, **config).save_pretrained(tmp_path / "base")
        model = MultiTaskModel.from_pretrained(tmp_path / "base")
        torch.manual_seed(1)
        return MODES[mode](model, peft.LoraConfig(r=2))

    return make


def state(model: Any) -> dict[str, torch.Tensor]:
    """A copy of all weights."""
    return {name: value.clone() for name, value in model.state_dict().items()}


def moved(model: Any, before: dict[str, torch.Tensor]) -> set[str]:
    """Names of the weights that have changed."""
    return {name for name, value in model.state_dict().items() if not torch.equal(value, before[name])}


@pytest.mark.parametrize("mode", MODES)
def test_adapters_and_heads_are_trained_and_nothing_else(mode: str, adapt: Any, make_trainer: TrainerMaker) -> None:
    adapted = adapt(mode)
    before = state(adapted)
    trainable = {name for name, each in adapted.named_parameters() if each.requires_grad}
    trainer = make_trainer(adapted, two_tasks(), max_steps=12, learning_rate=1e-2)
    first = trainer.evaluate()
    trainer.train()
    assert moved(adapted, before) == trainable
    assert trainer.evaluate()["eval_loss"] < 0.9 * first["eval_loss"]
    predicted = trainer.predict()
    assert {task: set(each.predictions) for task, each in predicted.items()} == {
        task: set(heads) for task, heads in TASKS.items()
    }


@pytest.mark.parametrize("mode", MODES)
def test_what_has_no_rows_in_a_step_stays_as_it_is(mode: str, adapt: Any, make_trainer: TrainerMaker) -> None:
    adapted = adapt(mode)
    before = state(adapted)
    mixture = Mixture(batches="homogeneous", order="round_robin")
    trainer = make_trainer(adapted, two_tasks(), mixture=mixture, max_steps=1, weight_decay=0.1, learning_rate=1e-2)
    trainer.train()
    changed = moved(adapted, before)
    assert any(".heads.intent." in name for name in changed)
    assert not any(".heads.mood." in name or "task_moods" in name for name in changed)


@pytest.mark.parametrize("mode", MODES)
def test_a_run_goes_on_where_it_was_broken_off(mode: str, adapt: Any, make_trainer: TrainerMaker) -> None:
    options = {"max_steps": 6, "save_strategy": "steps", "save_steps": 3, "learning_rate": 1e-2}
    whole = make_trainer(adapt(mode), two_tasks(), **options)
    whole.train()
    folder = Path(str(whole.args.output_dir)) / "checkpoint-3"
    assert not list(folder.glob("model*"))
    resumed = make_trainer(adapt(mode), two_tasks(), **options)
    resumed.train(resume_from_checkpoint=str(folder))
    assert resumed.state.global_step == 6
    assert moved(resumed.model, state(whole.model)) == set()
    assert {name for name, each in resumed.model.named_parameters() if each.requires_grad} == {
        name for name, each in whole.model.named_parameters() if each.requires_grad
    }


@pytest.mark.parametrize("mode", MODES)
def test_the_best_adapters_are_loaded_at_the_end(mode: str, adapt: Any, make_trainer: TrainerMaker) -> None:
    adapted = adapt(mode)
    trainer = make_trainer(
        adapted,
        two_tasks(),
        max_steps=4,
        learning_rate=1e-2,
        eval_strategy="steps",
        save_strategy="steps",
        eval_steps=1,
        save_steps=1,
        load_best_model_at_end=True,
        metric_for_best_model="eval_loss",
        greater_is_better=True,
    )
    trainer.train()
    losses = [line["eval_loss"] for line in trainer.state.log_history if "eval_loss" in line]
    assert losses[-1] < max(losses)
    assert trainer.evaluate()["eval_loss"] == pytest.approx(max(losses), rel=1e-6)


@pytest.mark.parametrize("mode", MODES)
def test_a_trained_folder_predicts_as_the_model_does(
    mode: str, adapt: Any, make_trainer: TrainerMaker, tmp_path: Path
) -> None:
    trainer = make_trainer(adapt(mode), two_tasks(), max_steps=3, learning_rate=1e-2)
    trainer.train()
    trainer.save_model(str(tmp_path / "saved"))
    assert not list((tmp_path / "saved").rglob("model.safetensors"))
    loaded, _ = load_model(tmp_path / "saved")
    task = {"task": ["moods", "requests", "requests", "moods"]} if mode == "each" else {}
    trainer.model.eval()
    expected = trainer.model(**tiny_inputs(), **task)
    found = loaded(**tiny_inputs(), **task)
    for key, value in expected.items():
        assert torch.equal(found[key], value), key
    # an evaluation of what was loaded needs nothing trained; training does
    again = make_trainer(loaded, two_tasks(), max_steps=1)
    assert again.evaluate()["eval_loss"] == trainer.evaluate()["eval_loss"]
    with pytest.raises(InputError, match="peft has frozen it"):
        again.train()


def test_a_head_that_peft_has_frozen_stops_the_run_before_it_begins(adapt: Any, make_trainer: TrainerMaker) -> None:
    adapted = adapt("shared")
    adapted.add_adapter("second", peft.LoraConfig(r=2, target_modules=["query"]))
    adapted.set_adapter("second")
    trainer = make_trainer(adapted, two_tasks(), max_steps=1)
    with pytest.raises(InputError, match=r"head 'intent': peft has frozen it.* complete_peft_config"):
        trainer.train()
    adapted.add_adapter("third", complete_peft_config(adapted, peft.LoraConfig(r=2)))
    adapted.set_adapter("third")
    before = state(adapted)
    make_trainer(adapted, two_tasks(), max_steps=2, learning_rate=1e-2).train()
    changed = moved(adapted, before)
    assert changed
    assert all("third" in name for name in changed)


def test_layers_may_run_again_for_their_gradients(adapt: Any, make_trainer: TrainerMaker) -> None:
    names = {each.name for each in fields(MultiTaskTrainingArguments)}
    # transformers 5.23 renamed it
    again = "activation_checkpointing" if "activation_checkpointing" in names else "gradient_checkpointing"
    trained = []
    for options in ({}, {again: True}):
        trainer = make_trainer(adapt("shared"), two_tasks(), max_steps=3, learning_rate=1e-2, **options)
        trainer.train()
        trained.append(trainer.model)
    for key, value in trained[0].state_dict().items():
        torch.testing.assert_close(trained[1].state_dict()[key], value)
    with pytest.raises(InputError, match=f"{again}: cannot be combined with an adapter for each task"):
        make_trainer(adapt("each"), two_tasks(), **{again: True})


def test_heads_whose_loss_is_no_number_are_skipped(adapt: Any, make_trainer: TrainerMaker) -> None:
    adapted = adapt("each")
    adapted.named_heads["mood"].register_forward_hook(
        lambda _, __, outputs: (
            {**outputs, "row_losses": outputs["row_losses"] * float("nan")} if "row_losses" in outputs else outputs
        )
    )
    before = state(adapted)
    trainer = make_trainer(adapted, two_tasks(), max_steps=4, learning_rate=1e-2, nonfinite_loss="skip")
    trainer.train()
    changed = moved(adapted, before)
    assert any(".heads.intent." in name for name in changed)
    assert not any(".heads.mood." in name for name in changed)
    assert all(value.isfinite().all() for value in adapted.state_dict().values())


@pytest.mark.parametrize("option", ["padding_free", "torch_compile"])
def test_options_that_tasks_adapters_cannot_have_are_refused(
    option: str, adapt: Any, make_trainer: TrainerMaker
) -> None:
    with pytest.raises(InputError, match=f"{option}: cannot be combined with an adapter for each task"):
        make_trainer(adapt("each"), two_tasks(), **{option: True})


def test_a_head_of_two_tasks_learns_from_both(adapt: Any, make_trainer: TrainerMaker, tmp_path: Path) -> None:
    heads = {"mood": {"head_type": "sequence_classification", "id2label": MOODS}}
    tasks = {"moods": two_tasks()["moods"], "others": two_tasks()["moods"]}
    torch.manual_seed(0)
    plain = base_model(adapt("shared", heads=heads | {"intent": heads["mood"], "slots": heads["mood"]}))
    config = plain.config.to_dict() | {"heads": {"mood": plain.config.heads["mood"]}}
    config["tasks"] = {name: ["mood"] for name in tasks}
    adapted = add_task_adapters(MultiTaskModel(type(plain.config).from_dict(config)), peft.LoraConfig(r=2))
    before = state(adapted)
    make_trainer(adapted, tasks, max_steps=4, learning_rate=1e-2).train()
    owners = {name.split("task_")[1].split(".")[0] for name in moved(adapted, before) if "lora_" in name}
    assert owners == {"moods", "others"}
    save_adapters(adapted, tmp_path / "adapters")
    copies: Any = base_model(adapted).heads.get_submodule("mood.modules_to_save")
    assert copies["task_moods"] is copies["task_others"]


# two processes


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Folders of the same runs on one process and on two."""
    one, two = tmp_path_factory.mktemp("one"), tmp_path_factory.mktemp("two")
    script = load_script("launched_adapters")
    for name in script.RUNS:
        script.train(name, one)
    done = launch("launched_adapters", str(two))
    assert done.returncode == 0, done.stderr[-4000:]
    return one, two


@pytest.mark.distributed
@pytest.mark.parametrize("name", ["shared", "each", "each_homogeneous"])
def test_two_processes_train_what_one_does(name: str, both: tuple[Path, Path]) -> None:
    one, two = (torch.load(folder / f"{name}.pt", weights_only=True) for folder in both)
    assert one.keys() == two.keys()
    for key, value in one.items():
        torch.testing.assert_close(two[key], value, rtol=1e-9, atol=1e-11, msg=lambda text, key=key: f"{key}: {text}")
    reports = [json.loads((folder / f"{name}.json").read_text()) for folder in both]
    assert set(reports[0]["moved"]) == set(reports[1]["moved"])
    assert all(".lora_" in key or ".modules_to_save." in key for key in reports[1]["moved"])
    # a head that no task feeds, and the adapter of its task
    assert not any("idle" in key for key in reports[1]["moved"])
    assert reports[1]["metrics"]["eval_loss"] == pytest.approx(reports[0]["metrics"]["eval_loss"], rel=1e-9)
