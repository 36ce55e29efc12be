"""Reading a recipe: what it says, and one message for whatever it cannot say."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from training.recipes import write_recipe

from mt_transformers import Mixture
from mt_transformers.errors import InputError
from mt_transformers.training import Recipe, apply_overrides, load_yaml, parse_recipe, read_recipe


def values(**changes: Any) -> dict[str, Any]:
    """A recipe that can be read, with some of its sections changed."""
    return {
        "backbone": "some/backbone",
        "heads": {"mood": {"head_type": "sequence_classification", "pooling": "mean"}},
        "tasks": {"moods": moods()},
        "training": {"output_dir": "out"},
        **changes,
    }


def moods(**changes: Any) -> dict[str, Any]:
    return {
        "dataset": {"path": "parquet", "data_files": {"train": "train.parquet"}},
        "inputs": {"text": "text"},
        "labels": {"mood": "label"},
        **changes,
    }


def without(given: dict[str, Any], key: str) -> dict[str, Any]:
    return {name: value for name, value in given.items() if name != key}


# what it says


def test_a_recipe_is_read(tmp_path: Path) -> None:
    given = values(
        mixture={"sampling": "temperature", "temperature": 2.0}, loss_weights={"mood": 0.5}, loss_reduction="per_row"
    )
    recipe = read_recipe(write_recipe(tmp_path, given))
    assert isinstance(recipe, Recipe)
    assert recipe.backbone == "some/backbone"
    assert recipe.heads == {"mood": {"head_type": "sequence_classification", "pooling": "mean"}}
    assert (recipe.tasks["moods"].inputs, recipe.tasks["moods"].labels) == ({"text": "text"}, {"mood": "label"})
    assert recipe.mixture == Mixture(sampling="temperature", temperature=2.0)
    assert recipe.training == {"output_dir": "out"}
    assert (recipe.loss_weights, recipe.loss_reduction) == ({"mood": 0.5}, "per_row")


@pytest.mark.parametrize("empty", [{}, {"mixture": None, "loss_weights": None}])
def test_what_is_left_out_has_its_default(tmp_path: Path, empty: dict[str, Any]) -> None:
    recipe = parse_recipe(values(**empty), tmp_path)
    assert (recipe.mixture, recipe.loss_weights, recipe.loss_reduction) == (Mixture(), {}, "per_head")


@pytest.mark.parametrize("strategy", ["naive", {"name": "replay", "buffer_size": 200}])
def test_experiences_and_strategy_are_kept_as_they_are(tmp_path: Path, strategy: Any) -> None:
    section = {"scenario": "class_incremental", "experiences": 15, "no_such_key": None}
    recipe = read_recipe(write_recipe(tmp_path, values(experiences=section, strategy=strategy)))
    assert (recipe.experiences, recipe.strategy) == (section, strategy)


@pytest.mark.parametrize("empty", [{}, {"experiences": None, "strategy": None}])
def test_a_recipe_needs_no_experiences(tmp_path: Path, empty: dict[str, Any]) -> None:
    recipe = parse_recipe(values(**empty), tmp_path)
    assert (recipe.experiences, recipe.strategy) == (None, None)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("5e-5", 5e-5),
        ("5E-5", 5e-5),
        ("1e3", 1000.0),
        ("-2e+3", -2000.0),
        ("5.e-5", 5e-5),
        ("5.0e-5", 5e-5),
        ("1_0e2", 1000.0),
        ("e5", "e5"),
        ("5e", "5e"),
        ("a5e-5", "a5e-5"),
        ("'5e-5'", "5e-5"),
        ("5", 5),
        ("0.5", 0.5),
    ],
)
def test_numbers_as_people_write_them(text: str, expected: Any) -> None:
    found = load_yaml(text)
    assert found == expected
    assert type(found) is type(expected)


def test_no_python_object_is_built() -> None:
    with pytest.raises(yaml.YAMLError):
        load_yaml("!!python/object/apply:os.getcwd []")


# files


def files_of(recipe: Recipe) -> Any:
    return recipe.tasks["moods"].dataset["data_files"]


def test_data_files_are_beside_the_recipe(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever the working directory is, and however the recipe's path is written."""
    folder = tmp_path / "recipes"
    folder.mkdir()
    data = {"train": "train.parquet", "validation": ["a.parquet", "/abs/b.parquet"], "test": "../up.parquet"}
    write_recipe(folder, values(tasks={"moods": moods(dataset={"path": "parquet", "data_files": data})}))
    monkeypatch.chdir(tmp_path)
    found = files_of(read_recipe("recipes/recipe.yaml"))
    assert found["train"] == str(folder / "train.parquet")
    assert found["validation"] == [str(folder / "a.parquet"), "/abs/b.parquet"]
    assert Path(found["test"]).resolve() == tmp_path / "up.parquet"


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("rows.parquet", "{folder}/rows.parquet"),
        (["rows.parquet", "more*.parquet"], ["{folder}/rows.parquet", "{folder}/more*.parquet"]),
        ("https://example.org/rows.parquet", "https://example.org/rows.parquet"),
        ("hf://datasets/a/b/rows.parquet", "hf://datasets/a/b/rows.parquet"),
    ],
)
def test_data_files_of_one_split(tmp_path: Path, given: Any, expected: Any) -> None:
    tasks = {"moods": moods(dataset={"path": "parquet", "data_files": given})}
    found = files_of(parse_recipe(values(tasks=tasks), tmp_path))
    wanted = [each.format(folder=tmp_path) for each in expected] if isinstance(expected, list) else expected
    assert found == (wanted if isinstance(wanted, list) else wanted.format(folder=tmp_path))


