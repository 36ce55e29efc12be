"""The linear-chain CRF against enumerations of all sequences, and what must not change its results."""

from __future__ import annotations

from itertools import pairwise, product
from typing import NamedTuple

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn import functional

from mt_transformers.errors import InputError
from mt_transformers.heads.base import IGNORED
from mt_transformers.heads.linear_chain import LinearChainCrf
from mt_transformers.heads.transitions import allowed_transitions

BIO = ("O", "B-x", "I-x")


class Problem(NamedTuple):
    """Two rows of up to four places with up to three labels."""

    scores: torch.Tensor
    logits: torch.Tensor
    labels: torch.Tensor
    mask: torch.Tensor
    allowed: torch.Tensor | None

    @property
    def crf(self) -> LinearChainCrf:
        return crf_with(self.scores, self.allowed)


def crf_with(scores: torch.Tensor, allowed: torch.Tensor | None = None) -> LinearChainCrf:
    """A CRF with these transition scores."""
    crf = LinearChainCrf(len(scores) - 1, allowed).to(scores.dtype)
    with torch.no_grad():
        crf.transition_weights.copy_(scores / crf.scale)
    return crf


@st.composite
def problems(draw: st.DrawFn) -> Problem:
    """Any scores, labels, constraints, and masks with holes; multiples of an eighth, so that sums are exact."""
    labels, length = draw(st.integers(1, 3)), draw(st.integers(1, 4))

    def numbers(*shape: int, low: int = -24, high: int = 24) -> torch.Tensor:
        count = torch.Size(shape).numel()
        return torch.tensor(draw(st.lists(st.integers(low, high), min_size=count, max_size=count))).reshape(shape)

    mask = numbers(2, length, low=0, high=1).bool()
    allowed = numbers(labels + 1, labels + 1, low=0, high=1).bool()
    return Problem(
        scores=numbers(labels + 1, labels + 1) / 8,
        logits=numbers(2, length, labels) / 8,
        labels=numbers(2, length, low=0, high=labels - 1).masked_fill(~mask, IGNORED),
        mask=mask,
        allowed=draw(st.sampled_from([allowed, None])),
    )


def score(scores: torch.Tensor, logits: torch.Tensor, ids: tuple[int, ...]) -> float:
    """The score of one sequence, term by term; `logits` of the places it runs over."""
    edge = len(scores) - 1
    steps = sum(float(scores[last, label]) for last, label in pairwise([edge, *ids, edge]))
    return steps + sum(float(logits[place, label]) for place, label in enumerate(ids))


@given(problems())
def test_the_loss_is_that_of_an_enumeration(problem: Problem) -> None:
    losses = problem.crf.negative_log_likelihood(problem.logits, problem.labels, problem.mask)
    assert losses.shape == (2,)
    for row, mask in enumerate(problem.mask):
        logits, gold = problem.logits[row, mask], tuple(problem.labels[row, mask].tolist())
        if not gold:
            assert losses[row] == 0
            continue
        every = [score(problem.scores, logits, ids) for ids in product(range(logits.shape[1]), repeat=len(gold))]
        expected = torch.tensor(every).logsumexp(dim=0) - score(problem.scores, logits, gold)
        assert losses[row].item() == pytest.approx(expected.item(), abs=1e-4)


@given(problems())
def test_the_best_sequence_is_that_of_a_search_over_all(problem: Problem) -> None:
    found = problem.crf.best_sequence(problem.logits, problem.mask)
    assert found.shape == problem.mask.shape
    assert found[~problem.mask].eq(0).all()
    edge = len(problem.scores) - 1

    def worth(row: int, ids: tuple[int, ...]) -> tuple[int, float]:
        """Minus the violations, then the score."""
        table = problem.allowed
        violations = 0 if table is None else sum(not table[pair] for pair in pairwise([edge, *ids, edge]))
        return -violations, score(problem.scores, problem.logits[row, problem.mask[row]], ids)

    for row, mask in enumerate(problem.mask):
        ids = tuple(found[row, mask].tolist())
        assert worth(row, ids) == max(worth(row, other) for other in product(range(edge), repeat=len(ids)))


