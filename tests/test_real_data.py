"""Real data sets in several combinations, on tiny backbones with random weights."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from datasets import ClassLabel, Dataset, Features, Value, load_dataset
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import PreTrainedTokenizerFast

from fixtures import SPECIAL_TOKENS, tiny_bert_config, tiny_model
from mt_transformers import Mixture, MultiTaskModel, MultiTaskTrainer, MultiTaskTrainingArguments, Task
from mt_transformers.data import plan_mixture
from mt_transformers.data.schedule import ORDERS
from mt_transformers.data.shares import SAMPLINGS

SLICE = {"train": 24, "validation": 12}
LENGTH = 256
SAMPLING_OPTIONS: dict[str, dict[str, Any]] = {
    "temperature": {"temperature": 2.0},
    "capped": {"cap": 15},
    "smoothing": {"alpha": 0.5},
    "weighted": {"weights": {"wnut17": 1.0, "emotion": 2.0}},
    "dynamic": {"targets": {"wnut17": 0.5, "emotion": 0.8}},
}

Loader = Callable[..., dict[str, Dataset]]
Runner = Callable[..., MultiTaskTrainer]


@pytest.fixture
def load(data_folder: Path) -> Loader:
    """Loads the first rows of a data set: `load(name, train=..., validation=...)`."""

    def load_slices(name: str, **rows: int) -> dict[str, Dataset]:
        files = {split: str(data_folder / name / f"{split}.parquet") for split in SLICE}
        splits = load_dataset("parquet", data_files=files)
        return {split: splits[split].select(range(count)) for split, count in {**SLICE, **rows}.items()}

    return load_slices


def tokenizer_of(tasks: dict[str, Task]) -> PreTrainedTokenizerFast:
    """A word-level tokenizer that knows the words of the training rows."""
    words: dict[str, None] = {}
    for task in tasks.values():
        for value in task.dataset["train"][next(iter(task.inputs.values()))]:
            words.update(dict.fromkeys(value if isinstance(value, list) else value.split()))
    ids = {token: index for index, token in enumerate([*SPECIAL_TOKENS, *words])}
    tokenizer = Tokenizer(models.WordLevel(ids, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer.post_processor = processors.BertProcessing(("[SEP]", ids["[SEP]"]), ("[CLS]", ids["[CLS]"]))
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token="[PAD]",
        unk_token="[UNK]",
        cls_token="[CLS]",
        sep_token="[SEP]",
        model_max_length=LENGTH,
        model_input_names=["input_ids", "token_type_ids", "attention_mask"],
    )


@pytest.fixture
def make_run(tmp_path: Path) -> Runner:
    """Makes a trainer: `make_run(tasks, heads, mixture, **training arguments)`."""

    def make(
        tasks: dict[str, Task], heads: dict[str, Any], mixture: Mixture | None = None, **given: Any
    ) -> MultiTaskTrainer:
        tokenizer = tokenizer_of(tasks)
        bert = tiny_bert_config(
            vocab_size=len(tokenizer),
            max_position_embeddings=LENGTH,
            hidden_dropout_prob=0.0,
            attention_probs_dropout_prob=0.0,
        )
        args: dict[str, Any] = {
            "output_dir": str(tmp_path / "out"),
            "use_cpu": True,
            "report_to": [],
            "disable_tqdm": True,
            "save_strategy": "no",
            "per_device_train_batch_size": 4,
            "logging_steps": 1,
            **given,
        }
        return MultiTaskTrainer(
            tiny_model(heads, bert),
            MultiTaskTrainingArguments(**args),
            tasks=tasks,
            mixture=mixture,
            processing_class=tokenizer,
        )

    return make


def names_of(split: Dataset, column: str) -> list[str]:
    """Label names of a column, or of its lists' elements."""
    feature = split.features[column]
    return list((feature if isinstance(feature, ClassLabel) else feature.feature).names)


def classes(names: list[str], head_type: str = "sequence_classification") -> dict[str, Any]:
    return {"head_type": head_type, "id2label": names, "classifier_dropout": 0.0}


def train_lines(trainer: MultiTaskTrainer) -> list[dict[str, Any]]:
    return [line for line in trainer.state.log_history if "loss" in line]


# entities in tweets, and their emotion


