"""What no head reads is frozen, and nothing else: found by brute force over all families."""

from __future__ import annotations

import itertools

import pytest
import torch
from transformers import CLIPVisionConfig, ConvNextV2Config, ViTModel

from backbones import FAMILIES, IMAGE_SIZE, PATCHES, tiny_backbone, tiny_backbone_config, tiny_backbone_inputs
from mt_transformers import Backbone
from mt_transformers.backbone import describe_backbone

CASES = [
    (family, read)
    for family in FAMILIES
    for names in [tuple(describe_backbone(FAMILIES[family]()).hidden_sizes)]
    for number in range(1, len(names) + 1)
    for read in itertools.combinations(names, number)
]
"""Every family with every choice of its outputs."""


def without_gradient(backbone: Backbone, family: str, read: tuple[str, ...]) -> set[str]:
    """Names of the trainable parameters that the outputs leave without a gradient, in training."""
    torch.manual_seed(0)
    outputs = backbone.train()(outputs=set(read), **tiny_backbone_inputs(family))
    torch.stack([outputs[name].square().sum() for name in read]).sum().backward()
    return {name for name, each in backbone.named_parameters() if each.requires_grad and each.grad is None}


def check(backbone: Backbone, family: str, read: tuple[str, ...]) -> set[str]:
    """Check and give what was frozen."""
    trainable = {name for name, each in backbone.named_parameters() if each.requires_grad}
    expected = without_gradient(backbone, family, read)
    backbone.zero_grad()
    backbone.freeze_unread(read)
    frozen = trainable - {name for name, each in backbone.named_parameters() if each.requires_grad}
    assert frozen == expected
    assert without_gradient(backbone, family, read) == set()
    return frozen


@pytest.mark.parametrize(("family", "read"), CASES, ids=[f"{family}-{'+'.join(read)}" for family, read in CASES])
def test_exactly_what_gets_no_gradient_is_frozen(family: str, read: tuple[str, ...]) -> None:
    check(tiny_backbone(family), family, read)


@pytest.mark.parametrize("read", [("encoded_image",), ("encoded_image_pooled",)], ids="+".join)
def test_models_of_images_beside_the_families(read: tuple[str, ...]) -> None:
    check(Backbone(ViTModel(tiny_backbone_config("vit"))), "vit", read)
    check(Backbone.from_config(CLIPVisionConfig(**PATCHES)), "vit", read)
    config = ConvNextV2Config(image_size=IMAGE_SIZE, hidden_sizes=[16, 32], depths=[1, 1], num_stages=2)
    check(Backbone.from_config(config), "vit", read)


@pytest.mark.parametrize("family", ["wav2vec2", "hubert"])
@pytest.mark.parametrize("changes", [{"apply_spec_augment": False}, {"mask_time_prob": 0.0, "mask_feature_prob": 0.1}])
def test_what_stands_for_masked_frames_is_frozen_where_none_are_masked(
    family: str, changes: dict[str, object]
) -> None:
    changes = {**changes, "mask_feature_length": 2}
    assert check(tiny_backbone(family, **changes), family, ("encoded_audio",)) == {"model.masked_spec_embed"}
    assert check(tiny_backbone(family), family, ("encoded_audio",)) == set()


def test_without_heads_nothing_is_frozen() -> None:
    backbone = tiny_backbone("clip")
    backbone.freeze_unread(())
    assert all(parameter.requires_grad for parameter in backbone.parameters())


def test_names_that_the_backbone_lacks_do_not_matter() -> None:
    backbone = tiny_backbone("bert")
    backbone.freeze_unread({"encoded_text", "encoded_text_pooled"})
    assert all(parameter.requires_grad for parameter in backbone.parameters())