@given(problems(), st.integers(0, 3), st.integers(0, 3), st.integers(0, 3))
def test_what_is_outside_the_mask_changes_nothing(problem: Problem, left: int, hole: int, right: int) -> None:
    def spread(values: torch.Tensor, fill: float) -> torch.Tensor:
        """The rows with padding on both sides and a hole behind their first place."""
        gap = torch.full_like(values[:, :1], fill)
        return torch.cat([*[gap] * left, values[:, :1], *[gap] * hole, values[:, 1:], *[gap] * right], dim=1)

    short, long = problem.logits.clone().requires_grad_(), spread(problem.logits, torch.nan).requires_grad_()
    mask = spread(problem.mask, False)
    crf, other = problem.crf, problem.crf
    losses = crf.negative_log_likelihood(short, problem.labels, problem.mask)
    same = other.negative_log_likelihood(long, spread(problem.labels, IGNORED), mask)
    assert torch.equal(losses, same)
    losses.sum().backward()
    same.sum().backward()
    assert torch.equal(spread(short.grad, 0), long.grad)
    torch.testing.assert_close(crf.transition_weights.grad, other.transition_weights.grad)
    assert torch.equal(
        spread(crf.best_sequence(problem.logits, problem.mask), 0), other.best_sequence(long.detach(), mask)
    )


def test_a_row_without_labels_costs_nothing_and_trains_nothing() -> None:
    crf = crf_with(torch.randn(4, 4))
    logits = torch.randn(2, 3, 3)
    logits[0] = torch.nan
    logits.requires_grad_()
    labels = torch.tensor([[IGNORED] * 3, [0, IGNORED, 2]])
    losses = crf.negative_log_likelihood(logits, labels, labels != IGNORED)
    assert losses[0] == 0
    losses[0].backward()
    assert torch.equal(logits.grad, torch.zeros_like(logits))
    assert torch.equal(crf.transition_weights.grad, torch.zeros(4, 4))


