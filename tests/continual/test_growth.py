"""A model that gets heads and classes as experiences come."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from continual_streams import class_stream, head_stream, quiet_model, weights
from fixtures import tiny_inputs
from mt_transformers.continual.growth import grow_model
from mt_transformers.errors import InputError
from mt_transformers.heads import get_head_config


def test_classes_join_behind_those_that_there_are() -> None:
    scenario = class_stream()
    model = quiet_model(scenario)
    before = weights(model)
    grow_model(model, scenario.heads_after(2))
    after = weights(model)
    assert model.named_heads["kind"].config.names == scenario.heads["kind"].names
    assert after["heads.kind.classifier.weight"].shape[0] == 6
    assert [key for key, value in before.items() if not torch.equal(after[key][: len(value)], value)] == []
    grow_model(model, scenario.heads_after(2))
    assert [key for key, value in weights(model).items() if not torch.equal(after[key], value)] == []


def test_heads_join_with_weights_and_tasks() -> None:
    scenario = head_stream()
    model = quiet_model(scenario)
    logits = model(**tiny_inputs(2))["names_head_logits"]
    model.config.tasks = {"names": ["names_head"]}
    tasks = {"moods": ["moods_head", "later"], "both": ["names_head", "moods_head"], "last": ["later"]}
    given: dict[str, Any] = {"tasks": tasks, "loss_weights": {"moods_head": 0.25, "later": 9.0}}
    grow_model(model, scenario.heads_after(1), **given)
    assert list(model.named_heads) == ["names_head", "moods_head"]
    assert model.config.loss_weights == {"moods_head": 0.25}
    # tasks keep their place, by which rows are told
    assert list(model.config.tasks.items()) == [
        ("names", ["names_head"]),
        ("moods", ["moods_head"]),
        ("both", ["names_head", "moods_head"]),
    ]
    assert torch.equal(model(**tiny_inputs(2))["names_head_logits"], logits)


def test_a_config_without_tasks_stays_so() -> None:
    scenario = head_stream()
    model = quiet_model(scenario)
    grow_model(model, scenario.heads_after(1), tasks={"moods": ["moods_head"]})
    assert model.config.tasks == {}


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"head_type": "regression", "mean": [0.0], "std": [1.0]}, "expected regression, .* found sequence_class"),
        (
            {"head_type": "sequence_classification", "id2label": ["city", "singer"]},
            r"to begin with \['singer', 'city'",
        ),
        ({"head_type": "sequence_classification", "id2label": ["singer"]}, r"to begin with \['singer', 'city'"),
    ],
)
def test_a_head_that_is_another_is_refused(values: dict[str, Any], message: str) -> None:
    model = quiet_model(class_stream())
    with pytest.raises(InputError, match=f"head 'kind': .*{message}"):
        grow_model(model, {"kind": get_head_config("kind", values)})
