"""Strategies with a buffer: what goes in, what is drawn, what is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from continual_streams import class_stream, head_stream, make_continual
from mt_transformers.continual.strategies.rehearsal import unite_rows
from mt_transformers.continual.strategies.replay import Replay


def contents(trainer: Any) -> list[tuple[str, str, int]]:
    return [(slot.row["text"], slot.group, slot.experience) for slot in trainer.strategy.strategies[-1].buffer.slots]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"buffer_size": 0}, "buffer_size: expected a whole number of rows above 0, found 0"),
        ({"replay_batch_size": 1.5}, "replay_batch_size: expected a whole number"),
        ({"ratio": 2.0}, "ratio: expected a fraction above 0, found 2.0"),
        ({"ratio": 0.1, "buffer_size": 3}, "either buffer_size or ratio"),
        ({"sampling": "newest"}, "sampling"),
    ],
)
def test_options_that_cannot_be_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Replay(**options)


def test_the_ratio_is_one_of_all_training_rows() -> None:
    strategy = Replay(ratio=0.25)
    strategy.check(class_stream(rows=48))
    assert strategy.buffer.size == 12
    default = Replay()
    default.check(class_stream())
    assert default.buffer.size == 200


def test_every_row_is_offered_once_whatever_the_epochs(tmp_path: Path) -> None:
    """A buffer with room for all rows has each of them once, two epochs or not."""
    trainer = make_continual(tmp_path, class_stream(rows=48), Replay(buffer_size=500), num_train_epochs=2)
    trainer.train()
    found = contents(trainer)
    rows = class_stream(rows=48).tasks["words"].dataset["train"]["text"]
    assert sorted(text for text, _, _ in found) == sorted(rows)
    assert sorted(experience for _, _, experience in found) == [0] * 16 + [1] * 16 + [2] * 16


def test_what_stays_depends_neither_on_micro_batches_nor_on_what_is_drawn(tmp_path: Path) -> None:
    found = []
    for name, options, given in (
        ("whole", {}, {"per_device_train_batch_size": 8}),
        ("parts", {}, {"per_device_train_batch_size": 2, "gradient_accumulation_steps": 4}),
        ("more", {"replay_batch_size": 5}, {"per_device_train_batch_size": 8}),
    ):
        trainer = make_continual(tmp_path / name, class_stream(), Replay(buffer_size=7, **options), **given)
        trainer.train()
        found.append(contents(trainer))
    assert found[0] == found[1] == found[2]
    other = make_continual(tmp_path / "other", class_stream(), Replay(buffer_size=7, seed=1))
    other.train()
    assert contents(other) != found[0]


def test_a_balanced_buffer_has_as_many_rows_of_each_class(tmp_path: Path) -> None:
    trainer = make_continual(tmp_path, class_stream(), Replay(buffer_size=12, sampling="class_balanced"))
    trainer.train()
    counts = trainer.strategy.strategies[-1].buffer.groups()  # type: ignore[attr-defined]
    assert counts == {f"kind:{label}": 2 for label in range(6)}


def test_as_many_rows_are_drawn_as_the_batch_has_or_as_is_asked(tmp_path: Path) -> None:
    for asked, expected in ((None, 8), (3, 3)):
        trainer = make_continual(
            tmp_path / str(asked), class_stream(), Replay(buffer_size=40, replay_batch_size=asked)
        )
        sizes: list[int] = []
        strategy: Any = trainer.strategy.strategies[-1]
        rehearse = strategy.rehearse

        def counting(learner: Any, batches: Any, rehearse: Any = rehearse, sizes: Any = sizes) -> Any:
            found = rehearse(learner, batches)
            sizes.extend(len(batch["input_ids"]) for batch in found)
            return found

        strategy.rehearse = counting
        trainer.train()
        # nothing in the first step, and 8 rows in the second
        assert sizes == [min(expected, 8 * step) for step in range(1, 6)]


def test_rows_of_heads_that_are_not_fed_any_more_train_their_heads(tmp_path: Path) -> None:
    trainer = make_continual(tmp_path / "replay", head_stream(), Replay(buffer_size=12))
    before: dict[str, Any] = {}
    strategy: Any = trainer.strategy.strategies[-1]

    def end(learner: Any) -> None:
        if learner.number == 0:
            before["weight"] = learner.model.named_heads["names_head"].classifier.weight.detach().clone()

    strategy.end = end
    trainer.train()
    assert not before["weight"].equal(trainer.model.named_heads["names_head"].classifier.weight)  # type: ignore[operator,union-attr,arg-type]


def test_rows_of_earlier_experiences_that_another_strategy_trains_on_are_not_offered_again(tmp_path: Path) -> None:
    for name, stream in (("heads", head_stream), ("classes", class_stream)):
        scenario = stream()
        trainer = make_continual(tmp_path / name, scenario, ["cumulative", Replay(buffer_size=500)])
        trainer.train()
        number = sum(len(task.dataset["train"]) for task in scenario.tasks.values())
        assert len(contents(trainer)) == number


def test_processes_exchange_nothing_once_all_rows_were_offered(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[int] = []
    module = "mt_transformers.continual.strategies.rehearsal.unite_rows"

    def counting(learner: Any, own: Any) -> Any:
        asked.append(learner.number)
        return unite_rows(learner, own)

    monkeypatch.setattr(module, counting)
    trainer = make_continual(tmp_path, class_stream(rows=48), Replay(buffer_size=12), num_train_epochs=3)
    trainer.train()
    # two steps of the first of three epochs, in each of three experiences
    assert asked == [0, 0, 1, 1, 2, 2]


def test_what_is_kept_is_counted(tmp_path: Path) -> None:
    trainer = make_continual(tmp_path, class_stream(), Replay(buffer_size=12))
    assert trainer.train().buffer_bytes == trainer.strategy.memory() > 12 * len("a b c")
