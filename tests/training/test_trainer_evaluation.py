"""Evaluation and prediction: metrics by hand, order of rows, what runs and what is kept."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from datasets import Dataset
from seqeval.metrics import f1_score as entity_f1
from sklearn.metrics import f1_score
from torch.nn import functional
from transformers import TrainerCallback

from fixtures import SLOTS, tiny_tokenizer
from mt_transformers import MultiTaskModel, MultiTaskTrainer, Task
from mt_transformers.errors import InputError
from mt_transformers.heads.transitions import allowed_transitions, best_valid_sequence

Models = Callable[..., MultiTaskModel]
Trainers = Callable[..., MultiTaskTrainer]
AllKinds = tuple[dict[str, Task], dict[str, dict[str, Any]]]

SPEED = {"runtime", "samples_per_second", "steps_per_second"}


def row_logits(model: MultiTaskModel, text: str | list[str]) -> dict[str, torch.Tensor]:
    """Each head's logits for one row, from a plain forward of it alone."""
    encoding = tiny_tokenizer()([text], is_split_into_words=isinstance(text, list), return_tensors="pt")
    with torch.no_grad():
        outputs = model(**encoding)
    return {name: outputs[f"{name}_logits"][0] for name in model.heads}


def without_speed(metrics: dict[str, float]) -> dict[str, float]:
    return {key: value for key, value in metrics.items() if key != "epoch" and not key.endswith(tuple(SPEED))}


def classified(logits: list[torch.Tensor], labels: list[int]) -> tuple[float, float, float]:
    """Accuracy, macro F1 and mean loss of single labels."""
    found = [int(each.argmax()) for each in logits]
    accuracy = float(np.mean([each == label for each, label in zip(found, labels, strict=True)]))
    macro = float(f1_score(labels, found, average="macro"))
    return accuracy, macro, float(functional.cross_entropy(torch.stack(logits), torch.tensor(labels)))


def tagged(logits: list[torch.Tensor], labels: list[list[int]]) -> tuple[float, float, float]:
    """Entity F1, accuracy and mean loss of word labels, each word being one token behind [CLS]."""
    losses, found, wanted = [], [], []
    for each, row_labels in zip(logits, labels, strict=True):
        words = each[1 : 1 + len(row_labels)]
        losses.append(functional.cross_entropy(words, torch.tensor(row_labels), reduction="none"))
        mask = torch.ones(1, len(words), dtype=torch.bool)
        best = best_valid_sequence(words[None], mask, allowed_transitions(tuple(SLOTS), "bio"))[0].tolist()
        found.append([SLOTS[label] for label in best])
        wanted.append([SLOTS[label] for label in row_labels])
    pairs = [pair for rows in zip(found, wanted, strict=True) for pair in zip(*rows, strict=True)]
    accuracy = float(np.mean([one == other for one, other in pairs]))
    return float(entity_f1(wanted, found)), accuracy, float(torch.cat(losses).mean())


def by_hand(model: MultiTaskModel, tasks: dict[str, Task], prefix: str, split: str) -> dict[str, float]:
    """All metrics of `two_tasks`, from plain forwards row by row."""
    requests, moods = tasks["requests"].dataset[split], tasks["moods"].dataset[split]
    outputs = [row_logits(model, tokens) for tokens in requests["tokens"]]
    accuracy, macro, intent_loss = classified([each["intent"] for each in outputs], requests["intent"])
    entities, tag_accuracy, slots_loss = tagged([each["slots"] for each in outputs], requests["slots"])
    outputs = [row_logits(model, text) for text in moods["text"]]
    mood_accuracy, mood_macro, mood_loss = classified([each["mood"] for each in outputs], moods["label"])
    weights = {"intent": 1.0, "slots": 1.0, "mood": 1.0} | model.config.loss_weights
    requests_loss = weights["intent"] * intent_loss + weights["slots"] * slots_loss
    return {
        f"{prefix}_requests_intent_accuracy": accuracy,
        f"{prefix}_requests_intent_f1_macro": macro,
        f"{prefix}_requests_slots_entity_f1": entities,
        f"{prefix}_requests_slots_accuracy": tag_accuracy,
        f"{prefix}_requests_loss": requests_loss,
        f"{prefix}_requests_score": (accuracy + entities) / 2,
        f"{prefix}_moods_mood_accuracy": mood_accuracy,
        f"{prefix}_moods_mood_f1_macro": mood_macro,
        f"{prefix}_moods_loss": weights["mood"] * mood_loss,
        f"{prefix}_moods_score": mood_accuracy,
        f"{prefix}_loss": requests_loss + weights["mood"] * mood_loss,
        f"{prefix}_score": (accuracy + entities + mood_accuracy) / 3,
    }


