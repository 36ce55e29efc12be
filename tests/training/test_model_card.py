"""The model card: its metadata can be read back, its tables hold, its program runs, and nothing private is in it."""

from __future__ import annotations

import ast
import dataclasses
import json
import math
import re
from collections.abc import Callable
from enum import Enum
from html import unescape
from pathlib import Path
from typing import Any

import pytest
import yaml
from huggingface_hub import ModelCard
from huggingface_hub.repocard_data import model_index_to_eval_results
from hypothesis import given
from hypothesis import strategies as st
from training.recipes import recipe_values, write_recipe

from backbones import tiny_backbone_config
from fixtures import INTENTS, MOODS, SLOTS, tiny_model, two_tasks
from head_tasks import TASKS, head_config, processing_for, task_for
from mt_transformers import (
    Mixture,
    MultiTaskConfig,
    MultiTaskModel,
    MultiTaskTrainer,
    MultiTaskTrainingArguments,
    Task,
)
from mt_transformers.errors import InputError
from mt_transformers.heads.sequence_classification import SequenceClassificationHeadConfig
from mt_transformers.training import (
    LoadedRecipe,
    MultiTaskModelCardCallback,
    build_trainer,
    load_recipe,
    plan_recipe,
    read_recipe,
    run_recipe,
)
from mt_transformers.training.model_card import CardContents, may_write, render_model_card
from mt_transformers.training.model_card.changed_arguments import changed_arguments
from mt_transformers.training.model_card.markdown import escape, table
from mt_transformers.training.model_card.scores import Evaluation, find_scores
from mt_transformers.training.model_card.usage import usage_example

Models = Callable[..., MultiTaskModel]
Trainers = Callable[..., MultiTaskTrainer]

METRICS = {
    "eval_requests_intent_accuracy": 0.125,
    "eval_requests_intent_f1_macro": 0.25,
    "eval_moods_mood_accuracy": 0.5,
    "eval_moods_loss": 2.0,
    "eval_score": 0.25,
}


@pytest.fixture
def values(tiny_backbone: str, tmp_path: Path) -> dict[str, Any]:
    return recipe_values(tiny_backbone, tmp_path)


def loaded(folder: Path, values: dict[str, Any], *overrides: str) -> LoadedRecipe:
    return load_recipe(read_recipe(write_recipe(folder, values), overrides))


def heads_of(tasks: dict[str, Task]) -> dict[str, dict[str, Any]]:
    """Complete heads for the tasks of `two_tasks`."""
    names = {"intent": INTENTS, "slots": SLOTS, "mood": MOODS}
    types = {"slots": "token_classification"}
    heads = [head for task in tasks.values() for head in task.labels]
    return {head: {"head_type": types.get(head, "sequence_classification"), "id2label": names[head]} for head in heads}


def contents(**changes: Any) -> CardContents:
    """What a card over `two_tasks` is made from."""
    tasks = changes.pop("tasks", None) or two_tasks()
    given: dict[str, Any] = {
        "model": changes.pop("model", None) or tiny_model(heads_of(tasks)),
        "tasks": tasks,
        "rows": {name: {split: len(rows) for split, rows in task.dataset.items()} for name, task in tasks.items()},
        "mixture": Mixture(),
        "args": MultiTaskTrainingArguments("out", use_cpu=True),
        "model_name": "model",
        "repo_id": "owner/model",
        "evaluations": [Evaluation(split="validation", prefix="eval", step=3, metrics=METRICS)],
        "step": 3,
        "epochs": 1.0,
    }
    return CardContents(**(given | changes))


def card_of(**changes: Any) -> ModelCard:
    """The card, read as the hub reads it."""
    return ModelCard(render_model_card(contents(**changes)))


def python_of(card: ModelCard) -> str:
    """The program of a card."""
    found = re.search(r"^```python\n(.*?)^```", card.text, re.DOTALL | re.MULTILINE)
    assert found is not None
    return found[1]


def cells_of(text: str, header: str) -> list[list[str]]:
    """The rows of the table with this header, cut as GitHub's Markdown cuts them."""
    lines = text.splitlines()
    start = next(number for number, line in enumerate(lines) if line.startswith(f"| {header} |"))
    rows = []
    for line in lines[start + 2 :]:
        if not line.startswith("|"):
            break
        rows.append([cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]])
    return rows


# where it is written


