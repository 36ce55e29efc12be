"""MultiTaskModel: what it computes, what trains, and that what was saved comes back bit by bit."""

from __future__ import annotations

import copy
import pickle
import shutil
import subprocess
import sys
import warnings
from collections.abc import Callable
from itertools import combinations
from pathlib import Path
from typing import Any

import huggingface_hub
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch.nn import functional
from torch.utils import _pytree as pytree
from transformers import AutoModel, BertModel, GPT2Config

from fixtures import HEADS, VOCABULARY, tiny_bert_config, tiny_config, tiny_inputs, tiny_model
from mt_transformers import MultiTaskConfig, MultiTaskModel, MultiTaskModelOutput
from mt_transformers.errors import InputError
from mt_transformers.modeling import loss_divisor

NAN = float("nan")
STEADY = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
INTENT = {"intent": HEADS["intent"]}


def all_labels() -> dict[str, torch.Tensor]:
    """Labels of 4 rows: intent on 0, 1 and 3, slots on 1 and 2 (3 words), stars on all but 1."""
    slots = torch.full((4, 6), -100)
    slots[1, 1], slots[2, 1], slots[2, 2] = 1, 3, 4
    return {
        "intent": torch.tensor([2, 0, -100, 1]),
        "slots": slots,
        "stars": torch.tensor([[1.0], [NAN], [4.0], [5.0]], dtype=torch.float64),
    }


def gradients(model: MultiTaskModel) -> dict[str, torch.Tensor]:
    """Copies of all gradients that there are."""
    return {name: value.grad.clone() for name, value in model.named_parameters() if value.grad is not None}


def watch(module: torch.nn.Module) -> list[dict[str, Any]]:
    """The keyword arguments of each call of a module, as they come in."""
    calls: list[dict[str, Any]] = []
    module.register_forward_pre_hook(lambda _module, _args, kwargs: calls.append(kwargs), with_kwargs=True)
    return calls


# ------------------------------------------------------------------------------------------------------------------
# outputs


def test_outputs_without_labels() -> None:
    output = tiny_model()(**tiny_inputs())
    assert isinstance(output, MultiTaskModelOutput)
    shapes = {key: tuple(value.shape) for key, value in output.items()}
    assert shapes == {
        "encoded_text": (4, 6, 32),
        "encoded_text_mask": (4, 6),
        "token_ids": (4, 6),
        "intent_logits": (4, 3),
        "slots_logits": (4, 6, 5),
        "stars_logits": (4, 1),
    }
    assert output.loss is None


def test_outputs_with_labels() -> None:
    output = tiny_model()(**tiny_inputs(), labels=all_labels())
    assert next(iter(output)) == "loss"
    shapes = {key: tuple(value.shape) for key, value in output.items() if not key.startswith("encoded")}
    assert shapes == {
        "loss": (),
        "token_ids": (4, 6),
        "intent_logits": (3, 3),
        "intent_row_losses": (3,),
        "intent_rows": (3,),
        "intent_loss": (),
        "slots_logits": (2, 6, 5),
        "slots_row_losses": (2,),
        "slots_rows": (2,),
        "slots_loss": (),
        "stars_logits": (3, 1),
        "stars_row_losses": (3,),
        "stars_rows": (3,),
        "stars_loss": (),
    }
    assert output["intent_rows"].tolist() == [0, 1, 3]
    assert output["slots_rows"].tolist() == [1, 2]
    assert output["stars_rows"].tolist() == [0, 2, 3]
    assert output.loss is output["loss"]


def test_a_head_that_ran_on_all_rows_has_no_rows_among_its_outputs() -> None:
    output = tiny_model()(**tiny_inputs(), labels={"intent": torch.tensor([0, 1, 2, 0])})
    assert "intent_rows" not in output
    assert output["intent_logits"].shape == (4, 3)


def test_logits_of_a_row_are_the_same_whichever_rows_a_head_gets() -> None:
    model = tiny_model()
    everything = model(**tiny_inputs())
    some = model(**tiny_inputs(), labels=all_labels())
    for name in HEADS:
        torch.testing.assert_close(some[f"{name}_logits"], everything[f"{name}_logits"][some[f"{name}_rows"]])


