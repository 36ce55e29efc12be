"""From a recipe to a trained folder."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from datasets import Dataset, Features, Value
from safetensors.torch import load_file
from tokenizers import pre_tokenizers
from training.recipes import recipe_values, write_recipe
from transformers import AutoModel, AutoTokenizer, GPT2Config, GPT2Model, GPT2Tokenizer

from fixtures import INTENTS, MOODS, SLOTS, tiny_inputs, two_tasks
from mt_transformers import MultiTaskTrainer, Task
from mt_transformers.data import plan_mixture
from mt_transformers.errors import InputError
from mt_transformers.heads import get_head_config
from mt_transformers.training import (
    LoadedRecipe,
    build_trainer,
    load_recipe,
    plan_recipe,
    read_recipe,
    run_recipe,
)


@pytest.fixture
def values(tiny_backbone: str, tmp_path: Path) -> dict[str, Any]:
    """What a tiny recipe says, to be changed by the test."""
    return recipe_values(tiny_backbone, tmp_path)


def loaded(folder: Path, values: dict[str, Any], *overrides: str) -> LoadedRecipe:
    return load_recipe(read_recipe(write_recipe(folder, values), overrides))


# loading


def test_heads_take_their_labels_from_the_data(tmp_path: Path, values: dict[str, Any]) -> None:
    found = loaded(tmp_path, values)
    assert {name: head.to_dict()["id2label"] for name, head in found.heads.items()} == {
        "intent": dict(enumerate(INTENTS)),
        "slots": dict(enumerate(SLOTS)),
        "mood": dict(enumerate(MOODS)),
    }
    assert {name: len(split) for name, split in found.recipe.tasks["requests"].dataset.items()} == {
        "train": 16,
        "validation": 8,
        "test": 8,
    }
    assert found.arguments.per_device_train_batch_size == 4


def test_heads_of_a_trained_model_take_the_place_of_the_recipes(tmp_path: Path, values: dict[str, Any]) -> None:
    """Their names decide, in their order, and a head that the recipe does not feed is no error."""
    recipe = read_recipe(write_recipe(tmp_path, values))
    heads = {
        "intent": get_head_config("intent", {"head_type": "sequence_classification", "id2label": INTENTS[::-1]}),
        "slots": get_head_config("slots", {"head_type": "token_classification", "id2label": SLOTS}),
        "mood": get_head_config("mood", {"head_type": "sequence_classification", "id2label": MOODS}),
        "more": get_head_config("more", {"head_type": "sequence_classification", "num_labels": 2}),
    }
    found = load_recipe(recipe, heads)
    assert found.heads["intent"].to_dict()["id2label"] == dict(enumerate(INTENTS[::-1]))
    assert set(found.heads) == set(heads)


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("--training.sed=1", "training: unknown key 'sed', did you mean 'seed'"),
        ("--training.n_gpu=1", "training: unknown key 'n_gpu'"),
        ("--training.output_dir=", "training: 'output_dir' is missing"),
        ("--training.eval_strategy=sometimes", "training: .*sometimes"),
        ("--training.remove_unused_columns=true", "remove_unused_columns: expected False"),
        ("--training.learning_rate=high", "training"),
        ("--training.num_train_epochs=some", "training"),
        ("--training.learning_rates.nood=0.1", "learning_rates: unknown component 'nood', did you mean 'mood'"),
        ("--heads.more.head_type=sequence_classification", "head 'more': no task has labels for it"),
        ("--heads.a-b.head_type=regression", "head 'a-b': expected an identifier"),
        (
            "--heads.mood.head_type=sequence_clasification",
            "unknown head_type 'sequence_clasification', did you mean 'sequence_classification'",
        ),
        ("--heads.mood.poolng=mean", "head 'mood'.*: unknown key 'poolng', did you mean 'pooling'"),
        ("--heads.mood.pooling=meen", "mood.*meen"),
        ("--heads.mood.num_labels=many", "mood.*many"),
        ("--heads.mood.classifier_dropout=much", "head 'mood'"),
        ("--heads.mood.metrics=accuracy", "mood.*metric"),
        ("--heads.mood.metrics=[acuracy]", "mood.*acuracy"),
        ("--tasks.moods.labels.nood=label", "task 'moods'.*unknown head 'nood', did you mean 'mood'"),
        ("--tasks.moods.labels.mood=lable", "task 'moods'.*unknown column 'lable', did you mean 'label'"),
        ("--tasks.moods.labels.mood=3", "task 'moods': labels, 'mood': expected a column, .*, found 3"),
        (
            "--tasks.moods.labels.mood=[label]",
            r"task 'moods': labels, 'mood': expected a column, .*, found \['label'\]",
        ),
        ("--tasks.moods.labels.mood={part: 3}", "task 'moods': labels, 'mood': expected a column, "),
        ("--tasks.moods.inputs.text=[a]", "task 'moods'"),
        ("--tasks.moods.inputs.text=txt", "task 'moods'.*unknown column 'txt', did you mean 'text'"),
        ("--tasks.moods.dataset.path=5", "task 'moods'"),
        ("--tasks.moods.dataset.path=no/such/folder", "task 'moods': the dataset 'no/such/folder' cannot be loaded"),
        ("--tasks.moods.dataset.data_files.train=no.parquet", "task 'moods': the file .*no.parquet"),
        ("--tasks.moods.dataset.splt=x", "task 'moods'.*splt"),
    ],
)
def test_what_cannot_be_is_refused_when_loading(
    tmp_path: Path, values: dict[str, Any], override: str, message: str
) -> None:
    with pytest.raises(InputError, match=f"(?s){message}"):
        loaded(tmp_path, values, override)


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("--mixture.instances_per_epoch=many", "mixture"),
        ("--mixture.instances_per_epoch=1", "mixture: instances_per_epoch is 1"),
        ("--loss_reduction=per_moon", "loss_reduction"),
        ("--loss_weights.nood=1.0", "loss_weights.*nood"),
        ("--loss_weights.mood=heavy", "loss_weights.*heavy"),
        ("--loss_weights.mood=-1", "loss_weights.*-1"),
        ("--training.per_device_train_batch_size=0", "batch size"),
    ],
)
def test_what_cannot_be_is_refused_by_the_plan(
    tmp_path: Path, values: dict[str, Any], override: str, message: str
) -> None:
    """It shows what the training would do, and so refuses what the training refuses."""
    with pytest.raises(InputError, match=message):
        plan_recipe(loaded(tmp_path, values, override))


def test_the_plan_is_that_of_mixture_and_arguments(tmp_path: Path, values: dict[str, Any]) -> None:
    overrides = (
        "--training.num_train_epochs=2",
        "--training.gradient_accumulation_steps=2",
        "--training.dataloader_drop_last=true",
        "--training.per_device_train_batch_size=5",
        "--training.data_seed=7",
        "--mixture.sampling=uniform",
        "--mixture.stop=first",
        "--loss_weights.mood=0.5",
        "--loss_reduction=per_row",
    )
    found = loaded(tmp_path, values, *overrides)
    assert plan_recipe(found) == plan_mixture(
        {"requests": 16, "moods": 8},
        found.recipe.mixture,
        5,
        {"requests": ["intent", "slots"], "moods": ["mood"]},
        num_epochs=2,
        seed=7,
        drop_last=True,
        gradient_accumulation_steps=2,
        loss_weights={"mood": 0.5},
        per_row=True,
    )
    plan = plan_recipe(found)
    assert [task.rows_per_epoch for task in plan.tasks] != [16, 8]
    assert plan.head_weights["mood"] < 0.5


def test_a_plan_without_training_rows_is_refused(tmp_path: Path, values: dict[str, Any]) -> None:
    for task in values["tasks"].values():
        del task["dataset"]["data_files"]["train"]
    with pytest.raises(InputError, match="no task has a train split"):
        plan_recipe(loaded(tmp_path, values))


@pytest.mark.parametrize("override", ["--backbone=no/such/backbone", "--backbone={folder}"])
def test_a_backbone_that_cannot_be_loaded_is_refused(tmp_path: Path, values: dict[str, Any], override: str) -> None:
    (tmp_path / "empty").mkdir()
    found = loaded(tmp_path, values, override.format(folder=tmp_path / "empty"))
    with pytest.raises(InputError, match=r"backbone '.*' cannot be loaded"):
        build_trainer(found)


def test_the_recipe_reaches_the_model(tmp_path: Path, values: dict[str, Any], tiny_backbone: str) -> None:
    found = loaded(
        tmp_path, values, "--loss_weights.mood=0.5", "--loss_reduction=per_row", "--mixture.order=sequential"
    )
    trainer = build_trainer(found)
    config = trainer.model.config
    assert (config.loss_weights, config.loss_reduction) == ({"mood": 0.5}, "per_row")
    assert config.tasks == {"requests": ["intent", "slots"], "moods": ["mood"]}
    assert trainer.mixture.order == "sequential"
    weights = load_file(Path(tiny_backbone) / "model.safetensors")
    loaded_weight = trainer.model.backbone.model.embeddings.word_embeddings.weight
    assert torch.equal(loaded_weight, weights["embeddings.word_embeddings.weight"])


def test_a_tokenizer_that_is_not_there_is_refused(tmp_path: Path, values: dict[str, Any]) -> None:
    GPT2Model(tiny_gpt2(20)).save_pretrained(tmp_path / "bare")
    found = loaded(tmp_path, values, f"--backbone={tmp_path / 'bare'}")
    with pytest.raises(InputError, match=r"the tokenizer .*of '.*/bare' cannot be loaded"):
        build_trainer(found)


def tiny_gpt2(vocab_size: int) -> GPT2Config:
    ids = {"bos_token_id": 0, "eos_token_id": 0}
    return GPT2Config(vocab_size=vocab_size, n_embd=32, n_layer=1, n_head=4, n_positions=64, **ids)


def test_byte_level_tokenizers_put_a_space_before_words(tmp_path: Path, values: dict[str, Any]) -> None:
    folder = tmp_path / "gpt2"
    symbols = sorted(pre_tokenizers.ByteLevel.alphabet())
    GPT2Model(tiny_gpt2(len(symbols))).save_pretrained(folder)
    (folder / "vocab.json").write_text(json.dumps({symbol: index for index, symbol in enumerate(symbols)}))
    (folder / "merges.txt").write_text("#version: 0.2\n")
    GPT2Tokenizer.from_pretrained(folder, unk_token="!", bos_token="!", eos_token="!").save_pretrained(folder)
    both = build_trainer(loaded(tmp_path, values, f"--backbone={folder}")).processing_class
    assert both(["a", "b"], is_split_into_words=True).tokens() == ["Ġ", "a", "Ġ", "b"]
    # padding is masked, so that any token will do
    assert both.pad_token == "!"
    del values["tasks"]["requests"], values["heads"]["intent"], values["heads"]["slots"]
    only_text = build_trainer(loaded(tmp_path, values, f"--backbone={folder}")).processing_class
    assert only_text("a b").tokens() == ["a", "Ġ", "b"]


# running


def test_the_folder_holds_what_it_should_and_nothing_pickled(tmp_path: Path, values: dict[str, Any]) -> None:
    found = loaded(tmp_path, values)
    results = run_recipe(found)
    folder = tmp_path / "out"
    assert sorted(path.name for path in folder.iterdir()) == [
        "README.md",
        "all_results.json",
        "config.json",
        "model.safetensors",
        "tokenizer.json",
        "tokenizer_config.json",
    ]
    assert json.loads((folder / "all_results.json").read_text(encoding="utf-8")) == results
    wanted = {"train_loss", "eval_loss", "eval_score", "test_loss", "test_score", "test_moods_mood_accuracy"}
    assert wanted <= set(results)
    model = AutoModel.from_pretrained(folder)
    assert set(model.heads) == {"intent", "slots", "mood"}
    tokenizer = AutoTokenizer.from_pretrained(folder)
    assert tokenizer("play dido").input_ids == [2, 24, 8, 3]
    # what was evaluated is what was saved
    trainer = MultiTaskTrainer(model, found.arguments, tasks=found.recipe.tasks, processing_class=tokenizer)
    again = trainer.evaluate(split="test", metric_key_prefix="test")
    assert again["test_loss"] == pytest.approx(results["test_loss"], rel=1e-6)


def test_checkpoints_stay_beside_the_result(tmp_path: Path, values: dict[str, Any]) -> None:
    run_recipe(loaded(tmp_path, values, "--training.save_strategy=steps", "--training.save_steps=4"))
    names = {path.name for path in (tmp_path / "out").iterdir()}
    assert {"checkpoint-4", "checkpoint-6", "config.json", "README.md"} <= names
    assert not [name for name in names if name.endswith((".bin", ".pt", ".pkl", ".pth")) or name.startswith(".")]


def test_only_the_splits_that_there_are_are_evaluated(tmp_path: Path, values: dict[str, Any]) -> None:
    for task in values["tasks"].values():
        del task["dataset"]["data_files"]["test"]
    results = run_recipe(loaded(tmp_path, values))
    assert "eval_loss" in results
    assert not [key for key in results if key.startswith("test_")]


def test_a_regression_head_is_trained_saved_and_loaded(tmp_path: Path, values: dict[str, Any]) -> None:
    features = Features({"text": Value("string"), "stars": Value("float64")})
    stars = Dataset.from_dict(
        {"text": ["a great film", "a dull song"] * 4, "stars": [5.0, 1.0] * 4}, features=features
    )
    stars.to_parquet(tmp_path / "data" / "stars.parquet")
    values["heads"] = {"stars": {"head_type": "regression"}}
    values["tasks"] = {
        "reviews": {
            "dataset": {
                "path": "parquet",
                "data_files": {"train": "data/stars.parquet", "test": "data/stars.parquet"},
            },
            "inputs": {"text": "text"},
            "labels": {"stars": "stars"},
        }
    }
    trainer = build_trainer(loaded(tmp_path, values))
    assert trainer.model.heads["stars"].config.mean == pytest.approx([3.0])
    results = run_recipe(loaded(tmp_path, values))
    assert np.isfinite(results["test_score"])
    config = json.loads((tmp_path / "out" / "config.json").read_text(encoding="utf-8"))
    assert (config["heads"]["stars"]["mean"], config["heads"]["stars"]["std"]) == ([3.0], [2.0])


def interrupt(monkeypatch: pytest.MonkeyPatch, step: int) -> None:
    """Let the training stop with an exception at a step."""
    plain = MultiTaskTrainer.training_step
    calls: list[int] = []

    def training_step(self: MultiTaskTrainer, *args: Any, **kwargs: Any) -> torch.Tensor:
        calls.append(1)
        if len(calls) == step:
            raise KeyboardInterrupt
        return plain(self, *args, **kwargs)

    monkeypatch.setattr(MultiTaskTrainer, "training_step", training_step)


def test_an_interrupted_run_goes_on(tmp_path: Path, values: dict[str, Any]) -> None:
    """To the weights and results of a run without interruption."""
    options = ("--training.save_strategy=steps", "--training.save_steps=2", "--training.num_train_epochs=2")
    torch.manual_seed(0)
    whole = run_recipe(loaded(tmp_path, values, *options, f"--training.output_dir={tmp_path / 'whole'}"))
    torch.manual_seed(0)
    with pytest.MonkeyPatch.context() as patch:
        interrupt(patch, 6)
        with pytest.raises(KeyboardInterrupt):
            run_recipe(loaded(tmp_path, values, *options))
    assert not (tmp_path / "out" / "model.safetensors").exists()
    seen: list[int] = []
    with pytest.MonkeyPatch.context() as patch:
        plain = MultiTaskTrainer.training_step

        def training_step(self: MultiTaskTrainer, *args: Any, **kwargs: Any) -> torch.Tensor:
            seen.append(self.state.global_step)
            return plain(self, *args, **kwargs)

        patch.setattr(MultiTaskTrainer, "training_step", training_step)
        resumed = run_recipe(loaded(tmp_path, values, *options, "--training.resume_from_checkpoint=true"))
    assert seen == list(range(4, 12))
    one, other = (load_file(tmp_path / name / "model.safetensors") for name in ("whole", "out"))
    assert [name for name in one if not torch.equal(one[name], other[name])] == []
    assert {key: resumed[key] for key in ("eval_loss", "test_loss", "test_score")} == {
        key: whole[key] for key in ("eval_loss", "test_loss", "test_score")
    }


@pytest.mark.parametrize("exists", [True, False])
def test_going_on_without_a_checkpoint_starts_anew(tmp_path: Path, values: dict[str, Any], exists: bool) -> None:
    """So that one command line serves the first run and every later one."""
    if exists:
        (tmp_path / "out").mkdir()
    results = run_recipe(loaded(tmp_path, values, "--training.resume_from_checkpoint=true"))
    assert "test_score" in results


def test_a_failing_run_leaves_the_last_result(
    tmp_path: Path, values: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """No file is replaced before the new ones are all there."""
    from mt_transformers.training import run

    run_recipe(loaded(tmp_path, values))
    folder = tmp_path / "out"
    before = {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}

    def fail(*_: Any, **__: Any) -> None:
        raise RuntimeError("no card")

    monkeypatch.setattr(run, "write_model_card", fail)
    with pytest.raises(RuntimeError, match="no card"):
        run_recipe(loaded(tmp_path, values, "--training.seed=5"))
    assert {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()} == before


def test_the_seed_of_the_recipe_settles_the_result(tmp_path: Path, values: dict[str, Any]) -> None:
    """The new heads, too, are the same in every run of a recipe, and others for another seed."""

    def trained(folder: str, seed: int) -> torch.Tensor:
        found = loaded(tmp_path, values, f"--training.output_dir={tmp_path / folder}", f"--training.seed={seed}")
        run_recipe(found)
        with torch.no_grad():
            return AutoModel.from_pretrained(tmp_path / folder)(**tiny_inputs())["intent_logits"]

    torch.manual_seed(1)
    first = trained("a", 3)
    torch.manual_seed(2)
    assert torch.equal(first, trained("b", 3))
    assert not torch.equal(first, trained("c", 4))


def test_rows_in_memory_are_a_recipe_too(tmp_path: Path, values: dict[str, Any]) -> None:
    recipe = read_recipe(write_recipe(tmp_path, values))
    recipe.tasks = two_tasks()
    assert isinstance(recipe.tasks["moods"], Task)
    assert load_recipe(recipe).recipe.tasks["moods"].dataset["train"].num_rows == 8
