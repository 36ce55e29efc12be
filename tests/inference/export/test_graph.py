"""What is traced, and what is refused before it is."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from backbones import AUDIO, TEXT_ENCODERS, TWO_INPUTS
from fixtures import HEADS, tiny_inputs, tiny_model, tiny_tokenizer
from head_tasks import head_config, processing_for
from mt_transformers import MultiTaskModel
from mt_transformers.errors import InputError
from mt_transformers.inference.export.graph import (
    HeadsGraph,
    check_traceable,
    choose_heads,
    exported_config,
    sample_inputs,
)
from mt_transformers.modeling import get_peft_model

MOOD = {"mood": {"head_type": "sequence_classification", "num_labels": 2}}


def test_the_graph_puts_out_what_the_model_does_for_its_heads() -> None:
    model, batch = tiny_model(), tiny_inputs(2, 5)
    found, expected = HeadsGraph(model, ["stars", "slots"])(**batch), model(**batch)
    assert list(found) == ["stars_logits", "slots_logits"]
    assert all(torch.equal(found[name], expected[name]) for name in found)


def test_heads_are_chosen_in_the_models_order() -> None:
    model = tiny_model()
    assert choose_heads(model, None) == list(HEADS)
    assert choose_heads(model, ["stars", "intent"]) == ["intent", "stars"]
    with pytest.raises(InputError, match="unknown head 'intend', did you mean 'intent'"):
        choose_heads(model, ["intend"])
    with pytest.raises(InputError, match="expected at least one head"):
        choose_heads(model, [])


def test_a_masked_language_model_is_refused_by_name() -> None:
    model = tiny_model({"masked": head_config("masked_language_modeling"), **MOOD})
    with pytest.raises(InputError, match=r"head 'masked' \(masked_language_modeling\): it answers as many positions"):
        choose_heads(model, None)
    assert choose_heads(model, ["mood"]) == ["mood"]


@pytest.mark.parametrize("config", [AUDIO["wav2vec2"], TWO_INPUTS["clip"]], ids=["wav2vec2", "clip"])
def test_only_backbones_of_text_or_of_images(config: Any) -> None:
    with pytest.raises(InputError, match="only backbones of text or of images can be exported"):
        check_traceable(tiny_model(MOOD, config()))


def test_only_float32_and_attention_that_can_be_traced() -> None:
    model = tiny_model()
    check_traceable(model)
    model.backbone.model.config._attn_implementation = "flash_attention_2"
    with pytest.raises(InputError, match="expected attn_implementation 'sdpa' or 'eager' to export, found 'flash"):
        check_traceable(model)
    with pytest.raises(InputError, match=r"in float32 to export, found torch.bfloat16: call model.float\(\)"):
        check_traceable(tiny_model().to(torch.bfloat16))


def inputs_of(model: MultiTaskModel, *names: str) -> list[str]:
    """Names of the inputs that the graph of these heads takes."""
    return list(sample_inputs(model, tiny_tokenizer(), names)[0])


def test_only_inputs_that_are_read() -> None:
    bert = tiny_model({"pair": head_config("preference"), **MOOD})
    assert inputs_of(bert, "mood") == ["input_ids", "token_type_ids", "attention_mask"]
    assert inputs_of(bert, "mood", "pair") == ["input_ids", "token_type_ids", "attention_mask", "sequences"]
    assert inputs_of(tiny_model(MOOD, TEXT_ENCODERS["distilbert"]()), "mood") == ["input_ids", "attention_mask"]
    with pytest.raises(InputError, match="the model reads text, but the processing class has no tokenizer"):
        sample_inputs(bert, processing_for("vit"), ["mood"])


def test_inputs_that_are_not_known_are_refused() -> None:
    tokenizer = tiny_tokenizer()
    tokenizer.model_input_names = ["input_ids", "attention_mask", "position_ids"]
    with pytest.raises(InputError, match="the tokenizer gives 'position_ids', which cannot be exported"):
        sample_inputs(tiny_model(MOOD), tokenizer, ["mood"])


def test_the_config_is_that_of_the_exported_heads() -> None:
    tasks = {"requests": ["intent", "slots"], "ratings": ["stars"]}
    model = tiny_model(
        tasks=tasks, loss_weights={"stars": 2.0, "slots": 0.5}, allowed_arguments={"stars": ["encoded"]}
    )
    found = exported_config(model.config, ["slots"])
    assert (found.heads, found.tasks) == ({"slots": model.config.heads["slots"]}, {"requests": ["slots"]})
    assert (found.loss_weights, found.allowed_arguments) == ({"slots": 0.5}, {})
    assert model.config.tasks == tasks


def test_a_model_with_adapters_is_to_be_merged_first() -> None:
    peft = pytest.importorskip("peft")
    model = tiny_model({"intent": {"head_type": "sequence_classification", "num_labels": 2}})
    get_peft_model(model, peft.LoraConfig(r=2))
    with pytest.raises(InputError, match="merge them into the backbone"):
        check_traceable(model)
