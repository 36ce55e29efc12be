"""Results: filled as experiences end, kept in a file, given back exactly."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mt_transformers.continual.results import ContinualResults
from mt_transformers.errors import InputError

NAN = math.nan
JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 9) | st.floats() | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=2),
    max_leaves=6,
)


def two_experiences() -> ContinualResults:
    results = ContinualResults.begin(strategy="er", scenario="class_incremental", experiences=["a", "b"])
    results.initial[:] = [0.0, 0.1]
    results.record(0, {0: 1.0, 1: 0.3}, heads={"intent": {0: 0.9}})
    results.record(1, {0: 0.5, 1: 0.75}, heads={"slots": {1: 1 / 3}})
    results.seconds = [1.5, 2.25]
    results.buffer_bytes = 4096
    return results


def test_rows_are_noted_as_experiences_end() -> None:
    results = ContinualResults.begin(strategy="er", scenario="task_incremental", experiences=["a", "b", "c"])
    assert results.last is None
    assert all(math.isnan(value) for value in results.measures().values())
    results.record(0, {0: 0.8})
    results.record(1, {0: 0.6, 1: 0.9})
    assert results.last == 1
    np.testing.assert_array_equal(results.matrix, [[0.8, NAN, NAN], [0.6, 0.9, NAN], [NAN, NAN, NAN]])
    assert results.measures() == pytest.approx(
        {
            "average_accuracy": 0.75,
            "average_incremental_accuracy": 0.775,
            "forgetting": 0.2,
            "backward_transfer": -0.2,
            "forward_transfer": NAN,
        },
        nan_ok=True,
    )
    assert results.measures(after=0)["average_accuracy"] == 0.8
    assert math.isnan(results.measures(after=2)["average_accuracy"])


def test_a_run_that_learns_all_at_once_has_only_its_last_row() -> None:
    results = ContinualResults.begin(strategy="joint", scenario="task_incremental", experiences=["a", "b"])
    results.record(1, {0: 0.5, 1: 1.0})
    found = results.measures()
    assert found.pop("average_accuracy") == 0.75
    assert all(math.isnan(value) for value in found.values())


def test_what_is_noted_again_takes_the_place_of_what_was() -> None:
    results = two_experiences()
    results.record(0, {1: 0.2}, heads={"slots": {0: 0.4}})
    np.testing.assert_array_equal(results.matrix[0], [NAN, 0.2])
    np.testing.assert_array_equal(results.heads["intent"], [[NAN, NAN], [NAN, NAN]])
    np.testing.assert_array_equal(results.heads["slots"], [[0.4, NAN], [NAN, 1 / 3]])


@pytest.mark.parametrize(
    ("i", "scores", "heads", "message"),
    [
        (2, {0: 0.5}, {}, "record: expected experiences from 0 to 1, found 2"),
        (1, {-1: 0.5}, {}, "scores: expected experiences from 0 to 1, found -1"),
        (1, {0: math.inf}, {}, "scores: expected finite scores or NaN"),
        (1, {0: 0.5}, {"slots": {2: 0.5}}, "head 'slots': expected experiences from 0 to 1, found 2"),
    ],
)
def test_nothing_is_noted_of_what_cannot_be(
    i: int, scores: dict[int, float], heads: dict[str, dict[int, float]], message: str
) -> None:
    results = two_experiences()
    before = results.to_dict()
    with pytest.raises(InputError, match=message):
        results.record(i, scores, heads)
    assert results.to_dict() == before


def test_the_file_is_json_without_nan(tmp_path: Path) -> None:
    two_experiences().save(tmp_path / "made")
    assert [file.name for file in (tmp_path / "made").iterdir()] == ["continual_results.json"]

    def refuse(name: str) -> None:
        raise AssertionError(name)

    text = (tmp_path / "made/continual_results.json").read_text(encoding="utf-8")
    assert json.loads(text, parse_constant=refuse) == {
        "strategy": "er",
        "scenario": "class_incremental",
        "experiences": ["a", "b"],
        "matrix": [[1.0, 0.3], [0.5, 0.75]],
        "initial": [0.0, 0.1],
        "heads": {"intent": [[0.9, None], [None, None]], "slots": [[None, None], [None, 1 / 3]]},
        "seconds": [1.5, 2.25],
        "buffer_bytes": 4096,
    }


@given(st.lists(st.floats(allow_infinity=False), min_size=9, max_size=9), st.floats(0, 1e9), st.integers(0))
def test_every_number_comes_back_exactly(cells: list[float], seconds: float, buffer_bytes: int) -> None:
    results = ContinualResults(
        strategy="é",
        scenario="s",
        experiences=("a", "b", "c"),
        matrix=np.reshape(cells, (3, 3)),
        initial=np.array(cells[:3]),
        heads={"h": np.reshape(cells, (3, 3)).T},
        seconds=[seconds],
        buffer_bytes=buffer_bytes,
    )
    again = ContinualResults.from_dict(json.loads(json.dumps(results.to_dict(), allow_nan=False)))
    for found, expected in ((again.matrix, results.matrix), (again.heads["h"], results.heads["h"])):
        np.testing.assert_array_equal(found, expected)
        assert found.dtype == np.float64
    assert again.to_dict() == results.to_dict()


def test_load_gives_back_what_was_saved(tmp_path: Path) -> None:
    results = two_experiences()
    results.save(tmp_path)
    results.save(tmp_path)
    again = ContinualResults.load(tmp_path)
    assert again.to_dict() == results.to_dict()
    assert again.experiences == ("a", "b")
    again.record(0, {0: 0.1})
    assert again.matrix[0, 0] == 0.1


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"matrix": [[1.0], [0.5]]}, r"matrix: expected the shape \(2, 2\) for the experiences, found \(2, 1\)"),
        ({"matrix": [[1.0, 0.5], [0.5]]}, "matrix: expected lists of numbers of one length"),
        ({"matrix": [["1.0", 0.5], [0.5, 0.5]]}, "matrix: expected lists of numbers"),
        ({"initial": [True, 0.5]}, "initial: expected lists of numbers"),
        ({"heads": {"slots": [0.5]}}, r"head 'slots': expected the shape \(2, 2\)"),
        ({"heads": []}, "heads: expected a matrix for each head"),
        ({"experiences": ["a", "a"]}, "experiences: expected names that differ"),
        ({"experiences": []}, "experiences: expected names that differ"),
        ({"experiences": "ab"}, "experiences: expected a list of names"),
        ({"strategy": 1}, "strategy: expected a text, found 1"),
        ({"seconds": [1, 2, 3]}, "seconds: expected at most 2 numbers from 0 up"),
        ({"seconds": [-1.0]}, "seconds: expected at most 2 numbers from 0 up"),
        ({"seconds": ["1"]}, "seconds: expected a list of numbers"),
        ({"buffer_bytes": -1}, "buffer_bytes: expected a number from 0 up"),
        ({"buffer_bytes": 1.5}, "buffer_bytes: expected a whole number"),
        ({"buffer_byte": 1}, "unknown key 'buffer_byte', did you mean 'buffer_bytes'"),
    ],
)
def test_a_field_that_cannot_be_used_is_named_with_the_file(
    tmp_path: Path, change: dict[str, Any], message: str
) -> None:
    file = tmp_path / "continual_results.json"
    file.write_text(json.dumps(two_experiences().to_dict() | change), encoding="utf-8")
    with pytest.raises(InputError, match=message) as caught:
        ContinualResults.load(tmp_path)
    assert str(caught.value).startswith(f"{file}: ")


@pytest.mark.parametrize("content", [b"{", b"[]", b"3", b"\xff", b'{"strategy": "er"}'])
def test_a_file_that_is_something_else_is_named(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "continual_results.json"
    file.write_bytes(content)
    with pytest.raises(InputError, match=r"continual_results\.json: "):
        ContinualResults.load(tmp_path)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"continual_results\.json: cannot be read"):
        ContinualResults.load(tmp_path)


def test_a_folder_that_is_a_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "taken").touch()
    with pytest.raises(InputError, match=r"continual_results\.json: cannot be written"):
        two_experiences().save(tmp_path / "taken")


def test_what_was_saved_stays_when_writing_fails(tmp_path: Path) -> None:
    results = two_experiences()
    results.save(tmp_path)
    results.matrix[0, 0] = math.inf
    with pytest.raises(ValueError, match="not JSON compliant"):
        results.save(tmp_path)
    assert ContinualResults.load(tmp_path).matrix[0, 0] == 1.0
    assert len(list(tmp_path.iterdir())) == 1


@given(st.sampled_from(sorted(two_experiences().to_dict())), JSON_VALUES)
def test_whatever_stands_in_a_field_is_read_or_refused(name: str, value: Any) -> None:
    try:
        found = ContinualResults.from_dict(two_experiences().to_dict() | {name: value})
    except InputError:
        return
    assert ContinualResults.from_dict(found.to_dict()).to_dict() == found.to_dict()
