"""Which items of a stream stay: exact probabilities, balance, and streams that are resumed."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Sequence
from itertools import combinations
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import chisquare

from mt_transformers.continual.sampling import ClassBalanced, Reservoir, Sampling
from mt_transformers.errors import InputError

SAMPLINGS = (Reservoir, ClassBalanced)
REPETITIONS = 4000

streams = st.lists(st.sampled_from("abcde"), max_size=40)


def run(sampling: Sampling, groups: Sequence[str | int], first: int = 0, slots: dict[int, int] | None = None) -> Any:
    """Slot -> the item that stays in it, items counted from `first`."""
    slots = {} if slots is None else slots
    for item, slot in enumerate(sampling.place(groups), start=first):
        if slot is not None:
            assert 0 <= slot <= len(slots)
            slots[slot] = item
    assert len(slots) == len(sampling) <= sampling.size
    return slots


def assert_all_alike(found: Counter[Any], expected: Sequence[Any]) -> None:
    """A chi-square test of equal frequencies, which a correct sampling fails once in a thousand seeds."""
    assert set(found) <= set(expected)
    assert chisquare([found[each] for each in expected]).pvalue > 1e-3


def in_one_call(sampling: Sampling, groups: Sequence[str | int]) -> dict[int, int]:
    return run(sampling, groups)


def in_batches(sampling: Sampling, groups: Sequence[str | int]) -> dict[int, int]:
    slots: dict[int, int] = {}
    for first, last in [(0, 1), (1, 4), (4, len(groups))]:
        run(sampling, groups[first:last], first, slots)
    return slots


@pytest.mark.parametrize("kind", SAMPLINGS)
@pytest.mark.parametrize("place", [in_one_call, in_batches])
@pytest.mark.parametrize("items", [4, 5, 8])
def test_of_one_group_each_subset_stays_alike(
    items: int, place: Callable[..., dict[int, int]], kind: type[Sampling]
) -> None:
    kept = (place(kind(3, seed), ["a"] * items) for seed in range(REPETITIONS))
    subsets = Counter(tuple(sorted(slots.values())) for slots in kept)
    assert_all_alike(subsets, list(combinations(range(items), 3)))


@pytest.mark.parametrize("kind", SAMPLINGS)
def test_of_a_stream_after_clearing_each_subset_stays_alike(kind: type[Sampling]) -> None:
    subsets: Counter[Any] = Counter()
    for seed in range(REPETITIONS):
        sampling = kind(3, seed)
        sampling.place(["a"] * 9)
        sampling.clear()
        subsets[tuple(sorted(run(sampling, ["a"] * 5).values()))] += 1
    assert_all_alike(subsets, list(combinations(range(5), 3)))


def test_a_reservoir_that_was_made_smaller_keeps_each_subset_alike() -> None:
    subsets: Counter[Any] = Counter()
    for seed in range(REPETITIONS):
        sampling = Reservoir(5, seed)
        slots = run(sampling, ["a"] * 6)
        slots = {new: slots[old] for new, old in enumerate(sampling.resize(3))}
        subsets[tuple(sorted(run(sampling, ["a"] * 2, 6, slots).values()))] += 1
    assert_all_alike(subsets, list(combinations(range(8), 3)))


def test_a_reservoir_of_a_long_stream_holds_items_of_all_its_tenths_alike() -> None:
    kept = run(Reservoir(2000), ["a"] * 100_000).values()
    assert_all_alike(Counter(item // 10_000 for item in kept), range(10))


def test_of_each_class_a_uniform_sample_stays() -> None:
    # `a` is the largest when the others come and gives way to them; `b` grows as large; all of `c` stay
    groups = "aaaaaaaababbabcabbab"
    of_class = {name: [item for item, group in enumerate(groups) if group == name] for name in "abc"}
    subsets: dict[str, Counter[Any]] = {name: Counter() for name in "abc"}
    for seed in range(REPETITIONS):
        kept = set(run(ClassBalanced(5, seed), groups).values())
        for name, items in of_class.items():
            subsets[name][tuple(item for item in items if item in kept)] += 1
    assert subsets["c"] == {tuple(of_class["c"]): REPETITIONS}
    for name in "ab":
        assert_all_alike(subsets[name], list(combinations(of_class[name], 2)))


def test_a_smaller_balanced_buffer_keeps_a_uniform_sample_of_each_class() -> None:
    groups = "aaaabbbbbabab"
    of_class = {name: [item for item, group in enumerate(groups) if group == name] for name in "ab"}
    subsets: dict[str, Counter[Any]] = {name: Counter() for name in "ab"}
    for seed in range(REPETITIONS):
        sampling = ClassBalanced(8, seed)
        slots = run(sampling, groups[:9])
        slots = {new: slots[old] for new, old in enumerate(sampling.resize(4))}
        kept = set(run(sampling, groups[9:], 9, slots).values())
        for name, items in of_class.items():
            subsets[name][tuple(item for item in items if item in kept)] += 1
    for name, items in of_class.items():
        assert_all_alike(subsets[name], list(combinations(items, 2)))


def test_classes_that_are_equally_large_give_way_alike() -> None:
    gave_way: Counter[Any] = Counter(ClassBalanced(6, seed).place("aabbccd")[6] for seed in range(REPETITIONS))
    assert_all_alike(gave_way, range(6))


def test_the_largest_class_gives_way() -> None:
    assert {ClassBalanced(4, seed).place("aaabc")[4] for seed in range(30)} == {0, 1, 2}


@given(groups=streams, size=st.integers(1, 12), seed=st.integers(0, 5))
def test_classes_are_balanced_up_to_one(groups: list[str], size: int, seed: int) -> None:
    kept = run(ClassBalanced(size, seed), groups)
    assert len(kept) == min(size, len(groups))
    counts, seen = Counter(groups[item] for item in kept.values()), Counter(groups)
    largest = max(counts.values(), default=0)
    assert all(counts[name] == seen[name] or counts[name] >= largest - 1 for name in seen)


@given(groups=streams.filter(lambda each: len(each) > 8), seed=st.integers(0, 5))
def test_a_smaller_balanced_buffer_is_balanced(groups: list[str], seed: int) -> None:
    sampling = ClassBalanced(8, seed)
    slots = run(sampling, groups[:-5])
    before = Counter(groups[item] for item in slots.values())
    slots = {new: slots[old] for new, old in enumerate(sampling.resize(4))}
    after = Counter(groups[item] for item in slots.values())
    assert sum(after.values()) == min(4, len(groups) - 5)
    assert all(after[name] == before[name] or after[name] >= max(after.values()) - 1 for name in before)
    kept = run(sampling, groups[-5:], len(groups) - 5, slots)
    counts, seen = Counter(groups[item] for item in kept.values()), Counter(groups)
    assert all(counts[name] == seen[name] or counts[name] >= max(counts.values()) - 1 for name in seen)


@pytest.mark.parametrize("seed", range(9))
def test_a_class_that_lost_items_to_a_smaller_size_is_full(seed: int) -> None:
    sampling = ClassBalanced(20, seed)
    slots = run(sampling, "aaaaabbbbb")
    slots = {new: slots[old] for new, old in enumerate(sampling.resize(9))}
    counts = Counter("aaaaabbbbb"[item] for item in slots.values())
    assert sorted(counts.values()) == [4, 5]
    smaller = min(counts, key=lambda name: counts[name])
    later = run(sampling, smaller * 99, 10, dict(slots))
    assert all(later[slot] == item for slot, item in slots.items() if "aaaaabbbbb"[item] != smaller)


def test_classes_without_slots_take_no_room() -> None:
    sampling = ClassBalanced(3)
    sampling.place(range(50))
    assert len(sampling.state_dict()["slots"]) == 3


@pytest.mark.parametrize("kind", SAMPLINGS)
def test_with_more_slots_the_next_items_all_stay_until_they_are_in_use(kind: type[Sampling]) -> None:
    sampling = kind(2)
    sampling.place("aaaaabbb")
    assert sampling.resize(5) == [0, 1]
    assert sampling.place("bbb") == [2, 3, 4]
    assert len(sampling) == 5


def test_a_class_that_gave_way_grows_again_where_there_is_more_room() -> None:
    sampling = ClassBalanced(2)
    sampling.place("ab")
    sampling.resize(20)
    slots = sampling.place("b" * 19 + "a" * 9)
    assert all(slot is not None for slot in slots[19:])


@pytest.mark.parametrize("kind", SAMPLINGS)
@given(groups=streams, size=st.integers(1, 12), cuts=st.lists(st.integers(0, 40), max_size=4), seed=st.integers(0, 9))
def test_a_stream_in_parts_and_resumed_is_decided_as_in_one(
    kind: type[Sampling], groups: list[str], size: int, cuts: list[int], seed: int
) -> None:
    expected = kind(size, seed).place(groups)
    sampling = kind(size, seed)
    found: list[int | None] = []
    for first, last in zip([0, *sorted(cuts)], [*sorted(cuts), len(groups)], strict=True):
        found += sampling.place(groups[first:last])
        state = json.loads(json.dumps(sampling.state_dict()))
        # what it was made with does not matter
        sampling = kind(3, seed + 1)
        sampling.load_state_dict(state)
        assert sampling.state_dict() == state
    assert found == expected


@pytest.mark.parametrize("kind", SAMPLINGS)
def test_clearing_begins_a_new_stream_with_new_random_numbers(kind: type[Sampling]) -> None:
    sampling = kind(3)
    first = sampling.place("abaabbababaaab" * 5)
    sampling.clear()
    assert len(sampling) == 0
    second = sampling.place("abaabbababaaab" * 5)
    assert first[:3] == second[:3] == [0, 1, 2]
    assert first != second


@pytest.mark.parametrize("kind", SAMPLINGS)
def test_decisions_depend_on_the_seed_alone(kind: type[Sampling]) -> None:
    groups = "abcab" * 20
    assert kind(4, 7).place(groups) == kind(4, 7).place(groups) != kind(4, 8).place(groups)


@pytest.mark.parametrize("kind", SAMPLINGS)
@pytest.mark.parametrize("size", [0, -1, 2.0, True, "3", None])
def test_a_size_that_cannot_be_used_is_refused(kind: type[Sampling], size: Any) -> None:
    with pytest.raises(InputError, match=r"size: expected a whole number of at least 1, found "):
        kind(size)
    with pytest.raises(InputError, match=r"size: expected a whole number of at least 1, found "):
        kind(2).resize(size)


@pytest.mark.parametrize("seed", [-1, 0.5, None])
def test_a_seed_that_cannot_be_used_is_refused(seed: Any) -> None:
    with pytest.raises(InputError, match="seed: expected a whole number of at least 0, found "):
        Reservoir(2, seed)


def test_a_state_with_a_slot_of_two_classes_is_refused() -> None:
    sampling = ClassBalanced(3)
    sampling.place("ab")
    state = sampling.state_dict() | {"slots": [["a", [0]], ["b", [0]]]}
    with pytest.raises(InputError, match="expected each slot once"):
        sampling.load_state_dict(state)
