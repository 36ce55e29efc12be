"""What a head reads of the backbone: layers, mixes of them, pooled features and several of them fused, by hand."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch

from backbones import tiny_backbone_config, tiny_backbone_inputs
from fixtures import tiny_bert_config, tiny_inputs, tiny_model
from mt_transformers import Backbone, MultiTaskModel
from mt_transformers.heads import FeatureReader, HeadConfig, RegressionHeadConfig, ScalarMix
from mt_transformers.heads.reading_config import ReadingConfig

MASK = torch.tensor([[True, True, False], [True, True, True]])
TEXT = torch.tensor([[[1.0, 2.0], [3.0, 6.0], [9.0, 9.0]], [[1.0, 1.0], [2.0, 2.0], [6.0, 9.0]]])
IMAGE = torch.tensor([[[5.0, 7.0]], [[0.5, -1.0]]])
ENCODED: dict[str, Any] = {
    "encoded_text": TEXT,
    "encoded_text_mask": MASK,
    "text_layers": (TEXT * 10, TEXT * 100, TEXT),
    "encoded_image": IMAGE,
    "encoded_image_mask": torch.ones(2, 1, dtype=torch.bool),
    "encoded_image_pooled": torch.tensor([[10.0, 20.0], [30.0, 40.0]]),
}
MEANS = [[2.0, 4.0], [3.0, 4.0]]
"""Of the tokens of both rows, padding left out."""

REGRESSION: dict[str, Any] = {"head_type": "regression", "mean": [0.0], "std": [1.0]}


def read(config: ReadingConfig, encoded: dict[str, Any] | None = None) -> tuple[list[Any], list[Any]]:
    features, mask = FeatureReader(config)(ENCODED if encoded is None else encoded)
    return features.tolist(), mask.tolist()


# one output


def test_an_output_comes_with_its_mask() -> None:
    assert read(ReadingConfig(input="encoded_text")) == (TEXT.tolist(), MASK.tolist())
    assert read(ReadingConfig(input="encoded_image")) == (IMAGE.tolist(), [[True], [True]])


@pytest.mark.parametrize(("layer", "factor"), [(0, 10), (1, 100), (2, 1), (-1, 1), (-2, 100), (-3, 10)])
def test_layers_are_counted_from_the_embeddings(layer: int, factor: int) -> None:
    features, mask = read(ReadingConfig(input="encoded_text", layer=layer))
    assert features == (TEXT * factor).tolist()
    assert mask == MASK.tolist()


def test_the_last_layer_needs_no_others() -> None:
    bare = {name: value for name, value in ENCODED.items() if name != "text_layers"}
    assert read(ReadingConfig(input="encoded_text"), bare)[0] == TEXT.tolist()


# mixes


def test_a_mix_begins_as_the_mean_of_all_layers() -> None:
    features, mask = read(ReadingConfig(input="encoded_text", layer="scalar_mix", num_layers=3))
    torch.testing.assert_close(torch.tensor(features), TEXT * 37)
    assert mask == MASK.tolist()


def test_a_mix_by_hand() -> None:
    mix = ScalarMix(3)
    with torch.no_grad():
        # shares 1, 2 and 5 of 8
        mix.weights.copy_(torch.tensor([1.0, 2.0, 5.0]).log() + 0.25)
        mix.scale.fill_(-4.0)
    layers = [torch.tensor([[8.0, 0.0]]), torch.tensor([[0.0, 8.0]]), torch.tensor([[8.0, 16.0]])]
    torch.testing.assert_close(mix(layers), torch.tensor([[-4.0 * 6, -4.0 * 12]]))


def test_a_mix_learns_its_shares_and_its_scale() -> None:
    mix = ScalarMix(2)
    assert {name: tuple(value.shape) for name, value in mix.named_parameters()} == {"weights": (2,), "scale": ()}
    mix([torch.tensor(3.0), torch.tensor(7.0)]).backward()
    assert mix.scale.grad is not None
    assert mix.weights.grad is not None
    # of a mean of 5 the derivative after the first weight is a half times a half of 3 - 7
    assert mix.scale.grad.item() == pytest.approx(5.0)
    assert mix.weights.grad.tolist() == pytest.approx([-1.0, 1.0])


@pytest.mark.parametrize("number", [1, 3])
def test_a_mix_is_of_as_many_layers_as_it_was_made_for(number: int) -> None:
    with pytest.raises(ValueError, match="zip"):
        ScalarMix(2)([torch.zeros(1)] * number)


# pooled features


def pooled(**fields: Any) -> HeadConfig:
    return RegressionHeadConfig(**{"pooling": "pooled", **fields})


def test_pooled_features_have_one_position() -> None:
    features, mask = read(pooled(input="encoded_image"))
    assert features == [[[10.0, 20.0]], [[30.0, 40.0]]]
    assert mask == [[True], [True]]


def test_an_output_without_pooled_features_is_averaged() -> None:
    features, mask = read(pooled(input="encoded_text"))
    assert features == [[MEANS[0]], [MEANS[1]]]
    assert mask == [[True], [True]]


@pytest.mark.parametrize(
    ("fusion", "expected"),
    [
        ("concat", [[2.0, 4.0, 10.0, 20.0], [3.0, 4.0, 30.0, 40.0]]),
        ("sum", [[12.0, 24.0], [33.0, 44.0]]),
        ("mul", [[20.0, 80.0], [90.0, 160.0]]),
    ],
)
@pytest.mark.parametrize("pooling", ["auto", "pooled"])
def test_fusion(fusion: Any, pooling: str, expected: list[list[float]]) -> None:
    inputs = ["encoded_text", "encoded_image"]
    features, mask = read(pooled(input=inputs, fusion=fusion, pooling=pooling))
    assert features == [[row] for row in expected]
    assert mask == [[True], [True]]


def test_fusion_keeps_the_order_that_is_given_and_takes_more_than_two() -> None:
    encoded = {**ENCODED, "encoded_audio": TEXT, "encoded_audio_pooled": torch.tensor([[2.0, 3.0], [4.0, 5.0]])}
    inputs = ["encoded_audio", "encoded_image", "encoded_text"]
    assert read(pooled(input=inputs), encoded)[0][0] == [[2.0, 3.0, 10.0, 20.0, 2.0, 4.0]]
    assert read(pooled(input=inputs, fusion="sum"), encoded)[0][0] == [[14.0, 27.0]]
    assert read(pooled(input=inputs, fusion="mul"), encoded)[0][0] == [[40.0, 240.0]]


# on a backbone


@pytest.mark.parametrize("layer", [0, 1, 2, -2])
def test_a_head_on_a_layer_of_bert(layer: int) -> None:
    model = tiny_model({"stars": {**REGRESSION, "layer": layer, "pooling": "mean"}})
    inputs = tiny_inputs()
    states = model.backbone.model(**inputs, output_hidden_states=True).hidden_states
    assert len(states) == 3
    expected = model.heads["stars"](states[layer], inputs["attention_mask"].bool())["logits"]
    torch.testing.assert_close(model(**inputs)["stars_logits"], expected)
    others = [state for number, state in enumerate(states) if number != layer % 3]
    assert not any(torch.allclose(states[layer], other) for other in others)


def test_heads_on_several_layers_share_one_pass(monkeypatch: pytest.MonkeyPatch) -> None:
    fields = {"last": {}, "first": {"layer": 0}, "mix": {"layer": "scalar_mix"}}
    model = tiny_model({name: {**REGRESSION, **each} for name, each in fields.items()})
    inputs, passes = tiny_inputs(), []
    forward = Backbone.forward
    monkeypatch.setattr(Backbone, "forward", lambda self, **given: passes.append(given) or forward(self, **given))
    outputs = model(**inputs)
    assert [each["layers"] for each in passes] == [True]
    states = model.backbone.model(**inputs, output_hidden_states=True).hidden_states
    mask = inputs["attention_mask"].bool()
    for name, features in (("last", states[2]), ("first", states[0]), ("mix", sum(states) / 3)):
        torch.testing.assert_close(outputs[f"{name}_logits"], model.heads[name](features, mask)["logits"])
    # layers are only asked for by heads that run
    model(**inputs, heads=["last"])
    assert passes[-1]["layers"] is False


def test_a_mix_is_trained_and_saved(tmp_path: Any) -> None:
    model = tiny_model({"stars": {**REGRESSION, "layer": "scalar_mix"}})
    inputs, labels = tiny_inputs(), torch.tensor([1.0, 2.0, 3.0, 4.0])
    model(**inputs, labels=labels)["loss"].backward()
    mix = model.heads["stars"].reader.scalar_mix
    assert mix is not None
    assert mix.weights.shape == (3,)
    assert mix.weights.grad is not None
    assert bool(mix.weights.grad.any())
    with torch.no_grad():
        mix.weights.copy_(torch.tensor([1.0, -2.0, 3.0]))
    model.save_pretrained(tmp_path)
    loaded = MultiTaskModel.from_pretrained(tmp_path)
    assert loaded.heads["stars"].config.num_layers == 3
    assert torch.equal(loaded(**inputs)["stars_logits"], model(**inputs)["stars_logits"])


def test_another_number_of_layers_has_another_mix() -> None:
    model = tiny_model({"stars": {**REGRESSION, "layer": "scalar_mix"}}, tiny_bert_config(num_hidden_layers=4))
    assert model.heads["stars"].reader.scalar_mix.weights.shape == (5,)


@pytest.mark.parametrize(("fusion", "size"), [("concat", 40), ("sum", 20), ("mul", 20)])
def test_text_and_image_of_clip_fused(fusion: str, size: int) -> None:
    head = {**REGRESSION, "input": ["encoded_text", "encoded_image"], "fusion": fusion}
    model = tiny_model({"stars": head}, tiny_backbone_config("clip"))
    assert model.heads["stars"].regressor.in_features == size
    inputs = tiny_backbone_inputs("clip")
    # where both towers meet
    found = model.backbone.model(**inputs)
    text = model.backbone.model.get_text_features(inputs["input_ids"], inputs["attention_mask"]).pooler_output
    image = model.backbone.model.get_image_features(inputs["pixel_values"]).pooler_output
    assert found.text_embeds.shape == text.shape == image.shape == (3, 20)
    fused = {"concat": torch.cat([text, image], dim=1), "sum": text + image, "mul": text * image}[fusion]
    expected = model.heads["stars"].regressor(fused)
    torch.testing.assert_close(model(**inputs)["stars_logits"], expected)
    assert math.isfinite(model(**inputs, labels=torch.ones(3))["loss"].item())
