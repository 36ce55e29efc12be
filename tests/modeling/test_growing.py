"""Heads that get further classes: nothing else changes, what is saved is what is there, what fails is undone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from datasets import ClassLabel, Dataset, Features, Value
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from transformers import AutoModel

from backbones import tiny_backbone_config, tiny_backbone_inputs
from fixtures import HEADS, tiny_bert_config, tiny_inputs, tiny_model, tiny_tokenizer
from mt_transformers import (
    MultiTaskModel,
    MultiTaskPredictor,
    MultiTaskTrainer,
    MultiTaskTrainingArguments,
    Task,
    get_peft_model,
    merge_adapters,
)
from mt_transformers.errors import InputError

TOPIC = {"head_type": "sequence_classification", "id2label": ["sport", "news"]}
MANY = {**TOPIC, "problem_type": "multi_label_classification"}
TAGS = {"head_type": "token_classification", "id2label": ["O", "B-x", "I-x"]}
CRF = {**TAGS, "crf": True}

CASES: dict[str, tuple[str, dict[str, Any], list[str]]] = {
    "single label": ("bert", TOPIC, ["art", "war"]),
    "multi-label": ("bert", MANY, ["art"]),
    "feed-forward": (
        "bert",
        {**TOPIC, "hidden_sizes": [16, 8], "pooling": "attention", "layer": "scalar_mix"},
        ["art"],
    ),
    "no bias": ("bert", {**TOPIC, "classifier_bias": False}, ["art", "war", "law"]),
    "entities": ("bert", TAGS, ["B-y", "I-y"]),
    "words": ("bert", {**TAGS, "id2label": ["NOUN", "VERB"]}, ["ADJ"]),
    "images": ("vit", {"head_type": "image_classification", "num_labels": 3}, ["cat"]),
    "audio": ("wav2vec2", {"head_type": "audio_classification", "id2label": ["yes", "no"]}, ["maybe"]),
}


def seeded(heads: dict[str, Any] | None = None, family: str = "bert", **config: Any) -> MultiTaskModel:
    torch.manual_seed(0)
    return tiny_model(heads, tiny_bert_config() if family == "bert" else tiny_backbone_config(family), **config)


@torch.no_grad()
def answers(model: MultiTaskModel, **inputs: Any) -> dict[str, torch.Tensor]:
    return {name: value for name, value in model(**(inputs or tiny_inputs())).items() if name.endswith("_logits")}


def state_of(model: MultiTaskModel) -> dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in model.state_dict().items()}


def same(one: dict[str, torch.Tensor], two: dict[str, torch.Tensor]) -> bool:
    return one.keys() == two.keys() and all(torch.equal(value, two[name]) for name, value in one.items())


def trainable(model: MultiTaskModel) -> set[str]:
    return {name for name, parameter in model.named_parameters() if parameter.requires_grad}


def snapshot(model: MultiTaskModel) -> tuple[Any, ...]:
    """All that must stay where an operation fails, the parameters themselves too."""
    heads = {name: (id(head), head.config.to_dict()) for name, head in model.named_heads.items()}
    return model.config.to_dict(), heads, {name: id(each) for name, each in model.named_parameters()}, trainable(model)


# ------------------------------------------------------------------------------------------------------------------
# what stays


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_a_grown_head_knows_what_it_knew(case: str, dtype: torch.dtype, tmp_path: Path) -> None:
    family, head, labels = CASES[case]
    model = seeded({"grows": head, "stays": head}, family).to(dtype)
    inputs = tiny_inputs() if family == "bert" else tiny_backbone_inputs(family)
    inputs = {name: value.to(dtype) if value.is_floating_point() else value for name, value in inputs.items()}
    before, state, trained = answers(model, **inputs), state_of(model), trainable(model)
    names = model.heads["grows"].config.names
    model.extend_head("grows", labels)
    after, grown = answers(model, **inputs), model.state_dict()
    assert torch.equal(after["stays_logits"], before["stays_logits"])
    assert after["grows_logits"].shape == (*before["grows_logits"].shape[:-1], len(names) + len(labels))
    # the weights are the same to the bit; a larger product may sum in another order
    assert same(
        {name: grown[name][: len(value)] if value.dim() else grown[name] for name, value in state.items()}, state
    )
    rounding = {torch.float32: 1e-6, torch.float64: 1e-14, torch.bfloat16: 2e-2}[dtype]
    torch.testing.assert_close(after["grows_logits"][..., : len(names)], before["grows_logits"], rtol=0, atol=rounding)
    assert {value.dtype for name, value in grown.items() if name.startswith("heads.grows")} == {dtype}
    assert trainable(model) == trained
    assert not any(module.training for module in model.heads["grows"].modules())
    assert model.heads["grows"].config.names == names + labels
    assert model.config.heads["grows"] == model.heads["grows"].config.to_dict()
    assert model.config.heads["stays"] == model.heads["stays"].config.to_dict()
    check_round_trip(model, tmp_path, inputs, rounding)


def check_round_trip(model: MultiTaskModel, folder: Path, inputs: dict[str, torch.Tensor], rounding: float) -> None:
    """Saved and loaded: classes, trained parts and weights are those of the model."""
    model.save_pretrained(folder)
    loaded = AutoModel.from_pretrained(folder, dtype=model.dtype)
    assert isinstance(loaded, MultiTaskModel)
    assert same(loaded.state_dict(), model.state_dict())
    # weights that were read from a file lie elsewhere in memory, where a product in float64 may sum in another order
    torch.testing.assert_close(answers(loaded, **inputs), answers(model, **inputs), rtol=0, atol=rounding)
    assert loaded.config.heads == model.config.heads
    assert trainable(loaded) == trainable(model)


def test_all_that_the_config_says_stays() -> None:
    fields: dict[str, Any] = {
        "tasks": {"a": ["slots", "intent"], "b": ["intent"]},
        "loss_weights": {"intent": 2.0},
        "loss_reduction": "per_row",
        "arg_name_mapping": {"intent": {"intents": "labels"}},
        "allowed_arguments": {"intent": ["encoded", "encoded_mask", "labels"]},
    }
    model = seeded(**fields)
    # what training has told another head
    model.heads["stars"].config.mean = [7.0]
    model.extend_head("intent", ["Rate"])
    assert {name: getattr(model.config, name) for name in fields} == fields
    assert (list(model.named_heads), model.config.heads["stars"]["mean"]) == (list(HEADS), [7.0])
    intents = torch.tensor([3, -100, 3, 0])
    # the mapped name is the labels of the grown head, whose last class is one of them
    outputs = model(**tiny_inputs(), intents=intents, task=["b", "b", "a", "a"])
    assert outputs["intent_rows"].tolist() == [0, 2, 3]
    assert outputs["intent_logits"].shape == (3, 4)
    assert bool(outputs["loss"].isfinite())


@pytest.mark.parametrize("frozen", [True, False])
@pytest.mark.parametrize("mode", [True, False])
def test_mode_and_what_is_frozen_stay(frozen: bool, mode: bool) -> None:
    model = seeded().train(mode)
    if frozen:
        model.freeze_head("intent")
        model.freeze_backbone()
    model.heads["intent"].dropout.train(not mode)
    before, modes = trainable(model), {name: each.training for name, each in model.named_modules()}
    model.extend_head("intent", ["Rate"])
    assert trainable(model) == before
    assert {name: each.training for name, each in model.named_modules()} == modes


def test_the_bias_alone_can_be_frozen() -> None:
    model = seeded()
    model.heads["intent"].classifier.bias.requires_grad_(False)
    before = trainable(model)
    model.extend_head("intent", ["Rate"])
    assert trainable(model) == before


def test_the_config_and_the_head_are_the_ones_that_others_hold() -> None:
    model = seeded()
    config, head, layer = model.config, model.heads["intent"], model.heads["intent"].classifier
    model.extend_head("intent", ["Rate"])
    assert (model.config, model.heads["intent"], model.heads["intent"].classifier) == (config, head, layer)
    assert model.config.backbone_config is model.backbone.model.config


# ------------------------------------------------------------------------------------------------------------------
# what is new


def test_new_rows_have_the_first_weights_of_a_new_head() -> None:
    wide = tiny_bert_config(hidden_size=256, initializer_range=0.5)
    model = tiny_model({"topic": TOPIC}, wide)
    nn.init.ones_(model.heads["topic"].classifier.bias)
    model.extend_head("topic", ["art", "war"])
    layer = model.heads["topic"].classifier
    assert layer.weight[2:].detach().std() == pytest.approx(0.5, rel=0.1)
    assert layer.bias.tolist() == [1, 1, 0, 0]


def test_new_rows_follow_the_seed() -> None:
    weights = []
    for seed in (3, 3, 4):
        model = seeded()
        torch.manual_seed(seed)
        model.extend_head("intent", ["Rate", "Add"])
        weights.append(model.heads["intent"].classifier.weight[3:])
    assert torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[0], weights[2])


def test_an_initializer_fills_the_new_rows_alone() -> None:
    model = seeded()
    before = state_of(model)
    rule = [r"heads\.intent\.classifier\.weight", {"type": "constant", "val": 3.0}]
    model.extend_head("intent", ["Rate"], initializer=[rule])
    weight = model.heads["intent"].classifier.weight
    assert torch.equal(weight[:3], before["heads.intent.classifier.weight"])
    assert bool((weight[3:] == 3).all())


NAMES = st.lists(st.text("abcxyzäß_ ", min_size=1, max_size=4), min_size=2, max_size=7, unique=True)


@settings(max_examples=15)
@given(names=NAMES, sizes=st.lists(st.integers(1, 3), min_size=1, max_size=4))
def test_growing_again_and_again(names: list[str], sizes: list[int]) -> None:
    """The ids of the names are their order, however they came; each row is the one that came with its name."""
    model = seeded({"topic": {**TOPIC, "id2label": names[:1]}})
    rows, start = [model.heads["topic"].classifier.weight.detach().clone()], 1
    for size in sizes:
        labels = names[start : start + size]
        if not labels:
            break
        model.extend_head("topic", labels)
        start += len(labels)
        rows.append(model.heads["topic"].classifier.weight.detach()[-len(labels) :].clone())
        assert model.config.heads["topic"]["label2id"] == {name: index for index, name in enumerate(names[:start])}
        assert torch.equal(model.heads["topic"].classifier.weight, torch.cat(rows))
        assert answers(model)["topic_logits"].shape == (4, start)


@pytest.mark.parametrize("case", ["single label", "multi-label", "words", "no bias", "feed-forward"])
def test_all_classes_train(case: str) -> None:
    _, head, labels = CASES[case]
    model = seeded({"topic": head}).train()
    model.extend_head("topic", labels)
    before = state_of(model)
    classes = len(model.heads["topic"].config.names)
    if case == "multi-label":
        targets = torch.eye(classes)[torch.arange(4) % classes]
    elif case == "words":
        targets = (torch.arange(24) % classes).reshape(4, 6)
    else:
        targets = torch.arange(4) % classes
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.01)
    model(**tiny_inputs(), labels={"topic": targets})["loss"].backward()
    optimizer.step()
    for name, value in model.state_dict().items():
        if name.startswith("heads.topic.classifier"):
            changed = (value != before[name]).reshape(classes, -1).any(dim=1)
            assert bool(changed.all()), name


def test_metrics_begin_anew() -> None:
    """Rows of two labels and rows of three make no one array."""
    model = seeded({"topic": MANY, "other": MANY})
    model.track_metrics = True
    two = torch.ones(4, 2)
    model(**tiny_inputs(), labels={"topic": two, "other": two})
    model.extend_head("topic", ["art"])
    assert {name.split("_")[0] for name in model.get_metrics()} == {"other"}
    model(**tiny_inputs(), labels={"topic": torch.ones(4, 3), "other": two})
    assert {name.split("_")[0] for name in model.get_metrics(reset=True)} == {"topic", "other"}


WORDS = {"good": ["great", "lovely", "superb", "fine"], "bad": ["awful", "dull", "boring", "poor"]}


def mood_task(*groups: tuple[str, list[str]], names: list[str]) -> Task:
    """A row for each word: its label is that of its group."""
    rows = [{"text": f"the film is {word} .", "label": label} for label, words in groups for word in words]
    features = Features({"text": Value("string"), "label": ClassLabel(names=names)})
    dataset = Dataset.from_list(rows, features=features)
    return Task(dataset={"train": dataset, "validation": dataset}, inputs={"text": "text"}, labels={"mood": "label"})


def train(model: MultiTaskModel, folder: Path, task: Task, epochs: int) -> MultiTaskTrainer:
    args = MultiTaskTrainingArguments(
        str(folder),
        num_train_epochs=epochs,
        per_device_train_batch_size=4,
        learning_rate=5e-3,
        use_cpu=True,
        report_to=[],
        save_strategy="no",
        disable_tqdm=True,
    )
    trainer = MultiTaskTrainer(model, args, tasks={"moods": task}, processing_class=tiny_tokenizer())
    trainer.train()
    return trainer


def test_a_grown_head_learns_the_new_class(tmp_path: Path) -> None:
    """Class by class: the dataset's names, in an order of its own, are those of the head, old and new."""
    model = seeded({"mood": {"head_type": "sequence_classification", "id2label": ["good", "bad"]}})
    two = mood_task(*WORDS.items(), names=["bad", "good"])
    assert train(model, tmp_path, two, epochs=40).evaluate()["eval_moods_mood_accuracy"] == 1
    model.extend_head("mood", ["place"])
    places = ("place", ["rome", "oslo", "lima", "cairo"])
    three = mood_task(*WORDS.items(), places, names=["place", "bad", "good"])
    assert train(model, tmp_path, three, epochs=40).evaluate()["eval_moods_mood_accuracy"] == 1
    model.save_pretrained(tmp_path / "out")
    loaded = MultiTaskModel.from_pretrained(tmp_path / "out")
    texts = [f"the film is {word} ." for word in ("lovely", "dull", "oslo")]
    found = MultiTaskPredictor(loaded, tiny_tokenizer())(texts)
    assert [answer["mood"]["label"] for answer in found] == ["good", "bad", "place"]


