"""Online EWC: the Fisher information row by row, how it fades and grows, and what it is for."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from continual_steps import (
    added,
    assert_same_gradients,
    gradients,
    gradients_by_hand,
    scale_losses,
    scaled,
    set_gradients,
    stop_in_step,
)
from continual_streams import class_stream, head_stream, make_continual, weights
from mt_transformers.continual.learner import Learner
from mt_transformers.continual.strategies.ewc_online import EwcOnline
from mt_transformers.errors import InputError


def squares_by_hand(learner: Learner, number: int, head: str) -> list[dict[str, Any]]:
    """For each training row of an experience the square of the gradient of its cross-entropy."""
    (rows,) = learner.rows_of(number).values()
    found = [gradients_by_hand(learner, [row], head) for row in rows]
    return [{name: None if each is None else each.square() for name, each in row.items()} for row in found]


def mean(values: list[dict[str, Any]]) -> dict[str, Any]:
    total = values[0]
    for each in values[1:]:
        total = added(total, each)
    return scaled(total, 1 / len(values))


def test_the_mean_of_the_rows_squared_gradients(tmp_path: Path) -> None:
    """Computed without dropout, which the model would have in training."""
    strategy = EwcOnline()
    learner = stop_in_step(tmp_path, class_stream(classifier_dropout=0.5), strategy, number=0, step=1)
    learner.model.train()
    expected = mean(squares_by_hand(learner, 0, "kind"))
    before = weights(learner.model)
    strategy.end(learner)
    assert learner.model.training
    assert_same_gradients(dict(strategy._importance), expected)
    assert all(torch.equal(value, before[name]) for name, value in weights(learner.model).items())


@pytest.mark.parametrize("gamma", [1.0, 0.25])
def test_it_fades_and_grows(gamma: float, tmp_path: Path) -> None:
    """What was known of two classes has zeros for the two that came."""
    strategy = EwcOnline(gamma=gamma)
    learner = stop_in_step(tmp_path, class_stream(), strategy, number=1, step=1)
    earlier = {name: each.clone() for name, each in strategy._importance.items()}
    assert earlier["heads.kind.classifier.bias"].shape == (4,)
    assert not earlier["heads.kind.classifier.bias"][2:].any()
    expected = added(scaled(dict(earlier), gamma), mean(squares_by_hand(learner, 1, "kind")))
    strategy.end(learner)
    assert_same_gradients(dict(strategy._importance), expected)


def test_the_penalty_by_hand(tmp_path: Path) -> None:
    """lambda / 2 * sum(F * (weight - anchor)^2), by autograd."""
    strategy = EwcOnline(ewc_lambda=500.0)
    learner = stop_in_step(tmp_path, class_stream(), strategy, number=1, step=1)
    own, parameters = gradients(learner.model), dict(learner.model.named_parameters())
    terms = [
        (strategy._importance[name] * (parameters[name] - strategy._anchor[name]).square()).sum()
        for name in parameters
    ]
    (500.0 / 2 * torch.stack(terms).sum()).backward()
    expected = gradients(learner.model)
    set_gradients(learner.model, own)
    strategy.end_backward(learner)
    assert_same_gradients(gradients(learner.model), expected)
    assert any(not torch.equal(each, own[name]) for name, each in gradients(learner.model).items())


def test_a_weight_is_held_where_the_last_experience_ended(tmp_path: Path) -> None:
    strategy = EwcOnline()
    learner = stop_in_step(tmp_path, class_stream(), strategy, number=1)
    assert all(torch.equal(strategy._anchor[name], each) for name, each in learner.model.named_parameters())


def test_no_more_rows_are_taken_than_asked(tmp_path: Path) -> None:
    strategy = EwcOnline(fisher_rows=1)
    learner = stop_in_step(tmp_path, class_stream(), strategy, number=0, step=1)
    squares = squares_by_hand(learner, 0, "kind")
    strategy.end(learner)
    name = "heads.kind.classifier.bias"
    found = [row for row in squares if torch.allclose(row[name], strategy._importance[name], rtol=1e-9)]
    assert found
    assert_same_gradients(dict(strategy._importance), found[0])


def test_rows_of_several_tasks_count_alike(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """All rows of an experience of two heads, each of which has its own."""
    strategy = EwcOnline()
    scenario = head_stream(8)
    learner = stop_in_step(tmp_path, scenario, strategy)
    rows = {**learner.rows_of(0), **learner.rows_of(1)}
    parts = [squares_by_hand(learner, number, head) for number, head in ((0, "names_head"), (1, "moods_head"))]
    monkeypatch.setattr(learner, "rows_of", {learner.number: rows}.__getitem__)
    assert_same_gradients(strategy._fisher(learner), mean([*parts[0], *parts[1]]))


def test_nothing_is_computed_behind_the_last_experience(tmp_path: Path) -> None:
    strategy = EwcOnline()
    learner = stop_in_step(tmp_path, class_stream(), strategy)
    before = dict(strategy._importance)
    strategy.end(learner)
    assert all(strategy._importance[name] is each for name, each in before.items())


def test_under_fp16_losses_are_scaled_and_rows_that_overflow_left_out(tmp_path: Path) -> None:
    strategy = EwcOnline()
    learner = stop_in_step(tmp_path, class_stream(), strategy, number=0, step=1)
    expected = strategy._fisher(learner)
    scale_losses(learner, 1024.0)
    assert_same_gradients(dict(strategy._fisher(learner)), dict(expected))
    learner.model.float()
    squares = squares_by_hand(learner, 0, "kind")
    largest = [max(float(each.max()) ** 0.5 for each in row.values() if each is not None) for row in squares]
    # between the rows: what some gradients are multiplied with beyond the largest number of 32 bits
    ordered = sorted(largest)
    scale_losses(learner, 3.4e38 / ((ordered[7] + ordered[8]) / 2))
    kept = mean([row for row, size in zip(squares, largest, strict=True) if size <= ordered[7]])
    name = "heads.kind.classifier.weight"
    torch.testing.assert_close(strategy._fisher(learner)[name], kept[name], rtol=1e-3, atol=1e-6)


def test_what_cannot_be_is_refused() -> None:
    for given, message in (
        ({"ewc_lambda": -1.0}, "ewc_lambda: expected a number from 0 up"),
        ({"gamma": 1.5}, r"gamma: expected a number from 0 to 1, found 1\.5"),
        ({"gamma": -0.5}, "gamma: expected a number from 0 up"),
        ({"fisher_rows": 0}, "fisher_rows: expected a whole number of rows above 0, found 0"),
        ({"fisher_rows": True}, "fisher_rows: expected a whole number of rows above 0, found True"),
    ):
        with pytest.raises(InputError, match=message):
            EwcOnline(**given)


def first_loss(trainer: Any) -> float:
    """The loss of the first head's rows, behind the last experience."""
    learner = trainer.trainer.learner
    (rows,) = learner.rows_of(0).values()
    trainer.model.eval()
    with torch.no_grad():
        return float(learner.forward(learner.collate(list(rows)))["loss"])


