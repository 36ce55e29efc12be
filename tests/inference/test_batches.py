"""Batches of like rows: all rows once, one kind a batch, as little padding as sorting gives."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from mt_transformers.inference.batches import batches_by_length

ROWS = st.lists(
    st.one_of(
        st.builds(lambda n: {"text": "a" * n}, st.integers(0, 9)),
        st.builds(lambda n: {"text": "a" * n, "task": "requests"}, st.integers(0, 9)),
        st.builds(lambda n, m: {"text": "a" * n, "text_pair": "b" * m}, st.integers(0, 9), st.integers(0, 9)),
        st.builds(lambda n: {"tokens": ["ab"] * n}, st.integers(0, 9)),
        st.just({"images": "a.png"}),
    )
)


def kind(row: dict[str, Any]) -> list[str]:
    return sorted(name for name in row if name != "task")


def length(row: dict[str, Any]) -> int:
    return sum(len("".join(value)) for name, value in row.items() if name not in ("task", "images"))


@given(rows=ROWS, batch_size=st.integers(1, 5))
def test_each_row_once_and_like_rows_together(rows: list[dict[str, Any]], batch_size: int) -> None:
    batches = list(batches_by_length(rows, batch_size))
    assert sorted(number for batch in batches for number in batch) == list(range(len(rows)))
    assert all(0 < len(batch) <= batch_size for batch in batches)
    assert all(kind(rows[number]) == kind(rows[batch[0]]) for batch in batches for number in batch)
    kinds: dict[str, list[int]] = {}
    for batch in batches:
        kinds.setdefault(str(kind(rows[batch[0]])), []).extend(batch)
    for numbers in kinds.values():
        assert [length(rows[number]) for number in numbers] == sorted(
            (length(rows[number]) for number in numbers), reverse=True
        )
        assert len([batch for batch in batches if set(batch) <= set(numbers)]) == -(-len(numbers) // batch_size)
