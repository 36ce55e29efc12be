"""Shares that follow the metrics: the formula by hand, and what holds for the batches whatever the metrics say."""

from __future__ import annotations

import json
from collections import Counter
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mt_transformers.data import Mixture, MultiTaskBatchSampler
from mt_transformers.data.dynamic import DynamicShares
from mt_transformers.errors import InputError

NAN, INF = float("nan"), float("inf")


def scores(**by_task: float) -> dict[str, float]:
    """Metrics as an evaluation gives them, with what is no task's score."""
    own = {f"eval_{name}_score": value for name, value in by_task.items()}
    return {"eval_loss": 3.0, "eval_score": 0.99, "eval_a_loss": 7.0, "eval_a_x_accuracy": 0.01, **own}


# the formula


def test_the_gap_to_the_targets() -> None:
    shares = DynamicShares({"a": 0.9, "b": 0.9, "c": 0.8})
    shares.update_from_metrics(scores(a=0.5, b=0.7, c=0.95))
    # gaps 0.4, 0.2 and 0, over the largest, plus 0.1
    assert shares.weights(["a", "b", "c"]) == pytest.approx({"a": 1.1, "b": 0.6, "c": 0.1})
    assert shares.weights(["c", "b"]) == pytest.approx({"b": 1.1, "c": 0.1})


def test_the_gap_to_the_best_so_far() -> None:
    shares = DynamicShares()
    shares.update_from_metrics(scores(a=0.8, b=0.5))
    assert shares.weights(["a", "b"]) == pytest.approx({"a": 0.1, "b": 0.1})
    shares.update_from_metrics(scores(a=0.6, b=0.5))
    assert shares.weights(["a", "b"]) == pytest.approx({"a": 1.1, "b": 0.1})
    shares.update_from_metrics(scores(a=0.7, b=0.3))
    assert shares.weights(["a", "b"]) == pytest.approx({"a": 0.6, "b": 1.1})
    shares.update_from_metrics(scores(a=0.9, b=0.6))
    assert shares.weights(["a", "b"]) == pytest.approx({"a": 0.1, "b": 0.1})


def test_a_task_without_a_target_has_its_best_so_far() -> None:
    shares = DynamicShares({"a": 0.9})
    shares.update_from_metrics(scores(a=0.5, b=0.6))
    assert shares.weights(["a", "b"]) == pytest.approx({"a": 1.1, "b": 0.1})
    shares.update_from_metrics(scores(a=0.5, b=0.4))
    assert shares.weights(["a", "b"]) == pytest.approx({"a": 1.1, "b": 0.6})


def test_scores_below_0_have_gaps_too() -> None:
    """A head whose primary metric is an error counts negative."""
    shares = DynamicShares({"a": -1.0})
    shares.update_from_metrics(scores(a=-3.0, b=-5.0))
    shares.update_from_metrics(scores(a=-2.0, b=-7.0))
    assert shares.weights(["a", "b"]) == pytest.approx({"a": 0.6, "b": 1.1})


def test_before_any_evaluation_all_have_the_same() -> None:
    for shares in (DynamicShares(), DynamicShares({"a": 0.9, "b": 0.1})):
        weights = shares.weights(["a", "b"])
        assert weights["a"] == weights["b"] > 0


def test_a_task_that_was_not_evaluated_has_no_gap() -> None:
    shares = DynamicShares({"a": 0.9, "b": 0.9})
    shares.update_from_metrics(scores(a=0.5))
    assert shares.weights(["a", "b"]) == pytest.approx({"a": 1.1, "b": 0.1})
    # nor does the evaluation of one forget the other
    shares.update_from_metrics(scores(b=0.7))
    assert shares.weights(["a", "b"]) == pytest.approx({"a": 1.1, "b": 0.6})


def test_only_scores_of_evaluations_count() -> None:
    shares = DynamicShares({"a": 0.9, "b": 0.9})
    shares.update_from_metrics({"eval_score": 0.1, "test_a_score": 0.1, "eval_a_loss": 0.1, "a_score": 0.1})
    assert shares.state_dict() == DynamicShares().state_dict()


def test_a_score_that_is_no_number_does_not_forget_the_best() -> None:
    """As a correlation is where all predictions are equal."""
    shares = DynamicShares()
    for score in (0.8, NAN, 0.6):
        shares.update_from_metrics(scores(a=score, b=0.5))
    assert shares.weights(["a", "b"]) == pytest.approx({"a": 1.1, "b": 0.1})


