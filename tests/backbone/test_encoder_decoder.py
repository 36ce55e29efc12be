"""Encoder-decoders of text: the encoder, and the decoder over the same text shifted right."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from transformers.models.mbart import modeling_mbart
from transformers.models.pegasus import modeling_pegasus

from backbones import ENCODER_DECODERS, tiny_backbone, tiny_backbone_config, tiny_backbone_inputs
from mt_transformers import MultiTaskConfig, MultiTaskModel
from mt_transformers.backbone.encoder_decoder import shift_right
from mt_transformers.errors import InputError

DECODER = "encoded_text_decoder"


def shifted_by_transformers(family: str, model: Any, ids: torch.Tensor) -> torch.Tensor:
    """The decoder's input as each model's own code makes it."""
    config = model.config
    if family in ("t5", "mt5"):
        shifted: torch.Tensor = model._shift_right(ids)
        return shifted
    if family == "mbart":
        return modeling_mbart.shift_tokens_right(ids, config.pad_token_id)
    return modeling_pegasus.shift_tokens_right(ids, config.pad_token_id, config.decoder_start_token_id)


@pytest.mark.parametrize("family", ENCODER_DECODERS)
def test_the_shift_is_the_models_own(family: str) -> None:
    model = tiny_backbone(family).model
    ids = tiny_backbone_inputs(family)["input_ids"]
    shifted = shift_right(model, ids)
    assert torch.equal(shifted, shifted_by_transformers(family, model, ids))
    assert torch.equal(shifted[:, 1:], ids[:, :-1])


def test_a_model_without_a_start_starts_from_padding() -> None:
    model = tiny_backbone("t5", decoder_start_token_id=None, pad_token_id=4).model
    assert shift_right(model, torch.tensor([[7, 8]])).tolist() == [[4, 7]]


def test_a_model_with_neither_start_nor_padding_is_refused() -> None:
    model = tiny_backbone("t5", decoder_start_token_id=None).model
    model.config.pad_token_id = None
    with pytest.raises(InputError, match=r"^backbone 't5': its config has no decoder_start_token_id"):
        shift_right(model, torch.tensor([[7, 8]]))


@pytest.mark.parametrize("family", ENCODER_DECODERS)
def test_both_outputs_are_those_of_the_whole_model(family: str) -> None:
    backbone = tiny_backbone(family)
    inputs = tiny_backbone_inputs(family)
    decoder_ids = shifted_by_transformers(family, backbone.model, inputs["input_ids"])
    whole = backbone.model(**inputs, decoder_input_ids=decoder_ids, output_hidden_states=True)
    outputs = backbone(layers=True, outputs={"encoded_text", DECODER}, **inputs)
    tokens = inputs["attention_mask"].bool()
    torch.testing.assert_close(outputs["encoded_text"], whole.encoder_last_hidden_state)
    torch.testing.assert_close(outputs[DECODER][tokens], whole.last_hidden_state[tokens])
    for layer, state in zip(outputs["text_decoder_layers"], whole.decoder_hidden_states, strict=True):
        torch.testing.assert_close(layer[tokens], state[tokens])


def test_bart_shifts_by_itself_as_the_backbone_does() -> None:
    backbone = tiny_backbone("bart")
    inputs = tiny_backbone_inputs("bart")
    tokens = inputs["attention_mask"].bool()
    outputs = backbone(outputs={DECODER}, **inputs)
    torch.testing.assert_close(outputs[DECODER][tokens], backbone.model(**inputs).last_hidden_state[tokens])


@pytest.mark.parametrize("family", ENCODER_DECODERS)
def test_the_decoder_runs_only_where_it_is_read(family: str) -> None:
    backbone = tiny_backbone(family)
    inputs = tiny_backbone_inputs(family)
    calls: list[int] = []
    backbone.model.decoder.register_forward_hook(lambda *_: calls.append(1))
    for outputs in (None, {"encoded_text"}):
        names = backbone(layers=True, outputs=outputs, **inputs)
        assert list(names) == ["encoded_text", "encoded_text_mask", "text_layers", "token_ids"]
    assert calls == []
    names = backbone(outputs={DECODER}, **inputs)
    assert list(names) == ["encoded_text", "encoded_text_mask", DECODER, f"{DECODER}_mask", "token_ids"]
    assert calls == [1]


@pytest.mark.parametrize("family", ENCODER_DECODERS)
def test_the_decoder_looks_back_only(family: str) -> None:
    backbone = tiny_backbone(family)
    backbone.model.encoder.register_forward_hook(lambda *call: fixed(call[-1]))
    ids, changed = torch.tensor([[7, 8, 9, 10, 3]]), torch.tensor([[7, 8, 11, 10, 3]])
    one, other = (backbone(outputs={DECODER}, input_ids=each)[DECODER] for each in (ids, changed))
    # position 3 is the first to read the third token
    assert torch.equal(one[:, :3], other[:, :3])
    assert not torch.isclose(one[:, 3:], other[:, 3:]).all()


def fixed(output: Any) -> Any:
    """An encoder's output that says nothing of the input."""
    output.last_hidden_state = torch.ones_like(output.last_hidden_state)
    return output


@pytest.mark.parametrize("name", ["decoder_input_ids", "encoder_outputs", "past_key_values"])
def test_inputs_of_the_decoder_are_refused(name: str) -> None:
    inputs: dict[str, Any] = {**tiny_backbone_inputs("t5"), name: torch.ones(3, 2)}
    with pytest.raises(InputError, match=f"^{name}: the decoder of a backbone reads the text that the encoder reads"):
        tiny_backbone("t5")(**inputs)


def test_the_decoder_needs_ids() -> None:
    with pytest.raises(InputError, match=r"^encoded_text_decoder: expected input_ids .* found inputs_embeds"):
        tiny_backbone("t5")(outputs={DECODER}, inputs_embeds=torch.zeros(1, 2, 32).double())


@pytest.mark.parametrize("family", ENCODER_DECODERS)
def test_a_model_around_it_comes_back_with_its_shared_weights_shared(family: str, tmp_path: Path) -> None:
    heads = {"intent": {"head_type": "sequence_classification", "num_labels": 3}}
    model = MultiTaskModel(MultiTaskConfig(backbone_config=tiny_backbone_config(family), heads=heads)).eval()
    model.save_pretrained(tmp_path)
    loaded = MultiTaskModel.from_pretrained(tmp_path)
    inner = loaded.backbone.model
    assert inner.encoder.embed_tokens.weight is inner.shared.weight is inner.decoder.embed_tokens.weight
    inputs = tiny_backbone_inputs(family)
    assert torch.equal(loaded(**inputs)["intent_logits"], model(**inputs)["intent_logits"])
