"""Masking of a row: shares over many tokens, the edge cases, and masks that depend on nothing but the row."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import mt_transformers
from mt_transformers.errors import InputError
from mt_transformers.heads.masking import mask_tokens, row_generator

MASK = 4
VOCABULARY = 40
IDS = np.array([2, 17, 30, 9, 9, 12, 21, 8, 3])
SPECIAL = np.isin(IDS, (2, 3))


def mask(
    ids: np.ndarray, special: np.ndarray, rng: np.random.Generator, **shares: float
) -> tuple[np.ndarray, np.ndarray]:
    """Mask within the small vocabulary."""
    return mask_tokens(ids, special, MASK, VOCABULARY, rng, **shares)


def mask_many(rows: int, length: int, **shares: float) -> list[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Ids, masked ids and chosen positions of many rows, the first and last token of each special."""
    rng = np.random.default_rng(0)
    special = np.zeros(length, dtype=bool)
    special[[0, -1]] = True
    ids = [rng.integers(5, VOCABULARY, size=length) for _ in range(rows)]
    return [(row, *mask(row, special, rng, **shares)) for row in ids]


def within(share: float, expected: float, number: int) -> bool:
    """Whether a share of so many draws lies within five standard deviations."""
    return abs(share - expected) <= 5 * (expected * (1 - expected) / number) ** 0.5


def test_the_shares_of_chosen_and_of_replaced_tokens() -> None:
    rows = mask_many(rows=1000, length=102)
    assert {len(positions) for _, _, positions in rows} == {15}
    before = np.concatenate([ids[positions] for ids, _, positions in rows])
    after = np.concatenate([masked[positions] for _, masked, positions in rows])
    number = len(before)
    # a random token may be [MASK] or the token itself
    assert within((after == MASK).mean(), 0.8 + 0.1 / VOCABULARY, number)
    assert within((after == before).mean(), 0.1 + 0.1 / VOCABULARY, number)
    assert within(((after != MASK) & (after != before)).mean(), 0.1 * (1 - 2 / VOCABULARY), number)


def test_random_tokens_come_from_the_whole_vocabulary() -> None:
    rows = mask_many(rows=300, length=102, replace=0.0, random=1.0)
    drawn = np.concatenate([masked[positions] for _, masked, positions in rows])
    counts = np.bincount(drawn)
    assert len(counts) == VOCABULARY
    assert all(within(count / len(drawn), 1 / VOCABULARY, len(drawn)) for count in counts)


def test_all_positions_are_chosen_equally_often_and_special_ones_never() -> None:
    rows = mask_many(rows=2000, length=22)
    counts = np.bincount(np.concatenate([positions for _, _, positions in rows]), minlength=22)
    assert counts[[0, -1]].tolist() == [0, 0]
    assert all(within(count / len(rows), 0.15, len(rows)) for count in counts[1:-1])


@pytest.mark.parametrize(
    ("maskable", "expected"), [(1, {1}), (3, {1}), (6, {1}), (8, {1, 2}), (10, {1, 2}), (20, {3}), (30, {4, 5})]
)
def test_the_number_chosen_is_rounded_to_either_side_and_at_least_one(maskable: int, expected: set[int]) -> None:
    counts = [len(positions) for _, _, positions in mask_many(rows=1000, length=maskable + 2)]
    assert set(counts) == expected
    # of the two neighbouring numbers the right mean
    mean = max(1.0, 0.15 * maskable)
    assert within(np.mean(counts) - min(expected), mean - min(expected), len(counts))


def test_only_chosen_tokens_change() -> None:
    for ids, masked, positions in mask_many(rows=50, length=40):
        rest = np.ones(40, dtype=bool)
        rest[positions] = False
        assert np.array_equal(masked[rest], ids[rest])


def test_the_shares_can_be_chosen() -> None:
    rng = np.random.default_rng(0)
    masked, positions = mask(IDS, SPECIAL, rng, probability=1.0, replace=1.0, random=0.0)
    assert masked.tolist() == [2, *[MASK] * 7, 3]
    assert positions.tolist() == [1, 2, 3, 4, 5, 6, 7]
    masked, positions = mask(IDS, SPECIAL, rng, probability=1.0, replace=0.0, random=0.0)
    assert masked.tolist() == IDS.tolist()
    assert len(positions) == 7
    assert len(mask(IDS, SPECIAL, rng, probability=1e-9)[1]) == 1


@pytest.mark.parametrize("dtype", [np.int32, np.int64])
def test_the_row_given_stays_as_it_is(dtype: type) -> None:
    ids = IDS.astype(dtype)
    masked, positions = mask(ids, SPECIAL, np.random.default_rng(0), probability=1.0, replace=0.9)
    assert ids.tolist() == IDS.tolist()
    assert masked.dtype == dtype
    assert ids[positions].tolist() == [17, 30, 9, 9, 12, 21, 8]


@pytest.mark.parametrize("length", [0, 1, 4])
def test_a_row_of_special_tokens_has_no_positions(length: int) -> None:
    ids = np.arange(length)
    masked, positions = mask(ids, np.ones(length, dtype=bool), np.random.default_rng(0))
    assert masked.tolist() == ids.tolist()
    assert positions.tolist() == []
    assert positions.dtype.kind == "i"


