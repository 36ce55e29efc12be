"""The state of a run between two experiences."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from continual_streams import class_stream, head_stream, quiet_model, weights
from mt_transformers.continual.growth import grow_model
from mt_transformers.continual.progress import Progress, experience_folder
from mt_transformers.continual.results import ContinualResults
from mt_transformers.continual.scenario import Scenario
from mt_transformers.continual.strategies import make_strategy
from mt_transformers.errors import InputError


@pytest.fixture
def scenario() -> Scenario:
    """Three experiences."""
    return class_stream()


def empty(scenario: Scenario) -> ContinualResults:
    names = [each.name for each in scenario.experiences]
    return ContinualResults.begin(strategy="naive", scenario=scenario.kind, experiences=names)


def progress_of(folder: Path, scenario: Scenario, strategy: Any = "naive") -> Progress:
    return Progress.of(folder, scenario, make_strategy(strategy))


def test_a_state_comes_back(tmp_path: Path, scenario: Scenario) -> None:
    progress, results, model = progress_of(tmp_path, scenario), empty(scenario), quiet_model(scenario)
    assert progress.read() is None
    progress.begin(results)
    assert progress.read()[0] == 0
    experience_folder(tmp_path, 0).mkdir()
    results.record(0, {0: 0.5})
    progress.save(results, 1, model, make_strategy("naive"))
    # the checkpoints of what is learnt are of no use
    assert {path.name for path in tmp_path.iterdir()} == {"continual.json", "learnt-001"}
    finished, found = progress_of(tmp_path, class_stream()).read()
    assert (finished, found.to_dict()) == (1, results.to_dict())
    other = quiet_model(scenario, seed=5)
    assert progress.load_weights(1, other) == tmp_path / "learnt-001"
    assert [key for key, value in weights(model).items() if not torch.equal(weights(other)[key], value)] == []
    progress.save(results, 2, model, make_strategy("naive"))
    assert {path.name for path in tmp_path.iterdir()} == {"continual.json", "learnt-002"}
    assert not progress.is_closed(2)
    progress.close(2)
    assert progress.is_closed(2)
    assert progress.read()[0] == 2


def test_a_new_run_forgets_the_one_before_and_leaves_the_rest(tmp_path: Path, scenario: Scenario) -> None:
    own = ["learnt-002", ".learnt-003", "experience-002", "experience-1000"]
    others = ["experience-2", "learnt-all", "bound-naive", "checkpoint-3"]
    for name in [*own, *others]:
        (tmp_path / name).mkdir()
        (tmp_path / name / "file").touch()
    (tmp_path / "README.md").touch()
    progress_of(tmp_path, scenario).begin(empty(scenario))
    assert {path.name for path in tmp_path.iterdir()} == {*others, "README.md", "continual.json"}


def test_what_a_killed_process_left_is_no_hindrance(tmp_path: Path, scenario: Scenario) -> None:
    progress, model = progress_of(tmp_path, scenario), quiet_model(scenario)
    progress.begin(empty(scenario))
    (tmp_path / ".learnt-001").mkdir()
    (tmp_path / ".learnt-001" / "half").touch()
    (tmp_path / "learnt-001").mkdir()
    progress.save(empty(scenario), 1, model, make_strategy("naive"))
    assert {path.name for path in tmp_path.iterdir()} == {"continual.json", "learnt-001"}
    assert {path.name for path in (tmp_path / "learnt-001").iterdir()} == {"0", "model.safetensors"}


def test_another_scenario_or_strategy_is_refused(tmp_path: Path, scenario: Scenario) -> None:
    """From the start on, and options as they come back from the file are the same."""
    strategy = {"name": "replay", "buffer_size": 5}
    progress_of(tmp_path, scenario, strategy).begin(empty(scenario))
    assert progress_of(tmp_path, scenario, strategy).read() is not None
    with pytest.raises(InputError, match=r"has the strategy .*'buffer_size': 5.* found .*'buffer_size': 6"):
        progress_of(tmp_path, scenario, {"name": "replay", "buffer_size": 6}).read()
    with pytest.raises(InputError, match=r"has another scenario: .*kind was 'class_incremental', is 'new_heads'"):
        progress_of(tmp_path, head_stream(), strategy).read()


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"finished": "x", "results": {}}', "null"])
def test_a_broken_file_is_named(tmp_path: Path, scenario: Scenario, text: str) -> None:
    (tmp_path / "continual.json").write_text(text)
    with pytest.raises(InputError, match=r"continual\.json: expected the state of an interrupted run"):
        progress_of(tmp_path, scenario).read()


def test_weights_that_are_not_there_or_of_another_model_are_refused(tmp_path: Path, scenario: Scenario) -> None:
    progress, model = progress_of(tmp_path, scenario), quiet_model(scenario)
    with pytest.raises(InputError, match=r"learnt-001/model\.safetensors: cannot be read"):
        progress.load_weights(1, model)
    progress.begin(empty(scenario))
    progress.save(empty(scenario), 1, model, make_strategy("naive"))
    grow_model(model, scenario.heads_after(1))
    with pytest.raises(InputError, match=r"learnt-001/model\.safetensors: cannot be read"):
        progress.load_weights(1, model)
    assert json.loads((tmp_path / "continual.json").read_text())["finished"] == 1
