"""The buffer: rows where they were placed, draws, sizes, and what it takes."""

from __future__ import annotations

import json
import tracemalloc
from collections import Counter
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from scipy.stats import chisquare

from mt_transformers.continual.buffer import Buffer, Slot
from mt_transformers.errors import InputError

SAMPLINGS = ("reservoir", "class_balanced")


def fill(buffer: Buffer, groups: str, first: int = 0, task: str = "moods") -> list[int | None]:
    """Place rows, whose `number` counts them, and put those that stay."""
    placed = buffer.place(list(groups))
    for number, (slot, group) in enumerate(zip(placed, groups, strict=True), start=first):
        if slot is not None:
            buffer.put(slot, Slot(task, {"number": number}, group))
    return placed


def numbers(buffer: Buffer) -> list[int]:
    """The rows in the buffer."""
    return [slot.row["number"] for slot in buffer.slots]


@pytest.mark.parametrize("sampling", SAMPLINGS)
@given(groups=st.text("abc", max_size=60), size=st.integers(1, 9), seed=st.integers(0, 3), batch=st.integers(1, 60))
def test_only_rows_that_stay_are_placed(sampling: Any, groups: str, size: int, seed: int, batch: int) -> None:
    whole, parts = Buffer(size, sampling, seed), Buffer(size, sampling, seed)
    placed = fill(whole, groups)
    taken = [slot for slot in placed if slot is not None]
    assert sorted(taken) == list(range(len(whole))) == list(range(min(size, len(groups))))
    assert all(placed[number] == slot for slot, number in enumerate(numbers(whole)))
    for first in range(0, len(groups), batch):
        fill(parts, groups[first : first + batch], first)
    assert numbers(parts) == numbers(whole)
    assert whole.groups() == Counter(groups[number] for number in numbers(whole))


def test_a_row_whose_slot_is_taken_by_a_later_one_of_the_call_is_not_placed() -> None:
    buffer = Buffer(1)
    placed = fill(buffer, "a" * 200)
    assert [slot for slot in placed if slot is not None] == [0]
    assert placed.index(0) == numbers(buffer)[0] > 0


def test_rows_are_put_where_they_were_placed() -> None:
    buffer = Buffer(3)
    buffer.place(["a", "b"])
    for number, group, expected in [(0, "b", "one of group 'a'"), (2, "a", "none"), (-1, "b", "none")]:
        with pytest.raises(InputError, match=f"buffer: slot {number} waits for {expected}, found a row of group"):
            buffer.put(number, Slot("moods", {}, group))
    buffer.put(1, Slot("moods", {}, "b"))
    with pytest.raises(InputError, match="slot 1 waits for none"):
        buffer.put(1, Slot("moods", {}, "b"))


def test_rows_that_are_waited_for_are_named() -> None:
    buffer = Buffer(3)
    buffer.place(["a", "b"])
    buffer.put(0, Slot("moods", {}, "a"))
    assert len(buffer) == 2
    uses: list[Any] = [
        lambda: buffer[1],
        lambda: buffer.slots,
        lambda: buffer.draw(1),
        lambda: buffer.resize(1),
        lambda: buffer.groups(),
        lambda: buffer.state_dict(),
    ]
    for use in uses:
        with pytest.raises(InputError, match="slot 1 waits for the row that was placed there"):
            use()
    buffer.put(1, Slot("moods", {}, "b"))
    assert buffer.groups() == {"a": 1, "b": 1}


def test_a_row_is_let_go_when_another_is_placed_there() -> None:
    buffer = Buffer(1, "class_balanced")
    fill(buffer, "aa")
    # a class has the only slot until another comes
    assert buffer.place(["b"]) == [0]
    with pytest.raises(InputError, match="slot 0 waits for the row that was placed there"):
        buffer[0]


def test_a_buffer_that_is_cleared_or_loaded_waits_for_nothing() -> None:
    state = Buffer(3).state_dict()
    buffer = Buffer(3)
    buffer.place(["a", "b"])
    buffer.clear()
    assert buffer.draw(1) == []
    buffer.place(["a"])
    buffer.load_state_dict(state, [])
    assert buffer.draw(1) == []


def test_a_group_is_a_name() -> None:
    with pytest.raises(InputError, match="expected a group's name, found 3 for row 1"):
        Buffer(2).place(["a", 3])  # type: ignore[list-item]


def test_draws_are_uniform_and_without_replacement() -> None:
    buffer = Buffer(5)
    fill(buffer, "abcde")
    draws = [tuple(buffer.draw(2)) for _ in range(4000)]
    found = Counter(draws)
    assert len(found) == 20
    assert all(first != second for first, second in found)
    assert chisquare(list(found.values())).pvalue > 1e-3


def test_draws_depend_on_the_seed() -> None:
    found = []
    for seed in (3, 3, 4):
        buffer = Buffer(6, seed=seed)
        fill(buffer, "abcdef")
        found.append([buffer.draw(3) for _ in range(5)])
    assert found[0] == found[1] != found[2]


def test_all_rows_are_drawn_if_there_are_no_more() -> None:
    buffer = Buffer(9)
    assert buffer.draw(4) == []
    fill(buffer, "abc")
    assert sorted(buffer.draw(3)) == sorted(buffer.draw(100)) == [0, 1, 2]
    with pytest.raises(InputError, match="rows to draw: expected a whole number of at least 1, found 0"):
        buffer.draw(0)


@pytest.mark.parametrize("sampling", SAMPLINGS)
def test_drawing_does_not_change_what_stays(sampling: Any) -> None:
    quiet, busy = Buffer(4, sampling, 3), Buffer(4, sampling, 3)
    for first in range(0, 60, 6):
        for buffer in (quiet, busy):
            fill(buffer, "aabaac", first)
        busy.draw(2)
    assert numbers(quiet) == numbers(busy)


