"""RanPAC: the ridge regression that all rows at once give, in closed form."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from continual_streams import class_stream, make_continual, weights
from mt_transformers.continual.strategies import make_strategy
from mt_transformers.continual.strategies.ranpac import choose_ridge, solve_ridge
from mt_transformers.continual.trainer import ContinualTrainer
from mt_transformers.errors import InputError

HEAD: dict[str, Any] = {"hidden_sizes": [24], "hidden_act": "relu"}


def run(folder: Path, rows: int = 48, **options: Any) -> ContinualTrainer:
    trainer = make_continual(folder, class_stream(rows, **HEAD), {"name": "ranpac", **options})
    trainer.train()
    return trainer


def random_features(trainer: ContinualTrainer, split: str) -> tuple[torch.Tensor, torch.Tensor]:
    """Random features of all rows of a split, computed step by step from the head's layers, and their labels."""
    assert trainer.trainer is not None
    learner = trainer.trainer.learner
    batch = learner.collate(list(learner.prepared.splits["words"][split]))
    head: Any = trainer.model.named_heads["kind"]
    with torch.no_grad():
        encoded = trainer.model.backbone(**{name: batch[name] for name in ("input_ids", "attention_mask")})
        pooled = head.pooler(encoded["encoded_text"], encoded["encoded_text_mask"])
        projected = pooled @ head.feed_forward[0].weight.T
    return projected.clamp(min=0).double(), batch["labels"]["kind"]


def test_the_weights_are_those_of_the_closed_form_over_all_rows(tmp_path: Path) -> None:
    trainer = run(tmp_path, ridge=3.0)
    features, labels = random_features(trainer, "train")
    targets = torch.nn.functional.one_hot(labels, 6).double()
    expected = torch.linalg.inv(features.T @ features + 3 * torch.eye(24).double()) @ features.T @ targets
    classifier: Any = trainer.model.named_heads["kind"]
    torch.testing.assert_close(classifier.classifier.weight.double(), expected.T, rtol=1e-4, atol=1e-6)
    assert classifier.classifier.bias.tolist() == [0] * 6


def test_the_ridge_is_that_of_the_smallest_error_on_held_out_rows() -> None:
    """Against the errors themselves, on noisy rows where neither end of the scale is best."""
    generator = torch.Generator().manual_seed(0)
    features = torch.randn(60, 20, generator=generator, dtype=torch.float64)
    noise = torch.randn(60, 3, generator=generator, dtype=torch.float64)
    targets = torch.nn.functional.one_hot((features[:, :3] + noise).argmax(dim=1), 3).double()
    errors = {}
    for exponent in range(-8, 9):
        weight = solve_ridge(features[:40].T @ features[:40], targets[:40].T @ features[:40], 10.0**exponent)
        errors[10.0**exponent] = (features[40:] @ weight.T - targets[40:]).square().mean().item()
    best = min(errors, key=lambda ridge: errors[ridge])
    assert 1e-8 < best < 1e8
    parts = (
        {"gram": features[part].T @ features[part], "features": targets[part].T @ features[part]}
        for part in (slice(40), slice(40, None))
    )
    assert choose_ridge(*parts) == best


def test_by_default_the_ridge_is_chosen(tmp_path: Path) -> None:
    """What is found is the solution for one of the ridges, and all rows count in it."""
    trainer = run(tmp_path)
    features, labels = random_features(trainer, "train")
    targets = torch.nn.functional.one_hot(labels, 6).double()
    found = weights(trainer.model)["heads.kind.classifier.weight"].double()
    gaps = [
        (solve_ridge(features.T @ features, targets.T @ features, 10.0**exponent) - found).abs().max().item()
        for exponent in range(-8, 9)
    ]
    assert min(gaps) < 1e-4