def test_the_worst_score_has_a_share() -> None:
    """A squared error that is not finite counts as -inf."""
    mixture = Mixture(sampling="dynamic", targets={"a": 0.0, "b": 0.9})
    mixture.update_from_metrics(scores(a=-INF, b=0.5))
    shares = mixture.shares({"a": 9, "b": 9})
    assert all(0 < share < 1 for share in shares.values())
    assert shares["a"] > shares["b"]
    assert sum(mixture.rows_per_epoch({"a": 9, "b": 9}).values()) == 18


@given(
    targets=st.dictionaries(st.sampled_from("abc"), st.floats(-10, 10)),
    evaluations=st.lists(st.dictionaries(st.sampled_from("abc"), st.floats(-10, 10)), max_size=4),
)
def test_no_task_starves(targets: dict[str, float], evaluations: list[dict[str, float]]) -> None:
    shares = DynamicShares(targets)
    for each in evaluations:
        shares.update_from_metrics(scores(**each))
    weights = shares.weights(["a", "b", "c"])
    assert all(0.1 <= weight < 1.1 + 1e-9 for weight in weights.values())


@given(evaluations=st.lists(st.dictionaries(st.sampled_from("abc"), st.floats(-1, 1)), min_size=1, max_size=4))
def test_the_state_goes_through_json(evaluations: list[dict[str, float]]) -> None:
    shares, other = DynamicShares({"a": 0.5}), DynamicShares({"a": 0.5})
    for each in evaluations[:-1]:
        shares.update_from_metrics(scores(**each))
    state = json.loads(json.dumps(shares.state_dict()))
    other.load_state_dict(state)
    for each in (shares, other):
        each.update_from_metrics(scores(**evaluations[-1]))
    assert other.weights(["a", "b", "c"]) == shares.weights(["a", "b", "c"])
    # a state is a copy
    assert state == json.loads(json.dumps(state))


def test_a_state_does_not_change_with_what_it_was_taken_from() -> None:
    shares, other = DynamicShares(), DynamicShares()
    shares.update_from_metrics(scores(a=0.8))
    state = shares.state_dict()
    other.load_state_dict(state)
    shares.update_from_metrics(scores(a=0.1))
    assert state == other.state_dict() == {"best": {"a": 0.8}, "scores": {"a": 0.8}}


# the mixture


@pytest.mark.parametrize(
    ("options", "message"),
    [
        *[
            (
                {"sampling": "dynamic", "targets": {"a": 1, "b": value}},
                "expected a number as target of task 'b', found",
            )
            for value in (NAN, INF, "0.9", None)
        ],
        ({"sampling": "uniform", "targets": {"a": 0.9}}, "targets belongs to sampling 'dynamic', found 'uniform'"),
        ({"targets": {"a": 0.9}}, "targets belongs to sampling 'dynamic', found 'proportional'"),
        *[
            ({"sampling": "dynamic", "stop": stop}, "dynamic sampling has no stop")
            for stop in ("all", "first", "longest")
        ],
        ({"sampling": "dynamic", "weights": {"a": 1.0}}, "weights belongs to sampling 'weighted', found 'dynamic'"),
    ],
)
def test_values_that_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError) as caught:
        Mixture(**options)
    assert message in str(caught.value)


def test_targets_of_unknown_tasks_are_refused() -> None:
    mixture = Mixture(sampling="dynamic", targets={"a": 0.9, "bb": 0.9})
    for use in (mixture.shares, mixture.rows_per_epoch, lambda sizes: MultiTaskBatchSampler(sizes, mixture, 2)):
        with pytest.raises(InputError, match="mixture, targets: unknown task 'bb', did you mean 'b'"):
            use({"a": 4, "b": 4})


def test_shares_and_rows_of_a_mixture() -> None:
    sizes = {"a": 60, "b": 12}
    mixture = Mixture(sampling="dynamic", targets={"a": 0.9, "b": 0.9})
    assert mixture.shares(sizes) == pytest.approx({"a": 0.5, "b": 0.5})
    assert mixture.rows_per_epoch(sizes) == {"a": 36, "b": 36}
    mixture.update_from_metrics(scores(a=0.9, b=0.5))
    assert mixture.shares(sizes) == pytest.approx({"a": 1 / 12, "b": 11 / 12})
    assert mixture.rows_per_epoch(sizes) == {"a": 6, "b": 66}


