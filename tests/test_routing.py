"""Which argument goes to which component, and which row to which head."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from fixtures import HEADS, tiny_bert_config, tiny_config, tiny_model
from mt_transformers import Backbone
from mt_transformers.errors import InputError
from mt_transformers.routing import ArgumentRouter, get_forward_arguments, route_rows, take_rows


class Scorer(nn.Module):
    """Takes three named arguments and nothing else."""

    def forward(self, encoded: torch.Tensor, encoded_mask: torch.Tensor, scale: float = 1.0) -> None: ...


class Open(nn.Module):
    """Takes anything."""

    def forward(self, encoded: torch.Tensor, /, *more: Any, named: int = 0, **rest: Any) -> None: ...


def router(module: nn.Module, **config: Any) -> ArgumentRouter:
    """A router for the one component `intent`."""
    return ArgumentRouter(tiny_config({"intent": HEADS["intent"]}, **config), {"intent": module})


def test_arguments_are_read_from_the_signature() -> None:
    assert get_forward_arguments(Scorer()) == {"encoded", "encoded_mask", "scale"}


def test_catch_alls_and_positional_only_arguments_have_no_name_to_pass() -> None:
    assert get_forward_arguments(Open()) == {"named"}


def test_a_backbone_answers_for_its_model() -> None:
    found = get_forward_arguments(Backbone.from_config(tiny_bert_config()))
    assert {"input_ids", "attention_mask", "token_type_ids", "position_ids", "inputs_embeds"} <= found
    assert not {"inputs", "self", "kwargs"} & found


def test_a_component_gets_what_it_takes() -> None:
    available = {"encoded": 1, "encoded_mask": 2, "input_ids": 3}
    assert router(Scorer()).arguments("intent", available) == {"encoded": 1, "encoded_mask": 2}


def test_arguments_are_renamed() -> None:
    renaming = router(Scorer(), arg_name_mapping={"intent": {"factor": "scale"}})
    assert renaming.arguments("intent", {"factor": 3, "encoded": 1}) == {"scale": 3, "encoded": 1}
    assert renaming.arguments("intent", {"factor": 1})
    assert renaming.arguments("intent", {"scale": 1})
    assert not renaming.arguments("intent", {"other": 1})


def test_a_renamed_argument_is_not_passed_under_its_old_name() -> None:
    renaming = router(Scorer(), arg_name_mapping={"intent": {"encoded": "scale"}})
    assert renaming.arguments("intent", {"encoded": 1}) == {"scale": 1}


def test_allowed_arguments_stand_in_for_the_signature() -> None:
    limited = router(Scorer(), allowed_arguments={"intent": ["encoded"]})
    assert limited.arguments("intent", {"encoded": 1, "scale": 2}) == {"encoded": 1}
    assert not limited.arguments("intent", {"scale": 1})
    extended = router(Open(), allowed_arguments={"intent": ["anything"]})
    assert extended.arguments("intent", {"anything": 1, "named": 2}) == {"anything": 1}


def test_allowed_may_be_nothing() -> None:
    assert router(Scorer(), allowed_arguments={"intent": []}).arguments("intent", {"encoded": 1}) == {}


def test_two_inputs_on_one_name_are_both_named() -> None:
    clashing = router(Scorer(), arg_name_mapping={"intent": {"factor": "scale"}})
    with pytest.raises(InputError) as caught:
        clashing.arguments("intent", {"scale": 1, "factor": 2})
    assert str(caught.value) == "component 'intent': the arguments 'scale' and 'factor' both become 'scale'."


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (
            {"arg_name_mapping": {"intent": {"factor": "scal"}}},
            "arg_name_mapping of 'intent': unknown parameter 'scal', did you mean 'scale'?",
        ),
        (
            {"allowed_arguments": {"intent": ["scal"]}},
            "allowed_arguments of 'intent': unknown parameter 'scal', did you mean 'scale'?",
        ),
    ],
)
def test_what_names_no_parameter_is_refused(config: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError) as caught:
        router(Scorer(), **config)
    assert str(caught.value).startswith(message)


def test_an_open_component_takes_any_name() -> None:
    renaming = router(Open(), arg_name_mapping={"intent": {"a": "b"}}, allowed_arguments={"intent": ["b", "named"]})
    assert renaming.arguments("intent", {"a": 1}) == {"b": 1}


# ------------------------------------------------------------------------------------------------------------------
# rows

HEAD_MODULES = tiny_model().named_heads
TASKS = {"snips": ["intent", "slots"], "reviews": ["stars"], "mixed": ["intent", "stars"]}
NAN = float("nan")


def routed(labels: dict[str, Any] | None = None, batch_size: int = 3, **kwargs: Any) -> dict[str, list[int] | None]:
    """`route_rows` over the fixture's heads and TASKS, its tensors as lists."""
    tensors = {name: torch.tensor(value) for name, value in (labels or {}).items()}
    found = route_rows(HEAD_MODULES, tensors, TASKS, batch_size, **kwargs)
    return {name: None if rows is None else rows.tolist() for name, rows in found.items()}


