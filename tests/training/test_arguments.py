"""Training arguments: the changed defaults, and what cannot hold with several heads."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
from transformers import HfArgumentParser, TrainingArguments

from mt_transformers import MultiTaskTrainingArguments
from mt_transformers.errors import InputError

OWN = {
    "balancing",
    "conflict_steps",
    "freeze_until",
    "learning_rates",
    "weight_decays",
    "max_length",
    "preprocessing_num_proc",
    "padding_free",
    "nonfinite_loss",
}


def arguments(folder: Path, **given: Any) -> MultiTaskTrainingArguments:
    return MultiTaskTrainingArguments(output_dir=str(folder), use_cpu=True, report_to=[], **given)


def test_only_the_named_defaults_differ() -> None:
    plain = {each.name: each for each in fields(TrainingArguments)}
    own = {each.name: each for each in fields(MultiTaskTrainingArguments)}
    assert set(own) - set(plain) == OWN
    changed = {
        name: own[name].default
        for name in plain
        if (own[name].default, own[name].default_factory) != (plain[name].default, plain[name].default_factory)
    }
    assert changed == {
        "metric_for_best_model": "eval_score",
        "remove_unused_columns": False,
        "ddp_find_unused_parameters": False,
    }


def test_the_defaults_are_accepted(tmp_path: Path) -> None:
    found = arguments(tmp_path)
    assert (found.max_length, found.preprocessing_num_proc) == (None, None)
    assert (found.metric_for_best_model, found.remove_unused_columns) == ("eval_score", False)


def test_higher_scores_are_better(tmp_path: Path) -> None:
    found = arguments(
        tmp_path, load_best_model_at_end=True, eval_strategy="steps", eval_steps=1, save_strategy="steps", save_steps=1
    )
    assert found.greater_is_better is True


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"remove_unused_columns": True}, "remove_unused_columns: expected False"),
        ({"label_smoothing_factor": 0.1}, "label_smoothing_factor: set label_smoothing in the heads' configs"),
        ({"average_tokens_across_devices": False}, "average_tokens_across_devices: expected True"),
        ({"train_sampling_strategy": "sequential"}, "set the mixture's order to 'sequential'"),
        ({"train_sampling_strategy": "by_length"}, "unknown train_sampling_strategy 'by_length', did you mean"),
        (
            {"length_column_name": "size"},
            "length_column_name: expected 'length', as prepared",
        ),
        ({"deepspeed": {"zero_optimization": {"stage": 2}}}, "deepspeed is not supported: .* Use fsdp, with which"),
        ({"fsdp": True, "fsdp_config": {"version": 1}}, "fsdp_config: expected version 2 without xla"),
        ({"fsdp": True, "fsdp_config": {"xla": True}}, "fsdp_config: expected version 2 without xla"),
    ],
)
def test_what_cannot_hold_is_refused(tmp_path: Path, given: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        arguments(tmp_path, **given)


@pytest.mark.parametrize(
    "allowed",
    [
        {"label_smoothing_factor": 0.0},
        {"average_tokens_across_devices": True},
        {"train_sampling_strategy": "random"},
        {"train_sampling_strategy": "group_by_length"},
        {"train_sampling_strategy": "batch_rebalance", "length_column_name": "length"},
        {"fsdp": True},
        {"fsdp": True, "fsdp_config": {"version": 2, "state_dict_type": "SHARDED_STATE_DICT"}},
    ],
)
def test_the_neighbours_of_the_refused_are_accepted(tmp_path: Path, allowed: dict[str, Any]) -> None:
    arguments(tmp_path, **allowed)


def test_several_gpus_in_one_process_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(TrainingArguments, "n_gpu", 2)
    with pytest.raises(InputError, match="2 GPUs in one process: start one process a GPU"):
        arguments(tmp_path)


def test_every_own_or_changed_field_has_a_help_text_that_prints() -> None:
    parser = HfArgumentParser(MultiTaskTrainingArguments)  # type: ignore[arg-type]
    text = parser.format_help()
    for name in (*OWN, "metric_for_best_model", "remove_unused_columns", "ddp_find_unused_parameters"):
        field = MultiTaskTrainingArguments.__dataclass_fields__[name]
        assert field.metadata["help"]
        assert f"--{name}" in text
