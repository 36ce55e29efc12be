"""MultiTaskConfig: what it refuses, what it resolves, and that a file gives back what was saved."""

from __future__ import annotations

import json
import math
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import pytest
from transformers import AutoConfig, GPT2Config, T5Config

from fixtures import HEADS, tiny_bert_config, tiny_config, tiny_model
from mt_transformers import Head, MultiTaskConfig, MultiTaskModel, register_head
from mt_transformers.configuration import check_name
from mt_transformers.errors import InputError
from mt_transformers.heads import (
    RegressionHeadConfig,
    SequenceClassificationHeadConfig,
    TokenClassificationHeadConfig,
)

CLASSES = {"head_type": "sequence_classification", "num_labels": 2}
TAGS = {"head_type": "token_classification", "id2label": ["O", "B-x", "I-x"]}
NUMBERS = {"head_type": "regression"}

ALL_SET: dict[str, Any] = {
    "heads": {
        "intent": {
            "head_type": "sequence_classification",
            "id2label": {0: "no", 1: "yes"},
            "problem_type": "multi_label_classification",
            "fusion": "sum",
            "layer": "scalar_mix",
            "pooling": "max",
            "classifier_dropout": 0.25,
            "hidden_sizes": [8, 4],
            "hidden_act": "relu",
            "class_weights": {"no": 0.5, "yes": 2.0},
            "label_smoothing": 0.125,
            "threshold": 0.75,
            "classifier_bias": False,
            "metrics": ["f1_micro"],
            "f1_labels": ["yes"],
        },
        "slots": {
            "head_type": "token_classification",
            "id2label": ["O", "B-x", "I-x"],
            "label_scheme": "bio",
            "classifier_dropout": 0.0,
        },
        "stars": {
            "head_type": "regression",
            "num_targets": 2,
            "loss_type": "huber",
            "standardize": False,
            "mean": [1.0, 2.0],
            "std": [3.0, 4.0],
            "pooling": "attention",
        },
    },
    "loss_weights": {"intent": 0.5, "stars": 0},
    "loss_reduction": "per_row",
    "tasks": {"requests": ["intent", "slots"], "reviews": ["stars"]},
    "arg_name_mapping": {"backbone": {"words": "input_ids"}, "stars": {"rating": "labels"}},
    "allowed_arguments": {"backbone": ["input_ids", "attention_mask"]},
}
"""Every option away from its default."""


@dataclass(kw_only=True)
class LoudHeadConfig(SequenceClassificationHeadConfig):
    output_names: ClassVar[tuple[str, ...]] = ("logits", "loss", "row_losses", "rows", "tone_logits")


@register_head("loud_for_test_configuration")
class LoudHead(Head):
    config_class = LoudHeadConfig


def contents(config: MultiTaskConfig) -> dict[str, Any]:
    """All that a config says, but for the place it was loaded from."""
    return {key: value for key, value in config.to_dict().items() if key != "_name_or_path"}


def test_defaults() -> None:
    config = MultiTaskConfig()
    assert config.backbone_config is None
    assert config.heads == config.loss_weights == config.tasks == {}
    assert config.arg_name_mapping == config.allowed_arguments == {}
    assert config.loss_reduction == "per_head"
    assert config.get_text_config() is config


def test_round_trip_of_the_defaults(tmp_path: Path) -> None:
    MultiTaskConfig().save_pretrained(tmp_path)
    assert MultiTaskConfig.from_pretrained(tmp_path).to_dict() == MultiTaskConfig().to_dict()


@pytest.mark.parametrize("loader", [MultiTaskConfig, AutoConfig])
def test_round_trip_of_every_option(tmp_path: Path, loader: Any) -> None:
    config = tiny_config(**ALL_SET)
    config.save_pretrained(tmp_path)
    loaded = loader.from_pretrained(tmp_path)
    assert type(loaded) is MultiTaskConfig
    assert contents(loaded) == contents(config)
    assert loaded.backbone_config.to_dict() == config.backbone_config.to_dict()
    # the saved values are those that were set, not defaults that are alike on both sides
    assert loaded.heads["intent"] == {
        **ALL_SET["heads"]["intent"],
        "class_weights": [0.5, 2.0],
        "input": "encoded_text",
        "label2id": {"no": 0, "yes": 1},
        "num_labels": 2,
        # the embeddings' output, and that of each of two layers
        "num_layers": 3,
    }
    for name in ("loss_weights", "loss_reduction", "tasks", "arg_name_mapping"):
        assert getattr(loaded, name) == ALL_SET[name]
    assert loaded.allowed_arguments == {"backbone": ["attention_mask", "input_ids"]}


