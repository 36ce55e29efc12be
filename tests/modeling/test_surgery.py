"""Heads that come, go and are copied: nothing else changes, what is saved is what is there, what fails is undone."""

from __future__ import annotations

import copy
import re
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import BertModel

from backbones import tiny_backbone_config, tiny_backbone_inputs
from fixtures import HEADS, tiny_bert_config, tiny_config, tiny_inputs, tiny_model
from mt_transformers import MultiTaskModel
from mt_transformers.errors import InputError
from mt_transformers.modeling import get_peft_model

TOPIC = {"head_type": "sequence_classification", "id2label": ["sport", "news"]}
TAGS = {"head_type": "token_classification", "id2label": ["O", "B-x", "I-x"], "crf": True, "layer": "scalar_mix"}
MLM = {"head_type": "masked_language_modeling", "mask_token_id": 4}


def seeded(seed: int = 0, **config: Any) -> MultiTaskModel:
    torch.manual_seed(seed)
    return tiny_model(**config)


@torch.no_grad()
def answers(model: MultiTaskModel, **inputs: Any) -> dict[str, torch.Tensor]:
    return {name: value for name, value in model(**(inputs or tiny_inputs())).items() if name.endswith("_logits")}


def same(one: dict[str, torch.Tensor], two: dict[str, torch.Tensor]) -> bool:
    return one.keys() == two.keys() and all(torch.equal(value, two[name]) for name, value in one.items())


def trainable(model: MultiTaskModel) -> set[str]:
    return {name for name, parameter in model.named_parameters() if parameter.requires_grad}


def snapshot(model: MultiTaskModel) -> tuple[Any, ...]:
    """All that must stay where an operation fails."""
    state = {name: value.clone() for name, value in model.state_dict().items()}
    return model.config.to_dict(), list(model.named_heads), trainable(model), state, answers(model)


def check_unchanged(model: MultiTaskModel, before: tuple[Any, ...]) -> None:
    after = snapshot(model)
    assert after[:3] == before[:3]
    assert same(after[3], before[3])
    assert same(after[4], before[4])


def check_round_trip(model: MultiTaskModel, folder: Path, **inputs: Any) -> MultiTaskModel:
    """Saved and loaded, and built from its config: heads, order, trained parts and logits are those of the model."""
    model.save_pretrained(folder)
    dtype = {"dtype": model.dtype}
    loaded = MultiTaskModel.from_pretrained(folder, **dtype)
    assert list(loaded.named_heads) == list(model.named_heads)
    assert same(answers(loaded, **inputs), answers(model, **inputs))
    fields = ("heads", "tasks", "loss_weights", "arg_name_mapping", "allowed_arguments")
    assert {each: getattr(loaded.config, each) for each in fields} == {
        each: getattr(model.config, each) for each in fields
    }
    assert trainable(loaded) == trainable(model)
    return loaded


# ------------------------------------------------------------------------------------------------------------------
# add_head


@pytest.mark.parametrize("head", [TOPIC, TAGS, MLM], ids=lambda head: str(head["head_type"]))
def test_an_added_head_leaves_the_others_alone_and_is_saved(tmp_path: Path, head: dict[str, Any]) -> None:
    model = seeded()
    before, state = answers(model), {name: value.clone() for name, value in model.state_dict().items()}
    model.add_head("topic", head)
    assert list(model.named_heads) == ["intent", "slots", "stars", "topic"]
    after = answers(model)
    assert same({name: after[name] for name in before}, before)
    assert same({name: model.state_dict()[name] for name in state}, state)
    assert not model.heads["topic"].training
    check_round_trip(model, tmp_path)


def test_a_head_is_added_with_the_weights_that_one_is_built_with() -> None:
    """Each head of its own module kinds: normal with the config's deviation, zeros, and what modules begin with."""
    wide = tiny_bert_config(hidden_size=64, initializer_range=0.5)
    model = tiny_model({}, wide)
    model.add_head("tags", TAGS)
    model.add_head("topic", TOPIC)
    state = model.heads.state_dict()
    built = tiny_model({"tags": TAGS, "topic": TOPIC}, wide).heads.state_dict()
    assert state.keys() == built.keys()
    for name, value in state.items():
        assert value.dtype == built[name].dtype
        if built[name].std(correction=0) == 0:
            assert torch.equal(value, built[name]), name
        else:
            assert value.std() == pytest.approx(0.5, rel=0.25), name


