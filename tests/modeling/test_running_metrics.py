"""Metrics of a model that keeps what it answered: over all rows, whatever batches they came in."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scipy.stats import spearmanr
from sklearn.metrics import f1_score
from torch import nn

from fixtures import HEADS, INTENTS, MOODS, SLOTS, tiny_bert_config, tiny_inputs, tiny_model, tiny_tokenizer, two_tasks
from mt_transformers import Mixture, MultiTaskModel, MultiTaskTrainer, MultiTaskTrainingArguments
from mt_transformers.errors import InputError

NAN = float("nan")
TAGS = {"tags": {"head_type": "token_classification", "id2label": ["x", "y", "z"]}}
TOPICS = {
    "topics": {
        "head_type": "sequence_classification",
        "id2label": ["a", "b", "c"],
        "problem_type": "multi_label_classification",
    }
}
PAIR = {"pair": {"head_type": "regression", "num_targets": 2, "mean": [0.0, 1.0], "std": [1.0, 2.0]}}
UNEQUAL = ([0], [1, 2, 3, 4, 5])
"""Six rows in two batches."""


def tracking_model(heads: dict[str, Any]) -> MultiTaskModel:
    """A tiny model in float64 that answers variedly and keeps what metrics need."""
    model = tiny_model(heads).double()
    for name, parameter in model.heads.named_parameters():
        if name.endswith("weight"):
            nn.init.normal_(parameter, std=2.0)
    model.track_metrics = True
    return model


def feed(model: MultiTaskModel, labels: dict[str, torch.Tensor], batches: Sequence[Sequence[int]]) -> None:
    """Call the model with the rows of each batch of `tiny_inputs(6)`, cut to the longest of them."""
    inputs = tiny_inputs(6)
    for batch in map(list, batches):
        length = int(inputs["attention_mask"][batch].sum(1).max())
        cut = {
            name: value[batch][:, :length] if value.dim() > 1 and value.shape[1] == 6 else value[batch]
            for name, value in {**inputs, **labels}.items()
        }
        model(
            input_ids=cut["input_ids"],
            attention_mask=cut["attention_mask"],
            labels={name: cut[name] for name in labels},
        )


def metrics_of(model: MultiTaskModel, labels: dict[str, torch.Tensor], *batches: Sequence[int]) -> dict[str, float]:
    """The metrics over these batches, and nothing kept."""
    feed(model, labels, batches)
    return model.get_metrics(reset=True)


def check_unequal_batches(model: MultiTaskModel, labels: dict[str, torch.Tensor], metric: str) -> dict[str, float]:
    """Metrics over unequal batches are those over all rows at once, which no mean of the batches' gives."""
    whole = metrics_of(model, labels, range(6))
    found = metrics_of(model, labels, *UNEQUAL)
    assert found == pytest.approx(whole, rel=1e-9)
    parts = [metrics_of(model, labels, batch)[metric] for batch in UNEQUAL]
    assert abs(sum(parts) / 2 - found[metric]) > 1e-3
    return found


# ------------------------------------------------------------------------------------------------------------------
# switching on and off


def test_off_by_default() -> None:
    model = tiny_model()
    assert model.track_metrics is False
    feed(model, {"intent": torch.zeros(6, dtype=torch.long)}, [range(6)])
    with pytest.raises(InputError, match=r"get_metrics: set model\.track_metrics = True"):
        model.get_metrics()


def test_before_any_row_there_is_nothing_to_score() -> None:
    model = tracking_model(HEADS)
    assert model.get_metrics() == {}
    model(**tiny_inputs())
    # nor without labels
    assert model.get_metrics() == {}


def test_switching_on_twice_keeps_and_switching_off_forgets() -> None:
    model = tracking_model(HEADS)
    feed(model, {"intent": torch.zeros(6, dtype=torch.long)}, [range(6)])
    found = model.get_metrics()
    model.track_metrics = True
    assert model.get_metrics() == found != {}
    model.track_metrics = False
    with pytest.raises(InputError, match="track_metrics"):
        model.get_metrics()
    model.track_metrics = True
    assert model.get_metrics() == {}


