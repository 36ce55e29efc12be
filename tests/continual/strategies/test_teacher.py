"""The model as it was before an experience."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from continual_streams import class_stream, make_continual, quiet_model
from fixtures import tiny_inputs
from mt_transformers.continual.strategies.teacher import frozen_copy


def test_a_teacher_stays_as_it_is_when_the_model_learns() -> None:
    model = quiet_model(class_stream()).train()
    teacher, inputs = frozen_copy(model), tiny_inputs()
    before = teacher(**inputs)["kind_logits"]
    torch.testing.assert_close(before, model(**inputs)["kind_logits"])
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += 0.1
    assert torch.equal(teacher(**inputs)["kind_logits"], before)
    assert not before.requires_grad
    assert model.training
    assert all(parameter.requires_grad for parameter in model.heads.parameters())


@pytest.mark.parametrize("name", ["lwf", "icarl"])
def test_adapters_of_tasks_are_refused(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # as a model with peft's adapters says it
    monkeypatch.setattr("mt_transformers.modeling.MultiTaskModel.task_adapters", {"words": "words"})
    with pytest.raises(ValueError, match=f"'{name}': expected a model without adapters of tasks, found one for words"):
        make_continual(tmp_path, class_stream(), name)
