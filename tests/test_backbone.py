"""The backbone contract, over several architectures."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import (
    AlbertConfig,
    AutoModel,
    BertConfig,
    DistilBertConfig,
    ElectraConfig,
    GPT2Config,
    PreTrainedConfig,
    RobertaConfig,
    T5Config,
    T5EncoderModel,
)

from fixtures import tiny_bert_config, tiny_inputs
from mt_transformers import Backbone
from mt_transformers.backbone import default_pooling, find_hidden_size
from mt_transformers.errors import InputError

BERT = {"hidden_size": 24, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16, "vocab_size": 50}

CONFIGS: dict[str, PreTrainedConfig] = {
    "bert": BertConfig(**BERT),
    "roberta": RobertaConfig(**BERT),
    "electra": ElectraConfig(**BERT, embedding_size=8),
    "albert": AlbertConfig(**BERT, embedding_size=8),
    "distilbert": DistilBertConfig(dim=24, n_layers=1, n_heads=2, hidden_dim=16, vocab_size=50),
    "gpt2": GPT2Config(n_embd=24, n_layer=1, n_head=2, vocab_size=50),
}
"""Configs of architectures that encode with `input_ids` and `attention_mask` alone, all 24 wide."""

T5 = T5Config(d_model=24, d_kv=4, d_ff=8, num_layers=1, num_heads=2, vocab_size=50)


@pytest.mark.parametrize("config", [*CONFIGS.values(), T5], ids=[*CONFIGS, "t5"])
def test_hidden_size(config: PreTrainedConfig) -> None:
    assert find_hidden_size(config) == 24


def test_a_config_without_a_size_is_refused_by_name() -> None:
    with pytest.raises(InputError, match=r"^backbone '.*': its config has no hidden_size"):
        find_hidden_size(PreTrainedConfig())


@pytest.mark.parametrize(
    ("name", "pooling"),
    [
        ("bert", "mean"),
        ("roberta", "mean"),
        ("electra", "mean"),
        ("albert", "mean"),
        ("distilbert", "mean"),
        ("gpt2", "last"),
    ],
)
def test_default_pooling(name: str, pooling: str) -> None:
    assert default_pooling(CONFIGS[name]) == pooling


def test_default_pooling_of_an_encoder_decoder() -> None:
    assert default_pooling(T5) == "mean"


@pytest.mark.parametrize("name", CONFIGS)
def test_contract(name: str) -> None:
    backbone = Backbone.from_config(CONFIGS[name]).eval()
    inputs = tiny_inputs(rows=3, length=5)
    outputs = backbone(**inputs)
    assert list(outputs) == ["encoded_text", "encoded_text_mask", "token_ids"]
    assert torch.equal(outputs["encoded_text"], backbone.model(**inputs).last_hidden_state)
    assert outputs["encoded_text"].shape == (3, 5, backbone.hidden_size)
    assert outputs["encoded_text_mask"].dtype == torch.bool
    assert outputs["encoded_text_mask"].tolist() == inputs["attention_mask"].bool().tolist()


def test_without_attention_mask_all_tokens_count() -> None:
    backbone = Backbone.from_config(tiny_bert_config()).eval()
    outputs = backbone(input_ids=torch.tensor([[5, 6, 7]]))
    assert outputs["encoded_text_mask"].tolist() == [[True, True, True]]
    assert outputs["encoded_text_mask"].dtype == torch.bool


def test_embeddings_in_place_of_ids() -> None:
    backbone = Backbone.from_config(tiny_bert_config()).eval()
    input_ids = torch.tensor([[5, 6, 7], [8, 9, 10]])
    embedded = backbone.model.get_input_embeddings()(input_ids)
    from_embeddings = backbone(inputs_embeds=embedded)["encoded_text"]
    assert torch.equal(from_embeddings, backbone(input_ids=input_ids)["encoded_text"])


@pytest.mark.parametrize("name", ["bert", "roberta", "albert"])
def test_the_pooler_that_no_head_reads_is_left_out(tmp_path: Path, name: str) -> None:
    assert any("pooler" in key for key in AutoModel.from_config(CONFIGS[name]).state_dict())
    built = Backbone.from_config(CONFIGS[name])
    assert not any("pooler" in key for key in built.state_dict())
    AutoModel.from_config(CONFIGS[name]).save_pretrained(tmp_path)
    loaded = Backbone.from_pretrained(str(tmp_path))
    assert not any("pooler" in key for key in loaded.state_dict())
    assert list(loaded.state_dict()) == list(built.state_dict())
    # it still encodes, and every weight of it gets a gradient
    loaded(input_ids=torch.tensor([[5, 6, 7]]))["encoded_text"].square().sum().backward()
    without = [key for key, value in loaded.named_parameters() if value.grad is None]
    assert without == []


def test_weights_are_those_of_automodel(tiny_backbone: str) -> None:
    expected = AutoModel.from_pretrained(tiny_backbone).state_dict()
    found = Backbone.from_pretrained(tiny_backbone).model.state_dict()
    assert set(found) == {key for key in expected if not key.startswith("pooler.")}
    assert all(torch.equal(value, expected[key]) for key, value in found.items())


@pytest.mark.parametrize("kwargs", [{"dtype": torch.float64}, {"attn_implementation": "eager"}])
def test_keyword_arguments_go_to_automodel(tiny_backbone: str, kwargs: dict[str, Any]) -> None:
    model = Backbone.from_pretrained(tiny_backbone, **kwargs).model
    if "dtype" in kwargs:
        assert {value.dtype for value in model.parameters()} == {torch.float64}
    else:
        assert model.config._attn_implementation == "eager"


@pytest.mark.parametrize("make", [False, True], ids=["no folder", "empty folder"])
def test_a_missing_backbone_is_named(tmp_path: Path, make: bool) -> None:
    folder = tmp_path / "nothing-here"
    if make:
        folder.mkdir()
    with pytest.raises(InputError) as caught:
        Backbone.from_pretrained(str(folder))
    assert str(caught.value).startswith(f"backbone '{folder}' cannot be loaded: ")


def test_a_text_encoder_of_an_encoder_decoder() -> None:
    backbone = Backbone(T5EncoderModel(T5)).eval()
    assert backbone(**tiny_inputs(rows=2, length=4))["encoded_text"].shape == (2, 4, 24)