def test_a_saved_model_has_a_card(
    tmp_path: Path, two_tasks: dict[str, Task], quiet_model: Models, make_trainer: Trainers
) -> None:
    """In a plain script; checkpoints have none, and the Trainer's pickled arguments are nowhere."""
    trainer = make_trainer(quiet_model(), two_tasks, num_train_epochs=1, save_strategy="epoch", eval_strategy="epoch")
    trainer.train()
    results = trainer.evaluate(split="test", metric_key_prefix="test")
    trainer.save_model(str(tmp_path / "model"))
    names = {path.name for path in (tmp_path / "model").iterdir()}
    assert names == {"README.md", "config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"}
    card = ModelCard.load(tmp_path / "model" / "README.md")
    found = {
        f"{each.dataset_split}_{each.dataset_name}_{each.metric_name.replace(' ', '_')}": each.metric_value
        for each in card.data.eval_results
    }
    assert len(found) == 16
    assert {key: value for key, value in found.items() if key.startswith("test_")} == {
        key: results[key] for key in found if key.startswith("test_")
    }
    [checkpoint] = (tmp_path / "out").glob("checkpoint-*")
    in_checkpoint = {path.name for path in checkpoint.iterdir()}
    assert "model.safetensors" in in_checkpoint
    assert not {"README.md", "training_args.bin"} & in_checkpoint
    assert not (tmp_path / "out" / "README.md").exists()


def test_the_trainers_own_card_takes_no_place(
    tmp_path: Path, two_tasks: dict[str, Task], quiet_model: Models, make_trainer: Trainers
) -> None:
    """What the caller says of the model is kept for later cards."""
    trainer = make_trainer(quiet_model(), two_tasks)
    trainer.create_model_card(language="en", license="apache-2.0", tags="mine", finetuned_from="bert-base-uncased")
    trainer.create_model_card(dataset_tags=["glue"], tags=["yours"])
    trainer.save_model(str(tmp_path / "other"))
    for folder in ("out", "other"):
        data = ModelCard.load(tmp_path / folder / "README.md").data
        assert (data.language, data.license, data.base_model) == ("en", "apache-2.0", "bert-base-uncased")
        assert data.datasets == ["glue"]
        assert data.tags == ["multi-task", "mt_transformers", "mine", "yours"]


def test_a_name_that_the_user_chose_stays(
    tmp_path: Path, two_tasks: dict[str, Task], quiet_model: Models, make_trainer: Trainers
) -> None:
    """`push_to_hub` calls every card by the repository's name."""
    names = []
    for known in (MultiTaskModelCardCallback(), MultiTaskModelCardCallback(model_name="My *model*")):
        trainer = make_trainer(quiet_model(), two_tasks, callbacks=[known])
        trainer.create_model_card(model_name="repository")
        names.append((tmp_path / "out" / "README.md").read_text(encoding="utf-8").split("\n# ")[1].split("\n")[0])
        trainer.create_model_card()
        names.append((tmp_path / "out" / "README.md").read_text(encoding="utf-8").split("\n# ")[1].split("\n")[0])
    assert names == ["repository", "out", "My &#42;model&#42;", "My &#42;model&#42;"]


@pytest.mark.parametrize("name", ["tasks", "dataset", "dataset_args"])
def test_what_the_tasks_say_is_not_taken_from_elsewhere(
    name: str, two_tasks: dict[str, Task], quiet_model: Models, make_trainer: Trainers
) -> None:
    with pytest.raises(InputError, match=f"create_model_card: expected no {name}.*'text-classification'"):
        make_trainer(quiet_model(), two_tasks).create_model_card(**{name: "text-classification"})


def test_a_page_that_somebody_wrote_is_left_alone(
    tmp_path: Path, two_tasks: dict[str, Task], quiet_model: Models, make_trainer: Trainers
) -> None:
    trainer = make_trainer(quiet_model(), two_tasks)
    page = tmp_path / "project" / "README.md"
    page.parent.mkdir()
    page.write_text("# My project", encoding="utf-8")
    with pytest.warns(UserWarning, match=r"README.md was written by hand and is left as it is"):
        trainer.save_model(str(page.parent))
    assert page.read_text(encoding="utf-8") == "# My project"
    assert (page.parent / "model.safetensors").exists()
    # a card of ours is written anew
    page.unlink()
    trainer.save_model(str(page.parent))
    assert may_write(page)
    trainer.model_card_callback.license = "mit"
    trainer.save_model(str(page.parent))
    assert ModelCard.load(page).data.license == "mit"
    assert [path.name for path in page.parent.iterdir() if path.name.startswith(".")] == []