def learned(model: MultiTaskModel, tasks: dict[str, Task], make_trainer: Trainers, **given: Any) -> MultiTaskTrainer:
    """A trainer whose model has learned some of the tasks, and none of them well."""
    trainer = make_trainer(
        model, tasks, max_steps=12, learning_rate=5e-3, logging_strategy="no", per_device_eval_batch_size=3, **given
    )
    trainer.train()
    model.eval()
    return trainer


@pytest.mark.parametrize(("split", "prefix"), [("validation", "eval"), ("test", "final")])
def test_metrics_equal_those_by_hand(
    two_tasks: dict[str, Task], quiet_model: Models, make_trainer: Trainers, split: str, prefix: str
) -> None:
    model = quiet_model(loss_weights={"slots": 0.5, "mood": 2.0})
    trainer = learned(model, two_tasks, make_trainer)
    metrics = trainer.evaluate(split=split, metric_key_prefix=prefix)
    expected = by_hand(model, two_tasks, prefix, split)
    extra = {f"{prefix}_requests_slots_entity_precision", f"{prefix}_requests_slots_entity_recall"}
    assert set(without_speed(metrics)) == set(expected) | extra
    assert {key: metrics[key] for key in expected} == pytest.approx(expected, rel=1e-5)
    # neither all right nor all wrong, or the comparison would say little
    assert 0.3 < expected[f"{prefix}_score"] < 1
    assert {f"{prefix}_{name}" for name in SPEED} <= set(metrics)


def test_each_row_passes_the_backbone_once(
    two_tasks: dict[str, Task], quiet_model: Models, make_trainer: Trainers
) -> None:
    model = quiet_model()
    trainer = make_trainer(model, two_tasks, per_device_eval_batch_size=3)
    sizes: list[int] = []
    model.backbone.register_forward_hook(lambda _, __, output: sizes.append(len(output["encoded_text"])))
    trainer.evaluate()
    # 8 rows with two heads, and 4 rows with one
    assert sizes == [3, 3, 2, 3, 1]


