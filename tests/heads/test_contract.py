"""What every head does, over all head types and their variants. A new head type or option adds a `Case`."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest
import torch
from torch.func import functional_call

from mt_transformers import Head, HeadConfig, get_head_config
from mt_transformers.errors import InputError
from mt_transformers.heads import BackboneInfo, SourceRow, Word, get_head_class, head_types, item_mask

HIDDEN = 4
LENGTH = 5
BIOES = ["O", "B-x", "I-x", "E-x", "S-x"]
NAN = float("nan")
POOLINGS = ("cls", "mean", "max", "last", "attention")
MASK = torch.tensor([[1, 1, 1, 1, 1], [1, 1, 1, 0, 0], [1, 1, 1, 1, 0], [1, 1, 1, 1, 1]], dtype=torch.bool)
"""Tokens of the four rows of every case; the last row has no label."""


BACKBONE = BackboneInfo(
    model_type="gpt2",
    hidden_sizes={"encoded_text": HIDDEN},
    num_layers={"encoded_text": 3},
    default_pooling={"encoded_text": "last"},
    causal=True,
    vocab_size=9,
    embedding_size=HIDDEN,
)
"""A backbone of text that only looks back."""


@dataclass(frozen=True)
class Case:
    """A head and four encoded labels for it, the last one None."""

    fields: dict[str, Any]
    labels: tuple[Any, ...]
    items: tuple[int, ...]
    logits: tuple[int, ...]
    predictions: tuple[int, ...]
    gold: tuple[Any, ...] | None = None
    """What metrics need of the four rows beside labels."""
    sequences: int | None = None
    """Sequences of each row, for heads that read several."""
    right: tuple[Any, ...] | None = None
    """Predictions of the four rows that are all right, where they are not the labels."""
    vocabulary: bool = False
    """Whether the head reads token ids and their embeddings, too."""
    fixed: bool = True
    """Whether labels have one width whatever the rows."""


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


def lemmas(**fields: Any) -> Case:
    values = {"head_type": "lemmatization", "id2label": ["lower:*", "lower:*-", "whole:be"], **fields}
    rows = ([-100, 2, 1, 0, -100], [-100, 0, -100], [-100, 1, -100, 1], None)
    gold = tuple(
        {"positions": list(places), "words": list(words), "lemmas": list(found)}
        for places, words, found in (
            ((1, 2, 3), ("is", "Cats", "in"), ("be", "cat", "in")),
            ((1,), ("The",), ("the",)),
            ((1, 3), ("dogs", "an"), ("dog", "a")),
            ((-100,), ("",), ("",)),
        )
    )
    return Case(values, rows, (3, 1, 2, 0), (4, LENGTH, 3), (4, LENGTH), gold)


def choices(**fields: Any) -> Case:
    values = {"head_type": "multiple_choice", "pooling": "mean", **fields}
    return Case(values, (0, 2, 1, None), (1, 1, 1, 0), (4, 3), (4,), sequences=3)


def preferences(**fields: Any) -> Case:
    values = {"head_type": "preference", "pooling": "mean", **fields}
    return Case(values, (0.5, 1.0, 2.0, None), (1, 1, 1, 0), (4, 2), (4,), sequences=2)


def similarities(**fields: Any) -> Case:
    values = {"head_type": "sentence_similarity", "pooling": "mean", "min_score": 0.0, "max_score": 5.0, **fields}
    return Case(values, (0.5, 5.0, 3.0, None), (1, 1, 1, 0), (4, 1), (4,), sequences=2)


def trees(**fields: Any) -> Case:
    values = {
        "head_type": "dependency_parsing",
        "id2label": ["root", "nsubj", "obj"],
        "arc_size": 3,
        "relation_size": 2,
        "hidden_act": "tanh",
    }
    # for each word the offset of its head, 0 for the root, and the relation
    rows = (
        [[-100, 1, 0, -1, -100], [-100, 1, 0, 2, -100]],
        [[-100, 0, -100], [-100, 0, -100]],
        [[-100, 0, -100, -2], [-100, 0, -100, 1]],
        None,
    )
    return Case({**values, **fields}, rows, (3, 1, 2, 0), (4, LENGTH, LENGTH + 1), (4, LENGTH, 2))


def questions(**fields: Any) -> Case:
    values = {"head_type": "question_answering", **fields}
    nowhere = [-100, -100]
    # for each window the context's first token and the one behind its last, and the answer's first and last token
    rows = ([[1, 5, 2, 3], [1, 4, *nowhere]], [[1, 3, 1, 1]], [[1, 4, *nowhere], [1, 5, 4, 4]], None)
    window = [(0, 0), (0, 1), (2, 3), (4, 5), (6, 7)]
    gold = tuple(
        {"context": "a b c d", "offsets": [window, window], "answers": [answer]} for answer in ("b c", "a", "d", "")
    )
    right = ([0, 2, 3], [0, 1, 1], [1, 4, 4], [-1, -1, -1])
    return Case(values, rows, (1, 1, 1, 0), (4, 2, LENGTH, 2), (4, 3), gold, sequences=2, right=right, fixed=False)


def hidden_tokens() -> Case:
    sizes = {"vocab_size": 9, "embedding_size": HIDDEN, "mask_token_id": 8}
    rows = ([(1, 3), (2, 4)], [(1, 7)], [(3, 0)], None)
    right = ([0.0], [0.0], [0.0], [9.0])
    fields = {"head_type": "masked_language_modeling", **sizes}
    return Case(fields, rows, (2, 1, 1, 0), (4, 2, 9), (4, 1), right=right, vocabulary=True, fixed=False)


def next_tokens() -> Case:
    fields = {"head_type": "causal_language_modeling", "vocab_size": 9, "embedding_size": HIDDEN}
    rows = ([3, 4, 5, 6, -100], [7, 1, -100], [0, 2, 4, -100], None)
    right = ([0.0], [0.0], [0.0], [9.0])
    return Case(fields, rows, (4, 2, 3, 0), (4, 9), (4, 1), right=right, vocabulary=True)


CASES = {
    **{f"classes {pooling}": classes(pooling=pooling) for pooling in ("cls", "mean", "max", "last", "attention")},
    "classes weights": classes(class_weights=[0.5, 2.0, 3.0]),
    "classes smoothing": classes(label_smoothing=0.1),
    "classes feed-forward": classes(hidden_sizes=[6, 3], hidden_act="tanh"),
    "classes without a bias": classes(classifier_bias=False),
    "label sets": label_sets(),
    "label sets weights": label_sets(class_weights=[0.5, 2.0, 3.0], label_smoothing=0.1, threshold=0.25),
    "label sets feed-forward": label_sets(hidden_sizes=[3], pooling="attention"),
    **{f"numbers {loss}": numbers(loss_type=loss) for loss in ("mse", "l1", "huber")},
    **{f"numbers {pooling}": numbers(pooling=pooling) for pooling in ("cls", "max", "last", "attention")},
    "numbers feed-forward": numbers(hidden_sizes=[6], hidden_act="silu"),
    **{f"vectors {loss}": vectors(loss_type=loss) for loss in ("mse", "l1", "huber")},
    **{f"choices {pooling}": choices(pooling=pooling) for pooling in POOLINGS},
    "choices feed-forward": choices(hidden_sizes=[6], hidden_act="tanh"),
    **{f"preferences {pooling}": preferences(pooling=pooling) for pooling in POOLINGS},
    "preferences feed-forward": preferences(hidden_sizes=[6, 3], hidden_act="relu"),
    **{f"similarities {pooling}": similarities(pooling=pooling) for pooling in POOLINGS},
    "similarities projection": similarities(projection_size=3, min_cosine=-1.0),
    "words bio": words(["O", "B-x", "I-x"]),
    "words bioes": words(BIOES),
    "words plain": words(["NOUN", "VERB", "X"]),
    "words scheme given": words(["O", "B-x", "I-x"], label_scheme="plain"),
    "words bio crf": words(["O", "B-x", "I-x"], crf=True),
    "words bioes crf": words(BIOES, crf=True),
    "words plain crf": words(["NOUN", "VERB", "X"], crf=True),
    "lemmas": lemmas(),
    "trees": trees(),
    "questions": questions(),
    "questions without an answer": questions(allow_no_answer=True),
    "hidden tokens": hidden_tokens(),
    "next tokens": next_tokens(),
    "images": classes(head_type="image_classification"),
    "audio": classes(head_type="audio_classification"),
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


def features(case: Case, rows: int = 4, length: int = LENGTH) -> torch.Tensor:
    several = () if case.sequences is None else (case.sequences,)
    return torch.randn(rows, *several, length, HIDDEN, dtype=torch.float64)


def mask_of(case: Case) -> torch.Tensor:
    """The mask, the same for all sequences of a row."""
    return MASK if case.sequences is None else MASK.unsqueeze(1).repeat(1, case.sequences, 1)


def arguments_of(head: Head, case: Case, dtype: torch.dtype, rows: int) -> dict[str, Any]:
    """What the head's forward takes beside features, mask and labels."""
    if not case.vocabulary:
        return {}
    arguments = {"token_embeddings": torch.linspace(-1, 1, 9 * HIDDEN, dtype=dtype).reshape(9, HIDDEN)}
    if head.config.head_type == "masked_language_modeling":
        # the mask tokens are where the labels are
        ids = torch.tensor([[2, 8, 8, 1, 1], [2, 8, 1, 0, 0], [2, 1, 1, 8, 0], [2, 1, 1, 1, 1]])
        arguments["token_ids"] = ids[:rows]
    return arguments


