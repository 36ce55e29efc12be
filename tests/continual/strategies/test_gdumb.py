"""GDumb: a balanced sample, and a model that is trained on it from its first weights."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from continual_streams import class_stream, head_stream, make_continual, quiet_model, weights
from mt_transformers.continual.strategies.gdumb import GDumb, choose_greedily
from mt_transformers.continual.trainer import ContinualTrainer

_GROUPS = st.lists(st.sampled_from("abcd"), max_size=40)


def strategy_of(trainer: ContinualTrainer) -> GDumb:
    (strategy,) = trainer.strategy.strategies
    assert isinstance(strategy, GDumb)
    return strategy


@settings(max_examples=200, deadline=None)
@given(_GROUPS, _GROUPS, st.integers(1, 20), st.integers(0, 100))
def test_each_group_has_its_share_or_all_its_rows(first: list[str], second: list[str], size: int, seed: int) -> None:
    """Over two experiences, the second of which begins with what the first one held."""
    random, held = np.random.default_rng(seed), list[str]()
    for stream in (first, second):
        chosen = choose_greedily(held, stream, size, random)
        assert chosen == sorted(set(chosen))
        held = [[*held, *stream][place] for place in chosen]
        assert len(held) <= size
    rows, counts = Counter(first + second), Counter(held)
    if size >= len(rows):
        for group, number in rows.items():
            assert counts[group] >= min(number, size // len(rows))
    assert len(set(first + second)) != 1 or len(held) == min(size, len(first + second))


def test_which_rows_give_way_is_uniform() -> None:
    """Of 4 rows of the one group two have to go, each as often as any other."""
    random, counts = np.random.default_rng(0), Counter[int]()
    for _ in range(2000):
        counts.update(choose_greedily(["a"] * 4, ["b"] * 2, 4, random))
    assert counts[4] == counts[5] == 2000
    assert all(abs(counts[place] - 1000) < 100 for place in range(4))


def test_full_groups_keep_their_first_rows() -> None:
    assert choose_greedily([], ["a", "b", "a", "b", "a", "b"], 4, np.random.default_rng(0)) == [0, 1, 2, 3]


@pytest.mark.parametrize("kind", ["classes", "heads"])
def test_each_experience_begins_with_the_first_weights(kind: str, tmp_path: Path) -> None:
    scenario = class_stream() if kind == "classes" else head_stream()
    trainer = make_continual(tmp_path, scenario, {"name": "gdumb", "buffer_size": 12})
    strategy, seen = strategy_of(trainer), []
    begin = strategy.begin

    def watched(learner: Any) -> None:
        before = weights(learner.model)
        begin(learner)
        seen.append((before, weights(learner.model)))

    strategy.begin = watched  # type: ignore[method-assign]
    trainer.train()
    first = weights(quiet_model(scenario))
    for number, (before, after) in enumerate(seen):
        for name, value in first.items():
            torch.testing.assert_close(after[name][: len(value)], value, rtol=0, atol=0)
        if number > 0:
            trained = "backbone.model.encoder.layer.0.output.dense.weight"
            assert not torch.equal(before[trained], after[trained])
    if kind == "classes":
        # classes that came with the second experience have the weights that they had then, also in the third
        came = seen[1][0]["heads.kind.classifier.weight"][2:]
        for _, after in seen[1:]:
            assert torch.equal(after["heads.kind.classifier.weight"][2:4], came)


def test_it_trains_on_a_balanced_sample_of_all_rows_so_far(tmp_path: Path) -> None:
    trainer = make_continual(tmp_path, class_stream(), {"name": "gdumb", "buffer_size": 12})
    results = trainer.train()
    strategy = strategy_of(trainer)
    assert Counter(slot.group for slot in strategy.kept) == {f"kind:{label}": 2 for label in range(6)}
    assert trainer.trainer is not None
    assert len(trainer.trainer.train_dataset) == 12
    assert results.buffer_bytes == strategy.memory() > 0
    texts = set(class_stream().tasks["words"].dataset["train"]["text"][:])
    assert {slot.row["text"] for slot in strategy.kept} <= texts


def test_the_seed_decides_which_rows_are_kept(tmp_path: Path) -> None:
    kept = []
    for seed in (0, 1):
        given = {"name": "gdumb", "buffer_size": 12, "seed": seed}
        trainer = make_continual(tmp_path / str(seed), class_stream(), given, max_steps=1)
        trainer.train()
        kept.append([slot.row["text"] for slot in strategy_of(trainer).kept])
    assert kept[0] != kept[1]


def test_it_forgets_less_than_naive_training(tmp_path: Path) -> None:
    given: dict[str, Any] = {"num_train_epochs": 4, "learning_rate": 3e-3}
    strategies = ("naive", {"name": "gdumb", "buffer_size": 48})
    scores = [
        make_continual(tmp_path / str(number), class_stream(96), each, **given).train().measures()["average_accuracy"]
        for number, each in enumerate(strategies)
    ]
    assert scores[1] > scores[0] + 0.3


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"buffer_size": 0}, "buffer_size: expected a whole number of rows above 0, found 0"),
        ({"buffer_size": True}, "buffer_size: expected a whole number of rows above 0, found True"),
        ({"seed": -1}, "seed: expected a whole number from 0 up, found -1"),
    ],
)
def test_options_that_make_no_sense_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        GDumb(**options)
