"""Adapters of peft in the backbone: what is trained, saved, loaded and merged."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file
from transformers import AlbertConfig

from fixtures import tiny_inputs, tiny_model
from mt_transformers import MultiTaskModel
from mt_transformers.errors import InputError
from mt_transformers.modeling import (
    add_task_adapters,
    base_model,
    complete_peft_config,
    find_adapters,
    get_peft_model,
    load_adapted_model,
    load_adapters,
    merge_adapters,
    save_adapters,
)
from mt_transformers.modeling.task_adapters import BACKBONE_ALONE, adapters_of_sequences

peft = pytest.importorskip("peft")

KINDS: dict[str, Any] = {
    "lora": lambda **fields: peft.LoraConfig(r=2, **fields),
    "rslora": lambda **fields: peft.LoraConfig(r=2, use_rslora=True, **fields),
    "dora": lambda **fields: peft.LoraConfig(r=2, use_dora=True, **fields),
    "ia3": lambda **fields: peft.IA3Config(**fields),
    "adalora": lambda **fields: peft.AdaLoraConfig(init_r=2, target_r=1, total_step=9, **fields),
}
TASKS = {"requests": ["intent", "slots"], "reviews": ["intent", "stars"], "ratings": ["stars"]}
"""`intent` and `stars` are each fed by two tasks."""


def logits(outputs: Any) -> dict[str, torch.Tensor]:
    """The heads' logits."""
    return {key: value for key, value in outputs.items() if key.endswith("_logits")}


def assert_same(one: Any, other: Any) -> None:
    """Two models' logits are bit-equal."""
    assert logits(one).keys() == logits(other).keys() != set()
    for key, value in logits(one).items():
        assert torch.equal(value, other[key]), key


@torch.no_grad()
def stir(model: Any, seed: int = 0) -> Any:
    """Give all that is trained other values, as training would."""
    generator = torch.Generator().manual_seed(seed)
    for parameter in model.parameters():
        if parameter.requires_grad:
            parameter.add_(torch.randn(parameter.shape, generator=generator) * 0.3)
    return model.eval()


def trained(model: Any) -> set[str]:
    """Names of what is trained."""
    return {name.removeprefix("base_model.model.") for name, each in model.named_parameters() if each.requires_grad}


def saved_base(folder: Path, **config: Any) -> MultiTaskModel:
    """A model that was saved, as one that adapters are put on mostly is."""
    torch.manual_seed(0)
    tiny_model(**config).save_pretrained(folder)
    model: MultiTaskModel = MultiTaskModel.from_pretrained(folder)
    return model


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


# folders


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
    from fixtures import tiny_bert_config

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


# one adapter a task


def with_task_adapters(**fields: Any) -> Any:
    torch.manual_seed(0)
    return stir(add_task_adapters(tiny_model(tasks=TASKS), peft.LoraConfig(r=2, **fields)))


def test_each_row_goes_through_the_adapter_of_its_task() -> None:
    adapted = with_task_adapters(target_modules="all-linear").double()
    inputs, tasks = tiny_inputs(6), ["reviews", "requests", "ratings", "requests", "ratings", "reviews"]
    mixed = adapted(**inputs, task=tasks)
    by_index = adapted(**inputs, task=torch.tensor([list(TASKS).index(task) for task in tasks]))
    assert_same(mixed, by_index)
    for row, task in enumerate(tasks):
        alone = {name: value[row : row + 1] for name, value in inputs.items()}
        # peft's own way of using one adapter, with the model's heads
        adapted.set_adapter(f"task_{task}")
        encoded = base_model(adapted).backbone(**alone)["encoded_text"]
        torch.testing.assert_close(mixed["encoded_text"][row : row + 1], encoded, rtol=0, atol=1e-6)
        for name in TASKS[task]:
            place = mixed[f"{name}_rows"].tolist().index(row)
            expected = adapted(**alone, task=[task])[f"{name}_logits"][0]
            torch.testing.assert_close(mixed[f"{name}_logits"][place], expected, rtol=0, atol=1e-6)
    # the adapters differ
    one, other = (adapted(**inputs, task=[task] * 6)["stars_logits"] for task in ("reviews", "ratings"))
    assert not torch.allclose(one, other)


def test_gradients_are_those_of_each_tasks_own_rows() -> None:
    adapted = with_task_adapters().train()
    for module in adapted.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
    inputs, tasks = tiny_inputs(4), ["requests", "reviews", "reviews", "requests"]
    labels = {"intent": torch.tensor([0, 1, 2, 1])}

    def gradients(rows: list[int]) -> dict[str, torch.Tensor]:
        adapted.zero_grad()
        adapted(
            **{name: value[rows] for name, value in inputs.items()},
            task=[tasks[row] for row in rows],
            labels={name: value[rows] for name, value in labels.items()},
            num_items_in_batch={"intent": 1},
        )["loss"].backward()
        return {name: each.grad.clone() for name, each in adapted.named_parameters() if each.grad is not None}

    mixed, apart = gradients([0, 1, 2, 3]), [gradients([0, 3]), gradients([1, 2])]
    assert not any("task_ratings" in name for name in mixed if name.startswith("base_model.model.backbone"))
    for name, grad in mixed.items():
        expected = sum(each[name] for each in apart if name in each)
        torch.testing.assert_close(grad, expected, rtol=1e-4, atol=1e-6)
    owners = [{name.split("task_")[1].split(".")[0] for name in each if "lora_" in name} for each in apart]
    assert owners == [{"requests"}, {"reviews"}]