def test_only_the_heads_asked_for_run() -> None:
    model = tiny_model()
    calls = watch(model.heads["slots"])
    output = model(**tiny_inputs(), heads=["intent"])
    assert [key for key in output if key.endswith("logits")] == ["intent_logits"]
    assert calls == []
    with pytest.raises(InputError, match="unknown head 'intnt'"):
        model(**tiny_inputs(), heads=["intnt"])


def test_rows_go_to_the_heads_of_their_task() -> None:
    model = tiny_model(tasks={"requests": ["intent", "slots"], "reviews": ["stars"]})
    output = model(**tiny_inputs(), task=["reviews", "requests", "reviews", "requests"])
    assert output["intent_rows"].tolist() == output["slots_rows"].tolist() == [1, 3]
    assert output["stars_rows"].tolist() == [0, 2]
    assert torch.equal(model(**tiny_inputs(), task=torch.tensor([1, 0, 1, 0]))["stars_logits"], output["stars_logits"])


def test_without_tasks_each_head_is_a_task_of_its_own_name() -> None:
    output = tiny_model()(**tiny_inputs(), task=["intent", "stars", "intent", "intent"])
    assert output["intent_rows"].tolist() == [0, 2, 3]
    assert output["stars_rows"].tolist() == [1]
    assert "slots_logits" not in output


def test_the_backbone_runs_once_and_each_head_on_its_rows_only() -> None:
    model = tiny_model()
    backbone = watch(model.backbone.model)
    heads = {name: watch(head) for name, head in model.named_heads.items()}
    model(**tiny_inputs(), labels=all_labels())
    assert [len(call["input_ids"]) for call in backbone] == [4]
    assert {name: [len(call["encoded"]) for call in calls] for name, calls in heads.items()} == {
        "intent": [3],
        "slots": [2],
        "stars": [3],
    }
    assert [len(call["labels"]) for call in heads["slots"]] == [2]


def test_rows_that_the_caller_knows_are_taken_as_they_are() -> None:
    model, labels = tiny_model(), all_labels()
    rows = {"intent": torch.tensor([0, 1, 3]), "slots": torch.tensor([1, 2]), "stars": torch.tensor([0, 2, 3])}
    searched = model(**tiny_inputs(), labels=labels)
    known = model(**tiny_inputs(), labels=labels, rows=rows)
    assert list(known) == list(searched)
    assert all(torch.equal(known[key], searched[key]) for key in searched)
    # they are used, not merely accepted
    fewer = model(**tiny_inputs(), labels={"intent": labels["intent"]}, rows={"intent": torch.tensor([3])})
    assert fewer["intent_rows"].tolist() == [3]
    assert "intent_logits" not in model(**tiny_inputs(), labels=labels, rows=rows, heads=["stars"])


# ------------------------------------------------------------------------------------------------------------------
# losses