def test_an_added_head_is_that_of_from_backbone(tmp_path: Path) -> None:
    """The same draws from the same seed, by the same rules."""
    BertModel(tiny_bert_config()).save_pretrained(tmp_path)
    rules = [["reader.scalar_mix", {"type": "constant", "val": 2.0}]]
    torch.manual_seed(7)
    built = MultiTaskModel.from_backbone(str(tmp_path), {"tags": TAGS}, initializer=rules)
    model = MultiTaskModel.from_backbone(str(tmp_path), {})
    torch.manual_seed(7)
    model.add_head("tags", TAGS, initializer=rules)
    assert same(model.state_dict(), built.state_dict())
    assert same(answers(model), answers(built))


def test_an_initializer_gives_the_first_values() -> None:
    model = seeded()
    rule = ["topic.*classifier.weight", {"type": "constant", "val": 3.0}]
    model.add_head("topic", TOPIC, initializer=[rule])
    assert bool((model.heads["topic"].classifier.weight == 3).all())
    before = snapshot(model)
    with pytest.raises(InputError, match="'intent' fits no new parameter"):
        model.add_head("other", TOPIC, initializer=[["intent", {"type": "zeros"}]])
    check_unchanged(model, before)


def test_a_head_is_added_in_bfloat16(tmp_path: Path) -> None:
    model = seeded().bfloat16()
    before = answers(model)
    model.train()
    model.add_head("topic", TAGS)
    assert {parameter.dtype for parameter in model.heads["topic"].parameters()} == {torch.bfloat16}
    assert model.heads["topic"].training
    model.eval()
    assert same({name: answers(model)[name] for name in before}, before)
    model.config.dtype = torch.bfloat16
    check_round_trip(model, tmp_path)


def test_a_head_of_the_config_class_is_copied() -> None:
    model = seeded()
    config = model.config.head_config("intent")
    model.add_head("topic", config, loss_weight=0.5)
    assert model.heads["topic"].config is not config
    assert model.config.loss_weights == {"topic": 0.5}


@pytest.mark.parametrize(
    ("tasks", "task", "expected"),
    [
        ({}, None, {}),
        ({}, "news", {"intent": ["intent"], "slots": ["slots"], "stars": ["stars"], "news": ["topic"]}),
        ({}, "intent", {"intent": ["intent", "topic"], "slots": ["slots"], "stars": ["stars"]}),
        ({"a": ["intent", "slots"]}, None, {"a": ["intent", "slots"]}),
        ({"a": ["intent"], "b": ["slots"]}, "a", {"a": ["intent", "topic"], "b": ["slots"]}),
        ({"a": ["intent"]}, "b", {"a": ["intent"], "b": ["topic"]}),
    ],
)
def test_a_task_leads_to_an_added_head(tasks: dict[str, Any], task: str | None, expected: dict[str, Any]) -> None:
    model = seeded(tasks=tasks)
    model.add_head("topic", TOPIC, task=task)
    assert model.config.tasks == expected
    assert list(model.config.tasks) == list(expected)
    if task is not None:
        outputs = model(**tiny_inputs(2), task=[task, "intent" if "intent" in expected else "a"])
        assert "topic_logits" in outputs


@pytest.mark.parametrize(
    ("name", "head", "options", "message"),
    [
        ("intent", TOPIC, {}, "add_head: there is a head 'intent' already"),
        ("../x", TOPIC, {}, "head '../x': expected an identifier"),
        ("backbone", TOPIC, {}, "head 'backbone': the name is taken"),
        ("topic", {"head_type": "sequence_clasification"}, {}, "did you mean 'sequence_classification'"),
        ("topic", {**TOPIC, "poling": "mean"}, {}, "head 'topic' .*unknown key 'poling', did you mean 'pooling'"),
        ("topic", {"head_type": "sequence_classification"}, {}, "head 'topic': "),
        ("topic", {**TOPIC, "input": "encoded_image"}, {}, "head 'topic': input: a 'bert' backbone gives"),
        ("topic", {**TOPIC, "layer": 9}, {}, "head 'topic': "),
        ("topic", TOPIC, {"loss_weight": -1.0}, "loss_weights: expected a finite number from 0 up for head 'topic'"),
        ("topic", TOPIC, {"task": "no task"}, "task 'no task': expected an identifier"),
    ],
)
def test_a_head_that_cannot_be_is_refused(
    name: str, head: dict[str, Any], options: dict[str, Any], message: str
) -> None:
    model = seeded(tasks={"a": ["intent"]}, loss_weights={"slots": 2.0})
    before = snapshot(model)
    with pytest.raises(InputError, match=message):
        model.add_head(name, head, **options)
    check_unchanged(model, before)


