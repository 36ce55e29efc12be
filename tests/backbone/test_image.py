"""Models of images: sequences of patches, feature maps, and what stands for the whole image."""

from __future__ import annotations

import pytest
import torch
from transformers import BeitConfig, CvtConfig, ViTModel

from backbones import IMAGES, PATCHES, tiny_backbone, tiny_backbone_config, tiny_backbone_inputs
from mt_transformers import Backbone
from mt_transformers.backbone.image import flatten_map
from mt_transformers.errors import InputError


def whole(family: str) -> tuple[Backbone, dict[str, torch.Tensor]]:
    """A backbone of a family and its inputs in float64."""
    return tiny_backbone(family), {"pixel_values": tiny_backbone_inputs(family)["pixel_values"].double()}


@pytest.mark.parametrize("family", ["convnext", "resnet"])
def test_maps_are_flattened_row_by_row(family: str) -> None:
    backbone, inputs = whole(family)
    found = backbone(**inputs)["encoded_image"]
    maps = backbone.model(**inputs).last_hidden_state
    height, width = maps.shape[2:]
    assert found.shape[1] == height * width > 1
    for row in range(height):
        for column in range(width):
            assert torch.equal(found[:, row * width + column], maps[:, :, row, column])


def test_a_map_that_is_not_square() -> None:
    maps = torch.arange(12).view(1, 2, 2, 3)
    assert flatten_map(maps)[0, :, 0].tolist() == [0, 1, 2, 3, 4, 5]
    assert flatten_map(maps)[0, :, 1].tolist() == [6, 7, 8, 9, 10, 11]


@pytest.mark.parametrize("family", ["vit", "swin", "dinov2"])
def test_sequences_are_as_the_model_gives_them(family: str) -> None:
    backbone, inputs = whole(family)
    assert torch.equal(backbone(**inputs)["encoded_image"], backbone.model(**inputs).last_hidden_state)


@pytest.mark.parametrize("family", IMAGES)
def test_no_position_of_an_image_is_padding(family: str) -> None:
    backbone, inputs = whole(family)
    assert backbone(**inputs)["encoded_image_mask"].all()


@pytest.mark.parametrize(
    ("family", "pooling"),
    [("vit", "class token"), ("dinov2", "own"), ("swin", "mean"), ("resnet", "mean"), ("convnext", "own")],
)
def test_pooled(family: str, pooling: str) -> None:
    backbone, inputs = whole(family)
    outputs = backbone(**inputs)
    encoded = outputs["encoded_image"]
    if pooling == "own":
        expected = backbone.model(**inputs).pooler_output
    else:
        expected = encoded[:, 0] if pooling == "class token" else encoded.mean(dim=1)
    torch.testing.assert_close(outputs["encoded_image_pooled"], expected)


def test_the_norm_of_convnext_is_on_the_pooled_features() -> None:
    backbone, inputs = whole("convnext")
    outputs = backbone(**inputs)
    expected = backbone.model.layernorm(outputs["encoded_image"].mean(dim=1))
    torch.testing.assert_close(outputs["encoded_image_pooled"], expected)


def test_a_pooler_that_is_there_is_used() -> None:
    backbone = Backbone(ViTModel(tiny_backbone_config("vit"))).eval()
    outputs = backbone(**tiny_backbone_inputs("vit"))
    assert torch.equal(outputs["encoded_image_pooled"], backbone.model.pooler(outputs["encoded_image"]))
    assert not torch.equal(outputs["encoded_image_pooled"], outputs["encoded_image"][:, 0])


@pytest.mark.parametrize("by_mean", [True, False])
def test_beit_keeps_the_pooler_that_it_was_trained_through(by_mean: bool) -> None:
    backbone = Backbone.from_config(BeitConfig(**PATCHES, use_mean_pooling=by_mean)).eval()
    outputs = backbone(**tiny_backbone_inputs("vit"))
    encoded, pooled = outputs["encoded_image"], outputs["encoded_image_pooled"]
    if by_mean:
        torch.testing.assert_close(pooled, backbone.model.pooler.layernorm(encoded[:, 1:].mean(dim=1)))
    else:
        assert torch.equal(pooled, encoded[:, 0])


def test_other_sizes_of_images() -> None:
    backbone = tiny_backbone("convnext")
    assert backbone(pixel_values=torch.randn(1, 3, 24, 32))["encoded_image"].shape == (1, 12, 32)
    patches = tiny_backbone("vit")(pixel_values=torch.randn(1, 3, 24, 32), interpolate_pos_encoding=True)
    assert patches["encoded_image"].shape == (1, 1 + 3 * 4, 32)


def test_pixels_are_needed() -> None:
    with pytest.raises(InputError, match=r"^backbone 'vit': expected pixel_values, found input_ids"):
        tiny_backbone("vit")(input_ids=torch.ones(1, 2))


def test_a_map_has_no_place_for_a_class_token() -> None:
    config = CvtConfig(embed_dim=[8, 8, 16], num_heads=[1, 1, 2], depth=[1, 2, 3])
    backbone = Backbone.from_config(config).eval()
    assert any(name.endswith("cls_token") for name, _ in backbone.named_parameters())
    outputs = backbone(pixel_values=torch.randn(2, 3, 32, 32))
    assert outputs["encoded_image"].shape == (2, 4, 16)
    torch.testing.assert_close(outputs["encoded_image_pooled"], outputs["encoded_image"].mean(dim=1))
