"""One adapter a task: rows of a batch go through those of their tasks."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import torch
from adapting import TASKS, assert_same, stir, trained, with_task_adapters
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file

from backbones import tiny_backbone_config, tiny_backbone_inputs
from fixtures import tiny_inputs, tiny_model
from mt_transformers.errors import InputError
from mt_transformers.modeling import (
    add_task_adapters,
    base_model,
    find_adapters,
    load_adapted_model,
    merge_adapters,
    save_adapters,
)
from mt_transformers.modeling.task_adapters import BACKBONE_ALONE, adapters_of_sequences

peft = pytest.importorskip("peft")


def test_each_row_goes_through_the_adapter_of_its_task() -> None:
    adapted = with_task_adapters(target_modules="all-linear").double()
    inputs, tasks = tiny_inputs(6), ["reviews", "requests", "ratings", "requests", "ratings", "reviews"]
    mixed = adapted(**inputs, task=tasks)
    by_index = adapted(**inputs, task=torch.tensor([list(TASKS).index(task) for task in tasks]))
    assert_same(mixed, by_index)
    for row, task in enumerate(tasks):
        alone = {name: value[row : row + 1] for name, value in inputs.items()}
        # peft's own way of using one adapter, with the model's heads
        adapted.set_adapter(f"task_{task}")
        encoded = base_model(adapted).backbone(**alone)["encoded_text"]
        torch.testing.assert_close(mixed["encoded_text"][row : row + 1], encoded, rtol=0, atol=1e-6)
        for name in TASKS[task]:
            place = mixed[f"{name}_rows"].tolist().index(row)
            expected = adapted(**alone, task=[task])[f"{name}_logits"][0]
            torch.testing.assert_close(mixed[f"{name}_logits"][place], expected, rtol=0, atol=1e-6)
    # the adapters differ
    one, other = (adapted(**inputs, task=[task] * 6)["stars_logits"] for task in ("reviews", "ratings"))
    assert not torch.allclose(one, other)


def test_gradients_are_those_of_each_tasks_own_rows() -> None:
    adapted = with_task_adapters().train()
    for module in adapted.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
    inputs, tasks = tiny_inputs(4), ["requests", "reviews", "reviews", "requests"]
    labels = {"intent": torch.tensor([0, 1, 2, 1])}

    def gradients(rows: list[int]) -> dict[str, torch.Tensor]:
        adapted.zero_grad()
        adapted(
            **{name: value[rows] for name, value in inputs.items()},
            task=[tasks[row] for row in rows],
            labels={name: value[rows] for name, value in labels.items()},
            num_items_in_batch={"intent": 1},
        )["loss"].backward()
        return {name: each.grad.clone() for name, each in adapted.named_parameters() if each.grad is not None}

    mixed, apart = gradients([0, 1, 2, 3]), [gradients([0, 3]), gradients([1, 2])]
    assert not any("task_ratings" in name for name in mixed if name.startswith("base_model.model.backbone"))
    for name, grad in mixed.items():
        expected = sum(each[name] for each in apart if name in each)
        torch.testing.assert_close(grad, expected, rtol=1e-4, atol=1e-6)
    owners = [{name.split("task_")[1].split(".")[0] for name in each if "lora_" in name} for each in apart]
    assert owners == [{"requests"}, {"reviews"}]


def test_a_head_of_several_tasks_is_one_head(tmp_path: Path) -> None:
    adapted = with_task_adapters()
    names = [name for name in trained(adapted) if name.startswith("heads.")]
    assert len(names) == len({name.split(".")[1] + name.split(".")[-1] for name in names}) == 6
    inputs, tasks = tiny_inputs(3), ["reviews", "requests", "ratings"]
    save_adapters(adapted, tmp_path / "adapters")
    assert sorted(find_adapters(tmp_path / "adapters")) == ["task_ratings", "task_requests", "task_reviews"]
    for task, heads in TASKS.items():
        keys = load_file(tmp_path / "adapters" / f"task_{task}" / "adapter_model.safetensors")
        assert {key.split(".")[3] for key in keys if ".heads." in key} == set(heads)
    base = str(tmp_path / "base")
    plain = tiny_model(tasks=TASKS)
    plain.backbone.load_state_dict(
        {
            name.replace("base_layer.", ""): value
            for name, value in base_model(adapted).backbone.state_dict().items()
            if "lora_" not in name
        }
    )
    plain.save_pretrained(base)
    loaded = load_adapted_model(tmp_path / "adapters", base, is_trainable=True)
    assert trained(loaded) == trained(adapted)
    assert_same(loaded(**inputs, task=tasks), adapted(**inputs, task=tasks))


def test_rows_of_tasks_without_an_adapter_are_encoded_by_the_backbone_alone() -> None:
    inputs, base = tiny_inputs(2), tiny_model(tasks=TASKS)
    adapted = stir(add_task_adapters(copy.deepcopy(base), {"requests": peft.LoraConfig(r=2)}))
    outputs = adapted(**inputs, task=["ratings", "requests"])
    alone = base(**inputs)
    torch.testing.assert_close(outputs["encoded_text"][0], alone["encoded_text"][0])
    torch.testing.assert_close(outputs["stars_logits"][0], alone["stars_logits"][0])
    assert not torch.allclose(outputs["encoded_text"][1], alone["encoded_text"][1])


def test_rows_of_several_sequences_go_through_one_adapter() -> None:
    heads = {
        "near": {"head_type": "sentence_similarity", "min_score": 0.0, "max_score": 1.0},
        "intent": {"head_type": "sequence_classification", "num_labels": 3},
    }
    torch.manual_seed(0)
    model = tiny_model(heads, tasks={"pairs": ["near"], "requests": ["intent"]})
    adapted = stir(add_task_adapters(model, peft.LoraConfig(r=2)))
    inputs = tiny_inputs(4)
    # rows 0 and 2 are pairs, row 1 is a request; sequence 3 is the second one of row 0, and row 2 reads its own twice
    sequences = {"near": torch.tensor([[0, 3], [-1, -1], [2, 2]])}
    mixed = adapted(**inputs, sequences=sequences, task=["pairs", "requests", "pairs"])
    pair = {name: value[[0, 3]] for name, value in inputs.items()}
    alone = adapted(**pair, sequences={"near": torch.tensor([[0, 1]])}, task=["pairs"])
    torch.testing.assert_close(mixed["near_logits"][0], alone["near_logits"][0])


@given(st.data())
def test_adapters_of_sequences_are_those_of_their_rows(data: st.DataObject) -> None:
    owners = data.draw(st.lists(st.integers(-1, 3), min_size=0, max_size=6))
    by_row = [f"adapter{row}" for row in range(4)]
    # sequences 0 to 3 are the rows' first ones; each further one belongs to a row, or to none
    width = 1 + max((owners.count(row) for row in range(4)), default=0)
    table = torch.full((4, width), -1)
    for row in range(4):
        own = [row, *(4 + place for place, owner in enumerate(owners) if owner == row)]
        table[row, : len(own)] = torch.tensor(own)
    expected = by_row + [by_row[owner] if owner >= 0 else BACKBONE_ALONE for owner in owners]
    assert adapters_of_sequences(by_row, {"choice": table}, 4 + len(owners)) == expected


def test_the_model_has_to_know_the_tasks() -> None:
    adapted, inputs = with_task_adapters(), tiny_inputs(2)
    with pytest.raises(InputError, match="it has to know the task of each row"):
        adapted(**inputs)
    with pytest.raises(InputError, match="task of row 1: unknown task 'nothing'"):
        adapted(**inputs, task=["reviews", "nothing"])
    with pytest.raises(InputError, match="expected one task for each of the 2 rows, found 1"):
        adapted(**inputs, labels={"intent": torch.tensor([0, 1])}, rows={}, task=["reviews"])
    with pytest.raises(InputError, match="cannot be merged into one backbone"):
        merge_adapters(adapted)
    with pytest.raises(InputError, match="cannot be merged into one backbone"):
        adapted.merge_and_unload()


def test_layers_that_do_not_run_once_a_row_are_refused() -> None:
    # windows of the image
    heads = {"picture": {"head_type": "image_classification", "num_labels": 2}}
    model = tiny_model(heads, tiny_backbone_config("swin"), tasks={"one": ["picture"], "two": ["picture"]})
    adapted = add_task_adapters(model, peft.LoraConfig(r=2, target_modules="all-linear"))
    with pytest.raises(InputError, match=r"layer model\..* of a 'swin' backbone does not run once for each row"):
        adapted(**tiny_backbone_inputs("swin", rows=2), task=["one", "two"])


@pytest.mark.parametrize("family", ["t5", "llama", "modernbert", "vit", "clip"])
def test_rows_of_any_backbone_go_through_adapters_of_their_own(family: str) -> None:
    head = {"head_type": "image_classification" if family == "vit" else "sequence_classification", "num_labels": 2}
    tasks = {"one": ["a"], "two": ["a"]}
    torch.manual_seed(0)
    model = tiny_model({"a": head}, tiny_backbone_config(family), tasks=tasks)
    adapted = stir(add_task_adapters(model, peft.LoraConfig(r=2, target_modules="all-linear")))
    inputs = tiny_backbone_inputs(family, rows=3)
    mixed = adapted(**inputs, task=["one", "two", "one"])["a_logits"]
    one, two = (adapted(**inputs, task=[task] * 3)["a_logits"] for task in tasks)
    torch.testing.assert_close(mixed, torch.stack([one[0], two[1], one[2]]), rtol=1e-4, atol=1e-5)
    assert not torch.allclose(one, two, rtol=1e-2)


def test_layers_that_run_again_for_their_gradients_are_refused() -> None:
    adapted = with_task_adapters().train()
    base_model(adapted).backbone.model.encoder.layer[0].gradient_checkpointing = True
    with pytest.raises(InputError, match="gradient checkpointing cannot be combined"):
        adapted(**tiny_inputs(2), task=["reviews", "ratings"])


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (lambda: peft.IA3Config(), "task 'requests': expected a LoraConfig"),
        (lambda: peft.LoraConfig(use_dora=True), "cannot be mixed in a batch"),
        (lambda: {"nothing": peft.LoraConfig()}, "unknown task 'nothing'"),
        (dict, "expected a config for at least one task"),
    ],
)
def test_adapters_that_cannot_be_mixed_are_refused(config: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        add_task_adapters(tiny_model(tasks=TASKS), config())