def test_outputs_that_collide_are_refused() -> None:
    similarity = {"head_type": "sentence_similarity", "min_score": 0.0, "max_score": 1.0}
    model = tiny_model({"a": similarity})
    config = model.config.to_dict()
    with pytest.raises(InputError, match="heads 'a' and 'a_second' collide: both would put out a_second_embedding"):
        model.add_head("a_second", similarity)
    assert (list(model.heads), model.config.to_dict()) == (["a"], config)


# ------------------------------------------------------------------------------------------------------------------
# remove_head


def test_a_removed_head_leaves_nothing_behind(tmp_path: Path) -> None:
    model = seeded(
        loss_weights={"slots": 2.0, "intent": 0.5},
        tasks={"a": ["intent", "slots"], "b": ["slots"], "c": ["stars"]},
        arg_name_mapping={"slots": {"tag_labels": "labels"}, "intent": {"intents": "labels"}},
        allowed_arguments={"slots": ["encoded", "encoded_mask", "labels"]},
    )
    model.track_metrics = True
    labels = {"intent": torch.tensor([0, 1, 2, 0]), "slots": torch.zeros(4, 6, dtype=torch.long)}
    model(**tiny_inputs(), labels=labels)
    before = answers(model)
    model.remove_head("slots")
    assert list(model.named_heads) == ["intent", "stars"]
    assert same(answers(model), {name: value for name, value in before.items() if name != "slots_logits"})
    config = model.config
    assert (config.loss_weights, config.tasks) == ({"intent": 0.5}, {"a": ["intent"], "c": ["stars"]})
    assert (config.arg_name_mapping, config.allowed_arguments) == ({"intent": {"intents": "labels"}}, {})
    assert not any(name.startswith("heads.slots") for name in model.state_dict())
    # a head of that name that comes later has not seen these rows
    model.add_head("slots", HEADS["slots"])
    assert {name.split("_")[0] for name in model.get_metrics()} == {"intent"}
    check_round_trip(model, tmp_path)


def test_the_last_head_can_be_removed_and_another_added(tmp_path: Path) -> None:
    model = seeded(heads={"intent": HEADS["intent"]})
    model.remove_head("intent")
    assert (model.config.heads, model.config.tasks) == ({}, {})
    model.add_head("topic", TOPIC)
    check_round_trip(model, tmp_path)


@pytest.mark.parametrize("method", ["remove_head", "freeze_head", "unfreeze_head"])
def test_an_unknown_head_is_refused(method: str) -> None:
    model = seeded()
    before = snapshot(model)
    with pytest.raises(InputError, match=f"{method}: unknown head 'intnet', did you mean 'intent'"):
        getattr(model, method)("intnet")
    check_unchanged(model, before)


def test_what_training_has_told_a_head_is_kept() -> None:
    """A trainer writes the mean of the targets into the head's config."""
    model = seeded()
    model.heads["stars"].config.mean = [7.0]
    model.add_head("topic", TOPIC)
    model.remove_head("topic")
    assert model.config.heads["stars"]["mean"] == [7.0]


# ------------------------------------------------------------------------------------------------------------------
# freezing


def test_a_head_is_frozen_and_trained_again() -> None:
    model = seeded()
    before = trainable(model)
    model.freeze_head("slots")
    assert before - trainable(model) == {name for name in before if name.startswith("heads.slots.")}
    assert before > trainable(model)
    model.unfreeze_head("slots")
    assert trainable(model) == before


READS = {
    "text": {**TOPIC, "input": "encoded_text", "pooling": "mean"},
    "text_pooled": {**TOPIC, "input": "encoded_text", "pooling": "pooled"},
    "image": {**TOPIC, "input": "encoded_image", "pooling": "mean"},
    "both": {**TOPIC, "input": ["encoded_text", "encoded_image"], "pooling": "pooled"},
}


@pytest.mark.parametrize("first", READS)
@pytest.mark.parametrize("second", READS)
def test_what_is_read_is_trained_and_nothing_else(first: str, second: str, tmp_path: Path) -> None:
    """After each change the same parts as in a model that is built with these heads."""
    clip = tiny_backbone_config("clip")

    def built(*names: str) -> set[str]:
        heads = {name: READS[kind] for name, kind in zip("ab", (first, second), strict=True) if name in names}
        return {name for name in trainable(tiny_model(heads, clip)) if name.startswith("backbone.")}

    def parts() -> set[str]:
        return {name for name in trainable(model) if name.startswith("backbone.")}

    model = tiny_model({"a": READS[first]}, clip)
    model.add_head("b", READS[second])
    assert parts() == built("a", "b")
    check_round_trip(model, tmp_path, **tiny_backbone_inputs("clip"))
    model.remove_head("a")
    assert parts() == built("b")
    model.add_head("a", READS[first])
    assert parts() == built("a", "b")
    model.freeze_backbone()
    assert parts() == set()
    model.remove_head("b")
    model.add_head("b", READS[second])
    assert parts() == set()
    model.unfreeze_backbone()
    assert parts() == built("a", "b")
    model.remove_head("b")
    assert parts() == built("a")