# ------------------------------------------------------------------------------------------------------------------
# what is refused

MLM = {"head_type": "masked_language_modeling", "mask_token_id": 4}
# other tests may have registered heads of their own
GROWING = "audio_classification, image_classification, .*sequence_classification, token_classification"


@pytest.mark.parametrize(
    ("name", "labels", "options", "message"),
    [
        ("intnet", ["x"], {}, "extend_head: unknown head 'intnet', did you mean 'intent'"),
        ("stars", ["x"], {}, f"extend_head: head 'stars' is of type 'regression', .*can grow: .*{GROWING}"),
        ("mlm", ["x"], {}, "extend_head: head 'mlm' is of type 'masked_language_modeling'"),
        ("intent", [], {}, "extend_head: head 'intent': labels: expected a list"),
        ("intent", "Rate", {}, "extend_head: head 'intent': labels: expected a list .* found 'Rate'"),
        ("intent", ["Rate", None], {}, "extend_head: head 'intent': labels: expected names, found None"),
        ("intent", ["Rate", "Rate"], {}, "'Rate' is the class 3"),
        ("intent", ["Rate", "GetWeather"], {}, "'GetWeather' is the class 1"),
        ("weighted", ["x"], {}, r"head 'weighted': class_weights has no entry for the new classes \['x'\]"),
        ("tags", ["B-y"], {}, "head 'tags': crf: its scores"),
        ("slots", ["NOUN"], {}, "head 'slots': label_scheme is 'auto': with NOUN it would be 'plain'"),
        ("intent", ["Rate"], {"initializer": [["slots", {"type": "zeros"}]]}, "'slots' fits no new parameter"),
        ("intent", ["Rate"], {"initializer": [["bias", {"type": "orthogonal"}]]}, "orthogonal cannot fill"),
        ("normed", ["x"], {}, "head 'normed': expected a last layer with plain weights.* ParametrizedLinear"),
    ],
)
def test_what_cannot_be_changes_nothing(name: str, labels: Any, options: dict[str, Any], message: str) -> None:
    heads = {**HEADS, "mlm": MLM, "weighted": {**TOPIC, "class_weights": [1.0, 2.0]}, "tags": CRF, "normed": TOPIC}
    model = seeded(heads, tasks={"a": ["intent", "slots"]})
    nn.utils.parametrizations.weight_norm(model.heads["normed"].classifier)
    before, state = snapshot(model), state_of(model)
    with pytest.raises(InputError, match=message):
        model.extend_head(name, labels, **options)
    assert snapshot(model) == before
    assert same(state_of(model), state)


def test_weights_of_the_classes_can_be_given_up_for_it() -> None:
    """As the message says."""
    model = seeded({"topic": {**TOPIC, "class_weights": [1.0, 2.0]}})
    model.heads["topic"].config.class_weights = None
    model.extend_head("topic", ["art"])
    model.heads["topic"].config.class_weights = [0.0, 0.0, 2.0]
    loss = model(**tiny_inputs(), labels={"topic": torch.tensor([0, 1, 2, 0])})["topic_row_losses"]
    assert [bool(each) for each in loss] == [False, False, True, False]


def test_heads_do_not_grow_under_adapters() -> None:
    peft = pytest.importorskip("peft")
    model = seeded({"topic": TOPIC})
    adapted = get_peft_model(model, peft.LoraConfig(r=2))
    before, state = snapshot(model), state_of(model)
    with pytest.raises(InputError, match="merge these"):
        model.extend_head("topic", ["art"])
    assert snapshot(model) == before
    assert same(state_of(model), state)
    merged = merge_adapters(adapted)
    weight = merged.heads["topic"].classifier.weight.detach().clone()
    merged.extend_head("topic", ["art"])
    assert torch.equal(merged.heads["topic"].classifier.weight[:2], weight)