def test_ids_in_a_file_are_strings_and_come_back_as_integers(tmp_path: Path) -> None:
    tiny_config({"intent": {**CLASSES, "id2label": {1: "b", 0: "a"}}}).save_pretrained(tmp_path)
    written = json.loads((tmp_path / "config.json").read_text(encoding="utf-8"))
    assert written["heads"]["intent"]["id2label"] == {"0": "a", "1": "b"}
    loaded = MultiTaskConfig.from_pretrained(tmp_path)
    assert loaded.heads is not None
    assert loaded.heads["intent"]["id2label"] == {0: "a", 1: "b"}
    assert loaded.heads["intent"]["label2id"] == {"a": 0, "b": 1}


def test_twelve_labels_stay_in_the_order_of_their_ids(tmp_path: Path) -> None:
    # sorted as text, "10" stands before "2"
    names = [f"label-{index}" for index in range(12)]
    tiny_config({"intent": {"head_type": "sequence_classification", "id2label": names}}).save_pretrained(tmp_path)
    loaded = MultiTaskConfig.from_pretrained(tmp_path).head_config("intent")
    assert isinstance(loaded, SequenceClassificationHeadConfig)
    assert loaded.names == names


def test_what_the_user_gave_is_not_changed() -> None:
    heads = {"intent": dict(CLASSES)}
    tasks = {"snips": ["intent"]}
    config = tiny_config(heads, tasks=tasks)
    assert heads == {"intent": CLASSES}
    assert config.tasks is not None
    config.tasks["snips"].append("other")
    assert tasks == {"snips": ["intent"]}


def test_head_configs_are_taken_as_objects_and_copied() -> None:
    given = SequenceClassificationHeadConfig(num_labels=2)
    config = tiny_config({"intent": given})
    assert config.heads is not None
    assert config.heads["intent"]["pooling"] == "mean"
    assert given.pooling == "auto"


def test_head_config_is_a_copy() -> None:
    config = tiny_config()
    first = config.head_config("intent")
    assert isinstance(first, SequenceClassificationHeadConfig)
    first.pooling = "max"
    assert config.head_config("intent") != first
    with pytest.raises(InputError, match=r"unknown head 'intnt', did you mean 'intent'\?"):
        config.head_config("intnt")


@pytest.mark.parametrize(
    ("name", "type_of_head"),
    [
        ("intent", SequenceClassificationHeadConfig),
        ("slots", TokenClassificationHeadConfig),
        ("stars", RegressionHeadConfig),
    ],
)
def test_head_config_has_the_class_of_its_type(name: str, type_of_head: type) -> None:
    assert type(tiny_config().head_config(name)) is type_of_head


@pytest.mark.parametrize("name", ["", "a-b", "a.b", "a b", "../intent", "a/b", "1a", "class", "None", 3])
def test_names_that_are_no_identifiers(name: Any) -> None:
    with pytest.raises(InputError, match="expected an identifier"):
        check_name(name, "head")
    with pytest.raises(InputError, match=f"^head {name!r}: expected an identifier"):
        tiny_config({name: CLASSES})
    with pytest.raises(InputError, match=f"^task {name!r}: expected an identifier"):
        tiny_config({"intent": CLASSES}, tasks={name: ["intent"]})


@pytest.mark.parametrize("name", ["backbone", "encoded", "encoded_text", "encoded_x"])
def test_names_of_the_backbone_are_taken(name: str) -> None:
    with pytest.raises(InputError, match=f"^head '{name}': the name is taken by the backbone"):
        tiny_config({name: CLASSES})


