"""From a recipe with experiences to a trained folder."""

from __future__ import annotations

import json
import logging
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from continual.recipes import continual_values, loaded_recipe
from huggingface_hub import ModelCard
from safetensors.torch import load_file
from transformers import AutoModel, AutoTokenizer

from continual_streams import kinds_of_words
from mt_transformers import MultiTaskTrainer
from mt_transformers.continual import run as run_module
from mt_transformers.continual.results import ContinualResults
from mt_transformers.continual.run import build_continual, recipe_scenario, run_continual
from mt_transformers.continual.trainer import ContinualTrainer
from mt_transformers.errors import InputError

RESUME = "--training.resume_from_checkpoint=true"
PICTURES = {"accuracy_matrix.png", "average_accuracy.png"} if find_spec("matplotlib") else set()


@pytest.fixture
def values(tiny_backbone: str, tmp_path: Path) -> dict[str, Any]:
    """What a tiny recipe says, to be changed by the test."""
    return continual_values(tiny_backbone, tmp_path)


def head_values(values: dict[str, Any]) -> dict[str, Any]:
    """The same words as two tasks, whose heads join one after the other."""
    task = values["tasks"].pop("words")
    tasks = {name: {**task, "labels": {f"{name}_kind": "kind"}} for name in ("first", "second")}
    heads = {f"{name}_kind": {"head_type": "sequence_classification"} for name in tasks}
    return {**values, "tasks": tasks, "heads": heads, "experiences": {"scenario": "new_heads"}, "strategy": "naive"}


# building


def test_heads_join_with_their_weights_settings_and_tasks(tmp_path: Path, values: dict[str, Any]) -> None:
    values = head_values(values)
    values["loss_weights"] = {"first_kind": 2.0, "second_kind": 0.5}
    values["loss_reduction"] = "per_row"
    values["training"]["freeze_until"] = {"second_kind": 1000}
    values["training"]["learning_rates"] = {"second_kind": 1e-2}
    values["mixture"] = {"sampling": "weighted", "weights": {"first": 1, "second": 3}}
    trainer = build_continual(loaded_recipe(tmp_path, values))
    config = trainer.model.config
    assert (config.loss_weights, config.tasks) == ({"first_kind": 2.0}, {"first": ["first_kind"]})
    assert config.loss_reduction == "per_row"
    trainer.train()
    assert config.loss_weights == {"first_kind": 2.0, "second_kind": 0.5}
    assert config.tasks == {"first": ["first_kind"], "second": ["second_kind"]}
    # what is frozen stays as it was made
    fresh = build_continual(loaded_recipe(tmp_path, values))
    fresh._begin_model(1)
    for name, moved in (("second_kind", False), ("first_kind", True)):
        pairs = zip(trainer.model.heads[name].parameters(), fresh.model.heads[name].parameters(), strict=True)
        assert all(torch.equal(one, other) for one, other in pairs) != moved


