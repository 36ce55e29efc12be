"""Classes behind those that a head has: the old rows to the bit, the old ids as they are, all else refused."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from torch.nn.utils.parametrizations import weight_norm

from mt_transformers.errors import InputError
from mt_transformers.heads import ClassHeadConfig, GrowingHead, get_head_class, get_head_config, head_types
from mt_transformers.heads.growing import grow_linear, new_rows

SEQUENCE = {"head_type": "sequence_classification", "id2label": ["a", "b"]}
TOKENS = {"head_type": "token_classification", "id2label": ["O", "B-x", "I-x"]}


def class_config(**fields: Any) -> ClassHeadConfig:
    config = get_head_config("head", fields)
    assert isinstance(config, ClassHeadConfig)
    return config


# ------------------------------------------------------------------------------------------------------------------
# layers


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
@pytest.mark.parametrize("bias", [True, False])
def test_rows_are_put_behind_those_that_there_are(dtype: torch.dtype, bias: bool) -> None:
    linear = nn.Linear(5, 3, bias=bias).to(dtype)
    rows = new_rows(linear, 2)
    before = {name: value.clone() for name, value in linear.state_dict().items()}
    linear(torch.ones(1, 5, dtype=dtype)).sum().backward()
    grow_linear(linear, rows)
    state = linear.state_dict()
    assert state.keys() == before.keys() == rows.state_dict().keys()
    for name, value in state.items():
        assert value.dtype == dtype
        assert torch.equal(value[:3], before[name])
        assert torch.equal(value[3:], rows.state_dict()[name].to(dtype))
    assert (linear.in_features, linear.out_features) == (5, 5)
    assert all(parameter.grad is None and parameter.is_leaf for parameter in linear.parameters())
    # what is drawn anew is no view of what was there
    nn.init.zeros_(rows.weight)
    assert torch.equal(linear.weight[3:], state["weight"][3:])


def test_exact_numbers() -> None:
    linear, rows = nn.Linear(2, 1), nn.Linear(2, 2)
    linear.load_state_dict({"weight": torch.tensor([[1.0, 2.0]]), "bias": torch.tensor([3.0])})
    rows.load_state_dict({"weight": torch.tensor([[4.0, 5.0], [6.0, 7.0]]), "bias": torch.tensor([8.0, 9.0])})
    grow_linear(linear, rows)
    assert linear(torch.tensor([[1.0, 10.0]])).tolist() == [[24.0, 62.0, 85.0]]


def test_what_is_frozen_stays_frozen_each_by_itself() -> None:
    linear = nn.Linear(2, 1)
    linear.bias.requires_grad_(False)
    grow_linear(linear, new_rows(linear, 1).requires_grad_(False))
    assert [parameter.requires_grad for parameter in linear.parameters()] == [True, False]


def test_the_device_stays() -> None:
    linear = nn.Linear(2, 1, device="meta")
    grow_linear(linear, new_rows(linear, 1))
    assert [(parameter.device.type, len(parameter)) for parameter in linear.parameters()] == [("meta", 2)] * 2


def test_weights_that_are_no_plain_ones_are_refused() -> None:
    for layer, found in (
        (weight_norm(nn.Linear(2, 2)), "ParametrizedLinear with Tensor"),
        (nn.modules.linear.NonDynamicallyQuantizableLinear(2, 2), "NonDynamicallyQuantizableLinear with Parameter"),
        # a hook computes the weight, the layer's class stays
        (nn.utils.spectral_norm(nn.Linear(2, 2)), "Linear with Tensor"),
    ):
        with pytest.raises(InputError, match=f"expected a last layer with plain weights.* found {found}"):
            new_rows(layer, 1)


# ------------------------------------------------------------------------------------------------------------------
# classes


@pytest.mark.parametrize("head_type", ["sequence_classification", "image_classification", "audio_classification"])
def test_classes_are_added_behind_the_others(head_type: str) -> None:
    config = class_config(head_type=head_type, id2label=["a", "b"], hidden_sizes=[4], threshold=0.25)
    before = config.to_dict()
    grown = config.grown(["d", "c"])
    assert type(grown) is type(config)
    assert grown.id2label == {0: "a", 1: "b", 2: "d", 3: "c"}
    assert grown.to_dict() == class_config(**{**before, **_names(["a", "b", "d", "c"])}).to_dict()
    # nothing is shared
    grown.hidden_sizes.append(8)  # type: ignore[attr-defined]
    assert config.to_dict() == before


def _names(names: list[str]) -> dict[str, Any]:
    return {"id2label": names, "label2id": None, "num_labels": None}


NAMES = st.lists(st.text(min_size=1, max_size=3), min_size=3, max_size=9, unique=True)


@given(names=NAMES, cuts=st.lists(st.integers(1, 8), max_size=4), multi_label=st.booleans())
def test_growing_step_by_step_is_growing_at_once(names: list[str], cuts: list[int], multi_label: bool) -> None:
    places = sorted({1, len(names), *(cut for cut in cuts if cut < len(names))})
    problem = f"{'multi' if multi_label else 'single'}_label_classification"
    config = class_config(head_type="sequence_classification", id2label=names[:1], problem_type=problem)
    grown = config
    for start, end in pairwise(places):
        grown = grown.grown(names[start:end])
        assert grown.names == names[:end]
        assert grown.label2id == {name: index for index, name in enumerate(names[:end])}
    assert grown == config.grown(names[1:])


def test_a_head_with_numbers_for_names_gets_names_behind_them() -> None:
    config = class_config(head_type="sequence_classification", num_labels=2)
    config.check_complete()
    assert config.grown(["c"]).names == ["LABEL_0", "LABEL_1", "c"]


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        ([], r"labels: expected a list with the names of the new classes, found \[\]"),
        ("cd", "labels: expected a list with the names of the new classes, found 'cd'"),
        ({"c"}, "labels: expected a list with the names of the new classes, found {'c'}"),
        (None, "labels: expected a list with the names of the new classes, found None"),
        (["c", 3], "labels: expected names, found 3"),
        (["c", "b"], "labels: each name may occur once, and 'b' is the class 1"),
        (["c", "d", "c"], "labels: each name may occur once, and 'c' is the class 2"),
    ],
)
def test_labels_that_cannot_be_added_are_refused(labels: Any, message: str) -> None:
    config = class_config(**SEQUENCE)
    before = config.to_dict()
    with pytest.raises(InputError, match=message):
        config.grown(labels)
    assert config.to_dict() == before


@pytest.mark.parametrize("weights", [[1.0, 2.0], {"a": 1.0, "b": 2.0}, "balanced"])
def test_weights_of_the_classes_do_not_carry_over(weights: Any) -> None:
    config = class_config(**SEQUENCE, class_weights=weights)
    with pytest.raises(InputError, match=r"class_weights has no entry for the new classes \['c'\]"):
        config.grown(["c"])


# ------------------------------------------------------------------------------------------------------------------
# labels of words


@pytest.mark.parametrize(
    ("names", "scheme", "labels", "expected"),
    [
        (["O", "B-x", "I-x"], "auto", ["B-y", "I-y"], "bio"),
        (["O", "B-x", "I-x", "E-x", "S-x"], "auto", ["B-y", "E-y"], "bioes"),
        (["O", "S-x"], "auto", ["B-x", "I-x", "E-x"], "bioes"),
        (["NOUN", "VERB"], "auto", ["ADJ"], "plain"),
        (["O", "B-x"], "plain", ["NOUN"], "plain"),
        (["O"], "bio", ["B-x", "I-x"], "bio"),
    ],
)
def test_labels_of_words_keep_their_scheme(names: list[str], scheme: str, labels: list[str], expected: str) -> None:
    config = class_config(head_type="token_classification", id2label=names, label_scheme=scheme)
    grown = config.grown(labels)
    assert (grown.scheme, grown.label_scheme, grown.names) == (expected, scheme, names + labels)  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("names", "scheme", "labels", "message"),
    [
        (
            ["O", "B-x", "I-x"],
            "auto",
            ["NOUN"],
            "label_scheme is 'auto': with NOUN it would be 'plain', .* it is 'bio'",
        ),
        (["O", "B-x", "I-x"], "auto", ["S-y"], "with S-y it would be 'bioes', so far it is 'bio'"),
        (["O"], "auto", ["B-x", "I-x"], "with B-x, I-x it would be 'bio', so far it is 'plain'"),
        (["O", "B-x"], "bio", ["NOUN"], "label_scheme is 'bio': expected labels O, B-type, I-type, found 'NOUN'"),
    ],
)
def test_labels_of_another_scheme_are_refused(names: list[str], scheme: str, labels: list[str], message: str) -> None:
    config = class_config(head_type="token_classification", id2label=names, label_scheme=scheme)
    with pytest.raises(InputError, match=message):
        config.grown(labels)


def test_a_crf_does_not_grow() -> None:
    config = class_config(**TOKENS, crf=True)
    with pytest.raises(InputError, match="crf: its scores of one label after another"):
        config.grown(["B-y"])


# ------------------------------------------------------------------------------------------------------------------
# heads


def test_the_heads_that_can_grow() -> None:
    ours = [each for each in head_types() if get_head_class(each).__module__.startswith("mt_transformers.")]
    assert [each for each in ours if issubclass(get_head_class(each), GrowingHead)] == [
        "audio_classification",
        "image_classification",
        "sequence_classification",
        "token_classification",
    ]


@pytest.mark.parametrize(
    ("fields", "labels"),
    [
        (SEQUENCE, ["c", "d"]),
        ({**SEQUENCE, "hidden_sizes": [3], "pooling": "attention"}, ["c"]),
        ({**SEQUENCE, "classifier_bias": False, "problem_type": "multi_label_classification"}, ["c"]),
        (TOKENS, ["B-y", "I-y"]),
    ],
)
def test_a_grown_head_is_one_that_is_built_with_its_weights(fields: dict[str, Any], labels: list[str]) -> None:
    config = class_config(**{"pooling": "mean", **fields} if fields is not TOKENS else fields)
    head = get_head_class(fields["head_type"])(config, 4).eval()
    assert isinstance(head, GrowingHead)
    parameters = dict(head.named_parameters())
    grown = config.grown(labels)
    head.grow(grown, new_rows(head.classifier, len(labels)))
    assert head.config is grown
    # all but the last layer is what it was, not a copy: an optimizer still knows it
    kept = {name for name, parameter in head.named_parameters() if parameter is parameters[name]}
    assert kept == {name for name in parameters if not name.startswith("classifier")}
    built = type(head)(grown, 4).eval()
    built.load_state_dict(head.state_dict())
    encoded, mask = torch.randn(2, 3, 4), torch.ones(2, 3, dtype=torch.bool)
    logits = head(encoded, mask)["logits"]
    assert logits.shape[-1] == len(grown.names)
    assert torch.equal(logits, built(encoded, mask)["logits"])


def test_entities_of_a_new_kind_are_decoded_as_a_new_head_does() -> None:
    config = class_config(**TOKENS)
    head = get_head_class("token_classification")(config, 5).eval()
    assert isinstance(head, GrowingHead)
    head.grow(config.grown(["B-y", "I-y"]), new_rows(head.classifier, 2))
    nn.init.eye_(head.classifier.weight)
    nn.init.zeros_(head.classifier.bias)
    mask = torch.ones(1, 3, dtype=torch.bool)
    # I-y is the best label of the first word, where no entity is open
    encoded = torch.tensor([[[0, 0, 0, 2.0, 3.0], [0, 0, 0, 0, 1.0], [1.0, 0, 0, 0, 0]]])
    outputs = head(encoded, mask)
    labels = torch.zeros(1, 3, dtype=torch.long)
    assert head.predictions(outputs, labels).tolist() == [[3, 4, 0]]