@pytest.mark.parametrize("name", ["keys", "forward", "train", "type", "pop"])
def test_names_of_module_attributes_are_taken(name: str) -> None:
    with pytest.raises(InputError, match=f"^head '{name}': the name collides"):
        tiny_config({name: CLASSES})


@pytest.mark.parametrize("name", ["loss", "logits", "encodedtext", "intent_2", "été"])
def test_names_that_are_fine_build_a_model(name: str) -> None:
    assert list(tiny_model({name: CLASSES}).heads) == [name]


def test_outputs_of_two_heads_may_not_collide() -> None:
    loud = {"head_type": "loud_for_test_configuration", "num_labels": 2}
    tiny_config({"voice": loud, "tone": CLASSES})
    with pytest.raises(InputError, match="'voice' and 'voice_tone' collide: both would put out voice_tone_logits"):
        tiny_config({"voice": loud, "voice_tone": CLASSES})


@pytest.mark.parametrize("weight", [-0.5, math.nan, math.inf, "2", None])
def test_bad_loss_weights(weight: Any) -> None:
    with pytest.raises(InputError, match=f"^loss_weights: .* for head 'intent', found {weight!r}"):
        tiny_config(loss_weights={"intent": weight})


@pytest.mark.parametrize("weight", [0, 0.0, 3, 2.5])
def test_good_loss_weights(weight: float) -> None:
    assert tiny_config(loss_weights={"intent": weight}).loss_weights == {"intent": weight}


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("loss_weights", {"intnt": 1.0}, "loss_weights: unknown head 'intnt', did you mean 'intent'?"),
        ("loss_reduction", "mean", "loss_reduction: expected one of per_head, per_row, found 'mean'."),
        ("loss_reduction", None, "loss_reduction: expected one of per_head, per_row, found None."),
        ("tasks", {"snips": ["intent", "slot"]}, "task 'snips': unknown head 'slot', did you mean 'slots'?"),
        ("arg_name_mapping", {"inten": {}}, "arg_name_mapping: unknown component 'inten', did you mean 'intent'?"),
        ("allowed_arguments", {"backbon": []}, "allowed_arguments: unknown component 'backbon', did you mean"),
    ],
)
def test_references_to_nothing(field: str, value: Any, message: str) -> None:
    with pytest.raises(InputError) as caught:
        tiny_config(**{field: value})
    assert str(caught.value).startswith(message)