def test_which_rows_are_held_out_does_not_follow_their_order(tmp_path: Path) -> None:
    """A fifth of the rows, each class among them, and no row lost."""
    trainer = make_continual(tmp_path, class_stream(240, **HEAD), "ranpac")
    learner = trainer._learner(0)
    rows = learner.rows_of(0)["words"]
    strategy: Any = trainer.strategy.strategies[0]
    fitted, held_out = strategy._divide(rows, 0)
    assert (len(fitted), len(held_out)) == (64, 16)
    assert sorted([*fitted["row_number"], *held_out["row_number"]]) == sorted(rows["row_number"])
    other = strategy._divide(rows, 1)[1]
    assert other["row_number"][:] != held_out["row_number"][:]


def test_the_projection_is_drawn_from_the_seed_and_stays(tmp_path: Path) -> None:
    name = "heads.kind.feed_forward.0.weight"
    first, again, other = (
        weights(run(tmp_path / str(number), seed=seed, ridge=1.0).model)[name] for number, seed in enumerate((0, 0, 1))
    )
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert abs(first.mean().item()) < 0.1
    assert abs(first.std().item() - 1) < 0.1


def test_what_is_remembered_are_sums_over_all_rows(tmp_path: Path) -> None:
    """No rows, and as many bytes as the matrices have."""
    trainer = make_continual(tmp_path, class_stream(**HEAD), {"name": "ranpac", "ridge": 1.0})
    trainer.train()
    strategy: Any = trainer.strategy.strategies[0]
    whole = strategy.sums_of("kind")
    features, labels = random_features(trainer, "train")
    torch.testing.assert_close(whole["gram"], features.T @ features, rtol=1e-5, atol=1e-4)
    torch.testing.assert_close(whole["rows"], torch.bincount(labels).double())
    assert strategy.memory() == (24 * 24 + 6 * 24 + 6) * 8


def test_a_run_that_was_interrupted_between_experiences_ends_with_the_same_bits(tmp_path: Path) -> None:
    whole = run(tmp_path / "whole")
    broken = make_continual(tmp_path / "broken", class_stream(**HEAD), "ranpac")
    learn = broken.strategy.learn

    def break_off(learner: Any) -> bool:
        if learner.number == 2:
            raise KeyboardInterrupt
        return learn(learner)

    broken.strategy.learn = break_off  # type: ignore[method-assign]
    with pytest.raises(KeyboardInterrupt):
        broken.train()
    resumed = make_continual(tmp_path / "broken", class_stream(**HEAD), "ranpac")
    resumed.train(resume_from_checkpoint=True)
    for name, value in weights(whole.model).items():
        assert torch.equal(weights(resumed.model)[name], value), name


def test_it_beats_training_on_one_experience_after_another(tmp_path: Path) -> None:
    scores = {}
    for name in ("naive", "ranpac"):
        scenario = class_stream(96, **HEAD)
        trainer = make_continual(tmp_path / name, scenario, name, num_train_epochs=2, learning_rate=3e-3)
        scores[name] = trainer.train().measures()["average_accuracy"]
    assert scores["ranpac"] > scores["naive"] + 0.2


@pytest.mark.parametrize("fields", [{}, {"hidden_sizes": [8, 8], "hidden_act": "relu"}, {"hidden_sizes": [8]}])
def test_a_head_without_room_for_the_projection_is_refused(fields: dict[str, Any], tmp_path: Path) -> None:
    message = r"strategy 'ranpac': head 'kind' .* such as 'hidden_sizes: \[2000\]' with 'hidden_act: relu', found"
    with pytest.raises(InputError, match=message):
        make_continual(tmp_path, class_stream(**fields), "ranpac")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"ridge": 0}, "strategy 'ranpac': ridge: expected a number above 0, found 0"),
        ({"ridge": float("nan")}, "ridge: expected a number above 0"),
        ({"ridge": True}, "ridge: expected a number above 0"),
        ({"seed": -1}, "seed: expected a whole number from 0 up"),
    ],
)
def test_options_that_are_none_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        make_strategy({"name": "ranpac", **options})