def test_the_environment_is_put_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOME_DATA", str(tmp_path / "elsewhere"))
    monkeypatch.setenv("SOME_NAME", "rows")
    data = {"train": "$SOME_DATA/train.parquet", "test": "${SOME_NAME}.parquet", "validation": "$NOT_SET_HERE/x"}
    tasks = {"moods": moods(dataset={"path": "parquet", "data_files": data})}
    found = files_of(parse_recipe(values(tasks=tasks, backbone="$SOME_NAME/x"), tmp_path))
    assert found["train"] == str(tmp_path / "elsewhere" / "train.parquet")
    assert found["test"] == str(tmp_path / "rows.parquet")
    # what is not set stays to be seen in the message about the missing file
    assert found["validation"].endswith("$NOT_SET_HERE/x")


def test_a_backbone_folder_is_beside_the_recipe_and_a_name_stays(tmp_path: Path) -> None:
    (tmp_path / "backbones" / "tiny").mkdir(parents=True)
    assert parse_recipe(values(backbone="backbones/tiny"), tmp_path).backbone == str(tmp_path / "backbones" / "tiny")
    assert parse_recipe(values(backbone="backbones/other"), tmp_path).backbone == "backbones/other"


# overrides


@pytest.mark.parametrize(
    ("overrides", "expected"),
    [
        (["--training.seed", "1"], {"training": {"seed": 1, "output_dir": "out"}}),
        (["--training.seed=1"], {"training": {"seed": 1, "output_dir": "out"}}),
        (["--training.learning_rate", "5e-5"], {"training": {"learning_rate": 5e-5, "output_dir": "out"}}),
        (["--training.output_dir=a=b"], {"training": {"output_dir": "a=b"}}),
        (["--training.weight_decay", "-1"], {"training": {"weight_decay": -1, "output_dir": "out"}}),
        (["--mixture.order", "random"], {"training": {"output_dir": "out"}, "mixture": {"order": "random"}}),
        (["--a.b.c", "[1, 2]"], {"training": {"output_dir": "out"}, "a": {"b": {"c": [1, 2]}}}),
        (["--backbone", "x"], {"training": {"output_dir": "out"}, "backbone": "x"}),
        (["--training.bf16", "true", "--training.bf16", "false"], {"training": {"output_dir": "out", "bf16": False}}),
        (["--training.run_name="], {"training": {"output_dir": "out", "run_name": None}}),
    ],
)
def test_overrides(overrides: list[str], expected: dict[str, Any]) -> None:
    recipe: dict[str, Any] = {"training": {"output_dir": "out"}}
    apply_overrides(recipe, overrides)
    assert recipe == expected


def test_overrides_reach_into_an_empty_section() -> None:
    """`mixture:` with nothing behind it is None in YAML."""
    recipe: dict[str, Any] = {"mixture": None}
    apply_overrides(recipe, ["--mixture.order", "random"])
    assert recipe == {"mixture": {"order": "random"}}


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["--training.seed"], "expected --key value, found '--training.seed'"),
        (["training.seed", "1"], "expected --key value, found 'training.seed'"),
        (["--training.seed", "1", "stray"], "expected --key value, found 'stray'"),
        (["--backbone.size", "1"], "--backbone.size: 'backbone' is no mapping"),
        (["--training.seed", "[1"], "--training.seed"),
    ],
)
def test_overrides_that_cannot_be(tmp_path: Path, overrides: list[str], message: str) -> None:
    path = write_recipe(tmp_path, values())
    with pytest.raises(InputError) as caught:
        read_recipe(path, overrides)
    assert message in str(caught.value)


def test_overrides_are_checked_like_the_file(tmp_path: Path) -> None:
    path = write_recipe(tmp_path, values())
    assert read_recipe(path, ["--training.seed", "3", "--heads.mood.pooling=cls"]).heads["mood"]["pooling"] == "cls"
    with pytest.raises(InputError, match="mixture: unknown key 'ordr', did you mean 'order'"):
        read_recipe(path, ["--mixture.ordr", "random"])