def test_instances_per_epoch() -> None:
    mixture = Mixture(sampling="dynamic", targets={"a": 0.9, "b": 0.9}, instances_per_epoch=24)
    assert mixture.rows_per_epoch({"a": 60, "b": 12}) == {"a": 12, "b": 12}
    mixture.update_from_metrics(scores(a=0.5, b=0.9))
    assert mixture.rows_per_epoch({"a": 60, "b": 12}) == {"a": 22, "b": 2}


def test_the_state_of_a_mixture_goes_through_json() -> None:
    mixture, other = (Mixture(sampling="dynamic", targets={"a": 0.9, "b": 0.9}) for _ in range(2))
    mixture.update_from_metrics(scores(a=0.5, b=0.7))
    other.load_state_dict(json.loads(json.dumps(mixture.state_dict())))
    assert (
        other.shares({"a": 1, "b": 1})
        == mixture.shares({"a": 1, "b": 1})
        == pytest.approx({"a": 11 / 17, "b": 6 / 17})
    )


@pytest.mark.parametrize(
    ("weights", "total", "expected"),
    [
        ((1, 1, 1), 6, (2, 2, 2)),
        ((1, 1, 1), 7, (3, 2, 2)),
        # 0.5, 1.75 and 4.75: the two left over to the largest remainders, then one from the most for the one without
        ((2, 7, 19), 7, (1, 2, 4)),
        # 1.5, 1.75 and 4.75
        ((6, 7, 19), 8, (1, 2, 5)),
        ((1, 0, 3), 2, (1, 0, 1)),
        ((1, 1, 1), 0, (0, 0, 0)),
    ],
)
def test_divide_gives_what_is_left_to_the_largest_remainders(weights: tuple, total: int, expected: tuple) -> None:
    mixture = Mixture(sampling="weighted", weights=dict(zip("abc", weights, strict=True)))
    assert mixture.divide({"a": 9, "b": 9, "c": 9}, total) == dict(zip("abc", expected, strict=True))


@given(weights=st.lists(st.floats(0.001, 100), min_size=1, max_size=5), total=st.integers(0, 10_000))
def test_divide_adds_up(weights: list[float], total: int) -> None:
    by_name = dict(zip("abcde", weights, strict=False))
    mixture, sizes = Mixture(sampling="weighted", weights=by_name), dict.fromkeys(by_name, 3)
    dealt = mixture.divide(sizes, total)
    assert sum(dealt.values()) == total
    shares = mixture.shares(sizes)
    given = sum(share * total < 1 for share in shares.values())
    assert all(abs(dealt[name] - share * total) < 1 + given + 1e-6 for name, share in shares.items())
    assert min(dealt.values()) > 0 or total < len(dealt)


# the batches


def tasks_of(sizes: dict[str, int], batches: list[list[int]]) -> str:
    """The names of the rows' tasks, one letter each, without fillers."""
    names = "".join(name * size for name, size in sizes.items())
    return "".join(names[row] for batch in batches for row in batch if row >= 0)


def dynamic(targets: dict[str, float] | None = None, **options: Any) -> Mixture:
    return Mixture(sampling="dynamic", targets=targets, **options)


@st.composite
def _runs(draw: st.DrawFn) -> tuple[dict[str, Any], list[dict[str, float]]]:
    """Options of a mixture and a sampler, and the metrics after each of 4 epochs."""
    sizes = dict(zip("abc", draw(st.lists(st.integers(1, 15), min_size=1, max_size=3)), strict=False))
    mixture: dict[str, Any] = {
        "order": draw(st.sampled_from(["random", "round_robin", "sequential"])),
        "batches": draw(st.sampled_from(["mixed", "homogeneous"])),
        "targets": draw(st.dictionaries(st.sampled_from(list(sizes)), st.floats(0, 1))) or None,
        "instances_per_epoch": draw(st.none() | st.integers(3, 40)),
    }
    if mixture["batches"] == "homogeneous":
        mixture["batch_sizes"] = draw(st.none() | st.dictionaries(st.sampled_from(list(sizes)), st.integers(1, 5)))
    evaluations = draw(st.lists(st.fixed_dictionaries(dict.fromkeys(sizes, st.floats(0, 1))), min_size=4, max_size=4))
    options = {
        "sizes": sizes,
        "mixture": mixture,
        "batch_size": draw(st.integers(1, 5)),
        "seed": draw(st.integers(0, 3)),
        "num_processes": draw(st.integers(1, 3)),
        "drop_last": draw(st.booleans()),
    }
    return options, [scores(**each) for each in evaluations]