def run(head: Head, case: Case, encoded: torch.Tensor, mask: torch.Tensor, labels: Any = None) -> dict[str, Any]:
    """The head's outputs."""
    outputs: dict[str, Any] = head(encoded, mask, labels, **arguments_of(head, case, encoded.dtype, len(encoded)))
    return outputs


def source_rows(config: HeadConfig) -> list[SourceRow]:
    """Words on the labelled places of the first three rows, and none in the last."""
    if not config.word_level:
        return [SourceRow()] * 4
    places = [[1, 2, 3], [1], [1, 3], []]
    return [SourceRow([Word(at, f"w{at}", 10 * at, 10 * at + 2) for at in row]) for row in places]


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
    head = make_head(case)
    outputs = run(head, case, features(case), mask_of(case), make_labels(case))
    assert {"logits", "row_losses"} <= set(outputs) <= set(head.config.output_names)
    assert tuple(outputs["logits"].shape) == case.logits
    assert outputs["row_losses"].shape == (4,)


def test_without_labels_there_are_no_losses(case: Case) -> None:
    head, encoded = make_head(case), features(case)
    outputs = run(head, case, encoded, mask_of(case))
    assert "row_losses" not in outputs
    assert torch.equal(outputs["logits"], run(head, case, encoded, mask_of(case), make_labels(case))["logits"])