def test_evaluation_keeps_only_what_metrics_need(
    two_tasks: dict[str, Task], quiet_model: Models, make_trainer: Trainers, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept: list[Any] = []
    step = MultiTaskTrainer.prediction_step

    def spying(self: MultiTaskTrainer, *args: Any, **kwargs: Any) -> Any:
        kept.append(step(self, *args, **kwargs))
        return kept[-1]

    monkeypatch.setattr(MultiTaskTrainer, "prediction_step", spying)
    trainer = make_trainer(quiet_model(), two_tasks, per_device_eval_batch_size=8)
    trainer.evaluate("requests")
    loss, outputs, labels = kept.pop()
    assert loss is None
    assert {head: {key: tuple(value.shape) for key, value in each.items()} for head, each in outputs.items()} == {
        "intent": {"predictions": (8,), "row_losses": (8,), "items": (8,)},
        "slots": {"predictions": (8, 6), "row_losses": (8,), "items": (8,)},
    }
    assert set(labels) == {"intent", "slots"}
    trainer.predict("requests")
    assert kept.pop()[1]["slots"]["logits"].shape == (8, 7, 5)
    trainer.evaluate("requests")
    assert "logits" not in kept.pop()[1]["slots"]


# which tasks are evaluated


def test_all_tasks_some_or_given_rows(two_tasks: dict[str, Task], quiet_model: Models, make_trainer: Trainers) -> None:
    model = quiet_model()
    trainer = make_trainer(model, two_tasks)
    everything = without_speed(trainer.evaluate())
    assert {key.split("_")[1] for key in everything} == {"requests", "moods", "loss", "score"}
    moods = without_speed(trainer.evaluate("moods"))
    assert moods == pytest.approx(
        {
            **{key: value for key, value in everything.items() if key.startswith("eval_moods_")},
            "eval_loss": everything["eval_moods_loss"],
            "eval_score": everything["eval_moods_mood_accuracy"],
        }
    )
    assert without_speed(trainer.evaluate(["moods"])) == moods
    assert without_speed(trainer.evaluate(["moods", "requests"])) == pytest.approx(everything)
    given = {"moods": two_tasks["moods"].dataset["validation"]}
    assert without_speed(trainer.evaluate(given)) == moods
    other = without_speed(trainer.evaluate({"moods": two_tasks["moods"].dataset["test"]}))
    assert other == without_speed(trainer.evaluate("moods", split="test"))
    assert other["eval_loss"] != moods["eval_loss"]


def test_unknown_tasks_and_splits_are_refused(
    two_tasks: dict[str, Task], quiet_model: Models, make_trainer: Trainers
) -> None:
    moods = two_tasks["moods"]
    two_tasks["moods"] = Task(dataset={"train": moods.dataset["train"]}, inputs=moods.inputs, labels=moods.labels)
    trainer = make_trainer(quiet_model(), two_tasks)
    rows = moods.dataset["test"]
    for chosen in ("mods", ["requests", "mods"], {"mods": rows}):
        with pytest.raises(InputError, match="evaluation: unknown task 'mods', did you mean 'moods'"):
            trainer.evaluate(chosen)
        with pytest.raises(InputError, match="unknown task 'mods'"):
            trainer.predict(chosen)
    with pytest.raises(InputError, match=r"no split 'validation' in task\(s\) moods"):
        trainer.evaluate("moods")
    with pytest.raises(InputError, match=r"no split 'validation' in task\(s\) moods"):
        trainer.evaluate(["requests", "moods"])
    # by default the tasks that have the split
    assert not [key for key in trainer.evaluate() if "moods" in key]
    with pytest.raises(InputError, match=r"no split 'validation' in task\(s\) moods"):
        make_trainer(quiet_model(), {"moods": two_tasks["moods"]}).evaluate()


def test_given_rows_must_have_the_tasks_columns(
    two_tasks: dict[str, Task], quiet_model: Models, make_trainer: Trainers
) -> None:
    trainer = make_trainer(quiet_model(), two_tasks)
    rows = two_tasks["moods"].dataset["test"].rename_column("text", "sentence")
    with pytest.raises(InputError, match=r"task 'moods'.* unknown column 'text'.* Known: label, sentence"):
        trainer.evaluate({"moods": rows})


def test_the_evaluation_is_logged_and_told_to_callbacks(
    two_tasks: dict[str, Task], quiet_model: Models, make_trainer: Trainers
) -> None:
    told: dict[str, Any] = {}

    class Listening(TrainerCallback):
        def on_evaluate(self, *_: Any, metrics: Any, **__: Any) -> None:
            told["evaluated"] = metrics

        def on_predict(self, *args: Any, **kwargs: Any) -> None:
            told["predicted"] = kwargs.get("metrics", args[-1])

    trainer = make_trainer(quiet_model(), two_tasks, callbacks=[Listening()])
    metrics = trainer.evaluate()
    assert told["evaluated"] == metrics
    assert trainer.state.log_history[-1]["eval_score"] == metrics["eval_score"]
    answers = trainer.predict("moods")
    assert told["predicted"] == answers["moods"].metrics


# prediction


def test_predictions_are_logits_in_the_order_of_the_rows(
    two_tasks: dict[str, Task], quiet_model: Models, make_trainer: Trainers
) -> None:
    model = quiet_model()
    trainer = learned(model, two_tasks, make_trainer)
    answers = trainer.predict()
    assert set(answers) == {"requests", "moods"}
    requests, moods = (two_tasks[name].dataset["test"] for name in ("requests", "moods"))
    assert set(answers["requests"].predictions) == {"intent", "slots"}
    assert answers["moods"].predictions["mood"].shape == (4, 2)
    # rows of 5 and 4 words take turns, while batches go by length
    assert [len(tokens) for tokens in requests["tokens"]] != sorted(map(len, requests["tokens"]), reverse=True)
    for row, tokens in enumerate(requests["tokens"]):
        alone = row_logits(model, tokens)
        assert answers["requests"].predictions["intent"][row] == pytest.approx(alone["intent"].numpy(), abs=1e-5)
        slots = answers["requests"].predictions["slots"][row][: len(alone["slots"])]
        assert slots == pytest.approx(alone["slots"].numpy(), abs=1e-5)
        labels = answers["requests"].label_ids["slots"][row]
        assert labels[labels != -100].tolist() == requests["slots"][row]
    for row, text in enumerate(moods["text"]):
        assert answers["moods"].predictions["mood"][row] == pytest.approx(row_logits(model, text)["mood"], abs=1e-5)
    assert answers["requests"].label_ids["intent"].tolist() == requests["intent"]


def test_metrics_of_predictions_equal_those_of_the_evaluation(
    two_tasks: dict[str, Task], quiet_model: Models, make_trainer: Trainers
) -> None:
    trainer = make_trainer(quiet_model(), two_tasks)
    evaluated = without_speed(trainer.evaluate("moods", split="test", metric_key_prefix="test"))
    assert without_speed(trainer.predict("moods")["moods"].metrics) == evaluated
    given = {"moods": two_tasks["moods"].dataset["test"]}
    assert without_speed(trainer.predict(given)["moods"].metrics) == evaluated


def relabelled(rows: Dataset, column: str, keep: Callable[[int], bool]) -> Dataset:
    """The rows, those without a label that are not to keep theirs."""
    changed = [{**row, column: row[column] if keep(index) else None} for index, row in enumerate(rows.to_list())]
    return Dataset.from_list(changed, features=rows.features)


def test_rows_without_labels_are_predicted(
    two_tasks: dict[str, Task], quiet_model: Models, make_trainer: Trainers
) -> None:
    model = quiet_model()
    trainer = learned(model, two_tasks, make_trainer)
    rows = relabelled(two_tasks["moods"].dataset["test"], "label", lambda _: False)
    answer = trainer.predict({"moods": rows})["moods"]
    alone = np.stack([row_logits(model, text)["mood"].numpy() for text in rows["text"]])
    assert answer.predictions["mood"] == pytest.approx(alone, abs=1e-5)
    assert without_speed(answer.metrics) == {}


@pytest.mark.parametrize("column", ["intent", "slots"])
def test_one_head_without_labels_is_predicted_all_the_same(
    two_tasks: dict[str, Task], quiet_model: Models, make_trainer: Trainers, column: str
) -> None:
    model = quiet_model()
    trainer = learned(model, two_tasks, make_trainer)
    rows = relabelled(two_tasks["requests"].dataset["test"], column, lambda _: False)
    answer = trainer.predict({"requests": rows})["requests"]
    for row, tokens in enumerate(rows["tokens"]):
        for head, alone in row_logits(model, tokens).items():
            if head != "mood":
                found = answer.predictions[head][row]
                assert (found[: len(alone)] if head == "slots" else found) == pytest.approx(alone.numpy(), abs=1e-5)
    assert answer.metrics is not None
    assert not [key for key in answer.metrics if f"_{column}_" in key]
    other = "slots" if column == "intent" else "intent"
    assert f"test_requests_{other}_accuracy" in answer.metrics


@pytest.mark.parametrize("labelled", [0, 3, 7])
@pytest.mark.parametrize("column", ["intent", "slots"])
def test_batches_without_a_label_of_a_head_leave_the_metrics_right(
    two_tasks: dict[str, Task], quiet_model: Models, make_trainer: Trainers, column: str, labelled: int
) -> None:
    """One row of eight has a label, wherever the batches of two put it: all rows go to the head, one is scored."""
    model = quiet_model()
    trainer = make_trainer(model, two_tasks, per_device_eval_batch_size=2)
    rows = relabelled(two_tasks["requests"].dataset["validation"], column, lambda index: index == labelled)
    metrics = trainer.evaluate({"requests": rows})
    logits = row_logits(model, rows["tokens"][labelled])[column]
    label = rows[column][labelled]
    if column == "intent":
        assert metrics["eval_requests_intent_accuracy"] == float(logits.argmax() == label)
        expected, other = float(functional.cross_entropy(logits, torch.tensor(label))), "slots"
    else:
        entities, accuracy, expected = tagged([logits], [label])
        assert metrics["eval_requests_slots_accuracy"] == pytest.approx(accuracy)
        assert metrics["eval_requests_slots_entity_f1"] == pytest.approx(entities)
        other = "intent"
    # the other head is scored on all rows, whatever this one has
    name = f"eval_requests_{other}_accuracy"
    assert metrics[name] == trainer.evaluate("requests")[name]
    assert metrics["eval_requests_loss"] == pytest.approx(expected + by_hand_loss(model, two_tasks, other), rel=1e-5)
    assert len(trainer.predict({"requests": rows})["requests"].predictions[column]) == 8


def by_hand_loss(model: MultiTaskModel, tasks: dict[str, Task], head: str) -> float:
    """Mean loss of a head over the validation rows of `requests`."""
    rows = tasks["requests"].dataset["validation"]
    logits = [row_logits(model, tokens)[head] for tokens in rows["tokens"]]
    return (classified(logits, rows["intent"]) if head == "intent" else tagged(logits, rows["slots"]))[2]


def test_a_head_without_a_labelled_row_cannot_be_evaluated(
    two_tasks: dict[str, Task], quiet_model: Models, make_trainer: Trainers
) -> None:
    trainer = make_trainer(quiet_model(), two_tasks)
    rows = relabelled(two_tasks["moods"].dataset["test"], "label", lambda _: False)
    with pytest.raises(InputError, match="task 'moods', head 'mood': no labelled row"):
        trainer.evaluate({"moods": rows})
    rows = relabelled(two_tasks["requests"].dataset["test"], "slots", lambda _: False)
    with pytest.raises(InputError, match="task 'requests', head 'slots': no labelled row"):
        trainer.evaluate({"requests": rows})


def test_all_kinds_of_heads_are_evaluated_with_labels_missing(
    all_kinds: AllKinds, quiet_model: Models, make_trainer: Trainers
) -> None:
    """The head `single` is fed by two tasks, and counts once in the score."""
    tasks, heads = all_kinds
    trainer = make_trainer(quiet_model(heads=heads), tasks, per_device_eval_batch_size=16)
    whole = without_speed(trainer.evaluate())
    singles = [whole["eval_labelled_single_accuracy"], whole["eval_extra_single_accuracy"]]
    primary = [
        float(np.mean(singles)),
        whole["eval_labelled_several_f1_macro"],
        whole["eval_labelled_tags_entity_f1"],
        whole[f"eval_labelled_score_{trainer.head_configs['score'].metric_names[0]}"]
        * trainer.head_configs["score"].score_sign,
    ]
    assert whole["eval_score"] == pytest.approx(float(np.mean(primary)))
    trainer.args.per_device_eval_batch_size = 2
    assert without_speed(trainer.evaluate()) == pytest.approx(whole, rel=1e-5)
