"""The record of a search, and the picture of it."""

from __future__ import annotations

import builtins
from pathlib import Path
from typing import Any

import pytest

from mt_transformers.errors import InputError
from mt_transformers.search import SearchRecord, TrialRecord
from mt_transformers.search.plot import draw_search
from mt_transformers.training.search_space import Choices, Interval, SearchSpace

SPACE: SearchSpace = {
    "loss_weights.slots": Interval(low=0.25, high=4.0, log=True),
    "training.weight_decay": Interval(low=0.0, high=0.1),
    "training.per_device_train_batch_size": Interval(low=4, high=16, step=4),
    "training.balancing": Choices(values=(None, "$uw$", {"name": "pcgrad", "between": "heads"})),
}


def make_record(folder: Path, scores: list[float | None], **changes: Any) -> SearchRecord:
    values = [(1.0, 0.0, 4, None), (0.25, 0.1, 8, "$uw$"), (4.0, 0.05, 16, {"name": "pcgrad", "between": "heads"})]
    trials = [
        TrialRecord(
            number=number,
            values=dict(zip(SPACE, values[number % 3], strict=True)),
            eval_score=score,
            seconds=1.5,
            fault=None if score is not None else "a loss is not finite",
        )
        for number, score in enumerate(scores)
    ]
    given: dict[str, Any] = {"folder": folder, "recipe": {"training": {"seed": 1}}, "search": {"a": [1, 2]}}
    return SearchRecord(**{**given, **changes}, trials=trials)


def test_what_is_saved_is_taken_over(tmp_path: Path) -> None:
    record = make_record(tmp_path / "new", [0.5, None, 0.75])
    record.save()
    other = make_record(tmp_path / "new", [])
    other.take_over()
    assert other == record
    # a folder without a record is a search that has yet to begin
    empty = make_record(tmp_path / "none", [])
    empty.take_over()
    assert empty.trials == []


def test_keys_that_are_numbers_in_yaml_are_no_other_recipe(tmp_path: Path) -> None:
    recipe = {"heads": {"mood": {"id2label": {0: "bad", 1: "good"}}}}
    make_record(tmp_path, [0.5], recipe=recipe).save()
    again = make_record(tmp_path, [], recipe=recipe)
    again.take_over()
    assert [each.eval_score for each in again.trials] == [0.5]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"recipe": {"training": {"seed": 2}}}, "training.seed was 1 and is 2"),
        ({"recipe": {"training": {"seed": 1, "max_steps": 3}}}, "training.max_steps was None and is 3"),
        ({"recipe": {}}, "training was {'seed': 1} and is None"),
        ({"search": {"a": [1, 3]}}, r"search, 'a' was \[1, 2\] and is \[1, 3\]"),
        ({"search": {"a": [1, 2], "b.c": [1, 2]}}, r"search, 'b.c' was None and is \[1, 2\]"),
    ],
)
def test_the_first_difference_to_another_search_is_named(
    tmp_path: Path, changes: dict[str, Any], message: str
) -> None:
    make_record(tmp_path, [0.5]).save()
    with pytest.raises(InputError, match=f"search.json is of another search: {message}"):
        make_record(tmp_path, [], **changes).take_over()


def test_of_equal_scores_the_earlier_trial_is_better(tmp_path: Path) -> None:
    record = make_record(tmp_path, [0.5, 0.75, None, 0.75, -0.25])
    assert [each.number for each in record.ranked()] == [1, 3, 0, 4]


def test_a_picture_has_a_panel_for_each_key(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    file = tmp_path / "search.svg"
    draw_search(make_record(tmp_path, [0.5, None, 0.75, 0.25]), SPACE, file)
    assert file.read_text().count('id="axes_') == len(SPACE)
    with pytest.raises(InputError, match="expected a trial with a score, found none"):
        draw_search(make_record(tmp_path, [None]), SPACE, file)


def test_without_matplotlib_the_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = builtins.__import__

    def without(name: str, *args: Any, **kwargs: Any) -> Any:
        if name.startswith("matplotlib"):
            raise ImportError(name)
        return found(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(InputError, match=r'pip install "mt_transformers\[search\]"'):
        draw_search(make_record(tmp_path, [0.5]), SPACE, tmp_path / "search.png")