@pytest.mark.parametrize(
    ("value", "message"),
    [({"hidden_size": 3}, "backbone_config: expected a model_type"), ({"model_type": "brt"}, "brt")],
)
def test_bad_backbone_configs(value: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        MultiTaskConfig(backbone_config=value)


@pytest.mark.parametrize(
    ("head", "message"),
    [
        ({}, "head 'h': no 'head_type' given. Known head types: "),
        (None, "head 'h': "),
        ({"head_type": "sequence_clasification"}, "unknown head_type 'sequence_clasification', did you mean"),
        ({**CLASSES, "poolng": "cls"}, "unknown key 'poolng', did you mean 'pooling'?"),
        ({**CLASSES, "input": "text"}, "input: expected the name of a backbone output"),
        ({**CLASSES, "input": 3}, "input: expected the name of a backbone output"),
        ({**CLASSES, "metrics": ["accurcy"]}, "unknown metric 'accurcy', did you mean 'accuracy'?"),
        ({**CLASSES, "metrics": ["pearson"]}, "unknown metric 'pearson'"),
        ({**CLASSES, "pooling": "first"}, "pooling: expected one of auto, cls, mean, max, last, attention"),
        ({**CLASSES, "problem_type": "regression"}, "problem_type: expected one of"),
        ({**CLASSES, "classifier_dropout": 1.0}, "classifier_dropout: expected a fraction in [0, 1), found 1.0"),
        ({**CLASSES, "label_smoothing": -0.1}, "label_smoothing: expected a fraction in [0, 1), found -0.1"),
        ({**CLASSES, "threshold": 1.5}, "threshold: expected a fraction in [0, 1), found 1.5"),
        ({**CLASSES, "hidden_act": "gleu"}, "hidden_act: expected one of"),
        ({**CLASSES, "num_labels": 0}, "num_labels: expected at least 1, found 0"),
        ({**CLASSES, "num_labels": "two"}, "num_labels: expected"),
        ({**CLASSES, "id2label": ["a"]}, "num_labels is 2, but id2label has 1 names"),
        ({**CLASSES, "id2label": ["a", "a"]}, "id2label: each name may occur once"),
        ({**CLASSES, "id2label": {0: "a", 2: "b"}}, "id2label: expected the ids 0 to n - 1, found [0, 2]"),
        ({**CLASSES, "id2label": {1: "a", 2: "b"}}, "id2label: expected the ids 0 to n - 1, found [1, 2]"),
        ({"head_type": "sequence_classification", "id2label": []}, "id2label: expected the ids 0 to n - 1, found []"),
        ({**CLASSES, "class_weights": [1.0]}, "class_weights: expected 2 numbers from 0 up"),
        ({**CLASSES, "class_weights": [1.0, -1.0]}, "class_weights: expected 2 numbers from 0 up"),
        ({**CLASSES, "class_weights": [1.0, math.nan]}, "class_weights: expected 2 numbers from 0 up"),
        ({**CLASSES, "class_weights": "balancd"}, "class_weights: expected"),
        (
            {"head_type": "sequence_classification", "id2label": ["a", "b"], "class_weights": {"a": 1.0}},
            "class_weights: expected a weight for each of ['a', 'b'], found ['a']",
        ),
        ({**TAGS, "label_scheme": "iob"}, "label_scheme: expected one of auto, bio, bioes, plain, found 'iob'"),
        ({**TAGS, "classifier_dropout": -0.5}, "classifier_dropout: expected a fraction in [0, 1)"),
        (
            {"head_type": "token_classification", "id2label": ["O", "S-x"], "label_scheme": "bio"},
            "label_scheme is 'bio': expected labels O, B-type, I-type, found 'S-x'",
        ),
        (
            {"head_type": "token_classification", "id2label": ["NOUN", "VERB"], "metrics": ["entity_f1"]},
            "unknown metric 'entity_f1'",
        ),
        ({**NUMBERS, "num_targets": 0}, "num_targets: expected at least 1, found 0"),
        ({**NUMBERS, "loss_type": "rmse"}, "loss_type: expected one of mse, l1, huber, found 'rmse'"),
        ({**NUMBERS, "pooling": "first"}, "pooling: expected one of"),
        ({**NUMBERS, "classifier_dropout": 2}, "classifier_dropout: expected a fraction in [0, 1)"),
        ({**NUMBERS, "hidden_act": "gleu"}, "hidden_act: expected one of"),
        ({**NUMBERS, "mean": [1.0, 2.0]}, "mean: expected 1 numbers, found [1.0, 2.0]"),
        ({**NUMBERS, "std": []}, "std: expected 1 numbers, found []"),
        ({**NUMBERS, "std": [0.0]}, "std: expected numbers above 0, found [0.0]"),
        ({**NUMBERS, "std": [math.nan]}, "std: expected numbers above 0"),
        ({**NUMBERS, "metrics": ["accuracy"]}, "unknown metric 'accuracy'"),
    ],
)
def test_bad_heads(head: Any, message: str) -> None:
    with pytest.raises(InputError) as caught:
        tiny_config({"h": head})
    assert message in str(caught.value)
    assert "h" in str(caught.value).partition(":")[0]


@pytest.mark.parametrize("zero", [{"threshold": 0.0}, {"classifier_dropout": 0}, {"label_smoothing": 0}])
def test_zero_is_a_value(zero: dict[str, float]) -> None:
    (field, value), *_ = zero.items()
    head = tiny_config({"h": {**CLASSES, **zero}}).head_config("h")
    assert getattr(head, field) == value


@pytest.mark.parametrize("loader", [MultiTaskConfig, AutoConfig])
def test_a_newer_file_loads_with_one_warning_that_names_what_is_left_out(tmp_path: Path, loader: Any) -> None:
    tiny_config({"intent": CLASSES}).save_pretrained(tmp_path)
    file = tmp_path / "config.json"
    values = json.loads(file.read_text(encoding="utf-8"))
    values["colour"] = "red"
    values["heads"]["intent"]["temperature"] = 2.0
    file.write_text(json.dumps(values), encoding="utf-8")
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        loaded = loader.from_pretrained(tmp_path)
    assert len(caught) == 1
    message = str(caught[0].message)
    assert "left out: colour, heads.intent.temperature." in message
    assert contents(loaded) == contents(tiny_config({"intent": CLASSES}))
    assert not hasattr(loaded, "colour")


@pytest.mark.parametrize("loader", [MultiTaskConfig, AutoConfig])
def test_what_older_versions_of_transformers_write_loads_without_a_warning(tmp_path: Path, loader: Any) -> None:
    """Training writes the tokenizer's special tokens up to transformers 5.17; loading adds the commit there."""
    tiny_config({"intent": CLASSES}).save_pretrained(tmp_path)
    file = tmp_path / "config.json"
    values = json.loads(file.read_text(encoding="utf-8"))
    values |= {"pad_token_id": 0, "bos_token_id": None, "eos_token_id": None, "_commit_hash": None}
    file.write_text(json.dumps(values), encoding="utf-8")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        loaded = loader.from_pretrained(tmp_path)
    assert loaded.heads.keys() == {"intent"}
    # the backbone's own is the one that counts
    assert loaded.backbone_config.pad_token_id == 0


def test_a_file_of_this_version_loads_without_a_warning(tmp_path: Path) -> None:
    # saved with the model, which adds what transformers writes
    tiny_model().save_pretrained(tmp_path)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        MultiTaskConfig.from_pretrained(tmp_path)
        AutoConfig.from_pretrained(tmp_path)
    assert caught == []


@pytest.mark.parametrize("implementation", ["eager", "sdpa"])
def test_the_attention_implementation_of_the_backbone_survives(tmp_path: Path, implementation: str) -> None:
    backbone_config = tiny_bert_config(attn_implementation=implementation)
    config = tiny_config(HEADS, backbone_config)
    assert config.backbone_config._attn_implementation == implementation
    model = MultiTaskModel(config)
    assert model.backbone.model.config._attn_implementation == implementation
    model.save_pretrained(tmp_path)
    loaded = MultiTaskModel.from_pretrained(tmp_path, attn_implementation=implementation)
    assert loaded.backbone.model.config._attn_implementation == implementation


@pytest.mark.parametrize(
    ("backbone_config", "pooling"),
    [
        (tiny_bert_config(), "mean"),
        (GPT2Config(n_embd=8, n_layer=1, n_head=2, vocab_size=9), "last"),
        (T5Config(d_model=8, d_kv=4, d_ff=8, num_layers=1, num_heads=2, vocab_size=9), "mean"),
    ],
)
def test_auto_pooling_is_resolved_and_saved(tmp_path: Path, backbone_config: Any, pooling: str) -> None:
    heads = {"auto": CLASSES, "cls": {**CLASSES, "pooling": "cls"}, "numbers": NUMBERS}
    tiny_config(heads, backbone_config).save_pretrained(tmp_path)
    written = json.loads((tmp_path / "config.json").read_text(encoding="utf-8"))["heads"]
    found = [written[name]["pooling"] for name in ("auto", "cls", "numbers")]
    assert found == [pooling, "cls", pooling]


def test_without_a_backbone_auto_pooling_stays_open() -> None:
    assert MultiTaskConfig(heads={"h": CLASSES}).heads["h"]["pooling"] == "auto"  # type: ignore[index]


def test_the_trainer_leaves_out_what_is_no_prediction() -> None:
    assert tiny_config({"a": CLASSES}).keys_to_ignore_at_inference == [
        "encoded_text",
        "encoded_text_mask",
        "token_ids",
        "a_loss",
        "a_row_losses",
        "a_rows",
    ]


def test_the_text_config_is_the_backbones() -> None:
    config = tiny_config()
    assert config.get_text_config() is config.backbone_config


def test_a_backbone_config_is_taken_as_a_dict() -> None:
    config = tiny_config()
    built = MultiTaskConfig(backbone_config=tiny_bert_config().to_dict(), heads=HEADS)
    assert type(built.backbone_config) is type(config.backbone_config)
    assert built.to_dict() == config.to_dict()