def test_a_part_that_was_frozen_by_hand_stays_frozen() -> None:
    model = tiny_model({"a": READS["text"]}, tiny_backbone_config("clip"))
    embeddings = model.get_input_embeddings().weight
    embeddings.requires_grad_(False)
    model.add_head("b", READS["both"])
    model.remove_head("b")
    assert not embeddings.requires_grad
    # all that is left was frozen by hand: heads to come find a frozen backbone
    model.backbone.requires_grad_(False)
    model.add_head("b", READS["both"])
    assert model.backbone.is_frozen
    model.unfreeze_backbone()
    assert embeddings.requires_grad


def test_the_decoder_is_trained_once_a_head_reads_it(tmp_path: Path) -> None:
    model = tiny_model({"a": {**TOPIC, "input": "encoded_text", "pooling": "mean"}}, tiny_backbone_config("t5"))
    assert not any(".decoder.block" in name for name in trainable(model))
    model.add_head("b", {**TOPIC, "input": "encoded_text_decoder", "pooling": "last"})
    assert any(".decoder.block" in name for name in trainable(model))
    check_round_trip(model, tmp_path)
    model.remove_head("b")
    assert not any(".decoder.block" in name for name in trainable(model))


# ------------------------------------------------------------------------------------------------------------------
# merge_heads


def test_merged_heads_answer_as_they_did(tmp_path: Path) -> None:
    model = seeded(loss_weights={"slots": 2.0})
    other = copy.deepcopy(model)
    for name in list(HEADS):
        other.remove_head(name)
    mapping = {"topic": {"topics": "labels"}}
    for name, head in (("topic", TOPIC), ("tags", TAGS), ("mlm", MLM)):
        other.add_head(name, head)
    other.config.loss_weights, other.config.arg_name_mapping = {"tags": 3.0}, mapping
    other.config.allowed_arguments = {"tags": ["encoded", "encoded_mask", "labels"]}
    for parameter in other.heads.parameters():
        torch.nn.init.normal_(parameter)
    other.heads["topic"].config.classifier_dropout = 0.3
    other.freeze_head("tags")
    before, theirs = answers(model), answers(other)
    model.merge_heads(other)
    assert list(model.named_heads) == ["intent", "slots", "stars", "topic", "tags", "mlm"]
    assert same(answers(model), before | theirs)
    assert model.config.loss_weights == {"slots": 2.0, "tags": 3.0}
    assert (model.config.arg_name_mapping, model.config.tasks) == (mapping, {})
    assert model.config.allowed_arguments == {"tags": ["encoded", "encoded_mask", "labels"]}
    assert model.config.heads["topic"]["classifier_dropout"] == 0.3
    # copies, and such as can be trained
    assert {name for name, _ in model.named_parameters() if name.startswith("heads.tags")} <= trainable(model)
    torch.nn.init.zeros_(model.heads["topic"].classifier.weight)
    assert same(answers(other), theirs)
    check_round_trip(model, tmp_path)


@pytest.mark.parametrize(
    ("own", "theirs", "expected"),
    [
        ({}, {}, {}),
        ({"a": ["intent"]}, {}, {"a": ["intent"], "topic": ["topic"]}),
        ({}, {"a": ["topic", "tags"]}, {"intent": ["intent"], "a": ["topic"]}),
        ({"a": ["intent"]}, {"a": ["topic"], "b": ["tags"]}, {"a": ["intent", "topic"]}),
    ],
)
def test_only_the_heads_that_are_asked_for_are_merged(own: Any, theirs: Any, expected: Any) -> None:
    model = seeded(heads={"intent": HEADS["intent"]}, tasks=own)
    other = seeded(heads={"tags": TAGS, "topic": TOPIC}, tasks=theirs)
    other.backbone.load_state_dict(model.backbone.state_dict())
    model.merge_heads(other, ["topic"])
    assert (list(model.named_heads), model.config.tasks) == (["intent", "topic"], expected)