@pytest.mark.parametrize("batches", ["mixed", "homogeneous"])
@pytest.mark.parametrize("order", list(ORDERS))
@pytest.mark.parametrize("sampling", SAMPLINGS)
def test_every_mixture_trains_as_planned(
    load: Loader, make_run: Runner, sampling: str, order: str, batches: Any
) -> None:
    wnut, emotion = load("wnut17"), load("tweeteval_emotion", train=12)
    tasks = {
        "wnut17": Task(dataset=wnut, inputs={"tokens": "tokens"}, labels={"entities": "ner_tags"}),
        "emotion": Task(dataset=emotion, inputs={"text": "text"}, labels={"emotion": "label"}),
    }
    heads = {
        "entities": classes(names_of(wnut["train"], "ner_tags"), "token_classification"),
        "emotion": classes(names_of(emotion["train"], "label")),
    }
    mixture = Mixture(sampling=sampling, order=order, batches=batches, **SAMPLING_OPTIONS.get(sampling, {}))
    trainer = make_run(tasks, heads, mixture, max_steps=4, learning_rate=1e-2)
    sizes = {"wnut17": 24, "emotion": 12}
    feeds = {name: list(task.labels) for name, task in tasks.items()}
    plan = plan_mixture(sizes, mixture, 4, feeds, num_epochs=1, seed=trainer.args.seed)
    loader = trainer.get_train_dataloader()
    found = [Counter("wnut17" if row < 24 else "emotion" for row in batch) for batch in loader.batch_sampler]
    assert plan.batches == len(loader) == len(found)
    for task in plan.tasks:
        assert task.rows_per_epoch == sum(batch[task.task_name] for batch in found)
        assert task.batches == sum(batch[task.task_name] > 0 for batch in found)
        assert task.rows == sizes[task.task_name]
    trainer.train()
    lines = train_lines(trainer)
    assert len(lines) == 4
    for line, batch in zip(lines, found, strict=False):
        assert math.isfinite(line["loss"])
        assert {name: line[f"share_{name}"] for name in sizes} == {
            name: pytest.approx(batch[name] / sum(batch.values())) for name in sizes
        }
        heads_run = {key.removeprefix("loss_") for key in line if key.startswith("loss_")}
        assert heads_run == {head for name in batch for head in feeds[name]}


# sentences whose words and genre are labelled, beside tweets


def test_one_task_feeds_two_heads(load: Loader, make_run: Runner) -> None:
    ewt, irony = load("ewt"), load("tweeteval_irony")
    tasks = {
        "ewt": Task(dataset=ewt, inputs={"tokens": "tokens"}, labels={"upos": "upos", "genre": "genre"}),
        "irony": Task(dataset=irony, inputs={"text": "text"}, labels={"irony": "label"}),
    }
    heads = {
        "upos": classes(names_of(ewt["train"], "upos"), "token_classification"),
        "genre": classes(names_of(ewt["train"], "genre")),
        "irony": classes(names_of(irony["train"], "label")),
    }
    trainer = make_run(tasks, heads, Mixture(order="sequential"), num_train_epochs=1, learning_rate=1e-3)
    batches = list(trainer.get_train_dataloader())
    assert len(batches) == 12
    words = 0
    for batch in batches[:6]:
        assert set(batch["labels"]) == {"upos", "genre"}
        assert batch["rows"]["upos"].tolist() == batch["rows"]["genre"].tolist() == [0, 1, 2, 3]
        # a word is a token
        assert ((batch["labels"]["upos"] != -100).sum(1) == batch["attention_mask"].sum(1) - 2).all()
        words += int((batch["labels"]["upos"] != -100).sum())
    assert words == sum(len(tokens) for tokens in ewt["train"]["tokens"])
    genres = [label for batch in batches[:6] for label in batch["labels"]["genre"].tolist()]
    assert Counter(genres) == Counter(ewt["train"]["genre"])
    assert all(set(batch["labels"]) == {"irony"} for batch in batches[6:])
    start = {name: value.detach().clone() for name, value in trainer.model.named_parameters()}
    trainer.train()
    for place, line in enumerate(train_lines(trainer)):
        run = {"loss_upos", "loss_genre"} if place < 6 else {"loss_irony"}
        assert {key for key in line if key.startswith("loss_")} == run
    unchanged = [name for name, value in trainer.model.named_parameters() if torch.equal(value, start[name])]
    assert unchanged == []
    metrics = trainer.evaluate()
    assert {"eval_ewt_upos_accuracy", "eval_ewt_genre_accuracy", "eval_irony_irony_accuracy"} <= set(metrics)
    assert all(math.isfinite(value) for value in metrics.values())


# sentences with two labels, one of which some of them lack


