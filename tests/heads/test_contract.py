"""What every head does, over all head types and their variants. A new head type or option adds a `Case`."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import torch
from torch.func import functional_call

from mt_transformers import Head, HeadConfig, get_head_config
from mt_transformers.errors import InputError
from mt_transformers.heads import Word, get_head_class, head_types, item_mask

HIDDEN = 4
LENGTH = 5
BIOES = ["O", "B-x", "I-x", "E-x", "S-x"]
NAN = float("nan")
MASK = torch.tensor([[1, 1, 1, 1, 1], [1, 1, 1, 0, 0], [1, 1, 1, 1, 0], [1, 1, 1, 1, 1]], dtype=torch.bool)
"""Tokens of the four rows of every case; the last row has no label."""


@dataclass(frozen=True)
class Case:
    """A head and four encoded labels for it, the last one None."""

    fields: dict[str, Any]
    labels: tuple[Any, ...]
    items: tuple[int, ...]
    logits: tuple[int, ...]
    predictions: tuple[int, ...]


def classes(**fields: Any) -> Case:
    values = {"head_type": "sequence_classification", "id2label": ["a", "b", "c"], "pooling": "mean", **fields}
    return Case(values, (0, 2, 1, None), (1, 1, 1, 0), (4, 3), (4,))


def label_sets(**fields: Any) -> Case:
    values = {"problem_type": "multi_label_classification", **fields}
    rows = ([1.0, 0.0, 1.0], [0.0, 0.0, 0.0], [1.0, 1.0, 0.0], None)
    return Case(classes(**values).fields, rows, (3, 3, 3, 0), (4, 3), (4, 3))


def numbers(**fields: Any) -> Case:
    values = {"head_type": "regression", "pooling": "mean", "mean": [1.0], "std": [2.0], **fields}
    return Case(values, ([0.5], [-3.0], [7.0], None), (1, 1, 1, 0), (4, 1), (4, 1))


def vectors(**fields: Any) -> Case:
    values = {"num_targets": 2, "mean": [1.0, -1.0], "std": [2.0, 0.5], **fields}
    rows = ([0.5, 1.0], [-3.0, NAN], [7.0, 2.0], None)
    return Case(numbers(**values).fields, rows, (2, 1, 2, 0), (4, 2), (4, 2))


def words(names: list[str], **fields: Any) -> Case:
    values = {"head_type": "token_classification", "id2label": names, **fields}
    # B-x I-x (under BIOES: B-x E-x) and O; O; B-x and B-x (under BIOES: S-x and S-x)
    last, whole = (3, 4) if len(names) == len(BIOES) else (2, 1)
    rows = ([-100, 1, last, 0, -100], [-100, 0, -100], [-100, whole, -100, whole], None)
    return Case(values, rows, (3, 1, 2, 0), (4, LENGTH, len(names)), (4, LENGTH))


CASES = {
    **{f"classes {pooling}": classes(pooling=pooling) for pooling in ("cls", "mean", "max", "last", "attention")},
    "classes weights": classes(class_weights=[0.5, 2.0, 3.0]),
    "classes smoothing": classes(label_smoothing=0.1),
    "classes feed-forward": classes(hidden_sizes=[6, 3], hidden_act="tanh"),
    "label sets": label_sets(),
    "label sets weights": label_sets(class_weights=[0.5, 2.0, 3.0], label_smoothing=0.1, threshold=0.25),
    "label sets feed-forward": label_sets(hidden_sizes=[3], pooling="attention"),
    **{f"numbers {loss}": numbers(loss_type=loss) for loss in ("mse", "l1", "huber")},
    **{f"numbers {pooling}": numbers(pooling=pooling) for pooling in ("cls", "max", "last", "attention")},
    "numbers feed-forward": numbers(hidden_sizes=[6], hidden_act="silu"),
    **{f"vectors {loss}": vectors(loss_type=loss) for loss in ("mse", "l1", "huber")},
    "words bio": words(["O", "B-x", "I-x"]),
    "words bioes": words(BIOES),
    "words plain": words(["NOUN", "VERB", "X"]),
    "words scheme given": words(["O", "B-x", "I-x"], label_scheme="plain"),
}


@pytest.fixture(params=list(CASES))
def case(request: pytest.FixtureRequest) -> Case:
    return CASES[request.param]


def make_config(case: Case) -> HeadConfig:
    config = get_head_config("h", case.fields)
    config.check_complete()
    return config


def make_head(case: Case) -> Head:
    """The head in float64 and evaluation mode."""
    config = make_config(case)
    head = get_head_class(config.head_type)(config, HIDDEN)
    return head.double().eval()


def make_labels(case: Case) -> torch.Tensor:
    return make_config(case).collate_labels(case.labels, LENGTH)


def features(rows: int = 4) -> torch.Tensor:
    return torch.randn(rows, LENGTH, HIDDEN, dtype=torch.float64)


def row_words(config: HeadConfig) -> list[list[Word]]:
    """Words on the labelled places of the first three rows, and none in the last."""
    if not config.word_level:
        return [[], [], [], []]
    places = [[1, 2, 3], [1], [1, 3], []]
    return [[Word(at, f"w{at}", 10 * at, 10 * at + 2) for at in row] for row in places]


def test_every_head_type_has_a_case() -> None:
    own = {name for name in head_types() if get_head_class(name).__module__.startswith("mt_transformers.")}
    assert own == {case.fields["head_type"] for case in CASES.values()}


def test_config_round_trip(case: Case) -> None:
    config = make_config(case)
    again = get_head_config("h", json.loads(json.dumps(config.to_dict())))
    assert again == config
    assert type(again) is type(config)
    assert config.to_dict()["head_type"] == case.fields["head_type"]
    assert set(config.to_dict()) == {"head_type", *config.field_names()}


def test_shapes(case: Case) -> None:
    outputs = make_head(case)(features(), MASK, make_labels(case))
    assert set(outputs) == {"logits", "row_losses"}
    assert tuple(outputs["logits"].shape) == case.logits
    assert outputs["row_losses"].shape == (4,)


def test_without_labels_there_are_no_losses(case: Case) -> None:
    head, encoded = make_head(case), features()
    outputs = head(encoded, MASK)
    assert set(outputs) == {"logits"}
    assert torch.equal(outputs["logits"], head(encoded, MASK, make_labels(case))["logits"])


def test_padding_on_either_side_changes_no_logits(case: Case) -> None:
    head = make_head(case)
    encoded = torch.randn(3, 3, HIDDEN, dtype=torch.float64)
    tokens = torch.ones(3, 3, dtype=torch.bool)
    # larger than any token, so that a maximum over padding would show
    padding = torch.full((3, 2, HIDDEN), 9.0, dtype=torch.float64)
    no_tokens = torch.zeros(3, 2, dtype=torch.bool)
    bare = head(encoded, tokens)["logits"]
    right = head(torch.cat([encoded, padding], 1), torch.cat([tokens, no_tokens], 1))["logits"]
    left = head(torch.cat([padding, encoded], 1), torch.cat([no_tokens, tokens], 1))["logits"]
    if head.config.word_level:
        right, left = right[:, :3], left[:, 2:]
    torch.testing.assert_close(right, bare, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(left, bare, rtol=1e-12, atol=1e-12)


def test_rows_do_not_depend_on_each_other(case: Case) -> None:
    head, encoded, labels = make_head(case), features(), make_labels(case)
    together = head(encoded, MASK, labels)
    alone = head(encoded[1:2], MASK[1:2], labels[1:2])
    torch.testing.assert_close(alone["logits"][0], together["logits"][1], rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(alone["row_losses"][0], together["row_losses"][1], rtol=1e-12, atol=1e-12)


def test_an_ignored_row_has_loss_zero_and_no_gradient(case: Case) -> None:
    head, encoded = make_head(case), features().requires_grad_()
    losses = head(encoded, MASK, make_labels(case))["row_losses"]
    assert (losses > 0).tolist() == [True, True, True, False]
    assert losses[3].item() == 0
    losses.sum().backward()
    assert encoded.grad is not None
    assert bool(torch.isfinite(encoded.grad).all())
    assert encoded.grad.reshape(4, -1).any(dim=1).tolist() == [True, True, True, False]
    assert all(value.grad is not None and bool(torch.isfinite(value.grad).all()) for value in head.parameters())


def test_all_rows_ignored(case: Case) -> None:
    head, encoded = make_head(case), features().requires_grad_()
    labels = make_config(case).collate_labels([None] * 4, LENGTH)
    losses = head(encoded, MASK, labels)["row_losses"]
    assert losses.tolist() == [0, 0, 0, 0]
    losses.sum().backward()
    assert encoded.grad is not None
    assert not encoded.grad.any()


def test_gradcheck(case: Case) -> None:
    head, labels = make_head(case), make_labels(case)
    parameters = dict(head.named_parameters())

    def run(encoded: torch.Tensor, *values: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        state = {**dict(zip(parameters, values, strict=True)), **dict(head.named_buffers())}
        outputs = functional_call(head, state, (encoded, MASK, labels))
        return outputs["logits"], outputs["row_losses"]

    values = [value.detach().clone().requires_grad_() for value in parameters.values()]
    assert torch.autograd.gradcheck(run, (features().requires_grad_(), *values))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_losses_of_16_bit_logits_are_computed_in_32(case: Case, dtype: torch.dtype) -> None:
    head = make_head(case).to(dtype)
    outputs = head(features().to(dtype), MASK, make_labels(case))
    assert outputs["row_losses"].dtype == torch.float32
    assert bool(torch.isfinite(outputs["row_losses"]).all())


def test_dropout_acts_in_training_only(case: Case) -> None:
    case = Case({**case.fields, "classifier_dropout": 0.5}, case.labels, case.items, case.logits, case.predictions)
    head, encoded = make_head(case), features()
    assert torch.equal(head(encoded, MASK)["logits"], head(encoded, MASK)["logits"])
    head.train()
    assert not torch.equal(head(encoded, MASK)["logits"], head(encoded, MASK)["logits"])


def test_count_items(case: Case) -> None:
    counts = make_config(case).count_items(make_labels(case))
    assert counts.tolist() == list(case.items)
    assert not counts.is_floating_point()


def test_rows_without_a_label_are_collated_as_ignored(case: Case) -> None:
    config, labels = make_config(case), make_labels(case)
    assert len(labels) == 4
    assert not item_mask(labels[3]).any()
    swapped = config.collate_labels([None, *case.labels[:3]], LENGTH)
    assert torch.equal(torch.nan_to_num(swapped[1:], nan=-7.0), torch.nan_to_num(labels[:3], nan=-7.0))
    nothing = config.collate_labels([None, None], LENGTH)
    assert nothing.dtype == labels.dtype
    assert nothing.shape == (2, *labels.shape[1:])


def test_decode_yields_a_json_value_a_row(case: Case) -> None:
    head = make_head(case)
    with torch.no_grad():
        answers = head.decode(head(features(), MASK), row_words(head.config))
    assert len(answers) == 4
    assert json.loads(json.dumps(answers, allow_nan=False)) == answers


def test_predictions(case: Case) -> None:
    head, labels = make_head(case), make_labels(case)
    found = head.predictions(head(features(), MASK, labels), labels)
    assert tuple(found.shape) == case.predictions


def test_metrics(case: Case) -> None:
    head, labels = make_head(case), make_labels(case)
    config = head.config
    predictions = head.predictions(head(features(), MASK, labels), labels).detach().numpy()
    results = config.compute_metrics(predictions, labels.numpy())
    assert set(config.metric_names) <= set(results)
    assert all(type(value) is float for value in results.values())
    # the ignored row does not count
    without_it = config.compute_metrics(predictions[:3], labels.numpy()[:3])
    assert results == without_it
    # right answers have the best score
    right = np.nan_to_num(labels.numpy(), nan=0.0).reshape(predictions.shape)
    best = config.compute_metrics(np.where(right == -100, 0, right), labels.numpy())
    assert best[config.metric_names[0]] == pytest.approx(1.0)
    assert config.score_sign == 1


def test_metrics_of_no_labelled_row_are_refused(case: Case) -> None:
    config = make_config(case)
    nothing = config.collate_labels([None, None], LENGTH).numpy()
    predictions = np.zeros((2, *case.predictions[1:]), dtype=np.int64 if nothing.dtype == np.int64 else np.float32)
    with pytest.raises(InputError, match=f"no labelled row, so that {config.metric_names[0]} cannot be computed"):
        config.compute_metrics(predictions, nothing)


@pytest.mark.parametrize("name", [name for name, case in CASES.items() if "pooling" in case.fields])
def test_auto_pooling_is_resolved(name: str) -> None:
    auto = get_head_config("h", {**CASES[name].fields, "pooling": "auto"})
    auto.resolve("last")
    assert auto.to_dict()["pooling"] == "last"
    given = get_head_config("h", {**CASES[name].fields, "pooling": "cls"})
    given.resolve("last")
    assert given.to_dict()["pooling"] == "cls"