def expected_losses(model: MultiTaskModel, inputs: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The losses that `all_labels` should give, written out from the logits of all rows."""
    output, labels = model(**inputs), all_labels()
    stars = output["stars_logits"][[0, 2, 3], 0]
    return {
        "intent": functional.cross_entropy(output["intent_logits"][[0, 1, 3]], torch.tensor([2, 0, 1])),
        "slots": functional.cross_entropy(output["slots_logits"][[1, 2, 2], [1, 1, 2]], torch.tensor([1, 3, 4])),
        # in standardised units: the head's std is 2
        "stars": ((stars - labels["stars"][[0, 2, 3], 0]) / 2).square().mean(),
    }


@pytest.mark.parametrize("reduction", ["per_head", "per_row"])
@pytest.mark.parametrize("weights", [{}, {"slots": 2.5, "stars": 0.0}])
def test_loss_formula(reduction: str, weights: dict[str, float]) -> None:
    model = tiny_model(loss_reduction=reduction, loss_weights=weights).double()
    output = model(**tiny_inputs(), labels=all_labels())
    share = {"intent": 3 / 4, "slots": 2 / 4, "stars": 3 / 4}
    total = torch.zeros((), dtype=torch.float64)
    for name, loss in expected_losses(model, tiny_inputs()).items():
        expected = loss * share[name] if reduction == "per_row" else loss
        # the head's own loss has no weight in it
        torch.testing.assert_close(output[f"{name}_loss"], expected, rtol=1e-12, atol=0)
        total = total + expected * weights.get(name, 1.0)
    torch.testing.assert_close(output["loss"], total, rtol=1e-12, atol=0)


def test_row_losses_are_sums_over_the_items_of_a_row() -> None:
    model = tiny_model().double()
    output = model(**tiny_inputs(), labels=all_labels())
    logits = model(**tiny_inputs())["slots_logits"]
    expected = [
        functional.cross_entropy(logits[1, [1]], torch.tensor([1]), reduction="sum"),
        functional.cross_entropy(logits[2, [1, 2]], torch.tensor([3, 4]), reduction="sum"),
    ]
    torch.testing.assert_close(output["slots_row_losses"], torch.stack(expected), rtol=1e-12, atol=0)


@pytest.mark.parametrize("number", [8, torch.tensor(8)])
def test_num_items_in_batch(number: Any) -> None:
    model = tiny_model()
    plain = model(**tiny_inputs(), labels=all_labels())
    counted = model(
        **tiny_inputs(), labels=all_labels(), num_items_in_batch={"intent": number, "slots": 3, "stars": 3}
    )
    torch.testing.assert_close(counted["intent_loss"], plain["intent_row_losses"].sum() / 8)
    torch.testing.assert_close(counted["slots_loss"], plain["slots_loss"])
    one = tiny_model(INTENT)
    row_losses = one(**tiny_inputs(), labels=torch.tensor([2, 0, -100, 1]))["intent_row_losses"]
    counted = one(**tiny_inputs(), labels=torch.tensor([2, 0, -100, 1]), num_items_in_batch=number)
    torch.testing.assert_close(counted["loss"], row_losses.sum() / 8)


@pytest.mark.parametrize(
    ("reduction", "arguments", "expected"),
    [
        ("per_head", (10, 2, 8), 10),
        ("per_row", (10, 2, 8), 40),
        ("per_row", (3, 3, 3), 3),
        ("per_head", (0, 0, 8), 1),
        ("per_row", (0, 0, 8), 1),
    ],
)
def test_loss_divisor(reduction: Any, arguments: tuple[int, int, int], expected: float) -> None:
    assert loss_divisor(*arguments, reduction) == expected
    as_tensors = loss_divisor(*map(torch.tensor, arguments), reduction)
    assert isinstance(as_tensors, torch.Tensor)
    assert as_tensors.item() == expected


def test_mixed_and_homogeneous_batches_have_equal_gradients() -> None:
    model = tiny_model().double()
    inputs = tiny_inputs()
    intent, stars = torch.tensor([2, 0, -100, -100]), torch.tensor([[NAN], [NAN], [1.0], [5.0]])
    model(**inputs, labels={"intent": intent, "stars": stars})["loss"].backward()
    mixed = gradients(model)
    model.zero_grad()
    for name, labels, part in (("intent", intent, slice(0, 2)), ("stars", stars, slice(2, 4))):
        model(**{key: value[part] for key, value in inputs.items()}, labels={name: labels[part]})["loss"].backward()
    homogeneous = gradients(model)
    assert {name for name in mixed if name.startswith("heads.slots")} == set()
    assert mixed["backbone.model.embeddings.word_embeddings.weight"].abs().max() > 1e-4
    torch.testing.assert_close(mixed, homogeneous, rtol=1e-9, atol=1e-12)


def test_micro_batches_add_up_to_one_batch() -> None:
    model = tiny_model().double()
    inputs, labels = tiny_inputs(), all_labels()
    model(**inputs, labels=labels)["loss"].backward()
    whole = gradients(model)
    model.zero_grad()
    items = {"intent": 3, "slots": 3, "stars": 3}
    for part in (slice(0, 1), slice(1, 4)):
        some = {name: value[part] for name, value in labels.items()}
        batch = {name: value[part] for name, value in inputs.items()}
        model(**batch, labels=some, num_items_in_batch=items)["loss"].backward()
    torch.testing.assert_close(gradients(model), whole, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize(("reduction", "equal"), [("per_row", True), ("per_head", False)])
def test_per_row_gives_mixed_and_homogeneous_batches_one_expectation(reduction: str, equal: bool) -> None:
    model = tiny_model({"intent": HEADS["intent"], "stars": HEADS["stars"]}, loss_reduction=reduction).double()
    inputs = tiny_inputs(rows=6)
    intent, stars = torch.tensor([2, 0, -100, -100, -100, -100]), torch.tensor([NAN, NAN, 1.0, 5.0, 2.0, 4.0])

    def expectation(batches: list[tuple[int, ...]]) -> torch.Tensor:
        model.zero_grad()
        for batch in map(list, batches):
            labels = {"intent": intent[batch], "stars": stars[batch].unsqueeze(1)}
            loss = model(**{name: value[batch] for name, value in inputs.items()}, labels=labels)["loss"]
            (loss / len(batches)).backward()
        return gradients(model)["backbone.model.embeddings.word_embeddings.weight"]

    # every row is in equally many batches of either kind
    mixed = expectation(list(combinations(range(6), 2)))
    homogeneous = expectation([(0, 1), (2, 3), (4, 5)])
    assert torch.allclose(mixed, homogeneous, rtol=1e-9, atol=1e-12) is equal


def test_a_head_whose_labels_are_all_ignored_adds_an_exact_zero() -> None:
    model = tiny_model()
    labels = {"intent": torch.full((4,), -100), "stars": torch.tensor([[1.0], [2.0], [3.0], [4.0]])}
    output = model(**tiny_inputs(), labels=labels)
    assert output["intent_loss"].item() == 0
    assert "intent_logits" not in output
    assert torch.equal(output["loss"], output["stars_loss"])
    output["loss"].backward()
    assert all(value.grad is None for value in model.heads["intent"].parameters())


@pytest.mark.parametrize("name", list(HEADS))
@pytest.mark.parametrize("as_tensor", [False, True])
def test_a_batch_without_any_label_has_loss_zero_and_gradients_of_zero(name: str, as_tensor: bool) -> None:
    model = tiny_model({name: HEADS[name]})
    ignored = {"intent": torch.full((4,), -100), "slots": torch.full((4, 6), -100), "stars": torch.full((4, 1), NAN)}
    output = model(**tiny_inputs(), labels=ignored[name] if as_tensor else {name: ignored[name]})
    assert output["loss"].item() == 0
    assert output[f"{name}_loss"].item() == 0
    output["loss"].backward()
    found = gradients(model)
    backbone = {key for key, _ in model.named_parameters() if key.startswith("backbone.")}
    # in the graph, so that distributed training hears of every weight of the backbone
    assert backbone <= set(found)
    assert all(bool((value == 0).all()) for value in found.values())
    if not as_tensor:
        assert set(found) == backbone


def test_labels_as_one_tensor() -> None:
    labels = torch.tensor([2, 0, -100, 1])
    model = tiny_model(INTENT)
    output = model(**tiny_inputs(), labels=labels)
    as_dict = model(**tiny_inputs(), labels={"intent": labels})
    torch.testing.assert_close(output["loss"], as_dict["loss"])
    assert output["intent_logits"].shape == (4, 3)
    assert output["intent_row_losses"][2].item() == 0


def test_labels_as_one_tensor_of_one_head_in_play() -> None:
    model, labels = tiny_model(), torch.tensor([2, 0, -100, 1])
    output = model(**tiny_inputs(), labels=labels, heads=["intent"])
    torch.testing.assert_close(output["loss"], model(**tiny_inputs(), labels={"intent": labels})["loss"])
    with pytest.raises(InputError, match=r"3 heads are in play \(intent, slots, stars\)"):
        model(**tiny_inputs(), labels=labels)


def test_labels_that_are_none_are_no_labels() -> None:
    output = tiny_model()(**tiny_inputs(), labels={"intent": None, "stars": torch.ones(4, 1)})
    assert [key for key in output if key.endswith("_loss")] == ["stars_loss"]


def test_labels_need_the_rows_of_the_batch() -> None:
    with pytest.raises(InputError, match="labels of head 'intent': expected 4 rows, found 3"):
        tiny_model()(**tiny_inputs(), labels={"intent": torch.tensor([0, 1, 2])})
    with pytest.raises(InputError, match="labels: unknown head 'intnt'"):
        tiny_model()(**tiny_inputs(), labels={"intnt": torch.tensor([0, 1, 2, 0])})


def test_labels_under_a_mapped_name() -> None:
    labels = torch.tensor([2, 0, -100, 1])
    model = tiny_model(arg_name_mapping={"intent": {"wish": "labels"}})
    mapped = model(**tiny_inputs(), wish=labels)
    torch.testing.assert_close(mapped["loss"], model(**tiny_inputs(), labels={"intent": labels})["loss"])
    assert mapped["intent_rows"].tolist() == [0, 1, 3]


def test_inputs_under_a_mapped_name() -> None:
    model = tiny_model(INTENT, arg_name_mapping={"backbone": {"words": "input_ids"}})
    inputs = tiny_inputs()
    mapped = model(words=inputs["input_ids"], attention_mask=inputs["attention_mask"])
    assert torch.equal(mapped["intent_logits"], model(**inputs)["intent_logits"])
    with pytest.raises(InputError, match="'input_ids' and 'words' both become 'input_ids'"):
        model(**inputs, words=inputs["input_ids"])


def test_one_step_changes_what_was_trained_and_nothing_else() -> None:
    model = tiny_model(backbone_config=tiny_bert_config(**STEADY)).train()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, weight_decay=0.1)
    labels = all_labels()
    del labels["slots"]
    model(**tiny_inputs(), labels=labels)["loss"].backward()
    optimizer.step()
    same = {name for name, value in model.state_dict().items() if torch.equal(value, before[name])}
    assert same == {name for name in before if name.startswith("heads.slots.")}


# ------------------------------------------------------------------------------------------------------------------
# building


def test_a_model_needs_a_backbone_and_complete_heads() -> None:
    with pytest.raises(InputError, match="no backbone_config"):
        MultiTaskModel(MultiTaskConfig())
    with pytest.raises(InputError, match=r"^head 'intent': neither id2label nor num_labels is given"):
        tiny_model({"intent": {"head_type": "sequence_classification"}})
    with pytest.raises(InputError, match=r"^head 'intent': input: a 'bert' backbone .* found 'encoded_image'"):
        tiny_model({"intent": {**HEADS["intent"], "input": "encoded_image"}})


def test_a_model_without_heads_encodes() -> None:
    assert list(tiny_model({})(**tiny_inputs())) == ["encoded_text", "encoded_text_mask", "token_ids"]


def test_label_names_that_were_made_up_stand_in_the_config() -> None:
    model = tiny_model({"intent": {"head_type": "sequence_classification", "num_labels": 2}})
    assert model.config.heads is not None
    assert model.config.heads["intent"]["id2label"] == {0: "LABEL_0", 1: "LABEL_1"}


def test_from_backbone(tiny_backbone: str) -> None:
    model = MultiTaskModel.from_backbone(
        tiny_backbone,
        heads=HEADS,
        loss_weights={"slots": 2.0},
        loss_reduction="per_row",
        tasks={"a": ["intent"]},
        arg_name_mapping={"intent": {"wish": "labels"}},
        allowed_arguments={"backbone": ["input_ids", "attention_mask"]},
    )
    expected = AutoModel.from_pretrained(tiny_backbone).state_dict()
    found = model.backbone.model.state_dict()
    assert set(found) == {key for key in expected if not key.startswith("pooler.")}
    assert all(torch.equal(value, expected[key]) for key, value in found.items())
    assert not model.training
    config = model.config
    assert (config.loss_weights, config.loss_reduction, config.tasks) == ({"slots": 2.0}, "per_row", {"a": ["intent"]})
    assert config.arg_name_mapping == {"intent": {"wish": "labels"}}
    assert config.allowed_arguments == {"backbone": ["attention_mask", "input_ids"]}


def test_new_heads_have_the_initial_weights_of_transformers(tiny_backbone: str) -> None:
    model = MultiTaskModel.from_backbone(tiny_backbone, heads=HEADS)
    weight = torch.cat(
        [
            head.state_dict()[f"{last}.weight"].flatten()
            for head, last in zip(model.named_heads.values(), ("classifier", "classifier", "regressor"), strict=True)
        ]
    )
    # 288 numbers from a normal distribution of standard deviation 0.02
    assert 0.017 < weight.std().item() < 0.023
    assert all(
        not head.state_dict()[key].any()
        for head in model.heads.values()
        for key in head.state_dict()
        if key.endswith("bias")
    )


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float64])
def test_from_backbone_in_another_type(tiny_backbone: str, tmp_path: Path, dtype: torch.dtype) -> None:
    model = MultiTaskModel.from_backbone(tiny_backbone, heads=HEADS, dtype=dtype)
    assert {value.dtype for value in model.parameters()} == {dtype}
    assert model.config.dtype == dtype
    output = model(**tiny_inputs(), labels=all_labels())
    assert torch.isfinite(output["loss"])
    model.save_pretrained(tmp_path)
    assert {value.dtype for value in MultiTaskModel.from_pretrained(tmp_path, dtype="auto").parameters()} == {dtype}


def test_gradient_checkpointing_changes_no_gradient() -> None:
    heads = {name: {**head, "classifier_dropout": 0.0} for name, head in HEADS.items()}
    model = tiny_model(heads, tiny_bert_config(**STEADY)).double().train()
    layer = watch(model.backbone.model.encoder.layer[0].attention)
    model(**tiny_inputs(), labels=all_labels())["loss"].backward()
    plain, calls = gradients(model), len(layer)
    model.zero_grad()
    with warnings.catch_warnings():
        # transformers 5.23 renames it to activation_checkpointing_enable, which 5.17, the floor, does not have
        warnings.simplefilter("ignore", FutureWarning)
        model.gradient_checkpointing_enable()
    model(**tiny_inputs(), labels=all_labels())["loss"].backward()
    # each layer ran once more, on the way back
    assert (calls, len(layer)) == (1, 3)
    torch.testing.assert_close(gradients(model), plain, rtol=1e-9, atol=1e-12)


def test_embeddings_are_the_backbones_and_can_grow(tmp_path: Path) -> None:
    model = tiny_model()
    assert model.get_input_embeddings() is model.backbone.model.get_input_embeddings()
    before = model(**tiny_inputs())["intent_logits"]
    model.resize_token_embeddings(len(VOCABULARY) + 5)
    assert model.get_input_embeddings().weight.shape == (len(VOCABULARY) + 5, 32)
    assert model.config.backbone_config.vocab_size == len(VOCABULARY) + 5
    assert torch.equal(model(**tiny_inputs())["intent_logits"], before)
    new = torch.tensor([[len(VOCABULARY) + 4, 6]])
    expected = model(input_ids=new)["intent_logits"]
    model.save_pretrained(tmp_path)
    assert torch.equal(MultiTaskModel.from_pretrained(tmp_path)(input_ids=new)["intent_logits"], expected)


def test_embeddings_can_be_replaced() -> None:
    model, embeddings = tiny_model(), torch.nn.Embedding(len(VOCABULARY), 32)
    model.set_input_embeddings(embeddings)
    assert model.backbone.model.embeddings.word_embeddings is embeddings


def test_a_decoder_only_backbone() -> None:
    config = GPT2Config(n_embd=32, n_layer=1, n_head=2, vocab_size=len(VOCABULARY), n_positions=16)
    model = tiny_model(backbone_config=config)
    output = model(**tiny_inputs(), labels=all_labels())
    assert output["intent_logits"].shape == (3, 3)
    # the last token that is no padding decides
    inputs = tiny_inputs()
    shorter = {name: value[2:3, :4] for name, value in inputs.items()}
    torch.testing.assert_close(model(**inputs)["intent_logits"][2:3], model(**shorter)["intent_logits"])


# ------------------------------------------------------------------------------------------------------------------
# the output object


def make_output() -> MultiTaskModelOutput:
    """An output without a graph behind it."""
    with torch.no_grad():
        return tiny_model()(**tiny_inputs(), labels=all_labels())


def same_output(found: Any, expected: MultiTaskModelOutput) -> bool:
    """Whether an output has the same keys, in order, and values."""
    return (
        type(found) is MultiTaskModelOutput
        and list(found) == list(expected)
        and all(torch.equal(found[key], expected[key]) for key in expected)
        and found.loss is not None
        and torch.equal(found.loss, expected["loss"])
    )


@pytest.mark.parametrize(
    "through",
    [copy.copy, copy.deepcopy, lambda output: pickle.loads(pickle.dumps(output)), lambda output: type(output)(output)],
    ids=["copy", "deepcopy", "pickle", "dict"],
)
def test_an_output_survives(through: Callable[[Any], Any]) -> None:
    output = make_output()
    assert same_output(through(output), output)


def test_an_output_is_a_pytree() -> None:
    output = make_output()
    leaves, spec = pytree.tree_flatten(output)
    assert len(leaves) == len(output)
    assert same_output(pytree.tree_unflatten(leaves, spec), output)
    doubled = pytree.tree_map(lambda value: value * 2, output)
    assert torch.equal(doubled["intent_logits"], output["intent_logits"] * 2)


def test_an_output_is_read_by_key_attribute_and_place() -> None:
    output = make_output()
    assert output["intent_logits"] is output.intent_logits
    assert output[0] is output.loss
    assert len(output.to_tuple()) == len(output)


# ------------------------------------------------------------------------------------------------------------------
# saving and loading

LOADING = """
import sys, torch
from mt_transformers import MultiTaskModel
from transformers import AutoModel

folder, inputs, target = sys.argv[1:]
inputs = torch.load(inputs)
found = {}
for name, loader, kwargs in [
    ("plain", MultiTaskModel, {}),
    ("auto", AutoModel, {}),
    ("bf16", MultiTaskModel, {"dtype": torch.bfloat16}),
    ("device_map", MultiTaskModel, {"device_map": "cpu"}),
]:
    model = loader.from_pretrained(folder, **kwargs)
    assert type(model) is MultiTaskModel and not model.training
    with torch.no_grad():
        found[name] = {"state": model.state_dict(), "outputs": dict(model(**inputs))}
torch.save(found, target)
"""


def test_a_new_process_loads_the_same_model(tiny_backbone: str, tmp_path: Path) -> None:
    # the backbone's folder is gone by the time the model is loaded
    backbone = shutil.copytree(tiny_backbone, tmp_path / "backbone")
    heads = {
        **HEADS,
        "weighted": {**HEADS["intent"], "class_weights": [0.3, 1.7, 0.1], "pooling": "attention", "hidden_sizes": [4]},
    }
    model = MultiTaskModel.from_backbone(str(backbone), heads=heads)
    model.save_pretrained(tmp_path / "model")
    shutil.rmtree(backbone)
    torch.save(tiny_inputs(), tmp_path / "inputs.pt")
    command = [sys.executable, "-c", LOADING, *(str(tmp_path / name) for name in ("model", "inputs.pt", "found.pt"))]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    found = torch.load(tmp_path / "found.pt")
    with torch.no_grad():
        expected = {"state": model.state_dict(), "outputs": dict(model(**tiny_inputs()))}
    for name in ("plain", "auto", "device_map"):
        for part in ("state", "outputs"):
            assert list(found[name][part]) == list(expected[part])
            assert all(torch.equal(value, expected[part][key]) for key, value in found[name][part].items()), name
    rounded = {key: value.bfloat16() for key, value in model.state_dict().items()}
    assert {value.dtype for value in found["bf16"]["state"].values()} == {torch.bfloat16}
    assert all(torch.equal(value, rounded[key]) for key, value in found["bf16"]["state"].items())


def saved(folder: Path, change: Callable[[dict[str, torch.Tensor]], Any] | None = None) -> MultiTaskModel:
    """Save a tiny model after changing what is in its file of weights."""
    model = tiny_model()
    model.save_pretrained(folder)
    if change is not None:
        weights = load_file(folder / "model.safetensors")
        change(weights)
        save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    return model


def without(prefix: str) -> Callable[[dict[str, torch.Tensor]], None]:
    """A change that takes out all weights under a prefix."""

    def change(weights: dict[str, torch.Tensor]) -> None:
        for key in [key for key in weights if key.startswith(prefix)]:
            del weights[key]

    return change


def test_loading_reports_what_it_found(tmp_path: Path) -> None:
    saved(tmp_path)
    model, info = MultiTaskModel.from_pretrained(tmp_path, output_loading_info=True)
    assert type(model) is MultiTaskModel
    assert not info["missing_keys"]
    assert not info["unexpected_keys"]
    assert not info["mismatched_keys"]


@pytest.mark.parametrize(
    ("prefix", "owner"),
    [
        ("heads.intent.", "head 'intent'"),
        ("heads.stars.regressor.bias", "head 'stars'"),
        ("heads.slots.classifier.bias", "head 'slots'"),
        ("backbone.model.encoder.layer.1.", "the backbone"),
    ],
)
def test_missing_weights_are_refused_by_name(tmp_path: Path, prefix: str, owner: str) -> None:
    saved(tmp_path, without(prefix))
    with pytest.raises(InputError, match=f"the checkpoint lacks weights for {owner} \\({prefix}"):
        MultiTaskModel.from_pretrained(tmp_path)


def test_missing_heads_can_start_anew(tmp_path: Path) -> None:
    original = saved(tmp_path, without("heads.intent."))
    model = MultiTaskModel.from_pretrained(tmp_path, init_missing_heads=True)
    state, expected = model.state_dict(), original.state_dict()
    assert list(state) == list(expected)
    intact = {key for key in state if torch.equal(state[key], expected[key])}
    assert intact == {key for key in state if key != "heads.intent.classifier.weight"}
    # 96 numbers from a normal distribution of standard deviation 0.02
    assert 0.015 < state["heads.intent.classifier.weight"].std().item() < 0.025


def test_a_missing_backbone_is_refused_even_then(tmp_path: Path) -> None:
    saved(tmp_path, without("backbone.model.encoder.layer.1."))
    with pytest.raises(InputError, match="lacks weights for the backbone"):
        MultiTaskModel.from_pretrained(tmp_path, init_missing_heads=True)


def widened(weights: dict[str, torch.Tensor]) -> None:
    """A change that gives the head `intent` a fourth class."""
    weights["heads.intent.classifier.weight"] = torch.zeros(4, 32)
    weights["heads.intent.classifier.bias"] = torch.zeros(4)


def test_weights_of_other_shapes_are_refused_by_name(tmp_path: Path) -> None:
    original = saved(tmp_path, widened)
    with pytest.raises(InputError, match="has weights of other shapes for head 'intent'"):
        MultiTaskModel.from_pretrained(tmp_path)
    for option in ("init_missing_heads", "ignore_mismatched_sizes"):
        model = MultiTaskModel.from_pretrained(tmp_path, **{option: True})
        assert model.heads["intent"].classifier.weight.shape == (3, 32)
        assert model.heads["intent"].classifier.weight.any()
        others = {key for key in original.state_dict() if not key.startswith("heads.intent.")}
        assert all(torch.equal(model.state_dict()[key], original.state_dict()[key]) for key in others)


def test_a_backbone_of_another_shape_is_refused(tmp_path: Path) -> None:
    key = "backbone.model.embeddings.word_embeddings.weight"
    saved(tmp_path, lambda weights: weights.update({key: torch.zeros(3, 32)}))
    with pytest.raises(InputError, match="has weights of other shapes for the backbone"):
        MultiTaskModel.from_pretrained(tmp_path, init_missing_heads=True)


def test_a_saved_model_needs_only_config_and_weights(tmp_path: Path) -> None:
    saved(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["config.json", "model.safetensors"]


def test_a_folder_of_another_model_is_no_multi_task_model(tiny_backbone: str) -> None:
    with pytest.raises(InputError):
        MultiTaskModel.from_pretrained(tiny_backbone)
    assert type(AutoModel.from_pretrained(tiny_backbone)) is BertModel


def test_push_to_hub_sends_what_loads_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sent = tmp_path / "sent"
    sent.mkdir()

    def create_repo(api: object, repo_id: str, **kwargs: Any) -> huggingface_hub.RepoUrl:
        return huggingface_hub.RepoUrl(f"https://huggingface.co/{repo_id}")

    def create_commit(api: object, *, repo_id: str, operations: list[Any], **kwargs: Any) -> str:
        assert repo_id == "someone/model"
        for operation in operations:
            shutil.copy(operation.path_or_fileobj, sent / operation.path_in_repo)
        return "sent"

    # the network itself: nothing of the package or of transformers is replaced
    monkeypatch.setattr(huggingface_hub.HfApi, "create_repo", create_repo)
    monkeypatch.setattr(huggingface_hub.HfApi, "create_commit", create_commit)
    model = tiny_model()
    assert model.push_to_hub("someone/model") == "sent"
    loaded = AutoModel.from_pretrained(sent)
    assert torch.equal(loaded(**tiny_inputs())["slots_logits"], model(**tiny_inputs())["slots_logits"])


def test_the_config_of_a_loaded_model_is_the_saved_one(tmp_path: Path) -> None:
    config = tiny_config(loss_weights={"intent": 0.5}, tasks={"a": ["intent"]})
    MultiTaskModel(config).save_pretrained(tmp_path)
    loaded = MultiTaskModel.from_pretrained(tmp_path).config
    assert (loaded.heads, loaded.loss_weights, loaded.tasks) == (config.heads, {"intent": 0.5}, {"a": ["intent"]})