def test_backbones_that_differ_are_told_of() -> None:
    model, other = seeded(), seeded(heads={"topic": TOPIC})
    other.backbone.load_state_dict(model.backbone.state_dict())
    weights = dict(other.backbone.model.named_parameters())
    with torch.no_grad():
        weights["encoder.layer.0.output.dense.weight"] *= 1.25
        weights["encoder.layer.1.output.dense.weight"] *= 2
    largest = "merge_heads: the backbones differ, most of all encoder.layer.1.output.dense.weight by 0.5 of its norm"
    with pytest.warns(UserWarning, match=f"{largest}. The heads topic now read"):
        model.merge_heads(other)
    assert same(model.heads["topic"].state_dict(), other.heads["topic"].state_dict())


def test_a_warning_that_is_an_error_leaves_the_model_as_it_is() -> None:
    model, other = seeded(), seeded(1, heads={"topic": TOPIC})
    before = snapshot(model)
    with pytest.raises(UserWarning, match="the backbones differ"):
        model.merge_heads(other)
    check_unchanged(model, before)


def test_heads_are_merged_from_and_into_bfloat16() -> None:
    """Weights that were rounded are no others."""
    model, other = seeded(), seeded(heads={"topic": TOPIC})
    other.backbone.load_state_dict(model.backbone.state_dict())
    half = copy.deepcopy(other).bfloat16()
    model.merge_heads(half)
    assert torch.equal(model.heads["topic"].classifier.weight, half.heads["topic"].classifier.weight.float())
    back = seeded().bfloat16()
    back.backbone.load_state_dict(model.backbone.state_dict())
    back.merge_heads(other)
    assert torch.equal(back.heads["topic"].classifier.weight, half.heads["topic"].classifier.weight)


def test_a_part_that_no_merged_head_reads_does_not_matter() -> None:
    clip = tiny_backbone_config("clip")
    model, other = tiny_model({"a": READS["text"]}, clip), tiny_model({"b": READS["text"]}, clip)
    other.backbone.load_state_dict(model.backbone.state_dict())
    vision = other.backbone.model.vision_model
    for parameter in vision.parameters():
        torch.nn.init.normal_(parameter)
    model.merge_heads(other)
    other.add_head("c", READS["image"])
    with pytest.warns(UserWarning, match=r"vision_model\..*The heads c now read"):
        model.merge_heads(other, ["c"])


@pytest.mark.parametrize(
    ("other", "heads", "message"),
    [
        ({"heads": {"intent": TOPIC, "topic": TOPIC}}, None, "merge_heads: there is a head 'intent' already"),
        ({"heads": {"topic": TOPIC}}, ["topc"], "merge_heads: unknown head 'topc', did you mean 'topic'"),
        (
            {"heads": {"topic": TOPIC}, "backbone_config": tiny_backbone_config("roberta")},
            None,
            "expected a 'bert' backbone, as this model's, found 'roberta'",
        ),
        (
            {"heads": {"topic": TOPIC}, "backbone_config": tiny_bert_config(hidden_size=64)},
            None,
            "head 'topic' on this backbone has .*weight of shape .*32.*, found .*64",
        ),
        (
            {"heads": {"mlm": MLM}, "backbone_config": tiny_bert_config(vocab_size=99)},
            None,
            r"head 'mlm' on this backbone has .* of shape .*, found \(99,\)",
        ),
        (
            {"heads": {"topic": {**TOPIC, "layer": 3}}, "backbone_config": tiny_bert_config(num_hidden_layers=3)},
            None,
            "head 'topic': layer",
        ),
    ],
)
def test_heads_that_do_not_fit_are_refused(other: dict[str, Any], heads: Any, message: str) -> None:
    model = seeded()
    before = snapshot(model)
    with pytest.raises(InputError, match=message):
        model.merge_heads(tiny_model(**other), heads)
    check_unchanged(model, before)


def test_only_models_are_merged() -> None:
    with pytest.raises(InputError, match=re.escape("merge_heads: expected a MultiTaskModel, found BertModel")):
        seeded().merge_heads(seeded().backbone.model)


def test_the_config_is_the_one_that_others_hold() -> None:
    config = tiny_config()
    model = MultiTaskModel(config).eval()
    model.add_head("topic", TOPIC)
    assert model.config is config
    assert model.config.backbone_config is model.backbone.model.config


# adapters


def test_heads_do_not_change_under_adapters() -> None:
    peft = pytest.importorskip("peft")
    model = tiny_model({"intent": {"head_type": "sequence_classification", "num_labels": 2}})
    get_peft_model(model, peft.LoraConfig(r=2))
    for change in (
        lambda: model.add_head("topic", {"head_type": "sequence_classification", "num_labels": 2}),
        lambda: model.remove_head("intent"),
    ):
        with pytest.raises(InputError, match="merge these"):
            change()
    assert list(model.heads) == ["intent"]
