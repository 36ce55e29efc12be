"""Heads as native models: the same logits, or a reason."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from inference.native.families import HEADS, LABELS, PAIRS, both_logits, head_model, randomize, rows, sequence
from torch import nn
from transformers import BertModel, CamembertConfig, ConvBertConfig, GPT2Config, MegatronBertConfig

from attention import VARIABLE_LENGTHS, register
from backbones import FAMILIES, TEXT, tiny_backbone_inputs
from fixtures import tiny_bert_config, tiny_inputs, tiny_model
from mt_transformers import Backbone, MultiTaskModel
from mt_transformers.configuration import MultiTaskConfig
from mt_transformers.errors import InputError
from mt_transformers.inference.native import to_native
from mt_transformers.inference.native.layouts import LAYOUTS, NativeLayout
from mt_transformers.modeling import get_peft_model, merge_adapters

LOADED_ALONE = """
import json, sys

class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] == "mt_transformers":
            raise ImportError(name)

sys.meta_path.insert(0, Blocked())
import torch, transformers
from safetensors.torch import load_file
for name, folder in json.loads(sys.argv[1]).items():
    model = getattr(transformers, name).from_pretrained(folder)
    rows = load_file(f"{folder}/rows.safetensors")
    expected = rows.pop("expected")
    with torch.no_grad():
        found = model(**rows)[0]
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)
    print(type(model).__name__)