def test_gradients() -> None:
    crf = LinearChainCrf(3).double()
    labels = torch.tensor([[0, IGNORED, 2, 1], [IGNORED] * 4, [IGNORED, 1, 1, IGNORED]])

    def losses(logits: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        arguments = (logits, labels, labels != IGNORED)
        return torch.func.functional_call(_Loss(crf), {"crf.transition_weights": scores / crf.scale}, arguments)

    logits = torch.randn(3, 4, 3, dtype=torch.float64, requires_grad=True)
    scores = torch.randn(4, 4, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(losses, (logits, scores))


class _Loss(torch.nn.Module):
    """The loss as the forward pass of a module."""

    def __init__(self, crf: LinearChainCrf) -> None:
        super().__init__()
        self.crf = crf

    def forward(self, *arguments: torch.Tensor) -> torch.Tensor:
        return self.crf.negative_log_likelihood(*arguments)


def test_a_new_crf_takes_words_one_by_one() -> None:
    logits, labels = torch.randn(2, 5, 4), torch.randint(4, (2, 5))
    mask = torch.ones(2, 5, dtype=torch.bool)
    crf = LinearChainCrf(4)
    expected = functional.cross_entropy(logits.transpose(1, 2), labels, reduction="none").sum(dim=1)
    torch.testing.assert_close(crf.negative_log_likelihood(logits, labels, mask), expected)
    assert torch.equal(crf.best_sequence(logits, mask), logits.argmax(dim=2))


def test_it_learns_what_follows_what() -> None:
    crf = LinearChainCrf(2)
    labels = torch.tensor([[0, 1, 0, 1, 0]])
    logits, mask = torch.zeros(1, 5, 2), torch.ones(1, 5, dtype=torch.bool)
    optimizer = torch.optim.SGD(crf.parameters(), lr=1.0)
    for _ in range(20):
        optimizer.zero_grad()
        loss = crf.negative_log_likelihood(logits, labels, mask).sum()
        loss.backward()
        optimizer.step()
    assert loss < 0.1
    assert torch.equal(crf.best_sequence(logits, mask), labels)


def test_labels_that_break_the_constraints_have_a_finite_loss() -> None:
    # I-x at the start, and after O
    labels = torch.tensor([[2, 0, 2]])
    logits, mask = torch.randn(1, 3, 3), torch.ones(1, 3, dtype=torch.bool)
    scores = torch.randn(4, 4)
    constrained = crf_with(scores, allowed_transitions(BIO, "bio"))
    free = crf_with(scores)
    loss = constrained.negative_log_likelihood(logits, labels, mask)
    assert torch.isfinite(loss).all()
    assert torch.equal(loss, free.negative_log_likelihood(logits, labels, mask))


@pytest.mark.parametrize("strength", [1.0, 1e8])
def test_no_score_is_high_enough_for_a_forbidden_sequence(strength: float) -> None:
    # I-x at the start is forbidden, whatever the logits and the learned scores say
    scores = torch.zeros(4, 4)
    scores[3, 2] = strength
    crf = crf_with(scores, allowed_transitions(BIO, "bio"))
    logits = torch.tensor([[[0.0, -strength, strength], [0.0, 1.0, 2.0]]])
    assert crf.best_sequence(logits, torch.ones(1, 2, dtype=torch.bool)).tolist() == [[0, 1]]


def test_constraints_at_the_end() -> None:
    # under BIOES an open entity has to be closed
    crf = LinearChainCrf(3, allowed_transitions(("O", "B-x", "E-x"), "bioes"))
    logits = torch.tensor([[[0.0, 3.0, 0.0], [1.0, 2.0, 0.5]]])
    assert crf.best_sequence(logits, torch.ones(1, 2, dtype=torch.bool)).tolist() == [[1, 2]]


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("half_weights", [False, True])
def test_sixteen_bits(dtype: torch.dtype, half_weights: bool) -> None:
    scores = torch.randn(4, 4).to(dtype)
    crf = crf_with(scores if half_weights else scores.float())
    logits, labels = torch.randn(2, 40, 3).to(dtype), torch.randint(3, (2, 40))
    mask = torch.rand(2, 40) < 0.7
    losses = crf.negative_log_likelihood(logits, labels, mask)
    reference = crf_with(scores.double())
    assert losses.dtype == torch.float32
    expected = reference.negative_log_likelihood(logits.double(), labels, mask)
    torch.testing.assert_close(losses.double(), expected, rtol=1e-5, atol=1e-4)
    assert torch.equal(crf.best_sequence(logits, mask), reference.best_sequence(logits.double(), mask))


def test_only_the_scores_are_weights() -> None:
    crf = LinearChainCrf(3, allowed_transitions(BIO, "bio"))
    assert set(crf.state_dict()) == {"transition_weights"}
    assert crf.transition_scores.shape == (4, 4)
    assert list(crf.buffers()) == []


def test_no_value_is_read_back_from_the_device() -> None:
    # tensors without values fail wherever a value or a shape that depends on one is asked for
    crf = LinearChainCrf(3, allowed_transitions(BIO, "bio")).to("meta")
    logits = torch.empty(2, 5, 3, device="meta", requires_grad=True)
    labels, mask = (torch.empty(2, 5, dtype=dtype, device="meta") for dtype in (torch.long, torch.bool))
    losses = crf.negative_log_likelihood(logits, labels, mask)
    losses.sum().backward()
    assert losses.shape == (2,)
    assert crf.best_sequence(logits, mask).shape == (2, 5)


def test_a_crf_that_is_built_without_weights_keeps_its_constraints() -> None:
    names = ("O", "B-meta", "I-meta")
    with torch.device("meta"):
        crf = LinearChainCrf(3, allowed_transitions(names, "bio"))
    crf.to_empty(device="cpu").reset_parameters()
    assert torch.equal(crf.transition_scores, torch.zeros(4, 4))
    logits = torch.tensor([[[0.0, 2.0, 3.0], [0.0, 1.0, 2.0]]])
    assert crf.best_sequence(logits, torch.ones(1, 2, dtype=torch.bool)).tolist() == [[1, 2]]


def test_a_table_for_other_labels_is_refused() -> None:
    with pytest.raises(InputError, match=r"shape \(3, 3\) for 2 labels and the start or end, found shape \(4, 4\)"):
        LinearChainCrf(2, allowed_transitions(BIO, "bio"))
