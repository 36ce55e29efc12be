"""Which parts of a model are shards, and what the optimizer is told of them."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch.distributed.fsdp import MixedPrecisionPolicy
from transformers import BertConfig, CLIPConfig, DistilBertConfig, GPT2Config, PreTrainedConfig, ViTConfig

from fixtures import tiny_bert_config, tiny_model
from mt_transformers.training.sharding import choose_shards, give_heads_own_groups, make_ready_again

TEXT = {"intent": {"head_type": "sequence_classification", "num_labels": 2}}
IMAGE = {"kind": {"head_type": "image_classification", "num_labels": 2}}
SMALL = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}


def chosen(heads: dict[str, Any], config: PreTrainedConfig | None = None, **plugin: Any) -> Any:
    """The plugin after the choice; accelerate's own is only made in several processes."""
    defaults = {
        "ignored_modules": None,
        "cpu_ram_efficient_loading": True,
        "transformer_cls_names_to_wrap": None,
        "mixed_precision_policy": None,
    }
    found = SimpleNamespace(**{**defaults, **plugin})
    choose_shards(tiny_model(heads, config), SimpleNamespace(state=SimpleNamespace(fsdp_plugin=found)))  # type: ignore[arg-type]
    return found


@pytest.mark.parametrize(
    ("heads", "config", "expected"),
    [
        # not BertEmbeddings, which holds the token embeddings
        (TEXT, tiny_bert_config(), ["BertLayer"]),
        (TEXT, GPT2Config(n_embd=16, n_layer=1, n_head=2, vocab_size=50), ["GPT2Block"]),
        # names none itself
        (TEXT, DistilBertConfig(dim=16, n_layers=1, n_heads=2, hidden_dim=16, vocab_size=50), ["TransformerBlock"]),
        (IMAGE, ViTConfig(**SMALL, image_size=8, patch_size=4), ["ViTLayer"]),
    ],
)
def test_the_blocks_are_the_shards(heads: dict[str, Any], config: PreTrainedConfig, expected: list[str]) -> None:
    assert chosen(heads, config).transformer_cls_names_to_wrap == expected


def test_blocks_that_are_named_stay() -> None:
    assert chosen(TEXT, transformer_cls_names_to_wrap=["BertEncoder"]).transformer_cls_names_to_wrap == ["BertEncoder"]


def test_the_heads_are_left_out_and_the_weights_have_come() -> None:
    found = chosen(TEXT)
    assert (found.ignored_modules, found.cpu_ram_efficient_loading) == ("heads", False)


def test_numbers_are_not_rounded_on_the_way() -> None:
    half = torch.bfloat16
    policy = chosen(TEXT, mixed_precision_policy=MixedPrecisionPolicy(half, half, half)).mixed_precision_policy
    assert policy == MixedPrecisionPolicy(half, half, None, cast_forward_inputs=False)


def test_the_heads_have_groups_of_their_own() -> None:
    model = tiny_model(TEXT, BertConfig(**SMALL, vocab_size=50))
    decayed = [each for each in model.parameters() if each.dim() > 1]
    others = [each for each in model.parameters() if each.dim() <= 1]
    settings = [{"params": decayed, "weight_decay": 0.1}, {"params": others, "weight_decay": 0.0, "lr": 0.5}]
    optimizer = torch.optim.AdamW(settings, lr=0.25)
    give_heads_own_groups(optimizer, model)
    heads = set(map(id, model.heads.parameters()))
    found = [
        ({id(each) in heads for each in group["params"]}, group["weight_decay"], group["lr"])
        for group in optimizer.param_groups
    ]
    assert found == [({False}, 0.1, 0.25), ({True}, 0.1, 0.25), ({False}, 0.0, 0.5), ({True}, 0.0, 0.5)]
    assert sum(len(group["params"]) for group in optimizer.param_groups) == len(list(model.parameters()))


def test_classes_that_the_model_lacks_are_no_shards() -> None:
    text = {**SMALL, "vocab_size": 50, "bos_token_id": 1, "eos_token_id": 2}
    config = CLIPConfig(text_config=text, vision_config={**SMALL, "image_size": 8, "patch_size": 4}, projection_dim=16)
    names = chosen(TEXT, config).transformer_cls_names_to_wrap
    assert names == ["CLIPEncoderLayer", "CLIPVisionEmbeddings"]


def test_empty_shards_are_told_apart() -> None:
    model = tiny_model(TEXT)
    first, second, third = list(model.parameters())[:3]
    for parameter, rows in ((first, 0), (second, 2), (third, 0)):
        parameter._local_tensor = torch.ones(rows, 3)
    shards = [each._local_tensor for each in (first, second, third)]
    address = shards[1].data_ptr()
    assert shards[0].data_ptr() == shards[2].data_ptr() == 0
    make_ready_again(model, SimpleNamespace())  # type: ignore[arg-type]
    assert shards[1].data_ptr() == address
    assert len({each.data_ptr() for each in shards}) == 3
