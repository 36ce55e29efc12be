"""Gradients of several tasks in the same parameters."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import nn

from mt_transformers.balancing import GradientRows

ROWS = torch.tensor([[1.0, 2.0, 0.0], [0.0, -1.0, 3.0], [0.5, 0.0, 0.0]], dtype=torch.float64)
"""Gradients of three tasks in three numbers."""


def collect(parameters: list[nn.Parameter], gradients: torch.Tensor) -> GradientRows:
    """A row for each task, given as one vector over all parameters."""
    rows = GradientRows(parameters)
    for task, gradient in enumerate(gradients):
        torch.cat([each.reshape(-1) for each in parameters]).backward(gradient)
        rows.take(task)
    return rows


@pytest.fixture
def parameters() -> list[nn.Parameter]:
    return [nn.Parameter(torch.zeros(2, dtype=torch.float64)), nn.Parameter(torch.zeros(1, 1, dtype=torch.float64))]


def flat(parameters: list[nn.Parameter]) -> torch.Tensor:
    return torch.cat([each.grad.reshape(-1) for each in parameters if each.grad is not None])


def test_inner_products_are_over_all_parameters(parameters: list[nn.Parameter]) -> None:
    rows = collect(parameters, ROWS)
    assert all(each.grad is None for each in parameters)
    assert rows.tasks == [0, 1, 2]
    torch.testing.assert_close(rows.gramian([0, 1, 2]), ROWS @ ROWS.T)
    torch.testing.assert_close(rows.gramian([2, 0]), (ROWS @ ROWS.T)[[2, 0]][:, [2, 0]])


def test_rows_are_weighed_and_gone(parameters: list[nn.Parameter]) -> None:
    rows = collect(parameters, ROWS)
    rows.combine({0: 0.5, 2: -2.0})
    torch.testing.assert_close(flat(parameters), 0.5 * ROWS[0] - 2 * ROWS[2])
    assert rows.tasks == []


def test_micro_batches_add_up(parameters: list[nn.Parameter]) -> None:
    rows = collect(parameters, ROWS)
    torch.cat([each.reshape(-1) for each in parameters]).backward(ROWS[1])
    rows.take(0)
    rows.combine({0: 1.0})
    torch.testing.assert_close(flat(parameters), ROWS[0] + ROWS[1])


def test_a_method_by_coordinate_sees_a_zero_where_a_task_has_no_gradient(parameters: list[nn.Parameter]) -> None:
    first, second = parameters
    rows = GradientRows(parameters)
    first.sum().backward()
    rows.take(0)
    (first.sum() + second.sum()).backward()
    rows.take(1)
    seen = []

    def largest(gradients: torch.Tensor) -> torch.Tensor:
        seen.append(gradients.tolist())
        return gradients.amax(0)

    rows.combine_by(largest, [0, 1])
    assert seen == [[[1.0, 1.0], [1.0, 1.0]], [[0.0], [1.0]]]
    assert first.grad is not None
    assert (first.grad.tolist(), second.grad.tolist()) == ([1, 1], [[1]])  # type: ignore[union-attr]


def test_what_no_task_reaches_has_no_gradient(parameters: list[nn.Parameter]) -> None:
    rows = GradientRows(parameters)
    parameters[0].sum().backward()
    rows.take(0)
    rows.combine({0: 1.0})
    assert parameters[1].grad is None


def embedded(sparse: bool, way: Callable[[GradientRows], None]) -> torch.Tensor:
    """The gradient of an embedding after three tasks with ids of their own, one of which comes twice."""
    embedding = nn.Embedding(50, 2, sparse=sparse, dtype=torch.float64)
    rows = GradientRows([embedding.weight])
    for task, ids in ((0, [3, 7, 3]), (1, [7, 9]), (2, [9, 11]), (0, [3])):
        values = embedding(torch.tensor(ids)) * torch.arange(1, len(ids) + 1)[:, None] * (-1) ** task
        values.sum().backward()
        rows.take(task)
    way(rows)
    assert embedding.weight.grad is not None
    assert not embedding.weight.grad.is_sparse
    return embedding.weight.grad


@pytest.mark.parametrize(
    "way",
    [
        lambda rows: rows.combine(dict(enumerate(rows.gramian([0, 1, 2]).sum(0).tolist()))),
        lambda rows: rows.combine({0: 2.0, 1: 3.0}),
        lambda rows: rows.combine_by(lambda gradients: gradients.amin(0), [0, 1, 2]),
    ],
    ids=["compared", "not compared", "by coordinate"],
)
def test_sparse_gradients_of_embeddings_count_as_whole_ones(way: Callable[[GradientRows], None]) -> None:
    expected = embedded(False, way)
    assert expected.count_nonzero() >= 4
    torch.testing.assert_close(embedded(True, way), expected)


def test_a_sparse_gradient_beside_a_whole_one() -> None:
    found = []
    for sparse in (False, True):
        embedding = nn.Embedding(5, 2, sparse=sparse, dtype=torch.float64)
        rows = GradientRows([embedding.weight])
        embedding(torch.tensor([1, 2])).sum().backward()
        rows.take(0)
        # as a head does that reads the vocabulary
        embedding.weight.square().sum().backward()
        embedding.weight.data.fill_(1.0)
        rows.take(1)
        gramian = rows.gramian([0, 1])
        rows.combine({0: 1.0, 1: 0.0})
        found.append((gramian[0, 0], embedding.weight.grad))
    torch.testing.assert_close(found[0], found[1])


def test_bfloat16_is_compared_in_float32() -> None:
    weight = nn.Parameter(torch.zeros(1000, dtype=torch.bfloat16))
    rows = GradientRows([weight])
    (weight * 1.0078125).sum().backward()
    rows.take(0)
    assert rows.gramian([0]).item() == pytest.approx(1000 * 1.0078125**2, rel=1e-6)


def test_processes_are_averaged_and_missing_gradients_are_zeros(parameters: list[nn.Parameter]) -> None:
    first, _ = parameters
    rows = GradientRows(parameters)
    first.sum().backward()
    rows.take(0)
    others = iter(
        [
            # the other process has task 1 in the second parameter
            torch.tensor([[0, 0], [0, 1]], dtype=torch.int32),
            torch.zeros(2, dtype=torch.float64),
            torch.tensor([6.0], dtype=torch.float64),
        ]
    )
    rows.average(lambda own: own + next(others), 2, 2)
    torch.testing.assert_close(rows.gramian([0, 1]), torch.tensor([[0.5, 0.0], [0.0, 9.0]], dtype=torch.float64))
    rows.combine({0: 1.0, 1: 1.0})
    assert flat(parameters).tolist() == [0.5, 0.5, 3.0]
