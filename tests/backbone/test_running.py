"""Ways to run a backbone that must not change what it answers: checkpoints, compilation, attention kernels."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
import torch
from torch import nn

from backbones import FAMILIES, tiny_backbone, tiny_backbone_inputs
from mt_transformers import Backbone
from mt_transformers.backbone.kind import find_model_class


def supporting(flag: str) -> list[str]:
    """Families whose model class says that it can do something."""
    return [family for family, make in FAMILIES.items() if getattr(find_model_class(make()), flag, False)]


def gradients(backbone: Backbone, family: str) -> dict[str, torch.Tensor]:
    """Gradients of all outputs and layers, with the same random numbers in every call."""
    torch.manual_seed(0)
    np.random.seed(0)
    backbone.zero_grad()
    outputs = backbone(layers=True, outputs=set(backbone.info.hidden_sizes), **tiny_backbone_inputs(family))
    loss = torch.zeros((), dtype=torch.float64)
    for name, value in outputs.items():
        if name in backbone.info.hidden_sizes:
            loss = loss + value.square().sum()
        elif name.endswith("_layers"):
            loss = loss + sum(layer.pow(3).sum() for layer in value)
    loss.backward()
    return {name: each.grad.clone() for name, each in backbone.named_parameters() if each.grad is not None}


@pytest.mark.parametrize("family", supporting("supports_gradient_checkpointing"))
def test_gradient_checkpointing_gives_the_same_gradients(family: str) -> None:
    backbone = tiny_backbone(family).train()
    calls: list[int] = []
    for module in backbone.modules():
        if not list(module.children()):
            module.register_forward_hook(lambda *_: calls.append(1))
    expected = gradients(backbone, family)
    with warnings.catch_warnings():
        # transformers 5.23 renames it to activation_checkpointing_enable, which 5.17, the floor, does not have
        warnings.simplefilter("ignore", FutureWarning)
        backbone.model.gradient_checkpointing_enable()
    runs = len(calls)
    found = gradients(backbone, family)
    # layers ran once more, on the way back
    assert len(calls) - runs > runs > 0
    assert set(found) == set(expected)
    for name, value in expected.items():
        torch.testing.assert_close(found[name], value, rtol=1e-9, atol=1e-12, msg=name)


def encode(backbone: nn.Module, family: str) -> dict[str, torch.Tensor]:
    """All outputs that are tensors."""
    torch.manual_seed(0)
    with torch.no_grad():
        outputs = backbone(outputs=set(tiny_backbone(family).info.hidden_sizes), **tiny_backbone_inputs(family))
    return {name: value for name, value in outputs.items() if torch.is_tensor(value)}


@pytest.mark.parametrize("family", ["bert", "roberta", "llama", "t5", "vit", "convnext", "whisper", "siglip"])
def test_a_compiled_model_answers_the_same(family: str) -> None:
    backbone = tiny_backbone(family)
    expected = encode(backbone, family)
    torch._dynamo.reset()
    backbone.model = torch.compile(backbone.model, backend="eager")
    torch.testing.assert_close(encode(backbone, family), expected)


@pytest.mark.parametrize("family", ["bert", "t5", "vit"])
def test_a_compiled_backbone_answers_the_same(family: str) -> None:
    backbone = tiny_backbone(family)
    expected = encode(backbone, family)
    torch._dynamo.reset()
    torch.testing.assert_close(encode(torch.compile(backbone, backend="eager"), family), expected)


@pytest.mark.parametrize("family", supporting("_supports_sdpa"))
def test_attention_kernels_agree(family: str) -> None:
    eager, fused = (tiny_backbone(family, _attn_implementation=name) for name in ("eager", "sdpa"))
    fused.load_state_dict(eager.state_dict())
    found, expected = encode(fused, family), encode(eager, family)
    for name, value in expected.items():
        # what stands at padding is nobody's business; some softmaxes and norms are in float32 whatever the dtype
        mask = expected.get(f"{name}_mask")
        kept = slice(None) if mask is None else mask
        torch.testing.assert_close(found[name][kept], value[kept], rtol=1e-4, atol=1e-5, msg=name)