# what it cannot say


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (values(hedas={}), "top level: unknown key 'hedas', did you mean 'heads'?"),
        (values(mixture={"ordr": "random"}), "mixture: unknown key 'ordr', did you mean 'order'?"),
        (values(mixture={"order": "sideways"}), "mixture: unknown order 'sideways'"),
        (values(tasks={"moods": moods(input={})}), "task 'moods': unknown key 'input', did you mean 'inputs'?"),
        (values(tasks={"moods": moods(inputs={"txt": "text"})}), "task 'moods': inputs: expected one of"),
        (without(values(), "backbone"), "'backbone' is missing"),
        (without(values(), "heads"), "'heads' is missing"),
        (without(values(), "tasks"), "'tasks' is missing"),
        (without(values(), "training"), "'training' is missing"),
        (values(tasks={"moods": without(moods(), "dataset")}), "task 'moods': 'dataset' is missing"),
        (values(tasks={"moods": without(moods(), "inputs")}), "task 'moods': 'inputs' is missing"),
        (values(tasks={"moods": without(moods(), "labels")}), "task 'moods': 'labels' is missing"),
        (values(tasks={"moods": moods(dataset={})}), "task 'moods': its dataset needs a 'path'"),
        (values(backbone=7), "backbone: expected a name or a folder, found 7"),
        (values(backbone=None), "backbone: expected a name or a folder, found None"),
        (values(heads=["mood"]), "heads: expected a mapping, found ['mood']"),
        (values(heads={"mood": "sequence_classification"}), "heads.mood: expected a mapping"),
        (values(heads={"mood": None}), "heads.mood: expected a mapping, found None"),
        (values(heads={}), "heads: expected at least one"),
        (values(tasks=None), "tasks: expected at least one"),
        (values(tasks="moods"), "tasks: expected a mapping, found 'moods'"),
        (values(tasks={"moods": ["a"]}), "tasks.moods: expected a mapping"),
        (values(tasks={"moods": moods(dataset="parquet")}), "task 'moods', dataset: expected a mapping"),
        (values(tasks={"moods": moods(inputs="text")}), "task 'moods', inputs: expected a mapping"),
        (values(tasks={"moods": moods(labels=["mood"])}), "task 'moods', labels: expected a mapping"),
        (values(mixture="random"), "mixture: expected a mapping, found 'random'"),
        (values(mixture={"temperature": "hot", "sampling": "temperature"}), "expected a temperature above 0"),
        (values(training=["seed"]), "training: expected a mapping"),
        (values(loss_weights=[1.0]), "loss_weights: expected a mapping"),
        (values(experiences=15), "experiences: expected a mapping, found 15"),
        (values(strategy="naive"), "strategy: expected the section 'experiences' beside it, found none"),
    ],
)
def test_bad_values_are_refused_with_their_place(tmp_path: Path, given: dict[str, Any], message: str) -> None:
    path = write_recipe(tmp_path, given)
    with pytest.raises(InputError) as caught:
        read_recipe(path)
    text = str(caught.value)
    assert text.startswith(f"recipe {path}: ")
    assert message in text


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (values(training=None), "training"),
        (values(mixture={"sampling": ["a"]}), "mixture"),
        (values(mixture={"weights": [1, 2], "sampling": "weighted"}), "mixture"),
        (values(mixture=False), "mixture"),
        ({**values(), 5: 1}, "top level"),
        (values(mixture={5: 1}), "mixture"),
    ],
)
def test_values_of_the_wrong_type_are_refused(tmp_path: Path, given: dict[Any, Any], message: str) -> None:
    """Here too an InputError with the place, and no other exception."""
    with pytest.raises(InputError, match=message):
        read_recipe(write_recipe(tmp_path, given))


@pytest.mark.parametrize("text", ["", "- a\n- b\n", "just words\n", "5\n"])
def test_a_file_that_is_no_mapping(tmp_path: Path, text: str) -> None:
    path = tmp_path / "recipe.yaml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(InputError, match="expected a mapping, found"):
        read_recipe(path)


@pytest.mark.parametrize(
    "text", ["a: [1\n", "a: b: c\n", "\tx: 1\n", "a: !unknown 1\n", "a: !!python/name:os.system\n"]
)
def test_a_file_that_is_no_yaml(tmp_path: Path, text: str) -> None:
    path = tmp_path / "recipe.yaml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(InputError, match="no valid YAML"):
        read_recipe(path)


@pytest.mark.parametrize("text", ["[1, 2]: x\n", "{a: 1}: x\n", "a: 2020-13-45\n"])
def test_yaml_that_python_cannot_hold(tmp_path: Path, text: str) -> None:
    path = tmp_path / "recipe.yaml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(InputError, match="recipe"):
        read_recipe(path)


def test_a_key_that_stands_twice_is_refused(tmp_path: Path) -> None:
    """YAML forbids it; the loader would silently keep the last, and train another recipe than the one that is read."""
    path = write_recipe(tmp_path, values())
    path.write_text(path.read_text(encoding="utf-8") + "backbone: another\n", encoding="utf-8")
    with pytest.raises(InputError, match="backbone"):
        read_recipe(path)


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"recipe .*none\.yaml: no such file"):
        read_recipe(tmp_path / "none.yaml")
    with pytest.raises(InputError, match="cannot be read"):
        read_recipe(tmp_path)
    (tmp_path / "latin.yaml").write_bytes("backbone: é\n".encode("latin-1"))
    with pytest.raises(InputError, match="cannot be read"):
        read_recipe(tmp_path / "latin.yaml")
