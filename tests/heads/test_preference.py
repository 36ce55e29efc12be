"""Preferences: losses of pairs with and without margins, rewards of single texts, ties."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from datasets import Dataset, Value
from heads.several_texts import POOLINGS, overfit, random_sequences, single_tokens
from torch.func import functional_call

from fixtures import BAD, GOOD, NOUNS, tiny_inputs, tiny_model, tiny_tokenizer
from mt_transformers import MultiTaskModel, MultiTaskPredictor, Task
from mt_transformers.data import PreparedTasks
from mt_transformers.errors import InputError
from mt_transformers.heads import (
    BackboneInfo,
    EncodedRows,
    LabelSource,
    PreferenceHead,
    PreferenceHeadConfig,
    SourceRow,
)

HEADS = {"reward": {"head_type": "preference"}}
NAN = math.nan


def make_head(pooling: str = "mean", hidden_size: int = 1, **fields: Any) -> PreferenceHead:
    """A head in evaluation mode; of one feature the reward is that feature."""
    head = PreferenceHead(PreferenceHeadConfig(pooling=pooling, **fields), hidden_size).double().eval()
    if hidden_size == 1:
        torch.nn.init.ones_(head.classifier.weight)
    return head


def rewards(*rows: list[float]) -> tuple[torch.Tensor, torch.Tensor]:
    """Sequences with these rewards."""
    return single_tokens([[[number] for number in row] for row in rows])


def source(feature: Any) -> LabelSource:
    return LabelSource("chats", "margin", feature, list)


# the head


def test_losses() -> None:
    """-log sigmoid(log 3) = log(4 / 3)."""
    log3 = math.log(3)
    features = rewards([log3 + 5, 5.0], [-2.0, log3 - 2.0], [1.0, 1.0], [9.0, 4.0])
    outputs = make_head()(*features, torch.tensor([0.0, 0.0, 0.0, NAN]))
    assert outputs["row_losses"].tolist() == pytest.approx([math.log(4 / 3), math.log(4), math.log(2), 0.0])
    assert outputs["row_losses"][3] == 0
    assert outputs["logits"].tolist() == features[0].squeeze(-1).squeeze(-1).tolist()


def test_a_margin_is_taken_off_the_difference() -> None:
    log3 = math.log(3)
    losses = make_head()(*rewards([log3 + 2.5, 0.0], [1.0, 0.0]), torch.tensor([2.5, 1.0]))["row_losses"]
    assert losses.tolist() == pytest.approx([math.log(4 / 3), math.log(2)], rel=1e-6)


def test_losses_of_far_rewards_do_not_overflow() -> None:
    encoded, mask = rewards([-5000.0, 5000.0], [5000.0, -5000.0])
    encoded.requires_grad_()
    losses = make_head()(encoded, mask, torch.zeros(2))["row_losses"]
    assert losses.tolist() == [10000.0, 0.0]
    losses.sum().backward()
    assert encoded.grad is not None
    assert encoded.grad.flatten().tolist() == [-1.0, 1.0, 0.0, 0.0]


def test_only_differences_are_learned() -> None:
    head = make_head(hidden_size=3)
    assert [name for name, _ in head.named_parameters()] == ["classifier.weight"]


@pytest.mark.parametrize("pooling", POOLINGS)
def test_gradients(pooling: str) -> None:
    head = make_head(pooling, hidden_size=3)
    encoded, mask = random_sequences([2, 2, 1, 2])
    labels = torch.tensor([0.0, 1.5, 0.0, NAN], dtype=torch.float64)
    parameters = dict(head.named_parameters())

    def run(encoded: torch.Tensor, *values: torch.Tensor) -> torch.Tensor:
        state = dict(zip(parameters, values, strict=True))
        losses: torch.Tensor = functional_call(head, state, (encoded, mask, labels))["row_losses"]
        return losses

    values = [value.detach().clone().requires_grad_() for value in parameters.values()]
    assert torch.autograd.gradcheck(run, (encoded.requires_grad_(), *values))
    losses = run(encoded, *values)
    # a row without its second text, and one without a label, train nothing
    assert (losses > 0).tolist() == [True, True, False, False]
    losses.sum().backward()
    assert encoded.grad is not None
    assert not encoded.grad[~mask].any()
    assert encoded.grad.reshape(4, -1).any(dim=1).tolist() == [True, True, False, False]


@pytest.mark.parametrize("pooling", POOLINGS)
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_losses_of_16_bits_are_finite_and_in_32(pooling: str, dtype: torch.dtype) -> None:
    head = make_head(pooling, hidden_size=3).to(dtype)
    encoded, mask = random_sequences([2, 1, 2])
    encoded = encoded.to(dtype).requires_grad_()
    outputs = head(encoded, mask, torch.tensor([0.0, 0.0, NAN]))
    assert outputs["row_losses"].dtype == torch.float32
    outputs["row_losses"].sum().backward()
    assert encoded.grad is not None
    assert bool(torch.cat([outputs["row_losses"].detach(), encoded.grad.flatten().float()]).isfinite().all())


def test_a_batch_without_any_second_text_trains_nothing() -> None:
    encoded, mask = rewards([1.0], [2.0])
    encoded.requires_grad_()
    losses = make_head()(encoded, mask, torch.zeros(2))["row_losses"]
    assert losses.tolist() == [0.0, 0.0]
    losses.sum().backward()
    assert encoded.grad is not None
    assert not encoded.grad.any()


@pytest.mark.parametrize("pooling", POOLINGS)
def test_a_reward_does_not_depend_on_what_stands_beside_it(pooling: str) -> None:
    head = make_head(pooling, hidden_size=3)
    encoded, mask = random_sequences([2, 1, 2])
    labels = torch.zeros(3)
    together = head(encoded, mask, labels)
    order = [2, 0, 1]
    turned = head(encoded[order], mask[order], labels)
    torch.testing.assert_close(turned["logits"], together["logits"][order], rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(turned["row_losses"], together["row_losses"][order], rtol=1e-12, atol=1e-12)
    alone = head(encoded[:, 1:], mask[:, 1:])["logits"]
    torch.testing.assert_close(alone[[0, 2], 0], together["logits"][[0, 2], 1], rtol=1e-12, atol=1e-12)


def test_dropout_acts_in_training_only() -> None:
    features = random_sequences([2, 2], size=8)
    for share, changes in ((0.5, True), (0.0, False)):
        head = make_head(hidden_size=8, classifier_dropout=share)
        still = head(*features)["logits"]
        assert torch.equal(head(*features)["logits"], still)
        assert torch.equal(head.train()(*features)["logits"], still) is not changes


def test_accuracy_counts_ties_as_wrong() -> None:
    head = make_head()
    outputs = head(*rewards([2.0, 1.0], [1.0, 2.0], [3.0, 3.0], [0.5, 0.0], [5.0, 0.0]))
    labels = torch.tensor([0.0, 0.0, 0.0, 7.0, NAN])
    predictions = head.predictions(outputs, labels)
    assert predictions.tolist() == [1.0, -1.0, 0.0, 0.5, 5.0]
    # a margin is for training: what scores higher by less than it is preferred, too
    assert head.config.compute_metrics(predictions.detach().numpy(), labels.numpy()) == {"accuracy": 0.5}
    with pytest.raises(InputError, match="no labelled row"):
        head.config.compute_metrics(np.array([1.0]), np.array([NAN]))


def test_answers() -> None:
    head = make_head()
    answers = head.decode(head(*rewards([2.0, 1.0], [-3.0], [-1.0, 4.0])), [SourceRow()] * 3)
    assert answers == [{"score": 2.0, "rejected_score": 1.0}, {"score": -3.0}, {"score": -1.0, "rejected_score": 4.0}]
    assert head.decode(head(*rewards([2.0], [1.0])), [SourceRow()] * 2) == [{"score": 2.0}, {"score": 1.0}]
    assert head.half().decode(head(*[each.half() for each in rewards([2.0], [1.0, 0.5])]), [SourceRow()] * 2) == [
        {"score": 2.0},
        {"score": 1.0, "rejected_score": 0.5},
    ]


# labels


def test_labels() -> None:
    config = PreferenceHeadConfig()
    # no column: every row is a pair
    assert config.encode_labels([True, True], source(None), EncodedRows(range(2))) == [0.0, 0.0]
    encoded = config.encode_labels([1.5, None, 0, NAN], source(Value("float32")), EncodedRows(range(4)))
    labels = config.collate_labels([*encoded, None], 9)
    assert labels.dtype == torch.float32
    assert labels[[0, 2]].tolist() == [1.5, 0.0]
    assert config.count_items(labels).tolist() == [1, 0, 1, 0, 0]


def test_margins_that_make_no_sense() -> None:
    config = PreferenceHeadConfig()
    with pytest.raises(
        InputError, match=r"^task 'chats', column 'margin', row 6: expected a .* from 0 up, found -0\.5\.$"
    ):
        config.encode_labels([0.5, -0.5], source(Value("float32")), EncodedRows([5, 6]))
    config.complete([source(None), source(Value("int64"))])
    for use in (
        lambda: config.complete([source(Value("string"))]),
        lambda: config.encode_labels([], source(Value("string")), EncodedRows([])),
    ):
        with pytest.raises(InputError, match=r"^task 'chats', column 'margin': expected a number a row"):
            use()


def test_configs_that_make_no_sense() -> None:
    with pytest.raises(InputError, match=r"classifier_dropout: expected a fraction in \[0, 1\), found -1"):
        PreferenceHeadConfig(classifier_dropout=-1)
    with pytest.raises(InputError, match="unknown metric 'spearman'"):
        PreferenceHeadConfig(metrics=["spearman"])
    images = BackboneInfo("vit", {"encoded_image": 8}, {}, {"encoded_image": "pooled"}, False, None, None)
    with pytest.raises(InputError, match="preference reads encoded_text or encoded_text_decoder, but"):
        PreferenceHeadConfig().resolve(images)


# with the rest of the package


def opinions() -> Dataset:
    """The kinder of two answers was preferred."""
    rows = [
        {
            "prompt": f"the {NOUNS[index % 4]} is",
            "better": f"a {GOOD[index // 2 % 4]} {NOUNS[index % 4]}",
            "worse": f"{BAD[index // 4 % 4]} {NOUNS[index % 4]} .",
            "margin": float(index % 3),
        }
        for index in range(16)
    ]
    return Dataset.from_list(rows)


@pytest.mark.parametrize(("prompt", "column"), [(True, None), (False, "margin")])
def test_training_evaluation_and_prediction(tmp_path: Path, prompt: bool, column: str | None) -> None:
    rows = opinions()
    inputs = {"chosen": "better", "rejected": "worse", **({"text": "prompt"} if prompt else {})}
    task = Task(dataset={"train": rows, "validation": rows}, inputs=inputs, labels={"reward": column})
    trainer = overfit(HEADS, {"opinions": task}, tmp_path)
    metrics = trainer.evaluate()
    assert metrics["eval_opinions_reward_accuracy"] == 1.0
    assert metrics["eval_opinions_loss"] < 0.1
    found = trainer.predict(split="validation")["opinions"]
    assert found.label_ids["reward"].tolist() == (rows["margin"][:] if column else [0.0] * 16)
    assert found.predictions["reward"].shape == (16, 2)
    predictor = MultiTaskPredictor(trainer.model, tiny_tokenizer(), batch_size=5)
    names = {name: column for name, column in inputs.items() if isinstance(column, str)}
    pairs = predictor([{name: row[column] for name, column in names.items()} for row in rows])
    for pair, logits in zip(pairs, found.predictions["reward"].tolist(), strict=True):
        assert pair["reward"]["score"] == pytest.approx(logits[0], abs=1e-4)
        assert pair["reward"]["rejected_score"] == pytest.approx(logits[1], abs=1e-4)
        assert pair["reward"]["score"] > pair["reward"]["rejected_score"] + 1
    # an answer alone is worth as much as in its pair
    alone = predictor(
        [{"text": row["prompt"], "text_pair": row["better"]} if prompt else row["better"] for row in rows]
    )
    for one, pair in zip(alone, pairs, strict=True):
        assert one == {"reward": {"score": pytest.approx(pair["reward"]["score"], abs=1e-4)}}
    # these are no pairs of which one was preferred
    others = [{"choices": ["a", "b"]}, {"sentences": ["a", "b"]}, {"question": "the", "context": "film " * 90}]
    assert predictor(others) == [{}, {}, {}]


def test_saving_and_loading(tmp_path: Path) -> None:
    model = tiny_model(HEADS)
    sequences = {"reward": torch.tensor([[0, 2], [1, -1]])}
    inputs = tiny_inputs(rows=3)
    logits = model(**inputs, sequences=sequences)["reward_logits"]
    assert logits.shape == (2, 2)
    model.save_pretrained(tmp_path)
    loaded = MultiTaskModel.from_pretrained(tmp_path)
    assert loaded.heads["reward"].config == model.heads["reward"].config
    assert torch.equal(loaded(**inputs, sequences=sequences)["reward_logits"], logits)


def test_tasks_that_cannot_train_the_head() -> None:
    task = Task(dataset={"train": opinions()}, inputs={"text": "better"}, labels={"reward": None})
    config = tiny_model(HEADS).heads["reward"].config
    with pytest.raises(InputError, match="preference needs the inputs chosen, rejected, found text"):
        PreparedTasks({"opinions": task}, {"reward": config}, tiny_tokenizer()).prepare()