def test_tracking_is_no_part_of_what_is_saved(tmp_path: Path) -> None:
    model = tracking_model(HEADS)
    keys = list(tiny_model().state_dict())
    feed(model, {"intent": torch.zeros(6, dtype=torch.long)}, [range(6)])
    assert list(model.state_dict()) == keys
    model.save_pretrained(tmp_path)
    assert not MultiTaskModel.from_pretrained(tmp_path).track_metrics


def test_reset() -> None:
    model = tracking_model({"intent": HEADS["intent"]})
    labels = model(**tiny_inputs(6))["intent_logits"].argmax(-1)
    wrong = (labels + 1) % 3
    feed(model, {"intent": labels}, [[0, 1]])
    assert model.get_metrics()["intent_accuracy"] == 1.0
    # asking does not reset
    feed(model, {"intent": wrong}, [[2, 3]])
    assert model.get_metrics(reset=True)["intent_accuracy"] == 0.5
    assert model.get_metrics() == {}
    feed(model, {"intent": wrong}, [[0, 1]])
    assert model.get_metrics()["intent_accuracy"] == 0.0


# ------------------------------------------------------------------------------------------------------------------
# each kind of label


def test_one_label_a_row() -> None:
    model = tracking_model({"intent": HEADS["intent"]})
    predicted = model(**tiny_inputs(6))["intent_logits"].argmax(-1)
    assert len(predicted.unique()) > 1
    labels = torch.where(torch.tensor([True, False, True, False, True, False]), predicted, (predicted + 1) % 3)
    found = check_unequal_batches(model, {"intent": labels}, "intent_accuracy")
    # 1 of 1 and 2 of 5
    assert found["intent_accuracy"] == 0.5
    expected = f1_score(labels.numpy(), predicted.numpy(), average="macro", zero_division=0)
    assert found == {"intent_accuracy": 0.5, "intent_f1_macro": pytest.approx(expected, rel=1e-12)}


def test_several_labels_a_row() -> None:
    model = tracking_model(TOPICS)
    predicted = (model(**tiny_inputs(6))["topics_logits"] > 0).double()
    labels = predicted.clone()
    labels[1:4, 0] = 1 - labels[1:4, 0]
    labels[4:, 1] = 1 - labels[4:, 1]
    found = check_unequal_batches(model, {"topics": labels}, "topics_f1_micro")
    hits = (predicted * labels).sum(0)
    wrong = (predicted != labels).sum(0)
    assert found["topics_f1_micro"] == pytest.approx(float(2 * hits.sum() / (2 * hits.sum() + wrong.sum())), rel=1e-12)
    macro = torch.where(hits + wrong > 0, 2 * hits / (2 * hits + wrong), 0.0).mean()
    assert found["topics_f1_macro"] == pytest.approx(macro.item(), rel=1e-12)


def test_numbers() -> None:
    model = tracking_model({"stars": HEADS["stars"]})
    predicted = model(**tiny_inputs(6))["stars_logits"][:, 0].detach().numpy()
    labels = np.array([1.0, 5.0, 2.0, 4.0, 3.0, 3.5])
    found = check_unequal_batches(model, {"stars": torch.from_numpy(labels).unsqueeze(1)}, "stars_mse")
    assert found == {
        "stars_pearson": pytest.approx(np.corrcoef(predicted, labels)[0, 1], rel=1e-9),
        "stars_spearman": pytest.approx(spearmanr(predicted, labels).statistic, rel=1e-9),
        "stars_mse": pytest.approx(np.mean((predicted - labels) ** 2), rel=1e-9),
    }


