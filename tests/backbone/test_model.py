"""The backbone contract, over all families."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import nn
from transformers import AutoModel, PreTrainedConfig, PreTrainedModel, T5EncoderModel
from transformers.modeling_outputs import BaseModelOutput

from backbones import (
    ENCODER_DECODERS,
    FAMILIES,
    MODALITIES,
    TEXTS,
    TWO_INPUTS,
    tiny_backbone,
    tiny_backbone_config,
    tiny_backbone_inputs,
)
from fixtures import tiny_bert_config, tiny_inputs, tiny_tokenizer
from mt_transformers import Backbone
from mt_transformers.errors import InputError


def modality(name: str) -> str:
    """The modality of an output."""
    return name.split("_")[1]


@pytest.mark.parametrize("family", FAMILIES)
def test_contract(family: str) -> None:
    backbone = tiny_backbone(family)
    inputs = tiny_backbone_inputs(family)
    outputs = backbone(outputs=set(backbone.info.hidden_sizes), **inputs)
    names = [name for name in outputs if name.startswith("encoded_") and not name.endswith("_mask")]
    assert set(names) == set(backbone.info.hidden_sizes)
    for name in names:
        size = backbone.info.hidden_sizes[name]
        if name.endswith("_pooled"):
            assert outputs[name].shape == (3, size)
            continue
        positions = outputs[name].shape[1]
        assert outputs[name].shape == (3, positions, size)
        assert outputs[f"{name}_mask"].shape == (3, positions)
        assert outputs[f"{name}_mask"].dtype == torch.bool
        if modality(name) == "text":
            assert outputs[f"{name}_mask"].tolist() == inputs["attention_mask"].bool().tolist()
    rest = {name for name in outputs if not name.startswith("encoded_")}
    assert rest == ({"token_ids"} if "input_ids" in inputs else set())
    if rest:
        assert outputs["token_ids"] is inputs["input_ids"]


@pytest.mark.parametrize("family", FAMILIES)
def test_standard_outputs_are_all_but_the_decoders(family: str) -> None:
    backbone = tiny_backbone(family)
    names = {name for name in backbone(**tiny_backbone_inputs(family)) if name in backbone.info.hidden_sizes}
    assert names == set(backbone.info.hidden_sizes) - {"encoded_text_decoder"}


def hidden_states(family: str, model: Any, inputs: dict[str, torch.Tensor]) -> dict[str, tuple[torch.Tensor, ...]]:
    """What transformers calls hidden states, for each output."""
    if family in ENCODER_DECODERS:
        found = model(**inputs, decoder_input_ids=inputs["input_ids"], output_hidden_states=True, use_cache=False)
        return {"text": found.encoder_hidden_states}
    if family == "whisper":
        return {"audio": model.encoder(inputs["input_features"].double(), output_hidden_states=True).hidden_states}
    if family in ("clip", "siglip"):
        text = model.text_model(inputs["input_ids"], inputs["attention_mask"], output_hidden_states=True)
        image = model.vision_model(inputs["pixel_values"].double(), output_hidden_states=True)
        return {"text": text.hidden_states, "image": image.hidden_states}
    inputs = {name: value.double() if value.is_floating_point() else value for name, value in inputs.items()}
    found = model(**inputs, output_hidden_states=True).hidden_states
    if family == "vilt":
        return {"text": tuple(state[:, :7] for state in found), "image": tuple(state[:, 7:] for state in found)}
    return {next(each for each in MODALITIES if f"encoded_{each}" in tiny_outputs(family)): found}


def tiny_outputs(family: str) -> set[str]:
    """Names of the outputs of a family."""
    return set(tiny_backbone(family).info.hidden_sizes)


@pytest.mark.parametrize("family", FAMILIES)
def test_layers_are_the_hidden_states_of_transformers(family: str) -> None:
    backbone = tiny_backbone(family)
    inputs = tiny_backbone_inputs(family)
    torch.manual_seed(0)
    outputs = backbone(layers=True, **inputs)
    found = {name.removesuffix("_layers"): value for name, value in outputs.items() if name.endswith("_layers")}
    counts = {name.removeprefix("encoded_"): number for name, number in backbone.info.num_layers.items()}
    counts.pop("text_decoder", None)
    assert {name: len(value) for name, value in found.items()} == counts
    if not counts:
        return
    torch.manual_seed(0)
    expected = hidden_states(family, backbone.model, inputs)
    assert set(expected) == set(found)
    for name, states in expected.items():
        for layer, state in zip(found[name], states, strict=True):
            torch.testing.assert_close(layer, state)
        assert all(layer.shape == outputs[f"encoded_{name}"].shape for layer in found[name])


# what comes out of the embeddings and of each layer or stage, without rows, where not all is of the last one's shape
STAGES = {
    "swin": [(64, 16), (16, 32), (16, 32)],
    "convnext": [(16, 4, 4), (16, 4, 4), (32, 2, 2)],
    "resnet": [(8, 4, 4), (16, 4, 4), (32, 2, 2)],
}


def by_input(returned: Any, family: str) -> dict[str, list[torch.Tensor]]:
    """Layers by input, however many inputs there are."""
    if isinstance(returned, dict):
        return returned
    assert family not in TWO_INPUTS
    return {next(each for each in MODALITIES if f"encoded_{each}" in tiny_outputs(family)): returned}


@pytest.mark.parametrize("family", FAMILIES)
def test_full_is_the_output_of_every_layer(family: str) -> None:
    backbone, inputs = tiny_backbone(family), tiny_backbone_inputs(family)
    # ViLT puts its patches in an order that it draws
    torch.manual_seed(0)
    found = by_input(backbone(**inputs, returnt="full"), family)
    torch.manual_seed(0)
    expected = hidden_states(family, backbone.model, inputs)
    outputs = backbone(**inputs)
    assert set(found) == set(expected) == {modality(each) for each in outputs if each.endswith("_mask")}
    for name, layers in found.items():
        assert isinstance(layers, list)
        # the embeddings, and two layers or stages
        assert len(layers) == 3
        for layer, state in zip(layers, expected[name], strict=True):
            torch.testing.assert_close(layer, state)
        shapes = STAGES.get(family, [tuple(outputs[f"encoded_{name}"].shape[1:])] * 3)
        assert [tuple(layer.shape) for layer in layers] == [(3, *shape) for shape in shapes]


@pytest.mark.parametrize("family", FAMILIES)
def test_features_are_the_main_output(family: str) -> None:
    backbone, inputs = tiny_backbone(family), tiny_backbone_inputs(family)
    torch.manual_seed(0)
    features = backbone(**inputs, returnt="features")
    torch.manual_seed(0)
    assert torch.equal(features, backbone(**inputs)[backbone.output_names[0]])


@pytest.mark.parametrize("family", ["clip", "siglip"])
def test_of_one_tower_its_layers_and_its_features(family: str) -> None:
    backbone, inputs = tiny_backbone(family), tiny_backbone_inputs(family)
    both = backbone(**inputs, returnt="full")
    images = {"pixel_values": inputs.pop("pixel_values")}
    for name, own in (("text", inputs), ("image", images)):
        assert all(map(torch.equal, backbone(**own, returnt="full"), both[name]))
        assert torch.equal(backbone(**own, returnt="features"), backbone(**own)[f"encoded_{name}"])


@pytest.mark.parametrize("family", ["bert", "gpt2", "deberta-v2", "t5", "clip", "vilt"])
def test_full_of_padding_on_the_left(family: str) -> None:
    """Layers have their positions where the ids have theirs."""
    backbone, right = tiny_backbone(family), tiny_backbone_inputs(family)
    left = dict(right)
    for name in ("input_ids", "attention_mask"):
        left[name] = torch.stack([row.roll(number) for number, row in enumerate(right[name])])
    mask, moved = right["attention_mask"].bool(), left["attention_mask"].bool()
    assert not torch.equal(mask, moved)
    expected, found = (backbone(**each, returnt="full") for each in (right, left))
    if isinstance(expected, dict):
        expected, found = expected["text"], found["text"]
    for one, other in zip(expected, found, strict=True):
        torch.testing.assert_close(other[moved], one[mask])


def test_gradients_flow_through_every_layer() -> None:
    backbone = tiny_backbone("bert").train()
    backbone(**tiny_backbone_inputs("bert"), returnt="full")[0].sum().backward()
    assert backbone.model.embeddings.word_embeddings.weight.grad.any()
    assert all(each.grad is None for each in backbone.model.encoder.parameters())


@pytest.mark.parametrize("returnt", ["out", "both"])
def test_a_backbone_has_no_logits(returnt: Any) -> None:
    with pytest.raises(InputError, match=rf"^returnt: a backbone has no logits: .*'full', found '{returnt}'\.$"):
        tiny_backbone("bert")(**tiny_backbone_inputs("bert"), returnt=returnt)


@pytest.mark.parametrize("returnt", ["logits", "", 1, True])
def test_what_cannot_be_returned_is_refused_before_the_model_runs(returnt: Any) -> None:
    message = rf"^returnt: expected one of out, features, both, full, found {returnt!r}\.$"
    with pytest.raises(InputError, match=message):
        tiny_backbone("bert")(returnt=returnt)


def test_a_model_without_hidden_states_is_refused_by_name() -> None:
    backbone = tiny_backbone("resnet")
    forward = backbone.model.forward

    def without(*args: Any, output_hidden_states: bool = False, **kwargs: Any) -> Any:
        return forward(*args, **kwargs)

    backbone.model.forward = without
    with pytest.raises(InputError, match=r"^backbone 'resnet': it answers without hidden states of encoded_image\.$"):
        backbone(**tiny_backbone_inputs("resnet"), returnt="full")


def test_full_while_layers_are_dropped_at_random_is_refused() -> None:
    backbone = tiny_backbone("wav2vec2", layerdrop=1.0).train()
    with pytest.raises(InputError, match=r"^layers of encoded_audio: expected 3, found .*set layerdrop to 0"):
        backbone(**tiny_backbone_inputs("wav2vec2"), returnt="full")


def test_layers_are_given_only_where_they_are_asked_for() -> None:
    assert not [name for name in tiny_backbone("bert")(**tiny_backbone_inputs("bert")) if name.endswith("_layers")]


def test_layers_that_are_dropped_at_random_are_refused() -> None:
    backbone = tiny_backbone("wav2vec2", layerdrop=1.0).train()
    inputs = tiny_backbone_inputs("wav2vec2")
    with pytest.raises(InputError, match=r"^layers of encoded_audio: expected 3, found .*set layerdrop to 0"):
        backbone(layers=True, **inputs)
    assert len(backbone.eval()(layers=True, **inputs)["audio_layers"]) == 3


@pytest.mark.parametrize("family", [*TEXTS, *TWO_INPUTS])
def test_no_cache_is_built(family: str, monkeypatch: pytest.MonkeyPatch) -> None:
    from transformers import cache_utils

    def fail(*arguments: Any, **kwargs: Any) -> None:
        raise AssertionError("a cache was built")

    backbone = tiny_backbone(family)
    monkeypatch.setattr(cache_utils.Cache, "__init__", fail)
    backbone(outputs=set(backbone.info.hidden_sizes), **tiny_backbone_inputs(family))


@pytest.mark.parametrize("family", FAMILIES)
def test_bfloat16(family: str) -> None:
    backbone = tiny_backbone(family).to(torch.bfloat16)
    outputs = backbone(outputs=set(backbone.info.hidden_sizes), **tiny_backbone_inputs(family))
    for name in backbone.info.hidden_sizes:
        assert outputs[name].dtype == torch.bfloat16
        assert outputs[name].isfinite().all()


@pytest.mark.parametrize("family", TEXTS)
def test_resize_token_embeddings(family: str) -> None:
    backbone = tiny_backbone(family)
    before = backbone.info.vocab_size
    assert before is not None
    backbone.model.resize_token_embeddings(before + 3, mean_resizing=False)
    assert backbone.info.vocab_size == before + 3
    outputs = backbone(outputs=set(backbone.info.hidden_sizes), input_ids=torch.tensor([[2, before + 2, 3]]))
    assert all(outputs[name].isfinite().all() for name in backbone.info.hidden_sizes)


def test_without_attention_mask_all_tokens_count() -> None:
    outputs = tiny_backbone("bert")(input_ids=torch.tensor([[5, 6, 7]]))
    assert outputs["encoded_text_mask"].tolist() == [[True, True, True]]
    assert outputs["encoded_text_mask"].dtype == torch.bool


def test_names_of_outputs_that_the_backbone_lacks_do_not_matter() -> None:
    backbone = tiny_backbone("bert")
    inputs = tiny_backbone_inputs("bert")
    outputs = backbone(outputs={"encoded_text", "encoded_text_pooled"}, **inputs)
    assert list(outputs) == ["encoded_text", "encoded_text_mask", "token_ids"]


# ------------------------------------------------------------------------------------------------------------------
# building and loading


@pytest.mark.parametrize("family", ["bert", "roberta", "albert", "mpnet", "vit", "vilt"])
def test_the_pooler_that_no_head_reads_is_left_out(tmp_path: Path, family: str) -> None:
    whole = AutoModel.from_config(tiny_backbone_config(family))
    assert any("pooler" in key for key in whole.state_dict())
    built = Backbone.from_config(tiny_backbone_config(family))
    whole.save_pretrained(tmp_path)
    loaded = Backbone.from_pretrained(str(tmp_path))
    assert not any("pooler" in key for key in loaded.state_dict())
    assert list(loaded.state_dict()) == list(built.state_dict())
    assert loaded(**tiny_backbone_inputs(family))


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


def test_the_encoder_of_an_encoder_decoder_alone() -> None:
    backbone = Backbone(T5EncoderModel(tiny_backbone_config("t5"))).eval()
    outputs = backbone(layers=True, **tiny_inputs(rows=2, length=4))
    assert outputs["encoded_text"].shape == (2, 4, 32)
    assert len(outputs["text_layers"]) == 3


# ------------------------------------------------------------------------------------------------------------------
# models that keep less than the contract


class _Config(PreTrainedConfig):
    model_type = "test_model_other"
    hidden_size: int = 4


class _Other(PreTrainedModel):
    """A model whose answer is given."""

    config_class = _Config

    def __init__(self, config: _Config, answer: Any) -> None:
        super().__init__(config)
        self.weight = nn.Parameter(torch.ones(()))
        self.answer = answer

    def forward(self, input_ids: torch.Tensor) -> Any:
        return self.answer


def test_a_mask_that_the_model_does_not_take_still_masks() -> None:
    state = torch.randn(1, 3, 4)
    backbone = Backbone(_Other(_Config(), BaseModelOutput(last_hidden_state=state)))
    outputs = backbone(layers=True, input_ids=torch.ones(1, 3).long(), attention_mask=torch.tensor([[1, 1, 0]]))
    assert torch.equal(outputs["encoded_text"], state)
    assert outputs["encoded_text_mask"].tolist() == [[True, True, False]]
    # its config says nothing of layers
    assert "text_layers" not in outputs


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (BaseModelOutput(), "^backbone 'test_model_other': it answers without a last_hidden_state"),
        (
            BaseModelOutput(last_hidden_state=torch.zeros(1, 3, 5)),
            "^backbone 'test_model_other': its config says that encoded_text has size 4, found 5",
        ),
    ],
    ids=["no state", "other size"],
)
def test_an_answer_that_cannot_be_used_is_refused(answer: BaseModelOutput, message: str) -> None:
    with pytest.raises(InputError, match=message):
        Backbone(_Other(_Config(), answer))(input_ids=torch.ones(1, 3).long())


# ------------------------------------------------------------------------------------------------------------------
# text for people


@pytest.mark.parametrize("as_processor", [False, True], ids=["tokenizer", "processor"])
@pytest.mark.parametrize("side", ["right", "left"])
def test_make_output_human_readable(side: str, as_processor: bool) -> None:
    tokenizer = tiny_tokenizer(padding_side=side)
    inputs = tokenizer(["play dido", "weather in new york"], padding=True, return_tensors="pt")
    outputs = Backbone.from_config(tiny_bert_config()).eval()(**inputs)
    processor: Any = SimpleNamespace(tokenizer=tokenizer) if as_processor else tokenizer
    readable = Backbone.from_config(tiny_bert_config()).make_output_human_readable(outputs, processor)
    assert readable["tokens"][0] == ["[CLS]", "play", "dido", "[SEP]"]
    assert readable["text"][0] == "play dido"
    first = 2 if side == "left" else 0
    assert [(word.text, word.position) for word in readable["words"][0]] == [("play", first + 1), ("dido", first + 2)]


def test_nothing_is_readable_without_ids_or_tokenizer() -> None:
    backbone = tiny_backbone("vit")
    outputs = backbone(**tiny_backbone_inputs("vit"))
    assert backbone.make_output_human_readable(outputs, tiny_tokenizer()) == {}
    assert backbone.make_output_human_readable({"token_ids": torch.ones(1, 1)}, None) == {}