def test_without_labels_and_tasks_every_row_goes_to_every_head() -> None:
    assert routed() == {"intent": None, "slots": None, "stars": None}


def test_rows_go_where_they_have_a_label() -> None:
    labels = {
        "intent": [0, -100, 2],
        "slots": [[-100, -100], [-100, 0], [-100, -100]],
        "stars": [[1.0], [2.0], [3.0]],
    }
    assert routed(labels) == {"intent": [0, 2], "slots": [1], "stars": None}


def test_a_head_without_labels_does_not_run_beside_one_that_has_some() -> None:
    assert routed({"stars": [[NAN], [0.0], [NAN]]}) == {"stars": [1]}


def test_a_head_whose_labels_are_all_ignored_has_no_rows() -> None:
    assert routed({"intent": [-100, -100, -100]}) == {"intent": []}


def test_only_some_heads() -> None:
    assert routed(only=["slots"]) == {"slots": None}
    assert routed({"intent": [0, -100, 0], "stars": [1.0, 2.0, 3.0]}, only=["intent"]) == {"intent": [0, 2]}
    assert routed({"intent": [0, -100, 0]}, only=["intent", "stars"]) == {"intent": [0, 2], "stars": None}
    assert routed(only=[]) == {}


@pytest.mark.parametrize("task", [["snips", "reviews", "mixed"], [0, 1, 2], torch.tensor([0, 1, 2])])
def test_rows_go_where_their_task_leads(task: Any) -> None:
    assert routed(task=task) == {"intent": [0, 2], "slots": [0], "stars": [1, 2]}


def test_task_and_labels_both_have_to_lead_there() -> None:
    labels = {"intent": [1, 1, -100], "stars": [[1.0], [2.0], [3.0]]}
    # intent: tasks say 0 and 2, labels 0 and 1
    assert routed(labels, task=["snips", "reviews", "mixed"]) == {"intent": [0], "slots": [0], "stars": [1, 2]}


def test_one_task_for_all_rows() -> None:
    assert routed(task=["snips"] * 3) == {"intent": None, "slots": None}
    assert routed({"intent": [0, 1, -100]}, task=["snips"] * 3)["intent"] == [0, 1]


def test_task_and_only() -> None:
    assert routed(task=["snips", "reviews", "mixed"], only=["stars"]) == {"stars": [1, 2]}


@pytest.mark.parametrize(
    ("task", "row", "value"),
    [
        (["snips", "review", "mixed"], 1, "'review'"),
        ([0, 1, 3], 2, "3"),
        (torch.tensor([-1, 0, 0]), 0, "-1"),
        ([None, "snips", "snips"], 0, "None"),
    ],
)
def test_an_unknown_task_names_its_row(task: Any, row: int, value: str) -> None:
    with pytest.raises(InputError) as caught:
        routed(task=task)
    assert str(caught.value) == f"task of row {row}: unknown task {value}. Known: snips, reviews, mixed."


@pytest.mark.parametrize("task", [["snips"], ["snips"] * 4, torch.tensor([0, 0])])
def test_one_task_a_row(task: Any) -> None:
    with pytest.raises(InputError, match=f"expected one task for each of the 3 rows, found {len(task)}"):
        routed(task=task)


def test_unknown_heads_are_refused() -> None:
    with pytest.raises(InputError, match=r"labels: unknown head 'intnt', did you mean 'intent'\?"):
        routed({"intnt": [0, 0, 0]})
    with pytest.raises(InputError, match=r"heads: unknown head 'star', did you mean 'stars'\?"):
        routed(only=["star"])


def test_take_rows() -> None:
    rows = torch.tensor([2, 0])
    matrix = torch.arange(6).reshape(3, 2)
    assert take_rows(matrix, rows, 3).tolist() == [[4, 5], [0, 1]]
    assert take_rows(matrix, None, 3) is matrix
    assert take_rows(matrix, torch.tensor([], dtype=torch.long), 3).shape == (0, 2)


@pytest.mark.parametrize("value", [None, "text", 3, [1, 2, 3], torch.tensor(7.0), torch.ones(2, 3)])
def test_what_has_no_rows_is_handed_on_as_it_is(value: Any) -> None:
    assert take_rows(value, torch.tensor([0]), 3) is value