def sampler_of(options: dict[str, Any]) -> MultiTaskBatchSampler:
    return MultiTaskBatchSampler(**{**options, "mixture": dynamic(**options["mixture"])})


def _makes_batches(run: tuple[dict[str, Any], Any]) -> bool:
    try:
        sampler_of(run[0])
    except InputError as error:
        assert "has no batch of" in str(error)  # noqa: PT017
        return False
    return True


RUNS = _runs().filter(_makes_batches)


@given(run=RUNS)
def test_every_epoch_has_as_many_batches(run: tuple[dict[str, Any], list[dict[str, float]]]) -> None:
    options, evaluations = run
    sampler = sampler_of(options)
    expected = len(sampler)
    for epoch, metrics in enumerate(evaluations):
        sampler.set_epoch(epoch)
        assert len(sampler) == len(list(sampler)) == expected
        sampler.update_from_metrics(metrics)
        assert len(sampler) == len(list(sampler)) == expected


@given(run=RUNS)
def test_counts_follow_the_shares(run: tuple[dict[str, Any], list[dict[str, float]]]) -> None:
    """To a row in mixed batches, to a batch in homogeneous ones."""
    options, evaluations = {**run[0], "drop_last": False}, run[1]
    sizes, processes = options["sizes"], options["num_processes"]
    sampler, twin = sampler_of(options), dynamic(**options["mixture"])
    for epoch, metrics in enumerate(evaluations):
        sampler.set_epoch(epoch)
        batches, shares = list(sampler), twin.shares(sizes)
        if options["mixture"]["batches"] == "mixed":
            counts = Counter(tasks_of(sizes, batches))
            assert {name: counts[name] for name in sizes} == twin.rows_per_epoch(sizes)
            total = options["mixture"]["instances_per_epoch"] or sum(sizes.values())
        else:
            # each global batch is of one task, and full
            own = options["mixture"].get("batch_sizes") or {}
            counts, total = Counter(), len(batches) // processes
            for start in range(0, len(batches), processes):
                names = tasks_of(sizes, batches[start : start + processes])
                assert names == names[0] * own.get(names[0], options["batch_size"]) * processes
                counts[names[0]] += 1
        assert sum(counts.values()) == total
        # tasks with a share of less than one unit get one, which others give
        given = sum(share * total < 1 for share in shares.values())
        assert all(abs(counts[name] - share * total) < 1 + given + 1e-6 for name, share in shares.items())
        assert min(counts[name] for name in sizes) > 0 or total < len(sizes)
        sampler.update_from_metrics(metrics)
        twin.update_from_metrics(metrics)


@given(run=RUNS)
def test_no_row_comes_again_before_all_have_come(run: tuple[dict[str, Any], list[dict[str, float]]]) -> None:
    options, evaluations = {**run[0], "drop_last": False}, run[1]
    sampler, rows = sampler_of(options), []
    for epoch, metrics in enumerate(evaluations):
        sampler.set_epoch(epoch)
        rows += [row for batch in sampler for row in batch if row >= 0]
        sampler.update_from_metrics(metrics)
    start = 0
    for size in options["sizes"].values():
        own = [row for row in rows if start <= row < start + size]
        for first in range(0, len(own), size):
            turn = own[first : first + size]
            assert len(set(turn)) == len(turn)
        start += size


@given(run=RUNS, stopped=st.integers(0, 3), through_json=st.booleans())
def test_a_new_sampler_goes_on_from_the_state(
    run: tuple[dict[str, Any], list[dict[str, float]]], stopped: int, through_json: bool
) -> None:
    """From a state taken in the middle of an epoch, before and after the evaluation in it."""
    options, evaluations = run
    sampler, whole, states = sampler_of(options), [], []
    for epoch, metrics in enumerate(evaluations):
        sampler.set_epoch(epoch)
        whole.append(list(sampler))
        states.append([sampler.state_dict()])
        sampler.update_from_metrics(metrics)
        states[-1].append(sampler.state_dict())
    for evaluated, state in enumerate(states[stopped]):
        other = sampler_of(options)
        other.load_state_dict(json.loads(json.dumps(state)) if through_json else state)
        for epoch in range(stopped, 4):
            other.set_epoch(epoch)
            assert len(other) == len(sampler)
            assert list(other) == whole[epoch]
            if epoch > stopped or not evaluated:
                other.update_from_metrics(evaluations[epoch])