def test_several_numbers_a_row_of_which_some_are_missing() -> None:
    model = tracking_model(PAIR)
    predicted = model(**tiny_inputs(6))["pair_logits"].detach()
    labels = torch.tensor(
        [[1.0, NAN], [NAN, 2.0], [NAN, NAN], [3.0, 1.0], [2.0, 0.0], [0.0, 5.0]], dtype=torch.float64
    )
    found = check_unequal_batches(model, {"pair": labels}, "pair_mse")
    assert found["pair_mse"] == pytest.approx((predicted - labels).square().nanmean(0).mean().item(), rel=1e-9)


def test_numbers_whose_labels_come_in_both_shapes() -> None:
    """A head of one target takes labels of shape (rows,) and (rows, 1), also one after the other."""
    model = tracking_model({"stars": HEADS["stars"]})
    labels = torch.tensor([1.0, 5.0, 2.0, 4.0, 3.0, 3.5], dtype=torch.float64)
    whole = metrics_of(model, {"stars": labels}, range(6))
    feed(model, {"stars": labels}, [range(2)])
    feed(model, {"stars": labels.unsqueeze(1)}, [range(2, 6)])
    assert model.get_metrics() == pytest.approx(whole, rel=1e-9)


def test_labels_in_16_bits() -> None:
    model = tiny_model({"stars": HEADS["stars"]})
    model.track_metrics = True
    labels = torch.tensor([1.0, 5.0, 2.0, 4.0])
    predicted = model(**tiny_inputs(), labels={"stars": labels.bfloat16()})["stars_logits"][:, 0]
    expected = (predicted - labels).square().mean().item()
    assert model.get_metrics()["stars_mse"] == pytest.approx(expected, rel=1e-5)


def test_words_in_batches_of_other_lengths() -> None:
    model = tracking_model(TAGS)
    inputs = tiny_inputs(6)
    predicted = model(**inputs)["tags_logits"].argmax(-1)
    labels = torch.where(inputs["attention_mask"].bool(), predicted, -100)
    # rows 2 and 5 have 4 tokens, all others have more: 8 tokens, of which 4 are right, and 22, which all are
    labels[2], labels[5] = (labels[2] + 1) % 3, labels[5]
    labels[2, 4:] = -100
    short, long = [2, 5], [0, 1, 3, 4]
    whole = metrics_of(model, {"tags": labels}, range(6))
    assert whole["tags_accuracy"] == 26 / 30
    assert metrics_of(model, {"tags": labels}, short, long) == pytest.approx(whole, rel=1e-12)
    assert metrics_of(model, {"tags": labels}, long, short) == pytest.approx(whole, rel=1e-12)
    assert [metrics_of(model, {"tags": labels}, batch)["tags_accuracy"] for batch in (short, long)] == [0.5, 1.0]


def test_entities_in_batches_of_other_lengths() -> None:
    model = tracking_model({"slots": HEADS["slots"]})
    # every word is a singer
    nn.init.zeros_(model.heads["slots"].classifier.weight)
    with torch.no_grad():
        model.heads["slots"].classifier.bias.copy_(torch.tensor([0.0, 5.0, 0.0, 0.0, 0.0]))
    labels = torch.full((6, 6), -100)
    labels[2, 1:3] = SLOTS.index("B-singer")
    labels[0, 2:6] = torch.tensor([SLOTS.index("B-singer"), 0, 0, 0])
    batches = ([2], [0])
    assert [metrics_of(model, {"slots": labels}, batch)["slots_entity_f1"] for batch in batches] == [
        1.0,
        pytest.approx(0.4),
    ]
    found = metrics_of(model, {"slots": labels}, *batches)
    # 6 found, 3 of them right, none missed
    assert found["slots_entity_f1"] == pytest.approx(2 / 3)
    assert found["slots_accuracy"] == 0.5
    assert found == pytest.approx(metrics_of(model, {"slots": labels}, [0, 2]))


# ------------------------------------------------------------------------------------------------------------------
# which heads and rows


