"""Similarity of sentences: units of scores, both losses against brute force, embeddings of single texts."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from datasets import Dataset, Value
from heads.several_texts import POOLINGS, overfit, random_sequences, single_tokens
from hypothesis import given
from hypothesis import strategies as st
from torch.func import functional_call
from torch.nn import functional

from fixtures import CITIES, NOUNS, SINGERS, tiny_inputs, tiny_model, tiny_tokenizer
from mt_transformers import MultiTaskModel, MultiTaskPredictor, Task
from mt_transformers.data import PreparedTasks
from mt_transformers.errors import InputError
from mt_transformers.heads import (
    BackboneInfo,
    EncodedRows,
    LabelSource,
    SentenceSimilarityHead,
    SentenceSimilarityHeadConfig,
    SourceRow,
)

NAN = math.nan
LOWEST = torch.finfo(torch.float64).min
NUMBER = Value("float32")
STARS: dict[str, Any] = {"min_score": 1.0, "max_score": 5.0}
PAIRS: dict[str, Any] = {"loss_type": "contrastive"}
EAST, NORTH, WEST, BETWEEN = [2.0, 0.0], [0.0, 7.0], [-0.5, 0.0], [3.0, 4.0]
"""Cosine 0 of east and north, -1 of east and west, 0.6 of east and between, 0.8 of north and between."""


def make_head(pooling: str = "mean", hidden_size: int = 2, **fields: Any) -> SentenceSimilarityHead:
    config = SentenceSimilarityHeadConfig(pooling=pooling, **fields)
    return SentenceSimilarityHead(config, hidden_size).double().eval()


def source(values: list[Any], feature: Any = NUMBER, task_name: str = "stsb") -> LabelSource:
    return LabelSource(task_name, "score", feature, lambda: values)


def rows_of(*counts: int) -> EncodedRows:
    """Rows 5, 6, ... with these numbers of sentences."""
    return EncodedRows(range(5, 5 + len(counts)), {"sentences": [["x"] * count for count in counts]})


# cosines in the unit of the scores


@pytest.mark.parametrize(
    ("fields", "logits", "losses"),
    [
        # nothing known of scores: cosines
        ({}, [0.0, -1.0, 0.6], [0.25, 2.25, 0.01]),
        ({"min_score": 0.0, "max_score": 5.0}, [0.0, -5.0, 3.0], [0.01, 1.21, 0.25]),
        (STARS, [1.0, -3.0, 3.4], [0.125**2, 0.875**2, 0.725**2]),
        ({**STARS, "min_cosine": -1.0}, [3.0, 1.0, 4.2], [1.25**2, 0.25**2, 1.85**2]),
    ],
)
def test_cosines_and_losses(fields: dict[str, Any], logits: list[float], losses: list[float]) -> None:
    features = single_tokens([[EAST, NORTH], [EAST, WEST], [EAST, BETWEEN]])
    outputs = make_head(**fields)(*features, torch.tensor([0.5, 0.5, 0.5]))
    assert outputs["logits"].shape == (3, 1)
    assert outputs["logits"].flatten().tolist() == pytest.approx(logits, abs=1e-12)
    assert outputs["row_losses"].tolist() == pytest.approx(losses, rel=1e-9)


@given(
    scores=st.lists(st.floats(-9, 9), min_size=2, max_size=5, unique=True),
    min_cosine=st.sampled_from([-1.0, -0.5, 0.0, 0.5]),
)
def test_the_map_of_scores_to_cosines_is_linear_and_its_own_inverse(scores: list[float], min_cosine: float) -> None:
    """A pair whose cosine is right has loss 0; the ends of the scores are `min_cosine` and 1."""
    low, high = min(scores), max(scores)
    head = make_head(min_score=low, max_score=high, min_cosine=min_cosine)
    shares = [(score - low) / (high - low) for score in scores]
    cosines = [min_cosine + share * (1 - min_cosine) for share in shares]
    features = single_tokens([[EAST, [cosine, math.sqrt(max(0.0, 1 - cosine**2))]] for cosine in cosines])
    outputs = head(*features, torch.tensor(scores, dtype=torch.float64))
    assert outputs["logits"].flatten().tolist() == pytest.approx(scores, abs=1e-6)
    assert outputs["row_losses"].tolist() == pytest.approx([0.0] * len(scores), abs=1e-9)


def test_embeddings_have_length_one() -> None:
    outputs = make_head()(*single_tokens([[BETWEEN, NORTH], [WEST]]))
    assert outputs["embedding"].tolist() == [pytest.approx([0.6, 0.8]), [-1.0, 0.0]]
    assert outputs["second_embedding"].tolist() == [[0.0, 1.0], [0.0, 0.0]]
    zeros = make_head()(*single_tokens([[[0.0, 0.0], NORTH]]))
    assert zeros["embedding"].tolist() == [[0.0, 0.0]]
    assert zeros["logits"].tolist() == [[0.0]]


def test_only_a_row_of_two_sentences_has_a_score() -> None:
    features = single_tokens([[EAST, NORTH], [EAST], [EAST, NORTH, EAST]])
    outputs = make_head()(*features, torch.tensor([0.5, 0.5, 0.5]))
    assert outputs["logits"].flatten().tolist() == [0.0, LOWEST, LOWEST]
    assert outputs["row_losses"].tolist() == [0.25, 0.0, 0.0]
    alone = make_head()(*single_tokens([[EAST]]), torch.tensor([0.5]))
    assert (alone["logits"].tolist(), alone["row_losses"].tolist()) == ([[LOWEST]], [0.0])


def test_a_projection_stands_behind_the_pooling() -> None:
    head = make_head(projection_size=3)
    with torch.no_grad():
        head.projection.weight.copy_(torch.tensor([[1.0, 0.0], [0.0, 1.0], [1.0, 1.0]]))
    outputs = head(*single_tokens([[EAST, NORTH]]))
    root = math.sqrt(0.5)
    assert outputs["embedding"].tolist() == [pytest.approx([root, 0.0, root])]
    assert outputs["logits"].tolist() == [[pytest.approx(0.5)]]
    assert [name for name, _ in head.named_parameters()] == ["projection.weight"]
    assert not list(make_head().parameters())


def test_scores_that_data_gave_later_are_used() -> None:
    head = make_head()
    features = single_tokens([[EAST, BETWEEN]])
    assert head(*features)["logits"].tolist() == [[pytest.approx(0.6)]]
    head.config.complete([source([0.0, None, 4.0]), source([10.0, NAN], task_name="other")])
    assert (head.config.min_score, head.config.max_score) == (0.0, 10.0)
    assert head(*features)["logits"].tolist() == [[pytest.approx(6.0)]]


# the contrastive loss


def contrastive_losses(head: SentenceSimilarityHead, features: Any, labels: torch.Tensor) -> list[float]:
    """Row by row: a softmax over the second sentences of all labelled rows."""
    outputs = head(*features)
    losses = []
    for row in range(len(labels)):
        if labels[row].isnan():
            losses.append(0.0)
            continue
        scores = {
            other: head.config.scale * float(outputs["embedding"][row] @ outputs["second_embedding"][other])
            for other in range(len(labels))
            if not labels[other].isnan()
        }
        losses.append(math.log(sum(math.exp(score) for score in scores.values())) - scores[row])
    return losses


@given(
    labels=st.lists(st.sampled_from([1.0, NAN]), min_size=1, max_size=5),
    scale=st.sampled_from([0.5, 5.0, 20.0]),
    seed=st.integers(0, 99),
)
def test_contrastive_losses_against_brute_force(labels: list[float], scale: float, seed: int) -> None:
    head = make_head(hidden_size=3, scale=scale, **PAIRS)
    features = random_sequences([2] * len(labels), seed=seed)
    found = head(*features, torch.tensor(labels))["row_losses"].tolist()
    assert found == pytest.approx(contrastive_losses(head, features, torch.tensor(labels)), abs=1e-9)
    assert all(loss == 0 for loss, label in zip(found, labels, strict=True) if math.isnan(label))


def test_contrastive_losses_go_from_the_first_sentence_to_the_second_ones() -> None:
    features = single_tokens([[EAST, EAST], [NORTH, BETWEEN]])
    outputs = make_head(scale=10.0, **PAIRS)(*features, torch.ones(2))
    # east to (east, between): 1 and 0.6; north to (east, between): 0 and 0.8
    expected = [math.log(1 + math.exp(-4)), math.log(1 + math.exp(-8))]
    assert outputs["row_losses"].tolist() == pytest.approx(expected)
    # back it would be 1 and 0, and 0.8 and 0.6
    assert outputs["logits"].flatten().tolist() == pytest.approx([1.0, 0.8])


def test_a_pair_alone_has_nothing_to_learn_from() -> None:
    features = single_tokens([[EAST, NORTH], [EAST, WEST]])
    losses = make_head(**PAIRS)(*features, torch.tensor([1.0, NAN]))["row_losses"]
    assert losses.tolist() == [0.0, 0.0]


def test_retrieval_among_the_pairs_of_a_batch() -> None:
    head = make_head(**PAIRS)
    # the second row's own partner is as near as the third's, the fourth is no pair
    features = single_tokens([[EAST, BETWEEN], [NORTH, BETWEEN], [NORTH, NORTH], [WEST, EAST]])
    labels = torch.tensor([1.0, 1.0, 1.0, NAN])
    predictions = head.predictions(head(*features, labels), labels)
    assert predictions.tolist()[:3] == [False, False, True]
    assert head.config.compute_metrics(predictions.numpy(), labels.numpy()) == {"accuracy": pytest.approx(1 / 3)}
    # in a batch of one it is the nearest
    own = head(*(each[:1] for each in features), labels[:1])
    assert head.predictions(own, labels[:1]).tolist() == [1]


# gradients, padding, precision


LOSSES: dict[str, dict[str, Any]] = {
    "cosine": STARS,
    "contrastive": PAIRS,
    "projection": {**STARS, "projection_size": 4},
}


@pytest.mark.parametrize("fields", LOSSES.values(), ids=LOSSES)
@pytest.mark.parametrize("pooling", POOLINGS)
def test_gradients(pooling: str, fields: dict[str, Any]) -> None:
    head = make_head(pooling, hidden_size=3, **fields)
    encoded, mask = random_sequences([2, 2, 1, 2])
    labels = torch.tensor([1.0, 1.0, 1.0, NAN], dtype=torch.float64)
    parameters = dict(head.named_parameters())

    def run(encoded: torch.Tensor, *values: torch.Tensor) -> torch.Tensor:
        state = dict(zip(parameters, values, strict=True))
        losses: torch.Tensor = functional_call(head, state, (encoded, mask, labels))["row_losses"]
        return losses

    values = [value.detach().clone().requires_grad_() for value in parameters.values()]
    assert torch.autograd.gradcheck(run, (encoded.requires_grad_(), *values))
    losses = run(encoded, *values)
    assert (losses > 0).tolist() == [True, True, False, False]
    losses.sum().backward()
    assert encoded.grad is not None
    assert not encoded.grad[~mask].any()
    assert encoded.grad.reshape(4, -1).any(dim=1).tolist() == [True, True, False, False]


@pytest.mark.parametrize("fields", LOSSES.values(), ids=LOSSES)
def test_no_labelled_row_gives_zero_and_no_gradient(fields: dict[str, Any]) -> None:
    encoded, mask = random_sequences([2, 1])
    encoded.requires_grad_()
    losses = make_head(hidden_size=3, **fields)(encoded, mask, torch.tensor([NAN, NAN]))["row_losses"]
    assert losses.tolist() == [0.0, 0.0]
    losses.sum().backward()
    assert encoded.grad is not None
    assert not encoded.grad.any()


@pytest.mark.parametrize("fields", LOSSES.values(), ids=LOSSES)
@pytest.mark.parametrize("pooling", POOLINGS)
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_16_bits_are_computed_in_32(pooling: str, fields: dict[str, Any], dtype: torch.dtype) -> None:
    head = make_head(pooling, hidden_size=3, **fields).to(dtype)
    encoded, mask = random_sequences([2, 1, 2])
    encoded = encoded.to(dtype).requires_grad_()
    outputs = head(encoded, mask, torch.tensor([1.0, 1.0, 1.0]))
    assert {value.dtype for value in outputs.values()} == {torch.float32}
    outputs["row_losses"].sum().backward()
    assert encoded.grad is not None
    assert bool(torch.cat([outputs["row_losses"].detach(), encoded.grad.flatten().float()]).isfinite().all())


@pytest.mark.parametrize("pooling", POOLINGS)
def test_rows_do_not_depend_on_order_and_padding(pooling: str) -> None:
    head = make_head(pooling, hidden_size=3, **STARS)
    encoded, mask = random_sequences([2, 1, 2])
    labels = torch.tensor([1.0, NAN, 4.0])
    together = head(encoded, mask, labels)
    order = [2, 0, 1]
    longer, more = functional.pad(encoded, (0, 0, 0, 3), value=9.0), functional.pad(mask, (0, 3))
    # a third sequence, which another row of the batch would have
    longer, more = functional.pad(longer, (0, 0, 0, 0, 0, 1)), functional.pad(more, (0, 0, 0, 1))
    turned = head(longer[order], more[order], labels[order])
    for name, value in together.items():
        torch.testing.assert_close(turned[name], value[order], rtol=1e-12, atol=1e-12)


# labels


def test_labels() -> None:
    config = SentenceSimilarityHeadConfig(**STARS)
    encoded = config.encode_labels([1, 5, None, NAN, 2.5], source([]), rows_of(2, 2, 1, 3, 2))
    labels = config.collate_labels([*encoded, None], 9)
    assert labels.dtype == torch.float32
    assert labels[[0, 1, 4]].tolist() == [1.0, 5.0, 2.5]
    assert config.count_items(labels).tolist() == [1, 1, 0, 0, 1, 0]
    pairs = SentenceSimilarityHeadConfig(**PAIRS)
    labels = pairs.collate_labels([*pairs.encode_labels([True], source([], None), rows_of(2)), None], 9)
    assert pairs.count_items(labels).tolist() == [1, 0]


def test_scores_out_of_range_are_refused() -> None:
    with pytest.raises(
        InputError,
        match=r"^task 'stsb', column 'score', row 6: expected a finite number from 1 up to 5, found 5\.5\.$",
    ):
        SentenceSimilarityHeadConfig(**STARS).encode_labels([5.0, 5.5], source([]), rows_of(2, 2))


@pytest.mark.parametrize(("fields", "values", "feature"), [(STARS, [1.0, 2.0], NUMBER), (PAIRS, [True, True], None)])
@pytest.mark.parametrize("count", [1, 3])
def test_rows_that_train_have_two_sentences(fields: Any, values: list[Any], feature: Any, count: int) -> None:
    with pytest.raises(InputError, match=rf"^task 'stsb', row 6: expected two sentences .*, found {count}\.$"):
        SentenceSimilarityHeadConfig(**fields).encode_labels(values, source([], feature), rows_of(2, count))


def test_columns_belong_to_the_cosine_loss() -> None:
    cosine, pairs = SentenceSimilarityHeadConfig(**STARS), SentenceSimilarityHeadConfig(**PAIRS)
    uses: list[tuple[Callable[[], Any], str]] = [
        (lambda: cosine.complete([source([], None)]), "'cosine': expected a column with scores, found none"),
        (lambda: cosine.encode_labels([], source([], None), rows_of()), "'cosine': expected a column with scores"),
        (lambda: pairs.complete([source([])]), "'contrastive', which has no scores: expected no column .*'score'"),
        (lambda: pairs.encode_labels([], source([]), rows_of()), "'contrastive', which has no scores: expected no"),
    ]
    for use, message in uses:
        with pytest.raises(InputError, match=f"^task 'stsb': loss_type is {message}"):
            use()
    with pytest.raises(InputError, match=r"^task 'stsb', column 'score': expected a number a row"):
        cosine.complete([source([], Value("string"))])


@pytest.mark.parametrize(
    ("fields", "values", "expected"),
    [
        ({}, [3.0, None, 1.0, NAN], (1.0, 3.0)),
        ({"min_score": 0.0}, [3.0, 1.0], (0.0, 3.0)),
        ({"max_score": 5.0}, [3.0, 1.0], (1.0, 5.0)),
        (STARS, [], (1.0, 5.0)),
        (PAIRS, None, (None, None)),
    ],
)
def test_the_range_is_read_from_the_training_rows(fields: dict[str, Any], values: Any, expected: Any) -> None:
    config = SentenceSimilarityHeadConfig(**fields)
    config.complete([source(values, None if values is None else NUMBER)])
    assert (config.min_score, config.max_score) == expected


@pytest.mark.parametrize(
    ("fields", "values", "message"),
    [
        ({}, [None, NAN], "no training row has a score"),
        ({}, [2.0, 2.0], "min_score and max_score: expected two numbers, the lower one first, found 2 and 2"),
        ({"min_score": 5.0}, [0.0, 4.0], "min_score and max_score: .* found 5 and 4. What is not given is read"),
        ({}, [math.inf], "row 0: expected a finite number, found inf"),
    ],
)
def test_ranges_that_data_does_not_give(fields: dict[str, Any], values: list[Any], message: str) -> None:
    with pytest.raises(InputError, match=f"^task 'stsb', column 'score'.* {message}|^task .*'score', {message}"):
        SentenceSimilarityHeadConfig(**fields).complete([source(values)])


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"loss_type": "mse"}, "loss_type: expected one of cosine, contrastive, found 'mse'"),
        ({"projection_size": 0}, "projection_size: expected at least 1, found 0"),
        ({"projection_size": 2.0}, "projection_size: expected at least 1, found 2.0"),
        ({"scale": 0.0}, "scale: expected a number above 0, found 0.0"),
        ({"scale": math.inf}, "scale: expected a number above 0, found inf"),
        ({"min_cosine": 1.0}, r"min_cosine: expected a number in \[-1, 1\), found 1.0"),
        ({"min_cosine": -1.5}, r"min_cosine: expected a number in \[-1, 1\), found -1.5"),
        ({"min_score": 5, "max_score": 0}, "min_score and max_score: .* found 5 and 0"),
        ({"max_score": math.inf}, "max_score: expected a finite number, found inf"),
        ({**PAIRS, "min_score": 0.0}, "min_score: loss_type is 'contrastive', which has no scores, found 0.0"),
        ({**PAIRS, "metrics": ["spearman"]}, "unknown metric 'spearman'"),
        ({"metrics": ["accuracy"]}, "unknown metric 'accuracy'"),
    ],
)
def test_configs_that_make_no_sense(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        SentenceSimilarityHeadConfig(**fields)


def test_backbones_without_text() -> None:
    images = BackboneInfo("vit", {"encoded_image": 8}, {}, {"encoded_image": "pooled"}, False, None, None)
    with pytest.raises(InputError, match="sentence_similarity reads encoded_text or encoded_text_decoder, but"):
        SentenceSimilarityHeadConfig().resolve(images)


def test_metrics_and_answers() -> None:
    head = make_head(**STARS)
    outputs = head(*single_tokens([[EAST, NORTH], [EAST, BETWEEN], [EAST, EAST], [EAST]]))
    labels = torch.tensor([2.0, 3.0, NAN, NAN])
    predictions = head.predictions(outputs, labels)
    assert predictions.tolist() == pytest.approx([1.0, 3.4, 5.0, LOWEST])
    found = head.config.compute_metrics(predictions.numpy(), labels.numpy())
    assert found == {"spearman": pytest.approx(1.0), "pearson": pytest.approx(1.0)}
    squared = SentenceSimilarityHeadConfig(metrics=["mse"], **STARS)
    errors = squared.compute_metrics(predictions.numpy(), labels.numpy())
    assert errors == {"mse": pytest.approx((1 + 0.4**2) / 2)}
    with pytest.raises(InputError, match="no labelled row"):
        head.config.compute_metrics(np.array([1.0]), np.array([NAN]))
    assert head.decode(outputs, [SourceRow()] * 4) == [
        {"score": pytest.approx(1.0), "embedding": [1.0, 0.0]},
        {"score": pytest.approx(3.4), "embedding": [1.0, 0.0]},
        {"score": pytest.approx(5.0), "embedding": [1.0, 0.0]},
        {"embedding": [1.0, 0.0]},
    ]


# with the rest of the package


def sentences() -> Dataset:
    """Pairs about the same thing (5), of one kind (3) or of other kinds (0)."""
    rows = []
    for index in range(24):
        kind, other = (SINGERS, CITIES) if index % 2 else (CITIES, SINGERS)
        word = kind[index // 2 % 4]
        partner, score = [(word, 5.0), (kind[(index // 2 + 1) % 4], 3.0), (other[index // 2 % 4], 0.0)][index // 8]
        rows.append({"one": f"the {word} is new", "two": f"{partner} music", "score": score})
    return Dataset.from_list(rows)


def test_training_evaluation_and_prediction(tmp_path: Path) -> None:
    rows = sentences()
    task = Task(
        dataset={"train": rows, "validation": rows}, inputs={"sentences": ["one", "two"]}, labels={"near": "score"}
    )
    heads = {"near": {"head_type": "sentence_similarity", "projection_size": 16, "metrics": ["spearman", "mse"]}}
    trainer = overfit(heads, {"pairs": task}, tmp_path, num_train_epochs=30, per_device_eval_batch_size=5)
    config = trainer.model.heads["near"].config
    assert (config.min_score, config.max_score) == (0.0, 5.0)
    assert trainer.model.config.heads["near"]["max_score"] == 5.0
    metrics = trainer.evaluate()
    assert metrics["eval_pairs_near_spearman"] > 0.9
    assert metrics["eval_pairs_near_mse"] < 0.3
    # squared errors of cosines, that is of fifths of a score
    assert metrics["eval_pairs_loss"] == pytest.approx(metrics["eval_pairs_near_mse"] / 25, rel=1e-4)
    logits = trainer.predict(split="validation")["pairs"].predictions["near"]
    assert logits.shape == (24, 1)
    predictor = MultiTaskPredictor(trainer.model, tiny_tokenizer(), batch_size=5)
    pairs = predictor([{"sentences": [row["one"], row["two"]]} for row in rows])
    ones, twos = predictor(rows["one"][:]), predictor(rows["two"][:])
    for pair, one, two, score in zip(pairs, ones, twos, logits[:, 0].tolist(), strict=True):
        assert set(pair["near"]) == {"score", "embedding"}
        assert set(one["near"]) == set(two["near"]) == {"embedding"}
        assert pair["near"]["score"] == pytest.approx(score, abs=1e-4)
        assert pair["near"]["embedding"] == pytest.approx(one["near"]["embedding"], abs=1e-4)
        # the embeddings of single texts say the same as the pair
        assert 5 * np.dot(one["near"]["embedding"], two["near"]["embedding"]) == pytest.approx(score, abs=1e-3)
        assert len(one["near"]["embedding"]) == 16
    three = predictor([{"sentences": ["rome", "oslo", "lima"]}, {"choices": ["rome", "oslo"]}])
    assert set(three[0]["near"]) == {"embedding"}
    assert three[1] == {}


def test_training_on_pairs_alone(tmp_path: Path) -> None:
    rows = Dataset.from_dict({"pair": [[f"the {word} is new", f"music by {word}"] for word in [*SINGERS, *NOUNS]]})
    task = Task(dataset={"train": rows, "validation": rows}, inputs={"sentences": "pair"}, labels={"near": None})
    heads = {"near": {"head_type": "sentence_similarity", "loss_type": "contrastive"}}
    trainer = overfit(heads, {"pairs": task}, tmp_path, num_train_epochs=40)
    metrics = trainer.evaluate()
    assert metrics["eval_pairs_near_accuracy"] == 1.0
    assert metrics["eval_pairs_loss"] < 0.1
    found = trainer.predict(split="validation")["pairs"]
    assert found.metrics["test_pairs_near_accuracy"] == 1.0
    # a batch of one row holds no wrong answer
    trainer.args.per_device_eval_batch_size = 1
    assert trainer.evaluate()["eval_pairs_loss"] == 0.0


def test_saving_and_loading(tmp_path: Path) -> None:
    model = tiny_model({"near": {"head_type": "sentence_similarity", "projection_size": 5, **STARS}})
    sequences = {"near": torch.tensor([[0, 2], [1, -1]])}
    inputs = tiny_inputs(rows=3)
    outputs = model(**inputs, sequences=sequences)
    model.save_pretrained(tmp_path)
    loaded = MultiTaskModel.from_pretrained(tmp_path)
    assert loaded.heads["near"].config == model.heads["near"].config
    again = loaded(**inputs, sequences=sequences)
    for name, shape in (("logits", (2, 1)), ("embedding", (2, 5)), ("second_embedding", (2, 5))):
        assert outputs[f"near_{name}"].shape == shape
        assert torch.equal(again[f"near_{name}"], outputs[f"near_{name}"])


@pytest.mark.parametrize(
    ("inputs", "label", "message"),
    [
        ({"text": "one"}, "score", "sentence_similarity needs the inputs sentences, found text"),
        ({"sentences": ["one"]}, "score", "row 0: expected two sentences in a row that is trained or scored, found 1"),
        ({"sentences": ["one", "two"]}, None, "loss_type is 'cosine': expected a column with scores, found none"),
    ],
)
def test_tasks_that_cannot_train_the_head(inputs: dict[str, Any], label: str | None, message: str) -> None:
    task = Task(dataset={"train": sentences()}, inputs=inputs, labels={"near": label})
    config = tiny_model({"near": {"head_type": "sentence_similarity"}}).heads["near"].config
    with pytest.raises(InputError, match=message):
        PreparedTasks({"pairs": task}, {"near": config}, tiny_tokenizer()).prepare()