def test_without_the_state_it_is_another_run() -> None:
    sizes, mixture = {"a": 20, "b": 20}, {"targets": {"a": 0.9, "b": 0.9}}
    sampler, other = (MultiTaskBatchSampler(sizes, dynamic(**mixture), 4) for _ in range(2))
    sampler.update_from_metrics(scores(a=0.9, b=0.1))
    for each in (sampler, other):
        each.set_epoch(1)
    assert list(sampler) != list(other)


@pytest.mark.parametrize("kind", ["mixed", "homogeneous"])
def test_shares_change_only_with_a_new_epoch(kind: Any) -> None:
    sizes = {"a": 24, "b": 24}
    sampler = MultiTaskBatchSampler(sizes, dynamic({"a": 0.9, "b": 0.9}, batches=kind), 4)
    first = list(sampler)
    sampler.update_from_metrics(scores(a=0.9, b=0.1))
    assert list(sampler) == first
    sampler.set_epoch(0)
    assert list(sampler) == first
    sampler.set_epoch(1)
    second = list(sampler)
    # of 48 rows, or 12 batches of 4, a twelfth
    assert [Counter(tasks_of(sizes, each)) for each in (first, second)] == [
        {"a": 24, "b": 24},
        {"a": 4, "b": 44},
    ]
    sampler.update_from_metrics(scores(a=0.1, b=0.9))
    assert list(sampler) == second
    sampler.set_epoch(2)
    assert Counter(tasks_of(sizes, list(sampler))) == {"a": 44, "b": 4}
    # an epoch that has begun stays as it was
    for epoch, expected in enumerate((first, second)):
        sampler.set_epoch(epoch)
        assert list(sampler) == expected


@pytest.mark.parametrize("sampling", ["proportional", "uniform"])
def test_other_samplings_do_not_follow_the_metrics(sampling: str) -> None:
    sampler, other = (MultiTaskBatchSampler({"a": 20, "b": 10}, Mixture(sampling=sampling), 4) for _ in range(2))
    sampler.update_from_metrics(scores(a=0.9, b=0.1))
    for each in (sampler, other):
        each.set_epoch(1)
    assert list(sampler) == list(other)


@pytest.mark.parametrize("kind", ["mixed", "homogeneous"])
def test_the_further_below_its_target_the_more_rows(kind: Any) -> None:
    sizes = {"a": 40, "b": 40, "c": 40}
    sampler = MultiTaskBatchSampler(sizes, dynamic(dict.fromkeys("abc", 0.9), batches=kind), 2)
    rows = []
    for epoch, score in enumerate((0.9, 0.7, 0.5, 0.3), start=1):
        sampler.update_from_metrics(scores(a=0.9, b=score, c=0.3))
        sampler.set_epoch(epoch)
        counts = Counter(tasks_of(sizes, list(sampler)))
        rows.append([counts[name] for name in "abc"])
    # weights 1, 1, 11; 1, 4 1/3, 11; 1, 7 2/3, 11; 1, 11, 11
    wanted = [[120 * weight / (12 + b) for weight in (1, b, 11)] for b in (1, 13 / 3, 23 / 3, 11)]
    unit = 1 if kind == "mixed" else 2
    for found, expected in zip(rows, wanted, strict=True):
        assert all(abs(count - share) < unit for count, share in zip(found, expected, strict=True))
    assert [each[1] for each in rows] == sorted({each[1] for each in rows})


@pytest.mark.parametrize(("kind", "options"), [("mixed", {"instances_per_epoch": 4}), ("homogeneous", {})])
def test_no_task_is_left_out_for_good(kind: Any, options: dict[str, Any]) -> None:
    """A twelfth of 4 rows, or of 4 batches, is a third of one in an epoch: 4 in 12 epochs."""
    sizes = {"a": 20, "b": 20}
    sampler = MultiTaskBatchSampler(sizes, dynamic({"a": 0.9, "b": 0.9}, batches=kind, **options), 10)
    sampler.update_from_metrics(scores(a=0.9, b=0.1))
    found: Counter[str] = Counter()
    for epoch in range(1, 13):
        sampler.set_epoch(epoch)
        found += Counter(tasks_of(sizes, list(sampler)))
    assert 0 < found["a"] < found["b"]
