"""Fine-tuned models as heads: the original's logits, one backbone, and a warning where it is another one."""

from __future__ import annotations

import json
import warnings
from pathlib import Path
from typing import Any

import pytest
import torch
from inference.native.families import HEADS, LABELS, PAIRS, both_logits, head_model, native_model, randomize
from transformers import PreTrainedModel

from backbones import TEXT, tiny_backbone_config, tiny_backbone_inputs
from fixtures import VOCABULARY, sub_word_tokenizer, tiny_tokenizer
from mt_transformers import MultiTaskModel
from mt_transformers.errors import InputError
from mt_transformers.inference.native import from_native, to_native

SEQUENCE, TOKEN = "AutoModelForSequenceClassification", "AutoModelForTokenClassification"
NOT_HEADS = [("AutoModelForMultipleChoice", "electra"), ("AutoModelForImageClassification", "dinov2")]
UNTIED = [("AutoModelForCausalLM", "llama"), ("AutoModelForCausalLM", "qwen2")]
WHOLE = [pair for pair in PAIRS if pair not in NOT_HEADS + UNTIED]
THERE_AND_BACK = [*NOT_HEADS, *UNTIED, (SEQUENCE, "bart"), (SEQUENCE, "deberta-v2"), (TOKEN, "t5"), WHOLE[-1]]


def assert_alike(logits: tuple[torch.Tensor, torch.Tensor]) -> None:
    """Both have the same logits, and logits that say something."""
    expected, found = logits
    assert expected.abs().max() > 0.01
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)


@pytest.fixture
def folders(tmp_path: Path) -> dict[str, str]:
    """Two models of one family, fine-tuned apart, with their tokenizers."""
    found = {"emotion": str(tmp_path / "emotion"), "ner": str(tmp_path / "ner")}
    emotion, ner = native_model(SEQUENCE, "bert"), native_model(TOKEN, "bert")
    ner.bert.load_state_dict(emotion.bert.state_dict(), strict=False)
    with torch.no_grad():
        ner.bert.encoder.layer[1].output.dense.weight.mul_(1.25)
    for name, model, tokenizer in (("emotion", emotion, tiny_tokenizer()), ("ner", ner, tiny_tokenizer())):
        model.save_pretrained(found[name])
        tokenizer.save_pretrained(found[name])
    return found


@pytest.mark.parametrize(("auto_class", "family"), WHOLE)
def test_heads_have_the_logits_of_the_original(auto_class: str, family: str) -> None:
    native = native_model(auto_class, family)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model = from_native({"head": native})
    assert_alike(both_logits(native, model, "head", family))
    assert not model.training
    assert not model.backbone.model.config.architectures


@pytest.mark.parametrize(("auto_class", "family"), THERE_AND_BACK)
def test_there_and_back(auto_class: str, family: str, tmp_path: Path) -> None:
    model = head_model(family, head=HEADS[auto_class][family])
    native = to_native(model, "head")
    native.save_pretrained(tmp_path)
    back = from_native({"head": str(tmp_path)})
    assert_alike(both_logits(native, back, "head", family))
    assert back.config.heads["head"].get("id2label") == model.config.heads["head"].get("id2label")


def test_a_model_of_several_heads_comes_back_whole() -> None:
    heads = {
        "emotion": HEADS[SEQUENCE]["bert"],
        "ner": HEADS[TOKEN]["bert"],
        "answer": {"head_type": "question_answering"},
        "masked": {"head_type": "masked_language_modeling"},
        "stars": {**HEADS[SEQUENCE]["bert"], "head_type": "regression", "mean": [3.0], "std": [2.0]},
    }
    del heads["stars"]["id2label"]
    model = head_model("bert", **heads)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        back = from_native({name: to_native(model, name) for name in heads}, backbone="ner")
    assert list(back.heads) == list(heads)
    assert {name: each["head_type"] for name, each in back.config.heads.items()} == {
        name: each["head_type"] for name, each in heads.items()
    }
    inputs = tiny_backbone_inputs("bert")
    labels = {"masked": torch.tensor([[[2, 7]]] * 3)}
    with torch.no_grad():
        expected, found = (
            each(**inputs, heads=set(heads) - {"masked"}) | each(**inputs, labels=labels) for each in (model, back)
        )
    for name in heads:
        torch.testing.assert_close(found[f"{name}_logits"], expected[f"{name}_logits"], rtol=1e-5, atol=1e-5)


def test_the_activation_of_a_classifier_is_its_own() -> None:
    from transformers import BigBirdConfig, BigBirdForSequenceClassification

    config = BigBirdConfig(**TEXT, hidden_act="gelu_new", attention_type="original_full")
    native = BigBirdForSequenceClassification(config).eval()
    assert from_native({"head": native}).config.heads["head"]["hidden_act"] == "gelu_new"


