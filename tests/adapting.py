"""
Models with adapters of peft, and how they compare. Tests write `from adapting import ...`.

- `TASKS`, `with_task_adapters`: a tiny model with an adapter for each task.
- `saved_base`, `stir`, `trained`: a model to put adapters on, as if it were trained; what is trained.
- `logits`, `assert_same`: two models' answers.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from fixtures import tiny_model
from mt_transformers import MultiTaskModel
from mt_transformers.modeling import add_task_adapters

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


def with_task_adapters(**fields: Any) -> Any:
    """A tiny model with an adapter for each of `TASKS`, always the same, as if it were trained."""
    from peft import LoraConfig

    torch.manual_seed(0)
    return stir(add_task_adapters(tiny_model(tasks=TASKS), LoraConfig(r=2, **fields)))