def test_a_row_of_one_token_is_chosen() -> None:
    masked, positions = mask(np.array([9]), np.array([False]), np.random.default_rng(0), replace=1.0, random=0.0)
    assert (masked.tolist(), positions.tolist()) == ([MASK], [0])


@pytest.mark.parametrize(
    ("special", "shares", "message"),
    [
        (SPECIAL[:-1], {}, r"of one shape \(length,\), found \(9,\) and \(8,\)"),
        (SPECIAL, {"probability": 0.0}, "a probability above 0 and up to 1, found 0.0"),
        (SPECIAL, {"probability": 1.5}, "a probability above 0 and up to 1, found 1.5"),
        (SPECIAL, {"replace": 0.95}, "together up to 1, found 0.95 and 0.1"),
        (SPECIAL, {"replace": -0.1}, "replace and random from 0, .* found -0.1 and 0.1"),
        (SPECIAL, {"random": -0.1}, "replace and random from 0, .* found 0.8 and -0.1"),
    ],
)
def test_input_that_does_not_fit_is_refused(special: np.ndarray, shares: dict[str, float], message: str) -> None:
    with pytest.raises(InputError, match=f"masking: expected .*{message}"):
        mask(IDS, special, np.random.default_rng(0), **shares)
    with pytest.raises(InputError, match=r"of one shape \(length,\), found \(1, 9\) and \(1, 9\)"):
        mask(IDS[None], SPECIAL[None], np.random.default_rng(0))


@given(
    row=st.lists(st.tuples(st.integers(0, VOCABULARY - 1), st.booleans()), max_size=30),
    probability=st.floats(0.01, 1),
    seed=st.integers(0, 5),
)
def test_any_row(row: list[tuple[int, bool]], probability: float, seed: int) -> None:
    ids = np.array([token for token, _ in row], dtype=np.int64)
    special = np.array([mark for _, mark in row], dtype=bool)
    masked, positions = mask(ids, special, np.random.default_rng(seed), probability=probability)
    assert np.all(np.diff(positions) > 0)
    assert not special[positions].any()
    assert set(np.flatnonzero(masked != ids)) <= set(positions)
    assert np.all((masked >= 0) & (masked < VOCABULARY))
    maskable = int((~special).sum())
    assert len(positions) >= min(1, maskable)
    assert len(positions) <= maskable
    assert maskable == 0 or abs(len(positions) - probability * maskable) <= 1


def draw(seed: int, epoch: int, ids: np.ndarray | list[int]) -> list[int]:
    """Some random numbers of a row."""
    return row_generator(seed, epoch, ids).integers(1000, size=8).tolist()


def test_the_numbers_of_a_row_depend_on_seed_epoch_and_ids() -> None:
    others = [(1, 0, [2, 7, 3]), (0, 1, [2, 7, 3]), (0, 0, [2, 3, 7]), (0, 0, [2, 7]), (0, 0, [])]
    drawn = [draw(0, 0, [2, 7, 3]), *(draw(*other) for other in others)]
    assert len({tuple(numbers) for numbers in drawn}) == len(drawn)
    assert draw(0, 0, [2, 7, 3]) == drawn[0]


@pytest.mark.parametrize("dtype", ["<i8", ">i8", "<i4", ">i4", "<u2", "|u1"])
def test_the_type_of_the_ids_does_not_matter(dtype: str) -> None:
    assert draw(3, 1, IDS.astype(dtype)) == draw(3, 1, IDS) == draw(3, 1, IDS.tolist())


def test_the_memory_layout_of_the_ids_does_not_matter() -> None:
    padded = np.zeros((len(IDS), 3), dtype=np.int64)
    padded[:, 1] = IDS
    assert draw(3, 1, padded[:, 1]) == draw(3, 1, IDS)


def test_masks_are_the_same_whatever_came_before() -> None:
    rows = [IDS, IDS[:5], IDS[3:]]

    def masked(order: list[int]) -> dict[int, list[int]]:
        return {
            number: mask(rows[number], SPECIAL[: len(rows[number])], row_generator(0, 2, rows[number]))[0].tolist()
            for number in order
        }

    assert masked([0, 1, 2]) == masked([2, 0, 1]) == masked([2]) | masked([1]) | masked([0])


def test_masks_are_the_same_in_another_process() -> None:
    code = (
        "import json, numpy as np\n"
        "from mt_transformers.heads.masking import mask_tokens, row_generator\n"
        f"ids, special = np.array({IDS.tolist()}), np.array({SPECIAL.tolist()})\n"
        "found = mask_tokens(ids, special, 4, 40, row_generator(7, 1, ids), probability=0.5, random=0.2)\n"
        "print(json.dumps([part.tolist() for part in found]))"
    )
    environment = {**os.environ, "PYTHONHASHSEED": "4321"}
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=environment,
        cwd=Path(mt_transformers.__file__).parents[1],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    here = mask(IDS, SPECIAL, row_generator(7, 1, IDS), probability=0.5, random=0.2)
    assert json.loads(done.stdout) == [part.tolist() for part in here]