def test_labels_problem_type_and_dropout_come_along() -> None:
    changes = {"problem_type": "multi_label_classification", "classifier_dropout": 0.3}
    head = from_native({"emotion": native_model(SEQUENCE, "bert", **changes)}).config.heads["emotion"]
    assert head["id2label"] == dict(enumerate(LABELS))
    assert (head["problem_type"], head["classifier_dropout"]) == ("multi_label_classification", 0.3)
    assert (head["pooling"], head["hidden_sizes"], head["hidden_act"]) == ("cls", [32], "tanh")


def test_one_output_is_a_number_unless_something_else_is_said() -> None:
    config = tiny_backbone_config("llama")
    config.num_labels = 1
    from transformers import LlamaForSequenceClassification

    native = LlamaForSequenceClassification(config).eval()
    number = from_native({"reward": native})
    reward = from_native({"reward": native}, heads={"reward": {"head_type": "preference"}})
    assert number.config.heads["reward"]["head_type"] == "regression"
    assert reward.config.heads["reward"]["head_type"] == "preference"
    inputs = tiny_backbone_inputs("llama")
    with torch.no_grad():
        expected = native(**inputs).logits
        torch.testing.assert_close(number(**inputs)["reward_logits"], expected)
        torch.testing.assert_close(reward(**inputs)["reward_logits"], expected)


def test_further_fields_of_heads() -> None:
    fields = {"metrics": ["f1_macro"], "label_smoothing": 0.1}
    head = from_native({"emotion": native_model(SEQUENCE, "bert")}, heads={"emotion": fields}).config.heads["emotion"]
    assert (head["metrics"], head["label_smoothing"]) == (["f1_macro"], 0.1)


def test_fields_that_change_the_logits_are_refused() -> None:
    with pytest.raises(InputError, match="head 'emotion': BertForSequenceClassification answers otherwise"):
        from_native({"emotion": native_model(SEQUENCE, "bert")}, heads={"emotion": {"pooling": "mean"}})


def test_the_backbone_that_is_named_is_kept(folders: dict[str, str]) -> None:
    for kept, auto_class in (("emotion", SEQUENCE), ("ner", TOKEN)):
        with pytest.warns(UserWarning, match=f"All heads read the backbone of '{kept}' now"):
            model = from_native(folders, backbone=kept)
        assert list(model.heads) == ["emotion", "ner"]
        native = _load(auto_class, folders[kept])
        assert_alike(both_logits(native, model, kept, "bert"))


def test_the_warning_says_how_far_backbones_are(folders: dict[str, str]) -> None:
    with pytest.warns(UserWarning, match="All heads read") as caught:
        from_native(folders, backbone="emotion")
    (warning,) = caught
    assert str(warning.message) == (
        "All heads read the backbone of 'emotion' now. These were trained on another one, so that they read features "
        "that they do not know: 'ner' (differs in encoder.layer.1.output.dense.weight by 25%)."
    )
    assert warning.filename == __file__


def test_the_warning_names_another_vocabulary(folders: dict[str, str]) -> None:
    sub_word_tokenizer().save_pretrained(folders["ner"])
    with pytest.warns(UserWarning, match="by 25%, the vocabulary of the tokenizer"):
        from_native(folders, backbone="emotion")


def test_heads_of_another_family_or_size_are_refused() -> None:
    bert, roberta = native_model(SEQUENCE, "bert"), native_model(TOKEN, "roberta")
    with pytest.raises(InputError, match=r"head 'ner': its backbone is a 'roberta' .*that of 'emotion' is a 'bert'"):
        from_native({"emotion": bert, "ner": roberta}, backbone="emotion")
    small = native_model(TOKEN, "bert", hidden_size=16, intermediate_size=8)
    with pytest.raises(InputError, match=r"its backbone is a 'bert' that gives {'encoded_text': 16}"):
        from_native({"emotion": bert, "ner": small}, backbone="emotion")


def test_a_head_over_another_vocabulary_is_refused() -> None:
    masked = native_model("AutoModelForMaskedLM", "bert", vocab_size=len(VOCABULARY) + 2)
    with pytest.raises(InputError, match=r"head 'masked': its bias has the shape \(49,\), on this backbone .*\(47,\)"):
        from_native({"emotion": native_model(SEQUENCE, "bert"), "masked": masked}, backbone="emotion")


@pytest.mark.parametrize(
    ("auto_class", "family", "message"),
    [
        (SEQUENCE, "modernbert", "ModernBertForSequenceClassification has head.dense.weight, head.norm.weight"),
        ("AutoModelForImageClassification", "clip", "CLIPForImageClassification answers otherwise"),
        ("AutoModelForImageClassification", "dinov2", r"classifier.weight has the shape \(3, 64\)"),
        ("AutoModelForCausalLM", "llama", "LlamaForCausalLM has lm_head.weight, which nothing of the head stands for"),
        ("AutoModelForCausalLM", "bart", "the head reads .* and 33 more of the backbone, which are not there"),
        ("AutoModelForMaskedLM", "bart", "is built in no way that is known of AutoModelForMaskedLM"),
        (
            "AutoModelForNextSentencePrediction",
            "bert",
            "expected a 'bert' model with a head .BertForMaskedLM, ",
        ),
        ("AutoModel", "bert", "expected a 'bert' model with a head .*, found BertModel"),
    ],
)
def test_models_without_a_counterpart_are_refused(auto_class: str, family: str, message: str) -> None:
    with pytest.raises(InputError, match=f"head 'head': .*{message}"):
        from_native({"head": native_model(auto_class, family)})


