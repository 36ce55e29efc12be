"""The section `experiences` of a recipe, from YAML to a scenario."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from continual.answers import NAMES, labelled, row_lists
from training.recipes import recipe_values, write_recipe

from mt_transformers.continual.experiences import ScenarioConfig, build_scenario, parse_experiences
from mt_transformers.continual.scenario import Scenario
from mt_transformers.errors import InputError
from mt_transformers.training import load_recipe, load_yaml, read_recipe


def letter_recipe(folder: Path, **changes: Any) -> Path:
    """A recipe over one task with four classes, on disk."""
    labelled([2, 0, 3, 1, 0, 2, 3], "text").to_parquet(folder / "train.parquet")
    task = {
        "dataset": {"path": "parquet", "data_files": {"train": "train.parquet"}},
        "inputs": {"text": "text"},
        "labels": {"letter": "label"},
    }
    values = {
        "backbone": "some/backbone",
        "heads": {"letter": {"head_type": "sequence_classification"}},
        "tasks": {"alphabet": task},
        "training": {"output_dir": str(folder / "out"), "use_cpu": True, "report_to": "none"},
        **changes,
    }
    return write_recipe(folder, values)


def scenario_of(path: Path, *overrides: str) -> Scenario:
    loaded = load_recipe(read_recipe(path, overrides))
    assert loaded.recipe.experiences is not None
    return build_scenario(loaded, parse_experiences(loaded.recipe.experiences))


@pytest.mark.parametrize(
    ("text", "config"),
    [
        (
            "{scenario: class_incremental, experiences: 15, seed: 0, head: intent}",
            ScenarioConfig(scenario="class_incremental", experiences=15, seed=0, head="intent"),
        ),
        (
            "{scenario: task_incremental, classes: [[a, 1], ['no']]}",
            ScenarioConfig(scenario="task_incremental", classes=[["a", "1"], ["no"]]),
        ),
        (
            "{scenario: domain_incremental, domain: place, order: [north, 3]}",
            ScenarioConfig(scenario="domain_incremental", domain="place", order=["north", "3"]),
        ),
        (
            "{scenario: new_heads, order: [a, [b, c]]}",
            ScenarioConfig(scenario="new_heads", order=["a", ["b", "c"]]),
        ),
        (
            "{scenario: new_heads, bounds: [naive, joint]}",
            ScenarioConfig(scenario="new_heads", bounds=["naive", "joint"]),
        ),
        # a key with nothing behind it
        ("{scenario: new_heads, order: }", ScenarioConfig(scenario="new_heads")),
    ],
)
def test_the_section_is_read(text: str, config: ScenarioConfig) -> None:
    assert parse_experiences(load_yaml(text)) == config


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "{}",
            "experiences: 'scenario' is missing, one of class_incremental, task_incremental, domain_incremental, new",
        ),
        ("{scenario: class_incremental, experience: 3}", "unknown key 'experience', did you mean 'experiences'"),
        (
            "{scenario: classincremental}",
            "experiences: unknown scenario 'classincremental', did you mean 'class_incre",
        ),
        ("{scenario: [new_heads]}", "experiences: unknown scenario"),
        (
            "{scenario: new_heads, experiences: 3}",
            r"\(new_heads\): unknown key 'experiences'.* Known: bounds, order, scenario",
        ),
        (
            "{scenario: domain_incremental, seed: 3}",
            r"\(domain_incremental\): unknown key 'seed'. Known: bounds, domain, order",
        ),
        (
            "{scenario: task_incremental, domain: x}",
            r"\(task_incremental\): unknown key 'domain'. Known: bounds, classes, expe",
        ),
        (
            "{scenario: class_incremental, experiences: 2.5}",
            "experiences, experiences: expected a whole number, found",
        ),
        ("{scenario: class_incremental, seed: yes}", "experiences, seed: expected a whole number, found True"),
        ("{scenario: class_incremental, head: 3}", "experiences, head: expected a name, found 3"),
        ("{scenario: class_incremental, order: a}", "experiences, order: expected a list of names, found 'a'"),
        ("{scenario: class_incremental, classes: [a, b]}", "expected a list with the classes of each experience"),
        (
            "{scenario: class_incremental, classes: [[a], [[b]]]}",
            r"experiences, classes: expected a name, found \['b'",
        ),
        (
            "{scenario: class_incremental, order: [maybe, no]}",
            "experiences, order: expected a name, found False. Words such as yes and no need quotes",
        ),
    ],
)
def test_a_section_that_cannot_be(text: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        parse_experiences(load_yaml(text))


def test_classes_of_a_recipe(tmp_path: Path) -> None:
    section = {"scenario": "class_incremental", "classes": [["d", "a"], ["c", "b"]]}
    scenario = scenario_of(letter_recipe(tmp_path, experiences=section))
    assert row_lists(scenario) == [{"alphabet": {"train": [1, 2, 4, 6]}}, {"alphabet": {"train": [0, 3, 5]}}]


def test_a_section_can_be_overridden(tmp_path: Path) -> None:
    path = letter_recipe(tmp_path, experiences={"scenario": "class_incremental", "experiences": 2})
    options = ("--experiences.scenario", "task_incremental", "--experiences.experiences", "4")
    scenario = scenario_of(path, *options, "--experiences.order=[d, c, b, a]")
    assert [config.to_dict()["id2label"] for config in scenario.heads.values()] == [{0: name} for name in NAMES[::-1]]


def test_tasks_and_domains_of_a_recipe(tiny_backbone: str, tmp_path: Path) -> None:
    values = recipe_values(tiny_backbone, tmp_path)
    names = list(values["tasks"])
    order = [names[1], names[0]]
    path = write_recipe(tmp_path, {**values, "experiences": {"scenario": "new_heads", "order": order}})
    assert [experience.name for experience in scenario_of(path).experiences] == order
    with pytest.raises(InputError, match=r"experiences \(domain_incremental\): task .*: expected the heads of task"):
        scenario_of(path, "--experiences.scenario", "domain_incremental")


def test_what_does_not_fit_is_said_with_the_section(tmp_path: Path) -> None:
    path = letter_recipe(tmp_path, experiences={"scenario": "class_incremental", "experiences": 5})
    with pytest.raises(InputError, match=r"experiences \(class_incremental\): experiences: expected 2 to 4, as many"):
        scenario_of(path)