def test_only_heads_that_ran_are_scored() -> None:
    model = tracking_model(HEADS)
    feed(model, {"intent": torch.zeros(6, dtype=torch.long)}, [range(6)])
    assert set(model.get_metrics()) == {"intent_accuracy", "intent_f1_macro"}
    # a head without labels does not run
    feed(model, {"intent": torch.full((6,), -100), "stars": torch.ones(6, 1)}, [range(6)])
    assert set(model.get_metrics()) == {
        "intent_accuracy",
        "intent_f1_macro",
        "stars_pearson",
        "stars_spearman",
        "stars_mse",
    }


def test_heads_that_ran_in_other_batches_are_scored_together() -> None:
    model = tracking_model(HEADS)
    predicted = model(**tiny_inputs(6))["intent_logits"].argmax(-1)
    feed(model, {"intent": predicted}, [[0, 1]])
    feed(model, {"stars": torch.ones(6, 1, dtype=torch.float64)}, [[2, 3]])
    feed(model, {"intent": (predicted + 1) % 3}, [[4]])
    assert model.get_metrics()["intent_accuracy"] == 2 / 3


def test_a_head_that_ran_without_labels_is_not_scored() -> None:
    model = tracking_model(HEADS)
    output = model(
        **tiny_inputs(2), labels={"intent": torch.tensor([0, 1])}, task=["intent", "stars"], heads=["intent", "stars"]
    )
    assert "stars_logits" in output
    assert set(model.get_metrics()) == {"intent_accuracy", "intent_f1_macro"}


def test_a_head_whose_metrics_need_more_than_labels_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    model, labels = tiny_model(), {"intent": torch.tensor([0, 1, 2, 0]), "stars": torch.tensor([1.0, 2.0, 3.0, 4.0])}
    model.track_metrics = True
    model(**tiny_inputs(), labels=labels)
    assert {"intent_accuracy", "stars_mse"} <= set(model.get_metrics())
    monkeypatch.setattr(type(model.heads["stars"].config), "needs_gold", True)
    assert set(model.get_metrics()) == {"intent_accuracy", "intent_f1_macro"}


def test_rows_of_another_task_are_not_counted() -> None:
    """AllenNLP's batches have labels of every task for every row; the task says whose they are."""
    model = tracking_model(HEADS)
    predicted = model(**tiny_inputs(4))["intent_logits"].argmax(-1)
    labels = torch.stack([predicted[0], (predicted[1] + 1) % 3, predicted[2], (predicted[3] + 1) % 3])
    model(**tiny_inputs(4), labels={"intent": labels}, task=["intent", "stars", "intent", "slots"])
    assert model.get_metrics()["intent_accuracy"] == 1.0


@pytest.mark.parametrize("as_tensor", [False, True])
def test_rows_with_ignored_labels_are_not_counted(as_tensor: bool) -> None:
    model = tracking_model({"intent": HEADS["intent"]})
    predicted = model(**tiny_inputs(4))["intent_logits"].argmax(-1)
    labels = torch.stack([predicted[0], torch.tensor(-100), (predicted[2] + 1) % 3, torch.tensor(-100)])
    model(**tiny_inputs(4), labels=labels if as_tensor else {"intent": labels})
    assert model.get_metrics()["intent_accuracy"] == 0.5
    # nothing but ignored labels changes nothing
    ignored = torch.full((4,), -100)
    model(**tiny_inputs(4), labels=ignored if as_tensor else {"intent": ignored})
    assert model.get_metrics(reset=True)["intent_accuracy"] == 0.5
    model(**tiny_inputs(4), labels=ignored if as_tensor else {"intent": ignored})
    assert model.get_metrics() == {}


def test_rows_without_a_number_are_not_counted() -> None:
    model = tracking_model({"stars": HEADS["stars"]})
    labels = torch.tensor([[1.0], [NAN], [4.0], [NAN], [2.0], [NAN]], dtype=torch.float64)
    kept = metrics_of(model, {"stars": labels}, [0, 2, 4])
    assert metrics_of(model, {"stars": labels}, [0, 1], [2, 3, 4, 5]) == pytest.approx(kept, rel=1e-9)


