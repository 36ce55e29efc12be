"""Naive, joint and cumulative training: what they train on."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from continual_streams import class_stream, make_continual


def trained_rows(trainer: Any) -> list[list[int]]:
    """Numbers of the rows that each experience is trained on, ascending."""
    found: list[list[int]] = []
    choose = trainer.strategy.training_rows

    def recording(learner: Any) -> Any:
        rows = choose(learner)
        found.append(sorted(rows["words"]["row_number"]))
        return rows

    trainer.strategy.training_rows = recording
    trainer.train()
    return found


def rows_of_experiences() -> list[list[int]]:
    scenario = class_stream(rows=24)
    return [each.rows["words"]["train"].tolist() for each in scenario.experiences]


def test_naive_training_has_the_rows_of_the_experience(tmp_path: Path) -> None:
    assert trained_rows(make_continual(tmp_path, class_stream(rows=24))) == rows_of_experiences()


def test_cumulative_training_has_all_rows_so_far(tmp_path: Path) -> None:
    first, second, third = rows_of_experiences()
    found = trained_rows(make_continual(tmp_path, class_stream(rows=24), "cumulative"))
    assert found == [first, sorted(first + second), list(range(24))]
    assert sorted(first + second + third) == found[2]


def test_joint_training_has_all_rows_at_once(tmp_path: Path) -> None:
    trainer = make_continual(tmp_path, class_stream(rows=24), "joint")
    assert trained_rows(trainer) == [list(range(24))]
    results = trainer.train()
    assert np.isnan(results.matrix[:2]).all()
    assert not np.isnan(results.matrix[2]).any()


def test_naive_training_forgets_and_joint_training_does_not(tmp_path: Path) -> None:
    given = {"num_train_epochs": 6, "learning_rate": 5e-3}
    found = {
        name: make_continual(tmp_path / name, class_stream(rows=120), name, **given).train().measures()
        for name in ("naive", "joint")
    }
    assert found["naive"]["average_accuracy"] <= 0.4
    assert found["naive"]["forgetting"] > 0.9
    assert found["joint"]["average_accuracy"] > 0.9
