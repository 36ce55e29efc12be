"""Folders with adapters and heads, without the backbone."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from adapting import assert_same, saved_base, stir, trained
from safetensors.torch import load_file, save_file

from fixtures import tiny_bert_config, tiny_inputs, tiny_model
from mt_transformers import MultiTaskModel
from mt_transformers.errors import InputError
from mt_transformers.modeling import find_adapters, get_peft_model, load_adapted_model, load_adapters, save_adapters

peft = pytest.importorskip("peft")


def test_a_folder_is_loaded_with_its_backbone(tmp_path: Path) -> None:
    inputs = tiny_inputs()
    base = saved_base(tmp_path / "base", loss_weights={"slots": 2.0})
    adapted = stir(get_peft_model(base, peft.LoraConfig(r=2)))
    save_adapters(adapted, tmp_path / "adapter")
    assert {file.name for file in (tmp_path / "adapter").iterdir()} == {
        "README.md",
        "adapter_config.json",
        "adapter_model.safetensors",
        "config.json",
    }
    loaded = load_adapted_model(tmp_path / "adapter")
    assert_same(loaded(**inputs), adapted(**inputs))
    assert loaded.config.loss_weights == {"slots": 2.0}
    assert trained(loaded) == set()
    assert trained(load_adapted_model(tmp_path / "adapter", is_trainable=True)) == trained(adapted)


def test_a_folder_is_loaded_on_a_pretrained_backbone(tmp_path: Path) -> None:
    inputs = tiny_inputs()
    tiny_model().backbone.model.save_pretrained(tmp_path / "bert")
    heads = {"mood": {"head_type": "sequence_classification", "num_labels": 2}}
    model = MultiTaskModel.from_backbone(str(tmp_path / "bert"), heads=heads)
    adapted = stir(get_peft_model(model, peft.LoraConfig(r=2)))
    save_adapters(adapted, tmp_path / "adapter")
    values = json.loads((tmp_path / "adapter" / "adapter_config.json").read_text())
    assert values["base_model_name_or_path"] == str(tmp_path / "bert")
    assert_same(load_adapted_model(tmp_path / "adapter")(**inputs), adapted(**inputs))
    # the folder was moved
    (tmp_path / "bert").rename(tmp_path / "moved")
    with pytest.raises(InputError, match=r"base: .*bert' cannot be loaded"):
        load_adapted_model(tmp_path / "adapter")
    assert_same(load_adapted_model(tmp_path / "adapter", str(tmp_path / "moved"))(**inputs), adapted(**inputs))


def test_what_is_missing_in_a_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no adapter is there"):
        load_adapted_model(tmp_path)
    adapted = get_peft_model(saved_base(tmp_path / "base"), peft.LoraConfig(r=2))
    folder = tmp_path / "adapter"
    adapted.save_pretrained(str(folder))
    with pytest.raises(InputError, match=r"config.json is missing"):
        load_adapted_model(folder)
    save_adapters(adapted, folder)
    file = folder / "adapter_model.safetensors"
    weights = load_file(file)
    save_file({key: value for key, value in weights.items() if "heads.slots" not in key}, file)
    with pytest.raises(InputError, match=r"weights of a head are missing, such as .*heads.slots.classifier"):
        load_adapted_model(folder)
    with pytest.raises(InputError, match=r"2 weights are missing, such as base_model.model.heads.slots.classifier"):
        load_adapters(adapted, folder)
    file.write_bytes(b"no weights")
    with pytest.raises(InputError, match=r"adapter_model.safetensors"):
        load_adapted_model(folder)
    # what would have to be unpickled
    file.rename(folder / "adapter_model.bin")
    with pytest.raises(InputError, match=r"adapter_model.safetensors is missing"):
        load_adapted_model(folder)


def test_another_backbone_is_refused(tmp_path: Path) -> None:
    save_adapters(get_peft_model(tiny_model(), peft.LoraConfig(r=2)), tmp_path / "adapter")
    with pytest.raises(InputError, match="a backbone without a name, give it as base"):
        load_adapted_model(tmp_path / "adapter")
    saved_base(tmp_path / "deep", backbone_config=tiny_bert_config(num_hidden_layers=3))
    with pytest.raises(InputError, match=r"has num_hidden_layers 3, the adapters were trained on 2"):
        load_adapted_model(tmp_path / "adapter", str(tmp_path / "deep"))
    saved_base(tmp_path / "large", backbone_config=tiny_bert_config(vocab_size=99))
    with pytest.raises(InputError, match=r"has a vocabulary of 99"):
        load_adapted_model(tmp_path / "adapter", str(tmp_path / "large"))


def test_checkpoints_in_a_folder_are_no_adapters(tmp_path: Path) -> None:
    for name in ("checkpoint-5", "task_a"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "adapter_config.json").touch()
    assert find_adapters(tmp_path) == {"task_a": tmp_path / "task_a"}
