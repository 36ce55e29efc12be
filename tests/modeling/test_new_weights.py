"""Parts of a checkpoint that start anew: modules with parameters of their own, and what is frozen after loading."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from backbones import tiny_backbone_config, tiny_backbone_inputs
from fixtures import tiny_inputs, tiny_model
from mt_transformers import MultiTaskModel, register_head
from mt_transformers.heads import SequenceClassificationHead, SequenceClassificationHeadConfig

HEADS = {
    "slots": {"head_type": "token_classification", "id2label": ["O", "B-x", "I-x"], "crf": True},
    "mood": {"head_type": "sequence_classification", "id2label": ["a", "b"], "layer": "scalar_mix"},
}
OWN = {
    "heads.slots.crf.transition_weights": 0.0,
    "heads.mood.reader.scalar_mix.weights": 0.0,
    "heads.mood.reader.scalar_mix.scale": 1.0,
}
"""Parameters that stand in modules of this package, and the number that each starts from."""


def saved(folder: Path, lost: tuple[str, ...] = ()) -> dict[str, torch.Tensor]:
    """Save a model whose parameters are all random, and take those that begin so out of the file; give all."""
    model = tiny_model(HEADS)
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, mean=5.0)
    model.save_pretrained(folder)
    weights = load_file(folder / "model.safetensors")
    assert set(OWN) < set(weights)
    kept = {name: value for name, value in weights.items() if not name.startswith(lost)}
    save_file(kept, folder / "model.safetensors", metadata={"format": "pt"})
    return weights


def test_new_heads_start_from_their_values() -> None:
    state = tiny_model(HEADS).state_dict()
    assert all(bool((state[name] == value).all()) for name, value in OWN.items())
    assert state["heads.mood.reader.scalar_mix.weights"].shape == (3,)


@pytest.mark.parametrize("lost", [("heads.",), ("heads.slots.",), ("heads.mood.",), *((name,) for name in OWN)])
def test_heads_that_the_checkpoint_lacks_start_from_their_values(tmp_path: Path, lost: tuple[str, ...]) -> None:
    weights = saved(tmp_path, lost)
    model = MultiTaskModel.from_pretrained(tmp_path, init_missing_heads=True)
    state = model.state_dict()
    assert set(state) == set(weights)
    for name, value in state.items():
        if not name.startswith(lost):
            assert torch.equal(value, weights[name]), name
        elif name in OWN:
            assert bool((value == OWN[name]).all()), name
        else:
            assert value.abs().max() < 0.2, name
    with torch.no_grad():
        outputs = model(**tiny_inputs(), labels={"mood": torch.tensor([0, 1, 0, 1])})
    assert bool(torch.isfinite(outputs["loss"]))


def test_loaded_values_are_not_overwritten(tmp_path: Path) -> None:
    weights = saved(tmp_path)
    for options in ({}, {"init_missing_heads": True}):
        state = MultiTaskModel.from_pretrained(tmp_path, **options).state_dict()
        assert all(torch.equal(value, weights[name]) for name, value in state.items())


def test_scores_of_another_number_of_labels_start_anew(tmp_path: Path) -> None:
    saved(tmp_path)
    weights = load_file(tmp_path / "model.safetensors")
    weights["heads.slots.crf.transition_weights"] = torch.ones(7, 7)
    save_file(weights, tmp_path / "model.safetensors", metadata={"format": "pt"})
    scores = MultiTaskModel.from_pretrained(tmp_path, init_missing_heads=True).heads["slots"].crf.transition_scores
    assert torch.equal(scores, torch.zeros(4, 4))


class Scales(torch.nn.Module):
    """Fills its parameters in place, which nothing of torch or transformers can prevent."""

    def __init__(self) -> None:
        super().__init__()
        self.values = torch.nn.Parameter(torch.empty(3))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        with torch.no_grad():
            self.values.copy_(torch.tensor([1.0, 2.0, 3.0]))


@dataclass(kw_only=True)
class ScaledHeadConfig(SequenceClassificationHeadConfig):
    """Of a head that somebody else wrote."""


@register_head("scaled_for_test_new_weights")
class ScaledHead(SequenceClassificationHead):
    """A head with a module of its own."""

    config_class = ScaledHeadConfig

    def __init__(self, config: ScaledHeadConfig, hidden_size: int) -> None:
        super().__init__(config, hidden_size)
        self.scales = Scales()


def test_modules_of_other_peoples_heads_start_from_their_values(tmp_path: Path) -> None:
    model = tiny_model({"scaled": {"head_type": "scaled_for_test_new_weights", "id2label": ["a", "b"]}})
    assert model.heads["scaled"].scales.values.tolist() == [1, 2, 3]
    torch.nn.init.constant_(model.heads["scaled"].scales.values, 7.0)
    model.save_pretrained(tmp_path)
    loaded = MultiTaskModel.from_pretrained(tmp_path, init_missing_heads=True)
    assert loaded.heads["scaled"].scales.values.tolist() == [7, 7, 7]
    weights = load_file(tmp_path / "model.safetensors")
    del weights["heads.scaled.scales.values"]
    save_file(weights, tmp_path / "model.safetensors", metadata={"format": "pt"})
    anew = MultiTaskModel.from_pretrained(tmp_path, init_missing_heads=True)
    assert anew.heads["scaled"].scales.values.tolist() == [1, 2, 3]
    assert torch.equal(anew.heads["scaled"].classifier.weight, model.heads["scaled"].classifier.weight)


# ------------------------------------------------------------------------------------------------------------------
# what no head reads


def trainable(model: MultiTaskModel) -> set[str]:
    return {name for name, parameter in model.named_parameters() if parameter.requires_grad}


@pytest.mark.parametrize(("read", "unread"), [("text", "vision"), ("image", "text")])
def test_what_no_head_reads_is_frozen_after_loading_too(tmp_path: Path, read: str, unread: str) -> None:
    head: dict[str, Any] = {"head_type": "sequence_classification", "id2label": ["a", "b"], "input": f"encoded_{read}"}
    model = tiny_model({"topic": head}, tiny_backbone_config("clip"))
    before = trainable(model)
    assert not any(f"{unread}_model" in name for name in before)
    model.save_pretrained(tmp_path)
    loaded = MultiTaskModel.from_pretrained(tmp_path)
    assert trainable(loaded) == before
    # all that is left to train gets a gradient
    outputs = loaded.train()(**tiny_backbone_inputs("clip"), labels={"topic": torch.tensor([0, 1, 0])})
    outputs["loss"].backward()
    assert {name for name, parameter in loaded.named_parameters() if parameter.grad is not None} == before
