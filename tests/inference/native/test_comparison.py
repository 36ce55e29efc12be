"""The batch that is made up, and what counts as a difference."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from inference.native.families import HEADS, PAIRS, head_model, sequence
from torch import nn
from transformers import ASTConfig

from backbones import FAMILIES
from mt_transformers import MultiTaskModel
from mt_transformers.configuration import MultiTaskConfig
from mt_transformers.errors import InputError
from mt_transformers.inference.native import to_native
from mt_transformers.inference.native.comparison import double_weights, largest_difference, made_up_inputs


def test_rows_of_text_have_several_lengths_and_padding_behind() -> None:
    inputs = made_up_inputs(head_model("bart", head=sequence(input="encoded_text_decoder", pooling="last")))
    ids, mask = inputs["input_ids"], inputs["attention_mask"].bool()
    config: Any = FAMILIES["bart"]()
    lengths = mask.sum(dim=1)
    assert len(set(lengths.tolist())) > 2
    assert torch.equal(mask, torch.arange(ids.shape[1]) < lengths.unsqueeze(1))
    assert bool((ids[~mask] == config.pad_token_id).all())
    assert not bool((ids[mask] == config.pad_token_id).any())
    assert (ids == config.eos_token_id).sum(dim=1).tolist() == [1] * len(ids)
    assert bool((ids[torch.arange(len(ids)), lengths - 1] == config.eos_token_id).all())


@pytest.mark.parametrize("family", ["bert", "vit", "wav2vec2", "whisper", "siglip"])
def test_the_same_batch_is_made_up_each_time(family: str) -> None:
    fields = next(HEADS[auto_class][family] for auto_class, each in PAIRS if each == family)
    first, second = (made_up_inputs(head_model(family, seed, head=fields)) for seed in (0, 1))
    assert first.keys() == second.keys()
    assert all(torch.equal(value, second[name]) for name, value in first.items())


def test_short_positions_are_enough() -> None:
    config = FAMILIES["bert"]()
    config.max_position_embeddings = 4
    heads = {"head": {"head_type": "token_classification", "num_labels": 2}}
    model = MultiTaskModel(MultiTaskConfig(backbone_config=config, heads=heads))
    assert made_up_inputs(model)["input_ids"].shape[1] == 4


def test_what_cannot_be_made_up_is_said() -> None:
    config = ASTConfig(hidden_size=8, num_hidden_layers=1, num_attention_heads=2, intermediate_size=8, max_length=32)
    heads = {"head": {"head_type": "audio_classification", "num_labels": 2}}
    model = MultiTaskModel(MultiTaskConfig(backbone_config=config, heads=heads))
    with pytest.raises(InputError, match="config has no conv_stride"):
        made_up_inputs(model)


def test_the_difference_is_a_share_of_the_largest_logit() -> None:
    model = head_model("bert", head={"head_type": "token_classification", "num_labels": 2})
    native: Any = to_native(model, "head").double()
    model = model.double()
    nn.init.zeros_(native.classifier.weight)
    nn.init.zeros_(model.named_heads["head"].classifier.weight)
    native.classifier.bias.data = torch.tensor([4.0, -8.0], dtype=torch.float64)
    model.named_heads["head"].classifier.bias.data = torch.tensor([5.0, -8.0], dtype=torch.float64)
    assert largest_difference(native, model) == pytest.approx(1 / 8)


def test_scores_of_choices_count_by_their_differences() -> None:
    model = head_model("electra", head=HEADS["AutoModelForMultipleChoice"]["electra"])
    native: Any = to_native(model, "head").double()
    model = model.double()
    nn.init.constant_(native.classifier.bias, 0.5)
    assert largest_difference(native, model) < 1e-5
    nn.init.zeros_(native.classifier.weight)
    assert largest_difference(native, model) > 0.1


def test_weights_are_copied() -> None:
    weight = torch.ones(2)
    copied = double_weights({"weight": weight})["weight"]
    copied += 1
    assert weight.tolist() == [1.0, 1.0]