def test_the_original_stays_as_it_is() -> None:
    native = native_model(SEQUENCE, "bert").train()
    before = {name: value.clone() for name, value in native.state_dict().items()}
    config = native.config.to_dict()
    model = from_native({"emotion": native})
    randomize(model)
    assert native.training
    assert native.config.to_dict() == config
    assert all(torch.equal(value, before[name]) for name, value in native.state_dict().items())


def test_16_bits_stay_16_bits(tmp_path: Path) -> None:
    native_model(SEQUENCE, "llama").to(torch.bfloat16).save_pretrained(tmp_path)
    model = from_native({"emotion": str(tmp_path)})
    assert {value.dtype for value in model.parameters()} == {torch.bfloat16}
    assert model.backbone.model.get_buffer("rotary_emb.inv_freq").dtype == torch.float32
    expected, found = both_logits(_load(SEQUENCE, str(tmp_path)), model, "emotion", "llama")
    assert torch.equal(expected, found)


def test_the_model_can_be_saved_and_loaded(folders: dict[str, str], tmp_path: Path) -> None:
    model = from_native({"ner": folders["ner"]})
    model.save_pretrained(tmp_path / "whole")
    loaded = MultiTaskModel.from_pretrained(tmp_path / "whole")
    inputs = tiny_backbone_inputs("bert")
    with torch.no_grad():
        assert torch.equal(model(**inputs)["ner_logits"], loaded(**inputs)["ner_logits"])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"folders": {}}, "expected a model for one head at least"),
        ({"folders": {"a b": "x"}}, "head 'a b': expected an identifier"),
        ({"folders": {"a": "x", "b": "y"}}, "expected the head whose backbone is kept, one of a, b"),
        ({"folders": {"a": "x"}, "backbone": "b"}, "from_native: backbone: unknown head 'b'"),
        ({"folders": {"a": "x"}, "heads": {"b": {}}}, "from_native: heads: unknown head 'b'"),
        ({"folders": {"a": "/there/is/none"}}, "head 'a': /there/is/none: no config of a fine-tuned model is there"),
    ],
)
def test_names_and_folders_are_checked_first(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        from_native(**arguments)


def test_unknown_head_types_are_refused() -> None:
    with pytest.raises(InputError, match=r"unknown head_type 'token_classification'.*Known: preference, regr"):
        from_native(
            {"emotion": native_model(SEQUENCE, "bert")}, heads={"emotion": {"head_type": "token_classification"}}
        )


def test_pickles_are_not_read(tmp_path: Path) -> None:
    native = native_model(SEQUENCE, "bert")
    native.config.architectures = [type(native).__name__]
    native.config.save_pretrained(tmp_path)
    torch.save(native.state_dict(), tmp_path / "pytorch_model.bin")
    with pytest.raises(InputError, match=r"head 'emotion': .*no fine-tuned model can be loaded from there"):
        from_native({"emotion": str(tmp_path)})


def test_checkpoints_have_to_be_whole(tmp_path: Path) -> None:
    native = native_model(SEQUENCE, "bert")
    weights = {name: value for name, value in native.state_dict().items() if name != "classifier.bias"}
    native.save_pretrained(tmp_path, state_dict=weights)
    with pytest.raises(InputError, match=r"head 'emotion': .*the checkpoint lacks classifier\.bias"):
        from_native({"emotion": str(tmp_path)})


def test_a_config_has_to_say_what_the_model_is(tmp_path: Path) -> None:
    native_model(SEQUENCE, "bert").save_pretrained(tmp_path)
    path = tmp_path / "config.json"
    config = json.loads(path.read_text())
    del config["architectures"]
    path.write_text(json.dumps(config))
    with pytest.raises(InputError, match="head 'emotion': expected one class in the config's architectures"):
        from_native({"emotion": str(tmp_path)})


def _load(auto_class: str, folder: str) -> PreTrainedModel:
    import transformers

    model: PreTrainedModel = getattr(transformers, auto_class).from_pretrained(folder)
    return model.eval()


def test_a_summary_of_another_token_is_refused() -> None:
    native = native_model("AutoModelForMultipleChoice", "electra", summary_type="last")
    with pytest.raises(InputError, match="has summary_type last, a head can only be first"):
        from_native({"head": native})


def test_a_classifier_of_a_decoder_stays_without_a_bias() -> None:
    model = from_native({"head": native_model("AutoModelForSequenceClassification", "llama")})
    assert model.config.heads["head"]["classifier_bias"] is False
    assert model.named_heads["head"].classifier.bias is None