def test_settings_of_a_head_hold_for_the_heads_that_it_is_divided_into(tmp_path: Path, values: dict[str, Any]) -> None:
    values["experiences"]["scenario"] = "task_incremental"
    values["loss_weights"] = {"kind": 0.5}
    values["training"]["learning_rates"] = {"kind": 1e-2, "backbone": 1e-4}
    trainer = build_continual(loaded_recipe(tmp_path, values))
    names = ["kind_00", "kind_01", "kind_02"]
    assert trainer.args.learning_rates == {"backbone": 1e-4, **dict.fromkeys(names, 1e-2)}
    trainer.train()
    assert trainer.model.config.loss_weights == dict.fromkeys(names, 0.5)
    assert trainer.model.config.tasks == {f"words_0{number}": [name] for number, name in enumerate(names)}


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("--experiences=", "experiences: the section is missing"),
        ("--strategy=nave", "strategy: unknown name 'nave', did you mean 'naive'"),
        ("--strategy.bufer_size=3", "unknown option 'bufer_size', did you mean 'buffer_size'"),
        ("--experiences.order=[singer]", r"order: expected each class once, but 'city' and 4 more are missing"),
        ("--experiences.bounds=[joined]", "experiences, bounds: unknown strategy 'joined', did you mean 'joint'"),
        ("--experiences.bounds=joint", r"experiences, bounds: expected a list of names"),
        ("--experiences.bounds=[joint, joint]", "experiences, bounds: expected each strategy once"),
        ("--training.fsdp=true", "fsdp: .* use DDP"),
        ("--training.resume_from_checkpoint=some/folder", "expected true, .* found 'some/folder'"),
        ("--initializer=[[bias, prevent]]", "initializer: .* not for experiences"),
        ("--mixture.batch_sizes={wrds: 4}", "mixture, batch_sizes: unknown task 'wrds', did you mean 'words'"),
    ],
)
def test_what_cannot_be_is_refused_before_any_training(
    override: str, message: str, tmp_path: Path, values: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    def train(*_: Any, **__: Any) -> None:
        raise AssertionError("it trains")

    monkeypatch.setattr(ContinualTrainer, "train", train)
    values["mixture"] = {"batches": "homogeneous"}
    if override.startswith("--experiences="):
        del values["strategy"]
    with pytest.raises(InputError, match=message):
        run_continual(loaded_recipe(tmp_path, values, override))


def test_without_a_strategy_it_is_naive(tmp_path: Path, values: dict[str, Any]) -> None:
    del values["strategy"]
    assert build_continual(loaded_recipe(tmp_path, values)).strategy.name == "naive"


# running


def test_the_folder_holds_what_it_should_and_nothing_else(tmp_path: Path, values: dict[str, Any]) -> None:
    loaded = loaded_recipe(tmp_path, values)
    run = run_continual(loaded)
    folder = tmp_path / "out"
    expected = {"README.md", "all_results.json", "config.json", "continual.json", "continual_results.json"}
    expected |= {"model.safetensors", "tokenizer.json", "tokenizer_config.json", *PICTURES}
    # neither weights twice nor the rows of the buffer
    assert {path.name for path in folder.iterdir()} == expected
    assert json.loads((folder / "all_results.json").read_text()) == {
        name: None if np.isnan(value) else value for name, value in run.metrics.items()
    }
    assert ContinualResults.load(folder).to_dict() == run.results.to_dict()
    last = run.results.matrix[2]
    assert [run.metrics[f"score_experience_0{number}"] for number in range(3)] == last.tolist()
    assert run.metrics["average_accuracy"] == pytest.approx(last.mean())
    # each experience has as many test rows
    assert run.metrics["test_words_kind_accuracy"] == pytest.approx(last.mean())
    assert run.metrics["test_score"] == run.metrics["test_words_kind_accuracy"]
    assert "eval_words_kind_accuracy" in run.metrics
    scenario = recipe_scenario(loaded)
    model, tokenizer = AutoModel.from_pretrained(folder), AutoTokenizer.from_pretrained(folder)
    assert model.heads["kind"].config.names == scenario.heads["kind"].names
    trainer = MultiTaskTrainer(model, loaded.arguments, tasks=scenario.tasks, processing_class=tokenizer)
    again = trainer.evaluate(split="test", metric_key_prefix="test")
    assert again["test_loss"] == pytest.approx(run.metrics["test_loss"], rel=1e-6)


def test_the_card_says_how_it_was_taught(tmp_path: Path, values: dict[str, Any]) -> None:
    values["experiences"]["bounds"] = ["joint"]
    run = run_continual(loaded_recipe(tmp_path, values))
    card = ModelCard.load(tmp_path / "out" / "README.md")
    assert "Scenario: `class_incremental`, 3 experiences" in card.text
    assert "Strategy: `replay` (buffer_size 12, " in card.text
    final = " | ".join(f"{100 * score:.1f}" for score in run.results.matrix[2])
    assert f"| 3 experience_02 | {final} | " in card.text
    assert "| 2 experience_01 | words | 16 | 4 | 8 | kind | 2: good, bad |" in card.text
    compared = card.text.split("After the last experience:")[1].split("Each experience")[0]
    assert [line.split(" | ")[0] for line in compared.splitlines() if line.endswith("| 1 |")] == [
        "| replay",
        "| joint",
    ]
    # all rows, and no steps or mixture of the last experience
    assert "| `words` | `text` | `kind` | 48 | 12 | 24 |" in card.text
    assert "## Training" not in card.text
    assert "optimizer steps" not in card.text
    assert card.text.count(".png)") == len(PICTURES)
    assert {each.dataset_split for each in card.data.eval_results} == {"validation", "test"}


def test_without_matplotlib_there_are_no_pictures_and_the_log_says_so(
    tmp_path: Path, values: dict[str, Any], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(run_module, "find_spec", lambda _: None)
    with caplog.at_level(logging.WARNING, "mt_transformers"):
        run_continual(loaded_recipe(tmp_path, values))
    assert not list((tmp_path / "out").glob("*.png"))
    assert ".png" not in (tmp_path / "out" / "README.md").read_text()
    assert 'pip install "mt_transformers[continual]"' in caplog.text


def test_numbers_for_labels_and_all_at_once(tmp_path: Path, values: dict[str, Any]) -> None:
    """Labels that are numbers in the files keep their meaning in another order of classes."""
    names = kinds_of_words(6).features["kind"].names
    for split in ("train", "validation", "test"):
        rows = kinds_of_words(24)
        rows.remove_columns("kind").add_column("kind", rows["kind"][:]).to_parquet(tmp_path / f"words_{split}.parquet")
    values["heads"]["kind"]["id2label"] = names
    values["experiences"] |= {"order": names[::-1]}
    values["strategy"] = "joint"
    values["training"]["num_train_epochs"] = 20
    run = run_continual(loaded_recipe(tmp_path, values))
    assert np.isnan(run.results.matrix[:2]).all()
    assert run.metrics["test_score"] > 0.9
    assert json.loads((tmp_path / "out" / "all_results.json").read_text())["forgetting"] is None
    config = json.loads((tmp_path / "out" / "config.json").read_text())
    assert config["heads"]["kind"]["id2label"] == {str(number): name for number, name in enumerate(names[::-1])}


# bounds, and runs that go on


def count_runs(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, bool | None]]:
    """Note strategy and resumption of each training."""
    plain, runs = ContinualTrainer.train, list[tuple[str, bool | None]]()

    def train(self: ContinualTrainer, resume_from_checkpoint: bool | None = None) -> ContinualResults:
        runs.append((self.strategy.name, resume_from_checkpoint))
        return plain(self, resume_from_checkpoint)

    monkeypatch.setattr(ContinualTrainer, "train", train)
    return runs


def test_bounds_are_compared_and_not_run_again(
    tmp_path: Path, values: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    values["experiences"]["bounds"] = ["naive", "joint", "replay"]
    runs = count_runs(monkeypatch)
    first = run_continual(loaded_recipe(tmp_path, values))
    # replay has another buffer there than the recipe's own
    assert [name for name, _ in runs] == ["naive", "joint", "replay", "replay"]
    assert [each.strategy for each in first.bounds] == ["naive", "joint", "replay"]
    for each in first.bounds:
        assert ContinualResults.load(tmp_path / "out" / f"bound-{each.strategy}").to_dict() == each.to_dict()
    # a run that is over stays as it is
    runs.clear()
    again = run_continual(loaded_recipe(tmp_path, values, RESUME))
    assert runs == []
    assert again.metrics == pytest.approx(first.metrics, nan_ok=True)
    assert again.results.to_dict() == first.results.to_dict()
    assert [each.to_dict() for each in again.bounds] == [each.to_dict() for each in first.bounds]
    # other training arguments are another bound
    values["experiences"]["bounds"] = ["joint"]
    run_continual(loaded_recipe(tmp_path, values, RESUME, "--training.learning_rate=0.01"))
    assert runs == [("joint", False)]
    # and without resuming all is new
    runs.clear()
    run_continual(loaded_recipe(tmp_path, values))
    assert [name for name, _ in runs] == ["joint", "replay"]


def test_the_recipes_own_strategy_is_no_bound(tmp_path: Path, values: dict[str, Any]) -> None:
    values["experiences"]["bounds"] = ["naive"]
    values["strategy"] = "naive"
    assert run_continual(loaded_recipe(tmp_path, values)).bounds == ()


def test_an_interrupted_run_goes_on(tmp_path: Path, values: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """Broken off in the second experience, and again before the folder is whole: the same weights and results."""
    options = ("--training.save_strategy=steps", "--training.save_steps=1")
    whole = run_continual(loaded_recipe(tmp_path, values, *options, f"--training.output_dir={tmp_path / 'whole'}"))
    plain = ContinualTrainer._learn

    def learn(self: ContinualTrainer, number: int, *args: Any, **kwargs: Any) -> None:
        if number == 2:
            raise KeyboardInterrupt
        plain(self, number, *args, **kwargs)

    def save(*_: Any) -> None:
        raise KeyboardInterrupt

    for target, name, replacement in ((ContinualTrainer, "_learn", learn), (run_module, "_save", save)):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(target, name, replacement)
            with pytest.raises(KeyboardInterrupt):
                run_continual(loaded_recipe(tmp_path, values, *options, RESUME))
    assert not (tmp_path / "out" / "model.safetensors").exists()
    resumed = run_continual(loaded_recipe(tmp_path, values, *options, RESUME))
    np.testing.assert_array_equal(resumed.results.matrix, whole.results.matrix)
    assert resumed.metrics["test_loss"] == pytest.approx(whole.metrics["test_loss"], rel=1e-12)
    one, other = (load_file(tmp_path / name / "model.safetensors") for name in ("whole", "out"))
    assert [key for key in one if not torch.equal(one[key], other[key])] == []


def test_a_run_of_another_setting_is_not_resumed(tmp_path: Path, values: dict[str, Any]) -> None:
    run_continual(loaded_recipe(tmp_path, values))
    with pytest.raises(InputError, match=r"has the strategy .*'replay'.* found .*'naive'"):
        run_continual(loaded_recipe(tmp_path, values, RESUME, "--strategy=naive"))
    with pytest.raises(InputError, match=r"has another scenario: .*classes, kind, 0 was 'singer', is 'function'"):
        run_continual(loaded_recipe(tmp_path, values, RESUME, "--experiences.seed=5"))


def test_a_strategy_that_answers_with_more_than_the_model_says_so(tmp_path: Path, values: dict[str, Any]) -> None:
    """The prompts of L2P are no part of what is saved."""
    values["strategy"] = {"name": "l2p", "pool_size": 4, "prompt_length": 2, "top_k": 2}
    with pytest.warns(UserWarning, match="'l2p' answers with what is no part of a model"):
        run_continual(loaded_recipe(tmp_path, values))