def gradients(model: MultiTaskModel, head: str, batch: dict[str, Any]) -> torch.Tensor:
    """The gradient of the whole batch's loss for one head's parameters."""
    model.zero_grad()
    model(**{key: value for key, value in batch.items() if key != "task_index"}).loss.backward()
    return torch.cat([value.grad.flatten() for value in model.heads[head].parameters()])


def test_rows_without_a_polarity_train_the_other_head_only(load: Loader, make_run: Runner) -> None:
    sst = load("sst")
    polarity = sst["train"]["polarity"][:]
    labelled = [row for row, label in enumerate(polarity) if label != -1]
    assert 0 < len(labelled) < len(polarity)
    task = Task(dataset=sst, inputs={"text": "text"}, labels={"label": "label", "polarity": "polarity"})
    heads = {head: classes(names_of(sst["train"], head)) for head in ("label", "polarity")}
    trainer = make_run({"sst": task}, heads)
    model = trainer.model.double().train()
    rows = trainer.splits["sst"]["train"]

    def batch_of(places: list[int]) -> dict[str, Any]:
        return trainer.data_collator([rows[place] for place in places])

    whole, part = batch_of(list(range(24))), batch_of(labelled)
    assert whole["rows"]["polarity"].tolist() == labelled
    assert whole["rows"]["label"].tolist() == list(range(24))
    assert whole["labels"]["polarity"].tolist() == [-100 if label == -1 else label for label in polarity]
    assert whole["labels"]["label"].tolist() == sst["train"]["label"][:]
    output = model(**whole)
    assert output["polarity_rows"].tolist() == labelled
    assert len(output["polarity_logits"]) == len(labelled)
    assert len(output["label_logits"]) == 24
    # the mean is that over the labelled rows, whatever stands beside them
    one, other = (gradients(model, "polarity", each) for each in (whole, part))
    assert one.norm() > 1e-3
    assert torch.allclose(one, other, rtol=1e-9, atol=1e-12)
    assert not torch.allclose(gradients(model, "label", whole), gradients(model, "label", part), rtol=1e-3)
    # rows that have no polarity leave its head as it is
    neutral = batch_of([row for row in range(24) if row not in labelled])
    model.zero_grad()
    model(**neutral).loss.backward()
    assert all(value.grad is None for value in model.heads["polarity"].parameters())
    assert all(value.grad is not None for value in model.heads["label"].parameters())


# two tasks of one kind, whose label ids differ


def with_names(split: Dataset, names: list[str]) -> Dataset:
    """The rows with the same labels by name under other ids."""
    old = split.features["label"].names
    features = Features({"text": Value("string"), "label": ClassLabel(names=names)})
    labels = [names.index(old[label]) for label in split["label"]]
    return Dataset.from_dict({"text": split["text"][:], "label": labels}, features=features)


def test_two_tasks_of_one_head_agree_by_name(load: Loader, make_run: Runner) -> None:
    climate, hillary = load("tweeteval_stance_climate"), load("tweeteval_stance_hillary")
    names = ["favor", "none", "against"]
    other = {split: with_names(rows, names) for split, rows in hillary.items()}
    assert sorted(names) == sorted(names_of(climate["train"], "label")) != names
    assert other["train"]["label"][:] != hillary["train"]["label"][:]
    tasks = {
        "climate": Task(dataset=climate, inputs={"text": "text"}, labels={"stance": "label"}),
        "hillary": Task(dataset=other, inputs={"text": "text"}, labels={"stance": "label"}),
    }
    trainer = make_run(tasks, {"stance": classes(names_of(climate["train"], "label"))}, max_steps=3)
    for name, splits in (("climate", climate), ("hillary", hillary)):
        for split, rows in splits.items():
            assert trainer.splits[name][split]["labels_stance"][:] == rows["label"][:]
    assert trainer.head_configs["stance"].to_dict()["id2label"] == {0: "none", 1: "against", 2: "favor"}
    trainer.train()
    assert math.isfinite(train_lines(trainer)[-1]["loss_stance"])
    answers = trainer.predict(split="validation")
    assert {name: answer.label_ids["stance"].tolist() for name, answer in answers.items()} == {
        "climate": climate["validation"]["label"][:],
        "hillary": hillary["validation"]["label"][:],
    }
    for name, answer in answers.items():
        expected = np.mean(answer.predictions["stance"].argmax(1) == answer.label_ids["stance"])
        assert answer.metrics[f"test_{name}_stance_accuracy"] == pytest.approx(expected)
