"""Adapters of peft in the backbone, with the heads trained beside them."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import torch
from adapting import assert_same, logits, stir, trained
from safetensors.torch import load_file
from transformers import AlbertConfig

from fixtures import tiny_inputs, tiny_model
from mt_transformers import MultiTaskModel
from mt_transformers.errors import InputError
from mt_transformers.modeling import (
    add_task_adapters,
    base_model,
    complete_peft_config,
    get_peft_model,
    merge_adapters,
)

peft = pytest.importorskip("peft")

KINDS: dict[str, Any] = {
    "lora": lambda **fields: peft.LoraConfig(r=2, **fields),
    "rslora": lambda **fields: peft.LoraConfig(r=2, use_rslora=True, **fields),
    "dora": lambda **fields: peft.LoraConfig(r=2, use_dora=True, **fields),
    "ia3": lambda **fields: peft.IA3Config(**fields),
    "adalora": lambda **fields: peft.AdaLoraConfig(init_r=2, target_r=1, total_step=9, **fields),
}


@pytest.mark.parametrize("kind", KINDS)
def test_heads_are_trained_saved_loaded_and_merged(kind: str, tmp_path: Path) -> None:
    inputs, base = tiny_inputs(), tiny_model()
    before = copy.deepcopy(base.state_dict())
    adapted = stir(get_peft_model(copy.deepcopy(base), KINDS[kind]()))
    names = trained(adapted)
    assert {name.split(".")[1] for name in names if name.startswith("heads.")} == set(base.heads)
    assert all(".modules_to_save.default." in name for name in names if name.startswith("heads."))
    assert any(name.startswith("backbone.") for name in names)
    for name, value in base_model(adapted).named_parameters():
        if name not in names and "original_module" not in name:
            assert torch.equal(value, before.get(name.replace(".base_layer", ""), value)), name
    outputs = adapted(**inputs)
    assert not torch.equal(outputs["intent_logits"], base(**inputs)["intent_logits"])

    adapted.save_pretrained(str(tmp_path))
    saved = load_file(tmp_path / "adapter_model.safetensors")
    assert not any("backbone" in key and "base_layer" in key for key in saved)
    assert sum(value.numel() for value in saved.values()) < 0.2 * base.num_parameters()
    # heads of its own, with other weights
    other = tiny_model()
    other.backbone.load_state_dict(base.backbone.state_dict())
    assert_same(peft.PeftModel.from_pretrained(other, str(tmp_path)).eval()(**inputs), outputs)

    merged = merge_adapters(adapted)
    assert type(merged) is MultiTaskModel
    assert merged.state_dict().keys() == before.keys()
    for key, value in logits(merged(**inputs)).items():
        torch.testing.assert_close(value, outputs[key], rtol=1e-4, atol=1e-5)
    merged.save_pretrained(tmp_path / "merged")
    assert_same(MultiTaskModel.from_pretrained(tmp_path / "merged")(**inputs), merged(**inputs))


@pytest.mark.parametrize("targets", [["query", "value"], "all-linear", ["classifier", "dense"]])
def test_what_peft_itself_makes_is_the_same(targets: Any) -> None:
    inputs, base = tiny_inputs(), tiny_model()
    torch.manual_seed(1)
    own = get_peft_model(copy.deepcopy(base), peft.LoraConfig(r=2, target_modules=targets))
    torch.manual_seed(1)
    plain = peft.get_peft_model(copy.deepcopy(base), peft.LoraConfig(r=2, target_modules=targets))
    assert trained(own) == trained(plain)
    assert not any("lora_" in name for name in trained(plain) if name.startswith("heads."))
    plain.load_state_dict(stir(own).state_dict())
    assert_same(own(**inputs), plain.eval()(**inputs))
    merged = plain.merge_and_unload()
    assert type(merged) is MultiTaskModel
    assert merged.state_dict().keys() == base.state_dict().keys()
    torch.testing.assert_close(merged(**inputs)["slots_logits"], own(**inputs)["slots_logits"], rtol=1e-4, atol=1e-5)


def test_what_peft_itself_makes_loads_again(tmp_path: Path) -> None:
    inputs, base = tiny_inputs(), tiny_model()
    adapted = stir(peft.get_peft_model(copy.deepcopy(base), peft.LoraConfig(r=2, target_modules="all-linear")))
    adapted.save_pretrained(str(tmp_path))
    assert_same(peft.PeftModel.from_pretrained(base, str(tmp_path)).eval()(**inputs), adapted(**inputs))


def test_target_modules_are_those_of_the_backbone() -> None:
    config = peft.LoraConfig(r=2)
    completed: Any = complete_peft_config(tiny_model(), config)
    assert completed.target_modules == {"query", "value"}
    assert config.target_modules is None
    assert config.modules_to_save is None
    ia3: Any = complete_peft_config(tiny_model(), peft.IA3Config())
    assert ia3.target_modules == {"key", "value", "output.dense"}
    assert ia3.feedforward_modules == {"output.dense"}


def test_a_backbone_that_peft_does_not_know_needs_target_modules() -> None:
    albert = AlbertConfig(hidden_size=8, embedding_size=8, num_hidden_layers=1, num_attention_heads=2, vocab_size=9)
    with pytest.raises(InputError, match="target_modules: peft knows none for a 'albert' backbone and LoraConfig"):
        get_peft_model(tiny_model(backbone_config=albert), peft.LoraConfig())


@pytest.mark.parametrize(
    ("excluded", "targeted"),
    [
        (None, {"0.attention.self.query", "1.attention.self.query"}),
        (["0.attention.self.query"], {"1.attention.self.query"}),
        (r".*layer\.1\..*", {"0.attention.self.query"}),
    ],
)
def test_what_is_excluded_stays_so(excluded: Any, targeted: set[str]) -> None:
    config = peft.LoraConfig(r=2, target_modules=["query"], exclude_modules=excluded)
    adapted = get_peft_model(tiny_model(), config)
    assert {name.split("layer.")[1] for name in adapted.targeted_module_names} == targeted


@pytest.mark.parametrize("listed", [["heads.slots"], ["slots"]])
def test_heads_that_are_listed_are_those_that_are_trained(listed: list[str]) -> None:
    for make in (get_peft_model, peft.get_peft_model):
        config = peft.LoraConfig(r=2, target_modules="all-linear", modules_to_save=listed)
        adapted = make(tiny_model(), config)
        assert {name.split(".")[1] for name in trained(adapted) if name.startswith("heads.")} == {"slots"}


def test_other_modules_are_saved_as_well() -> None:
    adapted = get_peft_model(tiny_model(), peft.LoraConfig(r=2, modules_to_save=["word_embeddings"]))
    assert adapted.peft_config["default"].modules_to_save == [
        "word_embeddings",
        "heads.intent",
        "heads.slots",
        "heads.stars",
    ]
    assert any("word_embeddings.modules_to_save" in name for name in trained(adapted))


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (lambda: peft.PromptTuningConfig(num_virtual_tokens=2), "PromptTuningConfig cannot train heads"),
        (lambda: peft.LoraConfig(task_type="SEQ_CLS", target_modules=["query"]), "task_type is for models with one"),
        (lambda: peft.LoraConfig(modules_to_save=["heads"]), "expected names of heads, such as 'heads.intent'"),
    ],
)
def test_configs_that_would_not_train_the_heads_are_refused(config: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        get_peft_model(tiny_model(), config())


def test_peft_itself_refuses_the_task_type_too() -> None:
    with pytest.raises(InputError, match="task_type is for models with one head, found 'SEQ_CLS'"):
        peft.get_peft_model(tiny_model(), peft.LoraConfig(task_type="SEQ_CLS", target_modules=["query"]))


def test_copies_of_heads_change_their_mode() -> None:
    adapted = get_peft_model(tiny_model(), peft.LoraConfig(r=2)).eval()
    heads = base_model(adapted).named_heads
    assert not any(module.training for head in heads.values() for module in head.modules())
    adapted.train()
    assert all(module.training for head in heads.values() for module in head.modules())


def test_without_its_adapter_the_model_is_what_it_was() -> None:
    inputs, base = tiny_inputs(), tiny_model()
    adapted = stir(get_peft_model(copy.deepcopy(base), peft.LoraConfig(r=2)))
    with adapted.disable_adapter():
        assert_same(adapted(**inputs), base(**inputs))


def test_two_adapters_have_heads_of_their_own() -> None:
    inputs = tiny_inputs()
    adapted = stir(get_peft_model(tiny_model(), peft.LoraConfig(r=2), "one"))
    one = adapted(**inputs)
    adapted.add_adapter("two", complete_peft_config(base_model(adapted), peft.LoraConfig(r=2)))
    adapted.set_adapter("two")
    stir(adapted, seed=1)
    two = adapted(**inputs)
    assert not torch.equal(one["intent_logits"], two["intent_logits"])
    adapted.set_adapter("one")
    assert_same(adapted(**inputs), one)
    adapted.set_adapter("two")
    torch.testing.assert_close(merge_adapters(adapted)(**inputs)["intent_logits"], two["intent_logits"])


def test_without_peft_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mt_transformers.modeling.adapters.is_peft_available", lambda: False)
    for make in (get_peft_model, add_task_adapters):
        with pytest.raises(InputError, match=r'pip install "mt_transformers\[peft\]"'):
            make(tiny_model(), peft.LoraConfig())


def test_base_model_refuses_what_is_none() -> None:
    with pytest.raises(InputError, match="expected a multi-task model, or peft's model around one, found Linear"):
        base_model(torch.nn.Linear(1, 1))  # type: ignore[arg-type]