@pytest.mark.parametrize("sampling", SAMPLINGS)
def test_a_state_goes_on_as_the_buffer_would(sampling: Any) -> None:
    buffer = Buffer(4, sampling, 3)
    fill(buffer, "aabaac" * 3)
    buffer.draw(3)
    state = json.loads(json.dumps(buffer.state_dict()))
    other = Buffer(9, sampling, 8)
    other.load_state_dict(state, buffer.slots)
    assert other.size == 4
    for each in (buffer, other):
        fill(each, "abcabc" * 3, 18)
    assert numbers(other) == numbers(buffer)
    assert [other.draw(2) for _ in range(9)] == [buffer.draw(2) for _ in range(9)]
    with pytest.raises(InputError, match="buffer: expected 4 rows, found 3"):
        other.load_state_dict(state, buffer.slots[:3])


def test_a_smaller_buffer_keeps_any_rows_or_balanced_ones() -> None:
    balanced = Buffer(8, "class_balanced")
    fill(balanced, "aaaaabbc")
    balanced.resize(4)
    assert balanced.groups() in ({"a": 2, "b": 1, "c": 1}, {"a": 1, "b": 2, "c": 1})
    assert balanced.size == len(balanced) == 4
    assert numbers(balanced) == sorted(numbers(balanced))
    kept: Counter[int] = Counter()
    for seed in range(2000):
        buffer = Buffer(4, seed=seed)
        fill(buffer, "aaab")
        buffer.resize(1)
        kept[numbers(buffer)[0]] += 1
    assert chisquare([kept[number] for number in range(4)]).pvalue > 1e-3


def test_a_larger_buffer_takes_the_next_rows() -> None:
    buffer = Buffer(1)
    fill(buffer, "aaaa")
    buffer.resize(3)
    assert fill(buffer, "ab", 4) == [1, 2]
    assert len(buffer) == 3


def test_a_cleared_buffer_takes_the_next_rows_as_the_first() -> None:
    buffer = Buffer(2, "class_balanced")
    fill(buffer, "aaabbb")
    buffer.clear()
    assert (len(buffer), buffer.slots, buffer.groups(), buffer.rows_by_task()) == (0, [], {}, {})
    assert fill(buffer, "aa") == [0, 1]


def test_rows_are_found_by_their_task() -> None:
    buffer = Buffer(4)
    fill(buffer, "ab", task="moods")
    fill(buffer, "c", 2, task="snips")
    fill(buffer, "a", 3, task="moods")
    assert buffer.rows_by_task() == {
        "moods": ([0, 1, 3], [{"number": 0}, {"number": 1}, {"number": 3}]),
        "snips": ([2], [{"number": 2}]),
    }


def test_logits_are_kept_alone() -> None:
    batch = torch.arange(12.0, requires_grad=True).reshape(2, 3, 2)
    buffer = Buffer(1)
    buffer.place(["a"])
    whole = torch.ones(3)
    buffer.put(0, Slot("moods", {}, "a", logits={"slots": batch[1].T, "mood": whole}, features={"mood": batch[0]}))
    whole.zero_()
    slot = buffer[0]
    assert slot.logits["slots"].tolist() == batch[1].T.tolist()
    assert slot.logits["mood"].tolist() == [1, 1, 1]
    for value in [*slot.logits.values(), *slot.features.values()]:
        assert value.untyped_storage().nbytes() == value.nbytes
        assert value.is_contiguous()
        assert not value.requires_grad


def test_memory_adds_up() -> None:
    buffer = Buffer(2)
    buffer.place(["a", "b"])
    row = {
        "text": "fünf",
        "tokens": ["ab", "c"],
        "label": 1,
        "image": Image.new("RGB", (3, 2)),
        "gray": Image.new("L", (3, 2)),
        "file": {"bytes": b"1234567", "path": None},
        "array": np.zeros((2, 2), dtype=np.float32),
    }
    buffer.put(0, Slot("moods", row, "a", prepared={"input_ids": [5, 6, 7]}, logits={"mood": torch.zeros(3)}))
    slots = {"slots": torch.zeros(4, 2, dtype=torch.bfloat16)}
    buffer.put(1, Slot("moods", {"text": "x"}, "b", logits=slots, features={"mood": torch.zeros(5)}))
    rows = 5 + 3 + 8 + 24 + 6 + 7 + 8 + 16 + 1
    assert buffer.memory() == {"rows": rows, "prepared": 24, "logits": 12 + 16, "features": 20}


def test_a_buffer_lets_go_of_rows_that_do_not_stay() -> None:
    buffer = Buffer(10)
    tracemalloc.start()
    for number in range(200):
        for slot in buffer.place(["a"]):
            if slot is not None:
                buffer.put(slot, Slot("moods", {"bytes": bytes(100_000), "number": number}, "a"))
    used = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    assert 1_000_000 < used < 1_200_000


def test_more_classes_than_slots_are_refused() -> None:
    Buffer(3).check_one_each(3)
    with pytest.raises(InputError, match="expected a size of at least 4, one row for each of 4 classes, found 3"):
        Buffer(3).check_one_each(4)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"size": 0}, "size: expected a whole number of at least 1, found 0"),
        ({"size": 2.5}, "size: expected a whole number of at least 1, found 2.5"),
        ({"size": 2, "seed": -1}, "seed: expected a whole number of at least 0, found -1"),
        ({"size": 2, "sampling": "reservior"}, "unknown sampling 'reservior', did you mean 'reservoir'?"),
        ({"size": 2, "sampling": None}, "unknown sampling None"),
    ],
)
def test_arguments_that_cannot_be_used_are_refused(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message.replace("?", r"\?")):
        Buffer(**arguments)
