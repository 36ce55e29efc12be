"""Homogeneous batches of which each process has its own: those of one process, dealt out in turn."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from accelerate.data_loader import prepare_data_loader
from hypothesis import given
from hypothesis import strategies as st
from torch.utils.data import DataLoader, Dataset

from mt_transformers.data import Mixture, MultiTaskBatchSampler, plan_mixture
from mt_transformers.errors import InputError

Arguments = st.SearchStrategy[dict[str, Any]]
APART = Mixture(batches="homogeneous", order="round_robin", same_task_on_all_ranks=False)


class RowNumbers(Dataset[int]):
    """Answers every number with itself."""

    def __getitem__(self, index: int) -> int:
        return index


def apart(arguments: dict[str, Any]) -> dict[str, Any]:
    """The arguments with homogeneous batches of which each process has its own."""
    mixture = replace(arguments["mixture"], batches="homogeneous", same_task_on_all_ranks=False)
    return {**arguments, "mixture": mixture}


def one_process(arguments: dict[str, Any]) -> list[list[int]]:
    """The batches of one process with the same batch size."""
    return list(MultiTaskBatchSampler(**{**arguments, "num_processes": 1}))


def test_known_batches() -> None:
    # [0 1] [5 6] | [2 3] [7] | [4] and a row of the same step without its label
    sizes = {"a": 5, "b": 3}
    batches = list(MultiTaskBatchSampler(sizes, APART, 2, num_processes=2))
    assert ["".join("a" if row < 5 else "b" for row in batch) for batch in batches[:5]] == ["aa", "bb", "aa", "b", "a"]
    assert batches[5] == [~batches[4][0]]
    assert sorted(row for batch in batches[:5] for row in batch) == list(range(8))


@pytest.mark.parametrize(("num_processes", "lengths"), [(1, [4] * 5), (2, [4] * 5 + [0]), (3, [4] * 5 + [0])])
def test_a_step_may_be_short_of_batches(num_processes: int, lengths: list[int]) -> None:
    batches = list(MultiTaskBatchSampler({"a": 12, "b": 8}, APART, 4, num_processes=num_processes))
    assert [sum(row >= 0 for row in batch) for batch in batches] == lengths


@given(data=st.data(), epoch=st.integers(0, 2))
def test_batches_are_those_of_one_process(sampler_arguments: Arguments, data: st.DataObject, epoch: int) -> None:
    arguments = apart(data.draw(sampler_arguments))
    num_processes = arguments["num_processes"]
    samplers = [MultiTaskBatchSampler(**arguments), MultiTaskBatchSampler(**{**arguments, "num_processes": 1})]
    for sampler in samplers:
        sampler.set_epoch(epoch)
    many, one = (list(sampler) for sampler in samplers)
    assert many[: len(one)] == one
    # what is left of the last step is filled with a row of it
    fillers = many[len(one) :]
    assert len(many) == len(samplers[0]) == -(-len(one) // num_processes) * num_processes
    assert fillers == [[~one[len(many) - num_processes][0]]] * len(fillers)


@given(data=st.data())
def test_whole_steps_alone_where_what_is_short_is_left_out(sampler_arguments: Arguments, data: st.DataObject) -> None:
    arguments = {**apart(data.draw(sampler_arguments)), "drop_last": True}
    num_processes = arguments["num_processes"]
    try:
        one = one_process(arguments)
    except InputError:
        one = []
    steps = len(one) // num_processes
    if steps == 0:
        with pytest.raises(InputError, match=r"has no (batch|\d batches) of"):
            MultiTaskBatchSampler(**arguments)
        return
    sampler = MultiTaskBatchSampler(**arguments)
    assert list(sampler) == one[: steps * num_processes]
    assert len(sampler) == steps * num_processes
    assert {len(batch) for batch in sampler} == {arguments["batch_size"]}


@pytest.mark.parametrize("num_processes", [1, 2, 3])
@pytest.mark.parametrize("order", ["random", "round_robin", "sequential"])
@pytest.mark.parametrize("sizes", [{"a": 5, "b": 3}, {"a": 8, "b": 4}, {"a": 1, "b": 2, "c": 20}])
def test_accelerate_gives_each_process_batches_of_its_own(
    sizes: dict[str, int], order: str, num_processes: int
) -> None:
    options = {"sizes": sizes, "mixture": replace(APART, order=order), "batch_size": 2}
    by_process = []
    for process in range(num_processes):
        sampler = MultiTaskBatchSampler(**options, num_processes=num_processes)
        loader = DataLoader(RowNumbers(), batch_sampler=sampler, collate_fn=list)
        by_process.append(list(prepare_data_loader(loader, num_processes=num_processes, process_index=process)))
    # as many steps on each process, together the batches of one process in turn
    dealt = [batch for step in zip(*by_process, strict=True) for batch in step]
    one = one_process(options)
    assert dealt[: len(one)] == one
    assert [row for batch in dealt[len(one) :] for row in batch if row >= 0] == []
    assert sorted(row for batch in dealt for row in batch if row >= 0) == list(range(sum(sizes.values())))


def test_a_step_has_several_tasks() -> None:
    batches = list(MultiTaskBatchSampler({"a": 8, "b": 8, "c": 8}, APART, 4, num_processes=3))
    assert [[row // 8 for row in batch] for batch in batches] == [[0] * 4, [1] * 4, [2] * 4] * 2
    together = replace(APART, same_task_on_all_ranks=True)
    batches = list(MultiTaskBatchSampler({"a": 12, "b": 12}, together, 4, num_processes=3))
    assert [[row // 12 for row in batch] for batch in batches] == [[0] * 4] * 3 + [[1] * 4] * 3


def test_tasks_keep_batch_sizes_of_their_own() -> None:
    mixture = replace(APART, batch_sizes={"b": 2})
    batches = list(MultiTaskBatchSampler({"a": 8, "b": 4}, mixture, 4, num_processes=2))
    assert [len(batch) for batch in batches] == [4, 2, 4, 2]


def test_shares_that_follow_the_metrics_keep_the_number_of_steps() -> None:
    mixture = replace(APART, sampling="dynamic", targets={"a": 0.0, "b": 2.0})
    sampler = MultiTaskBatchSampler({"a": 20, "b": 13}, mixture, 4, num_processes=3)
    sampler.set_epoch(0)
    before = list(sampler)
    sampler.update_from_metrics({"eval_a_score": 0.5, "eval_b_score": 0.5})
    sampler.set_epoch(1)
    after = list(sampler)
    assert len(before) == len(after) == len(sampler) == 9
    rows_of_b = [sum(row >= 20 for batch in batches for row in batch) for batches in (before, after)]
    assert rows_of_b[1] > rows_of_b[0]


def test_batches_of_like_length_are_those_of_one_process() -> None:
    lengths = np.random.default_rng(0).integers(1, 30, 150, dtype=np.int32)
    options = {"sizes": {"a": 100, "b": 50}, "mixture": APART, "batch_size": 4, "lengths": lengths, "window": 6}
    one = list(MultiTaskBatchSampler(**options))
    for num_processes in (2, 3):
        assert list(MultiTaskBatchSampler(**options, num_processes=num_processes))[: len(one)] == one


def test_the_plan_counts_steps_of_several_tasks() -> None:
    heads = {"a": ["x"], "b": ["y"]}
    # [a a] [b b] | [a a] _
    plan = plan_mixture({"a": 4, "b": 2}, APART, 2, heads, num_processes=2)
    assert (plan.batches, plan.head_weights) == (2, {"x": 1.0, "y": 0.5})
    assert [task.batches for task in plan.tasks] == [2, 1]
    one = plan_mixture({"a": 4, "b": 2}, APART, 2, heads, gradient_accumulation_steps=2)
    assert one.head_weights == plan.head_weights


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"same_task_on_all_ranks": False}, "same_task_on_all_ranks belongs to homogeneous batches"),
        ({"batches": "homogeneous", "same_task_on_all_ranks": "no"}, "expected True or False .*, found 'no'"),
        ({"batches": "homogeneous", "same_task_on_all_ranks": None}, "expected True or False .*, found None"),
        ({"batches": "homogeneous", "same_task_on_all_ranks": 0}, "expected True or False .*, found 0"),
    ],
)
def test_values_that_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        Mixture(**options)


@given(data=st.data())
def test_one_process_has_nothing_to_share(sampler_arguments: Arguments, data: st.DataObject) -> None:
    arguments = {**apart(data.draw(sampler_arguments)), "num_processes": 1}
    together = replace(arguments["mixture"], same_task_on_all_ranks=True)
    assert one_process(arguments) == one_process({**arguments, "mixture": together})