def test_a_recipe_leaves_a_page_alone_too(tmp_path: Path, values: dict[str, Any]) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "README.md").write_text("# Mine", encoding="utf-8")
    with pytest.warns(UserWarning, match="written by hand"):
        run_recipe(loaded(tmp_path, values, "--training.max_steps=1"))
    assert (tmp_path / "out" / "README.md").read_text(encoding="utf-8") == "# Mine"
    assert (tmp_path / "out" / "model.safetensors").exists()


@pytest.mark.parametrize("process_index", [0, 1])
def test_only_the_main_process_writes(
    process_index: int,
    tmp_path: Path,
    two_tasks: dict[str, Task],
    quiet_model: Models,
    make_trainer: Trainers,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    trainer = make_trainer(quiet_model(), two_tasks)
    for name in ("process_index", "local_process_index"):
        monkeypatch.setattr(type(trainer.args), name, process_index)
    trainer.create_model_card()
    trainer.save_model(str(tmp_path / "model"))
    for folder in ("out", "model"):
        assert (tmp_path / folder / "README.md").exists() == (process_index == 0)


def test_another_process_pushes_nothing(
    tmp_path: Path,
    two_tasks: dict[str, Task],
    quiet_model: Models,
    make_trainer: Trainers,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It has no push of its own to wait for either, as the Trainer makes the repository on the main process only."""
    trainer = make_trainer(quiet_model(), two_tasks)
    monkeypatch.setattr(type(trainer.args), "process_index", 1)
    assert not hasattr(trainer, "push_in_progress")
    (tmp_path / "checkpoint").mkdir()
    (tmp_path / "checkpoint" / "config.json").write_text("{}", encoding="utf-8")
    trainer.push_checkpoint(tmp_path / "checkpoint")
    assert not (tmp_path / "out" / "config.json").exists()


# the recipe


def test_the_card_of_a_recipe_says_its_results(tmp_path: Path, values: dict[str, Any], tiny_backbone: str) -> None:
    run_recipe(loaded(tmp_path, values, "--training.hub_token=hf_secret"))
    results = json.loads((tmp_path / "out" / "all_results.json").read_text(encoding="utf-8"))
    card = ModelCard.load(tmp_path / "out" / "README.md")
    assert (card.data.library_name, card.data.model_name) == ("mt_transformers", "out")
    prefixes = {"validation": "eval", "test": "test"}
    found = {
        f"{prefixes[each.dataset_split]}_{each.dataset_name}_{each.metric_name.replace(' ', '_')}": each.metric_value
        for each in card.data.eval_results
    }
    wanted = {key: value for key, value in results.items() if re.match("(eval|test)_(requests|moods)_.*_", key)}
    assert found == wanted
    assert len(found) == 16
    assert {row[0]: row[3:] for row in cells_of(card.text, "task | inputs")} == {
        "`requests`": ["16", "8", "8"],
        "`moods`": ["8", "4", "4"],
    }
    assert cells_of(card.text, "task | share (%)") == [
        [f"`{each.task_name}`", f"{100 * each.share:.1f}", str(each.rows_per_epoch), str(each.batches), "1.0"]
        for each in plan_recipe(loaded(tmp_path, values)).tasks
    ]
    # nothing of this machine, and nothing secret
    assert "base_model" not in card.data.to_dict()
    for private in (tiny_backbone, str(tmp_path), "hf_secret"):
        assert private not in card.content
    assert not [path.name for path in (tmp_path / "out").iterdir() if path.name.startswith(".")]


@pytest.mark.parametrize(
    ("base_model", "expected"),
    [
        ("google-bert/bert-base-uncased", "google-bert/bert-base-uncased"),
        # models of the hub's first days have no owner
        ("bert-base-uncased", "bert-base-uncased"),
        ("{folder}", None),
        ("../{name}", None),
    ],
)
def test_only_a_name_on_the_hub_is_the_base_model(
    tmp_path: Path, values: dict[str, Any], base_model: str, expected: str | None
) -> None:
    found = loaded(tmp_path, values)
    found.recipe.base_model = base_model.format(folder=tmp_path, name=tmp_path.name)
    trainer = build_trainer(found)
    trainer.create_model_card()
    card = ModelCard.load(tmp_path / "out" / "README.md")
    assert card.data.base_model == expected
    assert str(tmp_path) not in card.content


def test_a_backbone_beside_the_recipe_is_no_name_on_the_hub(
    tmp_path: Path, values: dict[str, Any], tiny_backbone: str
) -> None:
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / "bert").symlink_to(tiny_backbone)
    trainer = build_trainer(loaded(tmp_path, values, "--backbone=models/bert"))
    trainer.create_model_card()
    assert ModelCard.load(tmp_path / "out" / "README.md").data.base_model is None


def test_the_recipe_says_which_datasets_are_on_the_hub(
    tmp_path: Path, values: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    from mt_transformers.training import recipe_loading

    values["tasks"]["moods"]["dataset"] = {"path": "owner/moods"}
    in_memory = two_tasks()
    monkeypatch.setattr(recipe_loading, "load_splits", lambda name, _: in_memory[name].dataset)
    assert loaded(tmp_path, values).datasets == {"moods": "owner/moods"}


def test_a_datasets_name_on_the_hub_reaches_the_card(tmp_path: Path, values: dict[str, Any]) -> None:
    found = loaded(tmp_path, values)
    assert found.datasets == {}
    found.datasets = {"moods": "owner/moods"}
    trainer = build_trainer(found)
    trainer.evaluate()
    trainer.create_model_card()
    card = ModelCard.load(tmp_path / "out" / "README.md")
    assert card.data.datasets == ["owner/moods"]
    assert {each.dataset_name: each.dataset_type for each in card.data.eval_results} == {
        "requests": "requests",
        "moods": "owner/moods",
    }
    assert "[owner/moods](https://hf.co/datasets/owner/moods)" in card.text


# which results


def test_the_split_is_known_whatever_the_prefix(
    tmp_path: Path, two_tasks: dict[str, Task], quiet_model: Models, make_trainer: Trainers
) -> None:
    """Evaluations of one task after another are put together; rows that are no split of a task go by the prefix."""
    trainer = make_trainer(quiet_model(), two_tasks)
    trainer.evaluate("requests", split="test")
    trainer.evaluate("moods", split="test")
    trainer.evaluate({"moods": two_tasks["moods"].dataset["train"]}, metric_key_prefix="more")
    trainer.create_model_card()
    card = ModelCard.load(tmp_path / "out" / "README.md")
    assert {(each.dataset_name, each.dataset_split) for each in card.data.eval_results} == {
        ("requests", "test"),
        ("moods", "test"),
        ("moods", "more"),
    }
    assert "## Training" not in card.text


def test_results_are_those_of_the_weights_that_were_loaded(
    tmp_path: Path, two_tasks: dict[str, Task], quiet_model: Models, make_trainer: Trainers
) -> None:
    """The best epoch's, where it is loaded at the end, and of what is measured later."""
    trainer = make_trainer(
        quiet_model(),
        two_tasks,
        num_train_epochs=3,
        eval_strategy="epoch",
        save_strategy="epoch",
        load_best_model_at_end=True,
        metric_for_best_model="eval_loss",
        greater_is_better=True,
        learning_rate=5e-3,
    )
    trainer.train()
    first, *_, last = [entry for entry in trainer.state.log_history if "eval_loss" in entry]
    # the loss falls, so that the worst is the first
    assert first["eval_loss"] > last["eval_loss"]
    assert trainer.state.best_global_step == 6
    contents = trainer.card_contents(tmp_path)
    assert (contents.step, [(each.split, each.step) for each in contents.evaluations]) == (6, [("validation", 6)])
    assert contents.evaluations[0].metrics["eval_loss"] == first["eval_loss"]
    trainer.evaluate(split="test")
    assert [(each.split, each.step) for each in trainer.card_contents(tmp_path).evaluations] == [
        ("validation", 6),
        ("test", 6),
    ]
    # a new run begins with nothing
    trainer.args.num_train_epochs, trainer.args.eval_strategy = 1, "no"
    trainer.args.load_best_model_at_end = False
    trainer.train()
    assert trainer.card_contents(tmp_path).evaluations == []


def test_results_of_earlier_weights_are_called_so() -> None:
    earlier = Evaluation(split="validation", prefix="eval", step=2, metrics=METRICS)
    text = card_of(evaluations=[earlier]).text
    assert "On the validation rows after 2 optimizer steps, while these weights are those after 3:" in text
    assert "On the validation rows:" in card_of().text


def test_a_model_that_was_not_evaluated_has_a_card() -> None:
    card = card_of(evaluations=[], step=0)
    assert not card.data.eval_results
    assert "The model was not evaluated." in card.text
    assert "## Training" not in card.text


# metadata


def test_the_metadata_can_be_read_back() -> None:
    """As huggingface_hub parses it, name by name as the hub knows it."""
    found = render_model_card(contents(language=["en", "de"], license="mit", datasets={"moods": "owner/moods"}))
    metadata = yaml.safe_load(found.split("---\n")[1])
    name, results = model_index_to_eval_results(metadata["model-index"])
    assert name == "model"
    assert [
        (each.task_type, each.dataset_type, each.dataset_name, each.dataset_split, each.metric_type)
        for each in results
    ] == [
        ("text-classification", "requests", "requests", "validation", "accuracy"),
        ("text-classification", "requests", "requests", "validation", "f1"),
        ("text-classification", "owner/moods", "moods", "validation", "accuracy"),
    ]
    assert [each.metric_value for each in results] == [0.125, 0.25, 0.5]
    assert [each.metric_name for each in results] == ["intent accuracy", "intent f1_macro", "mood accuracy"]
    assert [each.metric_args for each in results] == [None, {"average": "macro"}, None]
    card = ModelCard(found)
    assert card.data.eval_results == results
    assert (card.data.language, card.data.license, card.data.metrics) == (["en", "de"], "mit", ["accuracy", "f1"])
    # neither is true of several heads
    assert not {"pipeline_tag", "base_model"} & set(metadata)


def test_tasks_of_one_dataset_keep_their_results_apart() -> None:
    """A model index has one entry for a dataset and split, under one name."""
    card = card_of(datasets={"moods": "owner/all", "requests": "owner/all"})
    assert {(each.dataset_name, each.metric_name) for each in card.data.eval_results} == {
        ("requests", "intent accuracy"),
        ("requests", "intent f1_macro"),
        ("moods", "mood accuracy"),
    }
    assert card.data.datasets == ["owner/all"]


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_what_is_no_number_is_in_the_table_only(value: float) -> None:
    """JSON, which the hub makes of the metadata, has no words for it."""
    metrics = METRICS | {"eval_moods_mood_accuracy": value}
    card = card_of(evaluations=[Evaluation(split="test", prefix="eval", step=3, metrics=metrics)])
    assert json.loads(json.dumps(card.data.to_dict(), allow_nan=False)) == card.data.to_dict()
    assert [each.metric_name for each in card.data.eval_results] == ["intent accuracy", "intent f1_macro"]
    shown = {math.inf: "inf", -math.inf: "-inf"}.get(value, "not a number")
    assert ["`moods`", "`mood`", "**accuracy**", shown] in cells_of(card.text, "task | head")


def test_results_that_are_no_numbers_are_valid_json(
    tmp_path: Path, values: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = MultiTaskTrainer.evaluate

    def evaluate(self: MultiTaskTrainer, *args: Any, **kwargs: Any) -> dict[str, float]:
        return {**plain(self, *args, **kwargs), "eval_score": math.nan}

    monkeypatch.setattr(MultiTaskTrainer, "evaluate", evaluate)
    results = run_recipe(loaded(tmp_path, values, "--training.max_steps=1"))
    assert math.isnan(results["eval_score"])

    def refuse(name: str) -> None:
        raise AssertionError(name)

    text = (tmp_path / "out" / "all_results.json").read_text(encoding="utf-8")
    assert json.loads(text, parse_constant=refuse)["eval_score"] is None


FAMILY_OF = {"image_classification": "vit", "audio_classification": "wav2vec2", "causal_language_modeling": "gpt2"}

HUB_TASKS = {
    "audio-classification",
    "fill-mask",
    "image-classification",
    "multiple-choice",
    "question-answering",
    "sentence-similarity",
    "text-classification",
    "text-generation",
    "token-classification",
}
"""Of https://huggingface.co/tasks and the pipelines of its models."""


@pytest.mark.parametrize("head_type", sorted(TASKS))
def test_the_program_of_every_head_type_runs(
    head_type: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """From the folder's parent, as the card writes it; the head's results are of a task that the hub knows."""
    family = FAMILY_OF.get(head_type, "bert")
    processing, task = processing_for(family), task_for(head_type, family)
    config = MultiTaskConfig(backbone_config=tiny_backbone_config(family), heads={"head": head_config(head_type)})
    trainer = MultiTaskTrainer(
        MultiTaskModel(config),
        MultiTaskTrainingArguments(str(tmp_path / "run"), use_cpu=True, report_to=[], disable_tqdm=True),
        tasks={"task": task},
        processing_class=processing.tokenizer or processing.image_processor or processing.feature_extractor,
    )
    trainer.evaluate(split="train")
    trainer.save_model(str(tmp_path / "model"))
    card = ModelCard.load(tmp_path / "model" / "README.md")
    assert {each.task_type for each in card.data.eval_results} <= HUB_TASKS
    assert len(card.data.eval_results) >= len(trainer.head_configs["head"].metric_names)
    extra = "[vision]" if "images" in task.inputs else ""
    assert f"\npip install mt_transformers{extra}\n" in card.text
    monkeypatch.chdir(tmp_path)
    capsys.readouterr()
    exec(compile(python_of(card), "README.md", "exec"), {})
    assert capsys.readouterr().out.startswith("[{'head': ")


def test_a_head_of_ones_own_has_to_be_imported() -> None:
    """`AutoModel` cannot know it; the card says where it comes from."""
    module = f"{__name__}_of_mine"
    own = type("OwnConfig", (SequenceClassificationHeadConfig,), {"__module__": module})
    model = tiny_model(heads_of(two_tasks()))
    model.heads["mood"].config = own(id2label=dict(enumerate(MOODS)))
    assert f"Import what registers them first: `{module}`." in card_of(model=model).text
    assert "Import what registers" not in card_of().text


def test_each_kind_of_row_has_a_line() -> None:
    rows = {"pairs": {"text": "a", "text_pair": "b"}, "words": {"tokens": "a"}, "texts": {"text": "a"}}
    tasks = {name: Task(dataset={}, inputs=inputs, labels={}) for name, inputs in rows.items()}
    program = usage_example('a"b\\c', tasks)
    assert program.count("A text to read.") == 2
    assert program.count("Another text.") == 1
    [name] = [node.value for node in ast.walk(ast.parse(program)) if node == name_of(node)]
    assert name == 'a"b\\c'


def name_of(node: ast.AST) -> ast.AST | None:
    """The node, if it is the name that a program loads its model by."""
    return node if isinstance(node, ast.Constant) and str(node.value).startswith("a") else None


# tables


HOSTILE = ["a|b", "`code`", "two\nlines", "_x_", "**bold**", "<b>", "[a](b)", "\\|", "", "\x00\u202e", "$x$", "# a"]


def test_no_label_breaks_the_table() -> None:
    """What GitHub's Markdown makes of the cells is the labels again."""
    heads = heads_of(two_tasks())
    plain = cells_of(card_of().text, "head | type")
    heads["mood"]["id2label"] = HOSTILE
    text = card_of(model=tiny_model(heads)).text
    rows = cells_of(text, "head | type")
    assert [row[:2] for row in rows] == [row[:2] for row in plain]
    assert {len(row) for row in rows} == {6}
    assert unescape(rows[2][2]) == f"12: {', '.join(' '.join(each.split()) for each in HOSTILE[:8])} and 4 more"
    assert not re.search(r"[`*<\[\\]", rows[2][2])


@given(st.text())
def test_escaped_text_is_text(value: str) -> None:
    """Of one line, nothing in it is markup, and it stands for what was written, but for spaces and control signs."""
    found = escape(value)
    assert not re.search(r"[\\`*\[\]<>|~$!\n\r]", found)
    assert not re.search(r"&(?!#\d+;)", found)
    shown = "".join(sign if sign.isprintable() else " " for sign in value)
    # a reference to a sign that HTML reads otherwise would not come back
    assert unescape(found) == " ".join(shown.split())


def test_tables_have_the_form_of_markdown() -> None:
    assert table(["a", "b"], [["x", 1.5], ["y", 2]]) == "| a | b |\n|---|--:|\n| x | 1.5 |\n| y | 2 |"
    assert table(["a"], []) == "| a |\n|---|"


def test_a_head_says_its_parameters_labels_and_weight() -> None:
    model = tiny_model(heads_of(two_tasks()), loss_weights={"slots": 2.0})
    text = card_of(model=model).text
    assert cells_of(text, "head | type") == [
        [
            "`intent`",
            "`sequence_classification`",
            "2: PlayMusic, GetWeather",
            "**accuracy**, f1_macro",
            "1.0",
            str(32 * 2 + 2),
        ],
        [
            "`slots`",
            "`token_classification`",
            "5: O, B-singer, I-singer, B-city, I-city",
            "**entity_f1**, accuracy",
            "2.0",
            str(32 * 5 + 5),
        ],
        [
            "`mood`",
            "`sequence_classification`",
            "2: negative, positive",
            "**accuracy**, f1_macro",
            "1.0",
            str(32 * 2 + 2),
        ],
    ]
    parameters = sum(each.numel() for each in model.backbone.parameters())
    assert f"The backbone has {parameters:,} parameters." in text


def test_a_card_of_500_heads_can_be_read() -> None:
    """Tables are folded away, labels cut; every head and result is there."""
    names = [f"head_{number}" for number in range(500)]
    labels = [f"label {number} " + "x" * 100 for number in range(30)]
    heads = {name: {"head_type": "sequence_classification", "id2label": labels} for name in names}
    rows = two_tasks()["moods"]
    tasks = {"all": Task(dataset=rows.dataset, inputs=rows.inputs, labels=dict.fromkeys(names, "label"))}
    metrics = {f"eval_all_{name}_accuracy": 0.5 for name in names}
    card = card_of(
        model=tiny_model(heads),
        tasks=tasks,
        evaluations=[Evaluation(split="test", prefix="eval", step=3, metrics=metrics)],
    )
    assert len(card.data.eval_results) == 500
    assert len(cells_of(card.text, "head | type")) == len(cells_of(card.text, "task | head")) == 500
    assert card.text.count("<details>") == card.text.count("</details>") == 2
    assert "<details>" not in card_of().text
    assert len(card.text) < 500 * 600
    assert max(len(row[2]) for row in cells_of(card.text, "head | type")) < 8 * 46 + 20


# the training


def test_a_stream_has_no_table(
    tmp_path: Path, two_tasks: dict[str, Task], quiet_model: Models, make_trainer: Trainers
) -> None:
    for task in two_tasks.values():
        task.dataset["train"] = task.dataset["train"].to_iterable_dataset()
    trainer = make_trainer(quiet_model(), two_tasks, mixture=Mixture(sampling="uniform"), max_steps=2)
    trainer.train()
    trainer.save_model(str(tmp_path / "model"))
    text = (tmp_path / "model" / "README.md").read_text(encoding="utf-8")
    assert "The training rows were streamed" in text
    assert "rows an epoch" not in text
    assert [row[3:] for row in cells_of(text, "task | inputs")] == [["8", "8"], ["4", "4"]]


def test_the_mixture_is_that_of_the_run(
    tmp_path: Path, two_tasks: dict[str, Task], quiet_model: Models, make_trainer: Trainers
) -> None:
    mixture = Mixture(sampling="uniform", stop="first", order="round_robin")
    trainer = make_trainer(quiet_model(), two_tasks, mixture=mixture, num_train_epochs=2)
    trainer.train()
    trainer.create_model_card()
    text = (tmp_path / "out" / "README.md").read_text(encoding="utf-8")
    assert "8 optimizer steps, 2 epochs, on 1 process." in text
    assert "Mixture: sampling `uniform`, order `round_robin`, batches `mixed`, stop `first`." in text
    assert cells_of(text, "task | share (%)") == [
        ["`requests`", "50.0", "8", "4", "0.5"],
        ["`moods`", "50.0", "8", "4", "1.0"],
    ]


def test_only_what_was_chosen_and_is_nobodys_business_is_left_out() -> None:
    """No path, token or name of a repository, whichever argument holds it."""
    args = MultiTaskTrainingArguments(
        "/home/me/out",
        use_cpu=True,
        learning_rate=3e-4,
        max_steps=7,
        seed=0,
        lr_scheduler_type="cosine",
        warmup_steps=0.1,
        dataloader_drop_last=True,
        dataloader_num_workers=3,
        eval_strategy="epoch",
        save_steps=11,
        logging_steps=12,
        nonfinite_loss="skip",
        hub_token="hf_secret",
        hub_model_id="owner/private",
        run_name="/home/me/run",
        resume_from_checkpoint="/home/me/out/checkpoint-7",
        lr_scheduler_kwargs={"path": "/home/me"},
    )
    found = changed_arguments(args)
    assert found == {
        "per_device_train_batch_size": 8,
        "learning_rate": 3e-4,
        "max_steps": 7,
        "lr_scheduler_type": "cosine",
        "warmup_steps": 0.1,
        "eval_strategy": "epoch",
        "seed": 0,
        "use_cpu": True,
        "dataloader_drop_last": True,
        "nonfinite_loss": "skip",
    }
    text = card_of(args=args).text
    assert ["`learning_rate`", "0.0003"] in cells_of(text, "argument | value")
    assert not [private for private in ("/home/me", "hf_secret", "owner/private") if private in text]


def test_settings_of_components_are_shown() -> None:
    args = MultiTaskTrainingArguments(
        "out", use_cpu=True, learning_rates={"heads": 1e-3}, weight_decays={}, freeze_until={"backbone": 5}
    )
    found = changed_arguments(args)
    assert found["learning_rates"] == {"heads": 1e-3}
    assert found["freeze_until"] == {"backbone": 5}
    assert "weight_decays" not in found


def test_every_argument_that_holds_free_text_is_known() -> None:
    """A new one of transformers is none that the card shows, unless it is added to those that it may show."""
    args = MultiTaskTrainingArguments("out", use_cpu=True)
    secret = "hf_secret"
    for each in dataclasses.fields(args):
        if each.init and each.name not in (
            "metric_for_best_model",
            "nonfinite_loss",
            "train_sampling_strategy",
            "optim_args",
        ):
            value = getattr(args, each.name)
            if value is None or (isinstance(value, str) and not isinstance(value, Enum)):
                setattr(args, each.name, secret)
    assert secret not in changed_arguments(args).values()


def test_a_callback_of_the_users_fills_the_card(
    tmp_path: Path, two_tasks: dict[str, Task], quiet_model: Models, make_trainer: Trainers
) -> None:
    known = MultiTaskModelCardCallback(
        language="en", license="apache-2.0", datasets={"moods": "owner/moods"}, dataset_tags=["glue"], tags=["mine"]
    )
    trainer = make_trainer(quiet_model(), two_tasks, callbacks=[known])
    assert trainer.model_card_callback is known
    trainer.create_model_card()
    data = ModelCard.load(tmp_path / "out" / "README.md").data
    assert (data.language, data.license, data.datasets) == ("en", "apache-2.0", ["owner/moods", "glue"])
    assert data.tags == ["multi-task", "mt_transformers", "mine"]


def test_numbers_under_other_names_are_found() -> None:
    """One metric may give several, and a head's name may begin as another's does."""
    rows = two_tasks()["moods"]
    tasks = {"t": Task(dataset=rows.dataset, inputs=rows.inputs, labels={"a": "label", "a_b": "label"})}
    heads = {name: {"head_type": "sequence_classification", "id2label": MOODS} for name in ("a", "a_b")}
    metrics = {"eval_t_a_accuracy": 0.1, "eval_t_a_more": 0.2, "eval_t_a_b_accuracy": 0.3, "eval_t_a_b_more": 0.4}
    found = find_scores(
        Evaluation(split="test", prefix="eval", step=3, metrics=metrics | {"eval_t_loss": 1.0}),
        tasks,
        {name: head.config for name, head in tiny_model(heads).named_heads.items()},
    )
    assert [(each.head, each.metric, each.value, each.primary) for each in found] == [
        ("a", "accuracy", 0.1, True),
        ("a", "more", 0.2, False),
        ("a_b", "accuracy", 0.3, True),
        ("a_b", "more", 0.4, False),
    ]


def test_metrics_from_elsewhere_are_found() -> None:
    """The primary metric has another name in the config than in the results."""
    tasks = {"moods": two_tasks()["moods"]}
    heads = heads_of(tasks)
    heads["mood"]["metrics"] = ["evaluate/glue", "accuracy"]
    metrics = {"eval_moods_mood_glue": 0.5, "eval_moods_mood_extra": 0.25, "eval_moods_mood_accuracy": 1.0}
    card = card_of(
        model=tiny_model(heads),
        tasks=tasks,
        evaluations=[Evaluation(split="test", prefix="eval", step=3, metrics=metrics)],
    )
    assert [row[2:] for row in cells_of(card.text, "task | head")] == [
        ["accuracy", "1.0000"],
        ["**glue**", "0.5000"],
        ["extra", "0.2500"],
    ]