def test_padding_on_either_side_changes_no_logits(case: Case) -> None:
    if case.vocabulary:
        pytest.skip("its logits belong to the masks of a text, or to its end: see the tests of language modelling")
    head = make_head(case)
    encoded = features(case, 3, 3)
    tokens = torch.ones(encoded.shape[:-1], dtype=torch.bool)
    # larger than any token, so that a maximum over padding would show
    padding = torch.full_like(encoded[..., :2, :], 9.0)
    no_tokens = torch.zeros(padding.shape[:-1], dtype=torch.bool)
    bare = head(encoded, tokens)["logits"]
    right = head(torch.cat([encoded, padding], -2), torch.cat([tokens, no_tokens], -1))["logits"]
    left = head(torch.cat([padding, encoded], -2), torch.cat([no_tokens, tokens], -1))["logits"]
    if head.config.word_level:
        right, left = right[:, :3], left[:, 2:]
    if case.sequences and head.config.head_type == "question_answering":
        right, left = right[:, :, :3], left[:, :, 2:]
    if head.config.head_type == "dependency_parsing":
        # a column for each position, the last one the root's
        right, left = right[..., [0, 1, 2, 5]], left[..., 2:]
    torch.testing.assert_close(right, bare, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(left, bare, rtol=1e-12, atol=1e-12)


def test_rows_do_not_depend_on_each_other(case: Case) -> None:
    head, encoded, labels = make_head(case), features(case), make_labels(case)
    together = run(head, case, encoded, mask_of(case), labels)
    # the first row, which is the longest, so that shapes stay
    alone = run(head, case, encoded[:1], mask_of(case)[:1], labels[:1])
    torch.testing.assert_close(alone["logits"][0], together["logits"][0], rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(alone["row_losses"][0], together["row_losses"][0], rtol=1e-12, atol=1e-12)


def test_an_ignored_row_has_loss_zero_and_no_gradient(case: Case) -> None:
    head, encoded = make_head(case), features(case).requires_grad_()
    losses = run(head, case, encoded, mask_of(case), make_labels(case))["row_losses"]
    assert (losses > 0).tolist() == [True, True, True, False]
    assert losses[3].item() == 0
    losses.sum().backward()
    assert encoded.grad is not None
    assert bool(torch.isfinite(encoded.grad).all())
    assert encoded.grad.reshape(4, -1).any(dim=1).tolist() == [True, True, True, False]
    assert all(value.grad is not None and bool(torch.isfinite(value.grad).all()) for value in head.parameters())


def test_all_rows_ignored(case: Case) -> None:
    head, encoded = make_head(case), features(case).requires_grad_()
    labels = make_config(case).collate_labels([None] * 4, LENGTH)
    losses = run(head, case, encoded, mask_of(case), labels)["row_losses"]
    assert losses.tolist() == [0, 0, 0, 0]
    losses.sum().backward()
    assert encoded.grad is not None
    assert not encoded.grad.any()


def test_gradcheck(case: Case) -> None:
    head, labels = make_head(case), make_labels(case)
    parameters = dict(head.named_parameters())
    named = arguments_of(head, case, torch.float64, 4)

    def call(encoded: torch.Tensor, *values: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        state = {**dict(zip(parameters, values, strict=True)), **dict(head.named_buffers())}
        outputs = functional_call(head, state, (encoded, mask_of(case), labels), named)
        return outputs["logits"], outputs["row_losses"]

    values = [value.detach().clone().requires_grad_() for value in parameters.values()]
    assert torch.autograd.gradcheck(call, (features(case).requires_grad_(), *values))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_losses_of_16_bit_logits_are_computed_in_32(case: Case, dtype: torch.dtype) -> None:
    head = make_head(case).to(dtype)
    outputs = run(head, case, features(case).to(dtype), mask_of(case), make_labels(case))
    assert outputs["row_losses"].dtype == torch.float32
    assert bool(torch.isfinite(outputs["row_losses"]).all())


def test_dropout_acts_in_training_only(case: Case) -> None:
    if "classifier_dropout" not in make_config(case).field_names():
        pytest.skip("no dropout")
    case = replace(case, fields={**case.fields, "classifier_dropout": 0.5})
    head, encoded = make_head(case), features(case)
    assert torch.equal(
        run(head, case, encoded, mask_of(case))["logits"], run(head, case, encoded, mask_of(case))["logits"]
    )
    head.train()
    assert not torch.equal(
        run(head, case, encoded, mask_of(case))["logits"], run(head, case, encoded, mask_of(case))["logits"]
    )


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
    assert nothing.shape[2:] == labels.shape[2:]
    assert not case.fixed or nothing.shape == (2, *labels.shape[1:])


def test_decode_yields_a_json_value_a_row(case: Case) -> None:
    head = make_head(case)
    with torch.no_grad():
        answers = head.decode(run(head, case, features(case), mask_of(case)), source_rows(head.config))
    assert len(answers) == 4
    assert json.loads(json.dumps(answers, allow_nan=False)) == answers


def test_predictions(case: Case) -> None:
    head, labels = make_head(case), make_labels(case)
    found = head.predictions(run(head, case, features(case), mask_of(case), labels), labels)
    assert tuple(found.shape) == case.predictions


def test_metrics(case: Case) -> None:
    head, labels = make_head(case), make_labels(case)
    config = head.config
    predictions = head.predictions(run(head, case, features(case), mask_of(case), labels), labels).detach().numpy()
    results = config.compute_metrics(predictions, labels.numpy(), case.gold)
    assert set(config.metric_names) <= set(results)
    assert all(type(value) is float for value in results.values())
    # the ignored row does not count
    without_it = config.compute_metrics(predictions[:3], labels.numpy()[:3], case.gold and case.gold[:3])
    assert results == without_it
    # right answers have the best score
    right = np.array(case.right) if case.right else np.nan_to_num(labels.numpy(), nan=0.0).reshape(predictions.shape)
    best = config.compute_metrics(np.where(right == -100, 0, right), labels.numpy(), case.gold)
    assert best[config.metric_names[0]] == pytest.approx(1.0 if config.score_sign == 1 else 0.0)
    assert config.score(best) == pytest.approx(1.0)


def test_metrics_of_no_labelled_row_are_refused(case: Case) -> None:
    config = make_config(case)
    nothing = config.collate_labels([None, None], LENGTH).numpy()
    predictions = np.zeros((2, *case.predictions[1:]), dtype=np.int64 if nothing.dtype == np.int64 else np.float32)
    with pytest.raises(InputError, match=f"no labelled row, so that {config.metric_names[0]} cannot be computed"):
        config.compute_metrics(predictions, nothing, case.gold and (case.gold[3],) * 2)


def backbone_of(name: str) -> BackboneInfo:
    """The backbone of text, with its output called as the head reads it."""
    own = get_head_class(CASES[name].fields["head_type"]).config_class.reads or ("encoded_text",)
    sizes, layers, poolings = ({own[0]: value} for value in (HIDDEN, 3, "last"))
    return replace(BACKBONE, hidden_sizes=sizes, num_layers=layers, default_pooling=poolings)


@pytest.mark.parametrize("name", [name for name, case in CASES.items() if "pooling" in case.fields])
def test_auto_pooling_is_resolved(name: str) -> None:
    auto = get_head_config("h", {**CASES[name].fields, "pooling": "auto"})
    auto.resolve(backbone_of(name))
    assert auto.to_dict()["pooling"] == "last"
    given = get_head_config("h", {**CASES[name].fields, "pooling": "cls"})
    given.resolve(backbone_of(name))
    assert given.to_dict()["pooling"] == "cls"