assert "mt_transformers" not in sys.modules
"""


def assert_alike(logits: tuple[torch.Tensor, torch.Tensor]) -> None:
    """Both have the same logits, and logits that say something."""
    expected, found = logits
    assert expected.abs().max() > 0.01
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(("auto_class", "family"), PAIRS)
def test_native_models_have_the_logits_of_the_head(auto_class: str, family: str) -> None:
    model = head_model(family, head=HEADS[auto_class][family])
    native = to_native(model, "head")
    assert_alike(both_logits(native, model, "head", family))
    assert not native.training
    assert native.config.architectures == [type(native).__name__]


def test_only_the_head_that_is_named_goes_along() -> None:
    model = head_model(
        "bert", other=sequence(pooling="mean"), ner={"head_type": "token_classification", "num_labels": 5}
    )
    native = to_native(model, "ner")
    assert type(native).__name__ == "BertForTokenClassification"
    names = {name.removeprefix("bert.") for name in native.state_dict() if name.startswith("bert.")}
    assert names == set(model.backbone.model.state_dict())
    assert {name for name in native.state_dict() if not name.startswith("bert.")} == {
        "classifier.weight",
        "classifier.bias",
    }


def test_labels_and_problem_type_are_in_the_config() -> None:
    head = sequence(pooling="cls", hidden_sizes=[32], hidden_act="tanh", classifier_dropout=0.25)
    single = to_native(head_model("bert", head=head), "head").config
    multi = to_native(head_model("bert", head={**head, "problem_type": "multi_label_classification"}), "head").config
    assert single.id2label == dict(enumerate(LABELS))
    assert single.label2id == {name: index for index, name in enumerate(LABELS)}
    assert (single.num_labels, single.classifier_dropout) == (3, 0.25)
    assert (single.problem_type, multi.problem_type) == ("single_label_classification", "multi_label_classification")


def test_the_model_stays_as_it_is() -> None:
    model = head_model("bert", head=HEADS["AutoModelForMaskedLM"]["bert"])
    before = {name: value.clone() for name, value in model.state_dict().items()}
    config = model.config.to_dict()
    native = to_native(model.train(), "head")
    randomize(native)
    assert model.training
    assert model.config.to_dict() == config
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_output_embeddings_are_the_input_embeddings() -> None:
    for family in ("bert", "llama"):
        task = "AutoModelForMaskedLM" if family == "bert" else "AutoModelForCausalLM"
        native = to_native(head_model(family, head=HEADS[task][family]), "head")
        assert native.config.tie_word_embeddings
        assert native.get_output_embeddings().weight is native.get_input_embeddings().weight


@pytest.mark.parametrize("num_targets", [1, 2])
def test_statistics_of_targets_become_part_of_the_last_layer(num_targets: int) -> None:
    statistics = {"mean": [30.0, -4.0][:num_targets], "std": [5.0, 0.5][:num_targets]}
    head = {"head_type": "regression", "num_targets": num_targets, "pooling": "cls", **statistics}
    model = head_model("bert", head={**head, "hidden_sizes": [32], "hidden_act": "tanh"})
    native = to_native(model, "head")
    assert_alike(both_logits(native, model, "head", "bert"))
    assert (native.config.problem_type, native.config.num_labels) == ("regression", num_targets)


@pytest.mark.parametrize(
    ("family", "head"),
    [
        ("llama", {"head_type": "preference"}),
        ("bert", {"head_type": "preference", "pooling": "cls", "hidden_sizes": [32], "hidden_act": "tanh"}),
    ],
)
def test_rewards_become_a_classifier_with_one_output(family: str, head: dict[str, Any]) -> None:
    model = head_model(family, reward=head)
    native = to_native(model, "reward")
    assert type(native).__name__ == f"{family.capitalize()}ForSequenceClassification"
    assert_alike(both_logits(native, model, "reward", family))


@pytest.mark.parametrize("family", ["vit", "wav2vec2"])
def test_numbers_of_images_and_recordings(family: str) -> None:
    model = head_model(family, head={"head_type": "regression", "mean": [2.0], "std": [3.0]})
    assert_alike(both_logits(to_native(model, "head"), model, "head", family))


def test_a_projector_is_a_hidden_layer_or_the_identity() -> None:
    plain = {"head_type": "audio_classification", "num_labels": 3}
    for head, size in ((plain, 32), ({**plain, "hidden_sizes": [20], "hidden_act": "linear"}, 20)):
        model = head_model("wav2vec2", head=head)
        native = to_native(model, "head")
        assert native.config.classifier_proj_size == size
        assert_alike(both_logits(native, model, "head", "wav2vec2"))


def test_transformers_alone_loads_what_was_saved(tmp_path: Path) -> None:
    folders = {}
    for auto_class, family in (
        ("AutoModelForSequenceClassification", "bert"),
        ("AutoModelForTokenClassification", "llama"),
        ("AutoModelForQuestionAnswering", "t5"),
        ("AutoModelForMaskedLM", "deberta-v2"),
        ("AutoModelForCausalLM", "gpt2"),
        ("AutoModelForImageClassification", "resnet"),
        ("AutoModelForAudioClassification", "wav2vec2"),
    ):
        model = head_model(family, head=HEADS[auto_class][family])
        native = to_native(model, "head")
        folders[auto_class] = str(tmp_path / auto_class)
        native.save_pretrained(folders[auto_class])
        inputs = rows(family)
        with torch.no_grad():
            expected = native(**inputs)[0]
        from safetensors.torch import save_file

        save_file({**inputs, "expected": expected.contiguous()}, f"{folders[auto_class]}/rows.safetensors")
    result = subprocess.run(
        [sys.executable, "-c", LOADED_ALONE, json.dumps(folders)],
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert result.returncode == 0, result.stderr[-2000:]
    assert len(result.stdout.split()) == len(folders)


def test_16_bits_stay_16_bits(tmp_path: Path) -> None:
    head_model("qwen2", head=sequence()).to(torch.bfloat16).save_pretrained(tmp_path)
    model = MultiTaskModel.from_pretrained(tmp_path)
    native = to_native(model, "head")
    assert {value.dtype for value in native.parameters()} == {torch.bfloat16}
    assert (native.dtype, native.config.dtype) == (torch.bfloat16, torch.bfloat16)
    expected, found = both_logits(native, model, "head", "qwen2")
    assert torch.equal(expected, found)


def test_what_follows_from_the_config_is_not_rounded() -> None:
    model = head_model("llama", head=sequence())
    # attention that depends on positions
    randomize(model.backbone)
    exact = model.backbone.model.get_buffer("rotary_emb.inv_freq").clone()
    model.to(torch.bfloat16)
    assert not torch.equal(model.backbone.model.get_buffer("rotary_emb.inv_freq").float(), exact)
    native = to_native(model, "head")
    assert torch.equal(native.get_buffer("model.rotary_emb.inv_freq"), exact)


def test_statistics_are_not_rounded() -> None:
    head = {"head_type": "regression", "mean": [3.0], "std": [2.0]}
    model = head_model("gpt2", head=head).to(torch.bfloat16)
    nn.init.zeros_(model.named_heads["head"].regressor.bias)
    with pytest.raises(InputError, match=r"mean and std would be rounded to torch\.bfloat16; call model\.float"):
        to_native(model, "head")


def test_the_attention_of_the_model_is_kept() -> None:
    register()
    config = tiny_bert_config(attn_implementation=VARIABLE_LENGTHS)
    heads = {"ner": {"head_type": "token_classification", "num_labels": 3}}
    model = MultiTaskModel(MultiTaskConfig(backbone_config=config, heads=heads)).eval()
    # it takes no mask, so that only other attention can have been compared
    native = to_native(model, "ner")
    assert native.config._attn_implementation == VARIABLE_LENGTHS
    ids = tiny_inputs()["input_ids"]
    with torch.no_grad():
        torch.testing.assert_close(native(input_ids=ids).logits, model(input_ids=ids)["ner_logits"])


def test_a_pooler_that_no_head_reads_is_left_out() -> None:
    config = tiny_bert_config()
    heads = {"ner": {"head_type": "token_classification", "num_labels": 3}}
    multi_task = MultiTaskConfig(backbone_config=config, heads=heads)
    model = MultiTaskModel(multi_task, backbone=Backbone(BertModel(config))).eval()
    assert "pooler.dense.weight" in model.backbone.model.state_dict()
    native = to_native(model, "ner")
    assert not any("pooler" in name for name in native.state_dict())
    assert_alike(both_logits(native, model, "ner", "bert"))


BERT_HEAD = {"pooling": "cls", "hidden_sizes": [32], "hidden_act": "tanh"}
REFUSED: list[tuple[str, dict[str, Any], str]] = [
    (
        "bert",
        sequence(pooling="mean"),
        "head 'head': BertForSequenceClassification has 1 hidden layer, pooling cls, hidden_act tanh; "
        "the head has no hidden layer, pooling mean",
    ),
    ("bert", sequence(**{**BERT_HEAD, "hidden_act": "relu"}), "hidden_act tanh; the head has .*hidden_act relu"),
    ("bert", sequence(**{**BERT_HEAD, "hidden_sizes": [32, 32]}), "has 1 hidden layer.* the head has 2 hidden layers"),
    ("bert", sequence(**{**BERT_HEAD, "hidden_sizes": [16]}), r"its feed_forward.0.weight has the shape \(16, 32\)"),
    ("bert", sequence(**BERT_HEAD, layer=1), "it reads layer 1, a native model the last"),
    ("bert", sequence(pooling="cls", layer="scalar_mix"), "it reads layer 'scalar_mix'"),
    (
        "bert",
        sequence(pooling="attention", hidden_sizes=[32]),
        "the head has 1 hidden layer, pooling attention",
    ),
    ("bert", {"head_type": "token_classification", "num_labels": 3, "crf": True}, "conditional random field"),
    ("bert", {"head_type": "sentence_similarity"}, "no model that does what a 'sentence_similarity' head"),
    ("bert", {"head_type": "preference", "pooling": "cls"}, "has 1 hidden layer.*the head has no hidden layer"),
    ("bert", {"head_type": "multiple_choice", "pooling": "cls"}, "has 1 hidden layer.*the head has no hidden layer"),
    ("deberta-v2", {"head_type": "preference", "pooling": "cls"}, "has 1 hidden layer.*the head has no hidden layer"),
    ("albert", {"head_type": "masked_language_modeling"}, "hidden_act gelu_new.*the head has hidden_act gelu,"),
    ("modernbert", sequence(pooling="mean"), "ModernBertForSequenceClassification has head.dense.weight"),
    ("t5", sequence(pooling="mean"), "reads encoded_text_decoder, the head encoded_text"),
    ("bart", {"head_type": "masked_language_modeling"}, "is built in no way that is known of AutoModelForMaskedLM"),
    ("pegasus", sequence(), "transformers has no AutoModelForSequenceClassification for a 'pegasus' backbone"),
    ("clip", {"head_type": "image_classification", "num_labels": 3}, "the head has .*pooling pooled"),
    ("clip", sequence(input=["encoded_text", "encoded_image"]), "fuses encoded_text and encoded_image"),
    ("vit", {"head_type": "image_classification", "num_labels": 3, "hidden_sizes": [8]}, "has no hidden layer"),
    ("dinov2", {"head_type": "image_classification", "num_labels": 3, "pooling": "mean"}, "pooling mean"),
]


@pytest.mark.parametrize(("family", "head", "message"), REFUSED)
def test_heads_without_a_counterpart_are_refused(family: str, head: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        to_native(head_model(family, head=head), "head")


def test_a_bias_needs_a_place() -> None:
    model = head_model("llama", head=sequence())
    nn.init.ones_(model.named_heads["head"].classifier.bias)
    with pytest.raises(InputError, match=r"LlamaFor\w+ has no place for it\. Train it with classifier_bias: false"):
        to_native(model, "head")


def test_the_last_token_is_found_by_its_padding() -> None:
    config = GPT2Config(vocab_size=50, n_embd=32, n_layer=1, n_head=2, n_positions=20)
    model = MultiTaskModel(MultiTaskConfig(backbone_config=config, heads={"head": sequence()})).eval()
    nn.init.zeros_(model.named_heads["head"].classifier.bias)
    with pytest.raises(InputError, match="last token by pad_token_id, which the backbone's config lacks"):
        to_native(model, "head")


def test_a_wrong_layout_is_never_handed_out(monkeypatch: pytest.MonkeyPatch) -> None:
    wrong = NativeLayout(
        modules={"dense": "{base}.pooler.dense", "output": "classifier"},
        fields={"pooling": ("mean",), "hidden_act": ("tanh",)},
    )
    monkeypatch.setitem(LAYOUTS["sequence_classification"], "bert", wrong)
    model = head_model("bert", head=sequence(**{**BERT_HEAD, "pooling": "mean"}))
    with pytest.raises(InputError, match=r"answers otherwise than the head: their logits differ by \d"):
        to_native(model, "head")


@pytest.mark.parametrize(
    ("config_class", "task", "expected"),
    [
        (CamembertConfig, "AutoModelForSequenceClassification", "CamembertForSequenceClassification"),
        (MegatronBertConfig, "AutoModelForSequenceClassification", "MegatronBertForSequenceClassification"),
        (MegatronBertConfig, "AutoModelForMaskedLM", "MegatronBertForMaskedLM"),
        (ConvBertConfig, "AutoModelForTokenClassification", "ConvBertForTokenClassification"),
    ],
)
def test_a_family_without_an_entry_is_tried_and_compared(config_class: Any, task: str, expected: str) -> None:
    config = config_class(**TEXT)
    assert all(config.model_type not in families for families in LAYOUTS.values())
    heads = {"head": HEADS[task]["bert"]}
    model = MultiTaskModel(MultiTaskConfig(backbone_config=config, heads=heads)).eval()
    randomize(model.named_heads["head"])
    native = to_native(model, "head")
    assert type(native).__name__ == expected
    assert_alike(both_logits(native, model, "head", "bert"))


def test_an_activation_that_is_nearly_the_same_is_told_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    layout = LAYOUTS["sequence_classification"]["electra"]
    wrong = replace(layout, fields={**layout.fields, "hidden_act": ("gelu_new",)})
    monkeypatch.setitem(LAYOUTS["sequence_classification"], "electra", wrong)
    head = sequence(pooling="cls", hidden_sizes=[32], hidden_act="gelu_new")
    config = MultiTaskConfig(backbone_config=FAMILIES["electra"](), heads={"head": head})
    torch.manual_seed(0)
    model = MultiTaskModel(config).eval()
    # small features, where both activations are halves of their argument up to the sixth digit
    with pytest.raises(InputError, match=r"logits differ by \d\.\de-0[56] of the largest"):
        to_native(model, "head")


def test_heads_have_to_exist() -> None:
    with pytest.raises(InputError, match="unknown head 'intnt', did you mean 'intent'"):
        to_native(tiny_model(), "intnt")


def test_a_regression_head_without_statistics_is_a_classifier_of_one_number() -> None:
    model = head_model("gpt2", head={"head_type": "regression", "standardize": False})
    nn.init.zeros_(model.named_heads["head"].regressor.bias)
    native = to_native(model, "head")
    with torch.no_grad():
        assert native(**tiny_backbone_inputs("gpt2")).logits.shape == (3, 1)


def test_adapters_are_to_be_merged_first() -> None:
    peft = pytest.importorskip("peft")
    model = tiny_model({"slots": {"head_type": "token_classification", "num_labels": 3}})
    adapted = get_peft_model(model, peft.LoraConfig(r=2, init_lora_weights=False)).eval()
    with pytest.raises(InputError, match="merge them into the backbone"):
        to_native(adapted, "slots")
    inputs = tiny_inputs()
    wanted = adapted(**inputs)["slots_logits"]
    native = to_native(merge_adapters(adapted), "slots")
    torch.testing.assert_close(native(**inputs).logits, wanted, atol=1e-5, rtol=1e-5)
