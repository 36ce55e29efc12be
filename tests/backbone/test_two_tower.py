"""Text and image towers side by side: each is run where its input is there."""

from __future__ import annotations

import pytest
import torch
from transformers import FlavaConfig

from backbones import LAYERS, PATCHES, TEXT, TWO_INPUTS, tiny_backbone, tiny_backbone_config, tiny_backbone_inputs
from mt_transformers import Backbone
from mt_transformers.backbone.padding import rotate
from mt_transformers.errors import InputError

FAMILIES = ["clip", "siglip"]
TEXT_INPUTS = ("input_ids", "attention_mask")


@pytest.mark.parametrize("family", FAMILIES)
def test_outputs_are_the_features_of_the_model(family: str) -> None:
    backbone = tiny_backbone(family)
    inputs = tiny_backbone_inputs(family)
    outputs = backbone(**inputs)
    text = backbone.model.get_text_features(**{name: inputs[name] for name in TEXT_INPUTS})
    image = backbone.model.get_image_features(pixel_values=inputs["pixel_values"].double())
    assert torch.equal(outputs["encoded_text"], text.last_hidden_state)
    assert torch.equal(outputs["encoded_text_pooled"], text.pooler_output)
    assert torch.equal(outputs["encoded_image"], image.last_hidden_state)
    assert torch.equal(outputs["encoded_image_pooled"], image.pooler_output)
    assert outputs["encoded_image_mask"].all()


def test_pooled_features_of_clip_are_projected() -> None:
    outputs = tiny_backbone("clip")(**tiny_backbone_inputs("clip"))
    assert outputs["encoded_text_pooled"].shape == outputs["encoded_image_pooled"].shape == (3, 20)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize(
    ("modality", "inputs"), [("text", TEXT_INPUTS), ("image", ("pixel_values",))], ids=["text", "image"]
)
def test_one_input_alone(family: str, modality: str, inputs: tuple[str, ...]) -> None:
    backbone = tiny_backbone(family)
    given = tiny_backbone_inputs(family)
    both = backbone(layers=True, **given)
    alone = backbone(layers=True, **{name: given[name] for name in inputs})
    names = {name for name in both if modality in name}
    assert set(alone) == (names | {"token_ids"} if modality == "text" else names)
    for name in names:
        torch.testing.assert_close(alone[name], both[name])


@pytest.mark.parametrize("family", FAMILIES)
def test_padding_of_the_text_on_the_left(family: str) -> None:
    """
    More padding is no subject here: SigLIP pools the last position, padding or not, because it was trained on texts
    padded to one length without any mask.
    """
    backbone = tiny_backbone(family)
    inputs = tiny_backbone_inputs(family)
    expected = backbone(layers=True, **inputs)
    lengths = inputs["attention_mask"].sum(dim=1)
    moved = {name: rotate(inputs[name], lengths) for name in TEXT_INPUTS}
    outputs = backbone(layers=True, **moved)
    assert torch.equal(outputs["encoded_text_mask"], moved["attention_mask"].bool())
    assert torch.equal(outputs["encoded_text_pooled"], expected["encoded_text_pooled"])
    for found, other in (
        (outputs["encoded_text"], expected["encoded_text"]),
        *zip(outputs["text_layers"], expected["text_layers"], strict=True),
    ):
        assert torch.equal(rotate(found, -lengths), other)


def test_more_padding_does_not_change_clips_text() -> None:
    backbone = tiny_backbone("clip")
    inputs = {name: tiny_backbone_inputs("clip")[name] for name in TEXT_INPUTS}
    expected = backbone(**inputs)
    outputs = backbone(**{name: torch.nn.functional.pad(value, (0, 4)) for name, value in inputs.items()})
    torch.testing.assert_close(outputs["encoded_text_pooled"], expected["encoded_text_pooled"])
    mask = expected["encoded_text_mask"]
    torch.testing.assert_close(outputs["encoded_text"][outputs["encoded_text_mask"]], expected["encoded_text"][mask])


def test_a_length_that_is_the_number_of_channels_moves_no_pixels() -> None:
    backbone = tiny_backbone("clip")
    pixels = tiny_backbone_inputs("clip")["pixel_values"]
    ids, mask = torch.tensor([[0, 7, 3]] * 3), torch.tensor([[0, 1, 1]] * 3)
    both = backbone(input_ids=ids, attention_mask=mask, pixel_values=pixels)
    assert torch.equal(both["encoded_image"], backbone(pixel_values=pixels)["encoded_image"])


@pytest.mark.parametrize("family", FAMILIES)
def test_some_input_is_needed(family: str) -> None:
    with pytest.raises(InputError, match=f"^backbone '{family}': expected input_ids or pixel_values, found none"):
        tiny_backbone(family)()


def test_it_is_built_from_a_folder(tmp_path: object) -> None:
    backbone = Backbone.from_config(tiny_backbone_config("clip"))
    backbone.model.save_pretrained(str(tmp_path))
    loaded = Backbone.from_pretrained(str(tmp_path))
    assert loaded.info == backbone.info
    assert set(TWO_INPUTS) >= {loaded.info.model_type}


def test_flava_keeps_its_two_masks_apart_and_pools_its_class_tokens() -> None:
    tower = {**TEXT, **PATCHES}
    config = FlavaConfig(
        text_config=tower, image_config=tower, multimodal_config=LAYERS, hidden_size=32, projection_dim=20
    )
    backbone = Backbone.from_config(config).eval()
    # five positions of each
    inputs = {name: value[:, :5] for name, value in tiny_backbone_inputs("clip").items()}
    inputs["attention_mask"][0, 3:] = 0
    outputs = backbone(**inputs)
    alone = backbone(pixel_values=inputs["pixel_values"])
    assert torch.equal(outputs["encoded_image"], alone["encoded_image"])
    assert outputs["encoded_image"].shape == outputs["encoded_text"].shape == (3, 5, 32)
    for modality in ("text", "image"):
        project = getattr(backbone.model, f"{modality}_projection")
        first = outputs[f"encoded_{modality}"][:, 0]
        torch.testing.assert_close(outputs[f"encoded_{modality}_pooled"], project(first))
