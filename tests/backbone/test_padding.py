"""Rotation of rows, by brute force, and which inputs it moves."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from mt_transformers.backbone.padding import find_mask, pad_right, rotate


@st.composite
def masks(draw: st.DrawFn) -> list[list[int]]:
    """Masks of some rows of one length, with padding and holes anywhere."""
    rows, length = draw(st.integers(1, 4)), draw(st.integers(1, 6))
    return draw(st.lists(st.lists(st.integers(0, 1), min_size=length, max_size=length), min_size=rows, max_size=rows))


@given(masks(), st.data())
def test_rotate_by_hand(rows: list[list[int]], data: st.DataObject) -> None:
    length = len(rows[0])
    steps = data.draw(st.lists(st.integers(-length, length), min_size=len(rows), max_size=len(rows)))
    values = torch.arange(len(rows) * length * 2).view(len(rows), length, 2)
    expected = [row[step % length :] + row[: step % length] for row, step in zip(values.tolist(), steps, strict=True)]
    rotated = rotate(values, torch.tensor(steps))
    assert rotated.tolist() == expected
    assert torch.equal(rotate(rotated, -torch.tensor(steps)), values)


@given(masks())
def test_padding_on_the_left_goes_to_the_right_and_holes_stay(rows: list[list[int]]) -> None:
    mask = torch.tensor(rows)
    ids = torch.arange(mask.numel()).view(mask.shape) + 1
    inputs, steps = pad_right({"input_ids": ids, "attention_mask": mask})
    assert steps is not None
    for row, (before, after, step) in enumerate(
        zip(rows, inputs["attention_mask"].tolist(), steps.tolist(), strict=True)
    ):
        leading = before.index(1) if 1 in before else 0
        assert step == leading
        assert after == before[leading:] + [0] * leading
        assert inputs["input_ids"][row].tolist() == ids[row, leading:].tolist() + ids[row, :leading].tolist()


def test_all_that_has_a_value_for_each_token_moves() -> None:
    mask = torch.tensor([[0, 1, 1], [1, 1, 1]])
    ids = torch.tensor([[0, 1, 2], [3, 4, 5]])
    inputs = {
        "attention_mask": mask,
        "inputs_embeds": ids.unsqueeze(2).float(),
        "bbox": ids.unsqueeze(2).repeat(1, 1, 4),
        # as many channels as tokens
        "pixel_values": torch.randn(2, 3, 4, 4),
        "decoder_input_ids": ids,
        "other_length": torch.randn(2, 4),
        "one_a_row": torch.tensor([1, 2]),
        "flag": True,
    }
    moved, _ = pad_right(inputs)
    assert list(moved) == list(inputs)
    changed = {name for name in inputs if moved[name] is not inputs[name]}
    assert changed == {"attention_mask", "inputs_embeds", "bbox"}
    assert moved["inputs_embeds"].squeeze(2).tolist() == [[1, 2, 0], [3, 4, 5]]
    assert moved["bbox"][0, :, 3].tolist() == [1, 2, 0]


@pytest.mark.parametrize(
    "more",
    [
        {},
        {"attention_mask": None},
        {"attention_mask": torch.ones(1, 1, 2, 2)},
        {"attention_mask": torch.tensor([[0, 1]]), "position_ids": torch.tensor([[0, 0]])},
    ],
    ids=["no mask", "None", "4-D mask", "positions"],
)
def test_nothing_moves_without_a_mask_of_tokens_or_with_positions(more: dict[str, torch.Tensor | None]) -> None:
    inputs = {"input_ids": torch.tensor([[0, 1]]), **more}
    moved, steps = pad_right(inputs)
    assert steps is None
    assert all(moved[name] is inputs[name] for name in inputs)


def test_nothing_waits_for_the_device() -> None:
    # a tensor on the meta device has no values: whatever asked for one would fail
    mask = torch.ones(2, 3, dtype=torch.long, device="meta")
    moved, steps = pad_right({"input_ids": mask, "attention_mask": mask})
    assert steps is not None
    assert rotate(moved["input_ids"], -steps).shape == (2, 3)


def test_the_gradient_goes_back_to_where_values_came_from() -> None:
    values = torch.randn(2, 3, 2, dtype=torch.float64, requires_grad=True)
    steps = torch.tensor([1, 2])
    weights = torch.randn(2, 3, 2, dtype=torch.float64)
    (rotate(values, steps) * weights).sum().backward()
    assert values.grad is not None
    assert torch.equal(values.grad, rotate(weights, -steps))


def test_find_mask() -> None:
    encoded = torch.zeros(2, 3, 4)
    assert find_mask(None, encoded).tolist() == [[True] * 3] * 2
    given_mask = torch.tensor([[1, 0, 0], [1, 1, 0]])
    assert find_mask(given_mask, encoded).tolist() == [[True, False, False], [True, True, False]]
    assert find_mask(torch.zeros(2, 1, 3, 3), encoded).all()
    assert find_mask({"full_attention": given_mask}, encoded).all()