def test_less_is_forgotten_than_by_plain_training(tmp_path: Path) -> None:
    """The backbone that the second head learns on is held for the first one."""
    given = {"learning_rate": 3e-3, "num_train_epochs": 6}
    runs = [
        make_continual(tmp_path / str(number), head_stream(48), strategy, **given)
        for number, strategy in enumerate(["naive", EwcOnline(ewc_lambda=1e6)])
    ]
    results = [each.train() for each in runs]
    assert first_loss(runs[1]) < 0.7 * first_loss(runs[0])
    assert results[1].matrix[1, 1] > 0.8


def test_it_stands_beside_replay(tmp_path: Path) -> None:
    """A penalty of weight 0 changes nothing, another one holds the weights; with the buffer of DER++."""
    derpp, distances, runs = {"name": "derpp", "buffer_size": 12}, [], []
    for number, strategy in enumerate([derpp, [derpp, EwcOnline(ewc_lambda=0.0)], [derpp, EwcOnline(ewc_lambda=1e6)]]):
        trainer = make_continual(tmp_path / str(number), class_stream(), strategy)
        anchor: dict[str, torch.Tensor] = {}
        begin = trainer.strategy.begin

        def keep(learner: Learner, begin: Any = begin, anchor: dict[str, torch.Tensor] = anchor) -> None:
            begin(learner)
            anchor.update(weights(learner.model))

        trainer.strategy.begin = keep  # type: ignore[method-assign]
        trainer.train()
        runs.append(weights(trainer.model))
        distances.append(sum(float((each - anchor[name]).square().sum()) for name, each in runs[-1].items()))
    assert all(torch.equal(each, runs[1][name]) for name, each in runs[0].items())
    assert distances[2] < distances[0]