def test_a_head_of_several_tasks_is_one_head(tmp_path: Path) -> None:
    adapted = with_task_adapters()
    names = [name for name in trained(adapted) if name.startswith("heads.")]
    assert len(names) == len({name.split(".")[1] + name.split(".")[-1] for name in names}) == 6
    inputs, tasks = tiny_inputs(3), ["reviews", "requests", "ratings"]
    save_adapters(adapted, tmp_path / "adapters")
    assert sorted(find_adapters(tmp_path / "adapters")) == ["task_ratings", "task_requests", "task_reviews"]
    for task, heads in TASKS.items():
        keys = load_file(tmp_path / "adapters" / f"task_{task}" / "adapter_model.safetensors")
        assert {key.split(".")[3] for key in keys if ".heads." in key} == set(heads)
    base = str(tmp_path / "base")
    plain = tiny_model(tasks=TASKS)
    plain.backbone.load_state_dict(
        {
            name.replace("base_layer.", ""): value
            for name, value in base_model(adapted).backbone.state_dict().items()
            if "lora_" not in name
        }
    )
    plain.save_pretrained(base)
    loaded = load_adapted_model(tmp_path / "adapters", base, is_trainable=True)
    assert trained(loaded) == trained(adapted)
    assert_same(loaded(**inputs, task=tasks), adapted(**inputs, task=tasks))


def test_rows_of_tasks_without_an_adapter_are_encoded_by_the_backbone_alone() -> None:
    inputs, base = tiny_inputs(2), tiny_model(tasks=TASKS)
    adapted = stir(add_task_adapters(copy.deepcopy(base), {"requests": peft.LoraConfig(r=2)}))
    outputs = adapted(**inputs, task=["ratings", "requests"])
    alone = base(**inputs)
    torch.testing.assert_close(outputs["encoded_text"][0], alone["encoded_text"][0])
    torch.testing.assert_close(outputs["stars_logits"][0], alone["stars_logits"][0])
    assert not torch.allclose(outputs["encoded_text"][1], alone["encoded_text"][1])


def test_rows_of_several_sequences_go_through_one_adapter() -> None:
    heads = {
        "near": {"head_type": "sentence_similarity", "min_score": 0.0, "max_score": 1.0},
        "intent": {"head_type": "sequence_classification", "num_labels": 3},
    }
    torch.manual_seed(0)
    model = tiny_model(heads, tasks={"pairs": ["near"], "requests": ["intent"]})
    adapted = stir(add_task_adapters(model, peft.LoraConfig(r=2)))
    inputs = tiny_inputs(4)
    # rows 0 and 2 are pairs, row 1 is a request; sequence 3 is the second one of row 0, and row 2 reads its own twice
    sequences = {"near": torch.tensor([[0, 3], [-1, -1], [2, 2]])}
    mixed = adapted(**inputs, sequences=sequences, task=["pairs", "requests", "pairs"])
    pair = {name: value[[0, 3]] for name, value in inputs.items()}
    alone = adapted(**pair, sequences={"near": torch.tensor([[0, 1]])}, task=["pairs"])
    torch.testing.assert_close(mixed["near_logits"][0], alone["near_logits"][0])


@given(st.data())
def test_adapters_of_sequences_are_those_of_their_rows(data: st.DataObject) -> None:
    owners = data.draw(st.lists(st.integers(-1, 3), min_size=0, max_size=6))
    by_row = [f"adapter{row}" for row in range(4)]
    # sequences 0 to 3 are the rows' first ones; each further one belongs to a row, or to none
    width = 1 + max((owners.count(row) for row in range(4)), default=0)
    table = torch.full((4, width), -1)
    for row in range(4):
        own = [row, *(4 + place for place, owner in enumerate(owners) if owner == row)]
        table[row, : len(own)] = torch.tensor(own)
    expected = by_row + [by_row[owner] if owner >= 0 else BACKBONE_ALONE for owner in owners]
    assert adapters_of_sequences(by_row, {"choice": table}, 4 + len(owners)) == expected


def test_the_model_has_to_know_the_tasks() -> None:
    adapted, inputs = with_task_adapters(), tiny_inputs(2)
    with pytest.raises(InputError, match="it has to know the task of each row"):
        adapted(**inputs)
    with pytest.raises(InputError, match="task of row 1: unknown task 'nothing'"):
        adapted(**inputs, task=["reviews", "nothing"])
    with pytest.raises(InputError, match="expected one task for each of the 2 rows, found 1"):
        adapted(**inputs, labels={"intent": torch.tensor([0, 1])}, rows={}, task=["reviews"])
    with pytest.raises(InputError, match="cannot be merged into one backbone"):
        merge_adapters(adapted)
    with pytest.raises(InputError, match="cannot be merged into one backbone"):
        adapted.merge_and_unload()


def test_layers_that_run_again_for_their_gradients_are_refused() -> None:
    adapted = with_task_adapters().train()
    base_model(adapted).backbone.model.encoder.layer[0].gradient_checkpointing = True
    with pytest.raises(InputError, match="gradient checkpointing cannot be combined"):
        adapted(**tiny_inputs(2), task=["reviews", "ratings"])


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (lambda: peft.IA3Config(), "task 'requests': expected a LoraConfig"),
        (lambda: peft.LoraConfig(use_dora=True), "cannot be mixed in a batch"),
        (lambda: {"nothing": peft.LoraConfig()}, "unknown task 'nothing'"),
        (dict, "expected a config for at least one task"),
    ],
)
def test_adapters_that_cannot_be_mixed_are_refused(config: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        add_task_adapters(tiny_model(tasks=TASKS), config())
