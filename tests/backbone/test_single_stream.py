"""Text and image in one sequence: which position belongs to which."""

from __future__ import annotations

import pytest
import torch

from backbones import tiny_backbone, tiny_backbone_inputs
from mt_transformers.backbone.padding import rotate
from mt_transformers.errors import InputError


def encode(backbone: object, **inputs: torch.Tensor) -> dict[str, torch.Tensor]:
    """Run with the same seed: ViLT draws an order of the patches."""
    torch.manual_seed(0)
    outputs: dict[str, torch.Tensor] = backbone(layers=True, **inputs)  # type: ignore[operator]
    return outputs


def test_the_two_parts_are_the_whole() -> None:
    backbone = tiny_backbone("vilt")
    inputs = tiny_backbone_inputs("vilt")
    outputs = encode(backbone, **inputs)
    torch.manual_seed(0)
    whole = backbone.model(**{**inputs, "pixel_values": inputs["pixel_values"].double()}).last_hidden_state
    assert outputs["encoded_text"].shape[1] == 7
    assert torch.equal(torch.cat([outputs["encoded_text"], outputs["encoded_image"]], dim=1), whole)
    assert torch.equal(outputs["encoded_image_pooled"], outputs["encoded_image"][:, 0])
    assert torch.equal(outputs["text_layers"][-1], outputs["encoded_text"]) == torch.equal(
        outputs["image_layers"][-1], outputs["encoded_image"]
    )


def test_the_mask_of_the_image_is_the_models_own() -> None:
    backbone = tiny_backbone("vilt")
    inputs = tiny_backbone_inputs("vilt")
    _, expected, _ = backbone.model.embeddings.visual_embed(inputs["pixel_values"].double(), inputs["pixel_mask"])
    found = encode(backbone, **inputs)["encoded_image_mask"]
    # a class token and 4 patches, of which the second image has half
    assert found.tolist() == expected.bool().tolist() == [[True] * 5, [True] * 3 + [False] * 2, [True] * 5]


def test_without_a_mask_of_pixels_the_whole_image_counts() -> None:
    inputs = tiny_backbone_inputs("vilt")
    del inputs["pixel_mask"]
    assert encode(tiny_backbone("vilt"), **inputs)["encoded_image_mask"].all()


def test_padding_of_the_text_changes_neither_part() -> None:
    backbone = tiny_backbone("vilt")
    inputs = tiny_backbone_inputs("vilt")
    expected = encode(backbone, **inputs)
    text = ("input_ids", "attention_mask")
    lengths = inputs["attention_mask"].sum(dim=1)
    ways = {
        "left": inputs | {name: rotate(inputs[name], lengths) for name in text},
        "more": inputs | {name: torch.nn.functional.pad(inputs[name], (0, 2)) for name in text},
    }
    for way, changed in ways.items():
        outputs = encode(backbone, **changed)
        assert torch.equal(outputs["token_ids"], changed["input_ids"])
        for name in ("encoded_text", "encoded_image"):
            found, other = (each[name][each[f"{name}_mask"]] for each in (outputs, expected))
            torch.testing.assert_close(found, other, rtol=1e-9, atol=1e-9, msg=f"{way}: {name}")
        layer, other = (each["text_layers"][1][each["encoded_text_mask"]] for each in (outputs, expected))
        torch.testing.assert_close(layer, other, rtol=1e-9, atol=1e-9, msg=way)


def test_a_length_that_is_the_number_of_channels_moves_no_pixels() -> None:
    backbone = tiny_backbone("vilt")
    pixels = tiny_backbone_inputs("vilt")["pixel_values"]
    ids, mask = torch.tensor([[7, 3, 0]] * 3), torch.tensor([[1, 1, 0]] * 3)
    right = encode(backbone, input_ids=ids, attention_mask=mask, pixel_values=pixels)
    left = encode(backbone, input_ids=ids.roll(1, 1), attention_mask=mask.roll(1, 1), pixel_values=pixels)
    torch.testing.assert_close(left["encoded_image"], right["encoded_image"], rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("missing", ["input_ids", "pixel_values"])
def test_both_inputs_are_needed(missing: str) -> None:
    inputs = tiny_backbone_inputs("vilt")
    del inputs[missing]
    with pytest.raises(InputError, match=r"^backbone 'vilt': expected both input_ids and pixel_values, found "):
        tiny_backbone("vilt")(**inputs)