# ------------------------------------------------------------------------------------------------------------------
# training


class _Saved:
    """What autograd saved for a backward pass, such that its end can be seen."""

    def __init__(self, tensor: torch.Tensor) -> None:
        self.tensor = tensor


def test_no_graph_is_kept() -> None:
    model = tracking_model(HEADS).train()
    saved: list[weakref.ref[_Saved]] = []

    def pack(tensor: torch.Tensor) -> _Saved:
        # detached, or the graph would hold itself
        packed = _Saved(tensor.detach())
        saved.append(weakref.ref(packed))
        return packed

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda packed: packed.tensor):
        output = model(
            **tiny_inputs(2), labels={"intent": torch.tensor([0, 1]), "stars": torch.tensor([1.0, 2.0]).unsqueeze(1)}
        )
    assert len(saved) > 10
    assert any(packed() is not None for packed in saved)
    del output
    gc.collect()
    assert all(packed() is None for packed in saved)
    assert model.get_metrics()["stars_mse"] > 0


def test_a_training_step_is_the_same_with_tracking() -> None:
    labels = {"intent": torch.tensor([2, 0, -100, 1]), "stars": torch.tensor([[1.0], [NAN], [4.0], [5.0]])}
    weights = []
    for track in (False, True):
        torch.manual_seed(0)
        model = tiny_model().train()
        model.track_metrics = track
        optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
        for _ in range(2):
            model(**tiny_inputs(), labels=labels)["loss"].backward()
            optimizer.step()
            optimizer.zero_grad()
        weights.append(model.state_dict())
    assert all(torch.equal(value, weights[1][name]) for name, value in weights[0].items())
    assert model.get_metrics()["intent_accuracy"] in {number / 6 for number in range(7)}


def test_answers_are_those_of_the_time_they_were_given() -> None:
    model = tracking_model({"intent": HEADS["intent"]})
    labels = model(**tiny_inputs())["intent_logits"].argmax(-1)
    model(**tiny_inputs(), labels={"intent": labels})
    nn.init.zeros_(model.heads["intent"].classifier.weight)
    with torch.no_grad():
        model.heads["intent"].classifier.bias.copy_(torch.tensor([5.0, 0.0, 0.0]))
    model(**tiny_inputs(), labels={"intent": torch.full((4,), 1)})
    assert model.get_metrics()["intent_accuracy"] == 0.5


def test_under_the_trainer(tmp_path: Path) -> None:
    heads = {
        "intent": {"head_type": "sequence_classification", "id2label": INTENTS},
        "slots": {"head_type": "token_classification", "id2label": SLOTS},
        "mood": {"head_type": "sequence_classification", "id2label": MOODS},
    }
    model = tiny_model(heads, tiny_bert_config())
    model.track_metrics = True
    args = MultiTaskTrainingArguments(
        output_dir=str(tmp_path),
        num_train_epochs=1,
        per_device_train_batch_size=5,
        save_strategy="no",
        report_to=[],
        disable_tqdm=True,
        use_cpu=True,
    )
    trainer = MultiTaskTrainer(model, args, two_tasks(), Mixture(), tiny_tokenizer())
    trainer.train()
    names = {"intent_accuracy", "intent_f1_macro", "slots_accuracy", "mood_accuracy", "mood_f1_macro"}
    assert names <= set(model.get_metrics(reset=True))
    # an evaluation is kept, too: the model's own metrics are then the trainer's
    evaluated = trainer.evaluate()
    found = model.get_metrics()
    assert found["slots_entity_f1"] == pytest.approx(evaluated["eval_requests_slots_entity_f1"])
    for name in names:
        task = "moods" if name.startswith("mood") else "requests"
        assert found[name] == pytest.approx(evaluated[f"eval_{task}_{name}"]), name
