"""Checkpoints that count only once they are whole."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from mt_transformers import MultiTaskModel, MultiTaskTrainer, Task
from mt_transformers.errors import InputError
from mt_transformers.training.checkpoints import (
    begin_checkpoint,
    check_whole,
    finish_checkpoint,
    is_whole,
    last_checkpoint,
    mixture_state,
)

Models = Callable[..., MultiTaskModel]
Trainers = Callable[..., MultiTaskTrainer]


def make(folder: Path, *steps: int, whole: bool = True) -> None:
    for step in steps:
        checkpoint = folder / f"checkpoint-{step}"
        checkpoint.mkdir(parents=True)
        if whole:
            finish_checkpoint(checkpoint, {"step": step})


def test_the_last_whole_one_is_found_by_its_number(tmp_path: Path) -> None:
    make(tmp_path, 9, 10, 100)
    (tmp_path / "checkpoint-200.tmp").mkdir()
    assert last_checkpoint(tmp_path) == str(tmp_path / "checkpoint-100")
    assert mixture_state(tmp_path / "checkpoint-100") == {"step": 100}


def test_half_written_ones_are_passed_over_with_a_warning_for_each(tmp_path: Path) -> None:
    make(tmp_path, 5)
    make(tmp_path, 10, 15, whole=False)
    with pytest.warns(UserWarning, match="was not written to its end") as caught:
        assert last_checkpoint(tmp_path) == str(tmp_path / "checkpoint-5")
    assert [Path(str(each.message).split(" ")[0]).name for each in caught] == ["checkpoint-15", "checkpoint-10"]


@pytest.mark.parametrize("exists", [True, False])
def test_without_any_there_is_none(tmp_path: Path, exists: bool) -> None:
    assert last_checkpoint(tmp_path if exists else tmp_path / "missing") is None


def test_a_checkpoint_is_whole_from_its_last_file_until_it_is_written_anew(tmp_path: Path) -> None:
    make(tmp_path, 1, whole=False)
    checkpoint = tmp_path / "checkpoint-1"
    assert not is_whole(checkpoint)
    finish_checkpoint(checkpoint, {})
    assert is_whole(checkpoint)
    assert [file.name for file in checkpoint.iterdir()] == ["mixture_state.json"]
    begin_checkpoint(checkpoint)
    assert not is_whole(checkpoint)
    # there need not be one
    begin_checkpoint(tmp_path / "checkpoint-2")


def test_going_on_from_what_is_not_whole_is_refused(tmp_path: Path) -> None:
    make(tmp_path, 1, whole=False)
    with pytest.raises(InputError, match=r"checkpoint-1' lacks its last file, mixture_state\.json"):
        check_whole(tmp_path / "checkpoint-1")
    with pytest.raises(InputError, match=r"there is no folder '.*checkpoint-2'"):
        check_whole(tmp_path / "checkpoint-2")


def test_the_trainer_refuses_before_it_begins(
    two_tasks: dict[str, Task], quiet_model: Models, make_trainer: Trainers, tmp_path: Path
) -> None:
    trainer = make_trainer(quiet_model(), two_tasks, max_steps=2)
    with pytest.raises(InputError, match=r"no checkpoint in '.*out' is whole"):
        trainer.train(resume_from_checkpoint=True)
    make(tmp_path, 1, whole=False)
    with pytest.raises(InputError, match="lacks its last file"):
        trainer.train(resume_from_checkpoint=str(tmp_path / "checkpoint-1"))
    assert trainer.state.global_step == 0


def test_older_checkpoints_go_once_the_new_one_is_whole(
    two_tasks: dict[str, Task], quiet_model: Models, make_trainer: Trainers, tmp_path: Path
) -> None:
    trainer = make_trainer(
        quiet_model(), two_tasks, max_steps=4, save_strategy="steps", save_steps=1, save_total_limit=2
    )
    trainer.train()
    found = sorted(tmp_path.glob("out/checkpoint-*"))
    assert [folder.name for folder in found] == ["checkpoint-3", "checkpoint-4"]
    assert all(is_whole(folder) for folder in found)
    assert trainer.args.save_total_limit == 2


def test_a_step_that_is_saved_again_is_not_whole_meanwhile(
    two_tasks: dict[str, Task], quiet_model: Models, make_trainer: Trainers, tmp_path: Path
) -> None:
    """A run that begins anew in the folder of an older one, and dies while it writes what that one had written."""

    def trainer() -> MultiTaskTrainer:
        return make_trainer(quiet_model(), two_tasks, max_steps=2, save_strategy="steps", save_steps=2)

    class Died(Exception):
        pass

    def die(*_: object) -> None:
        raise Died

    trainer().train()
    second = trainer()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(second, "_save_rng_state", die)
        with pytest.raises(Died):
            second.train()
    assert not is_whole(tmp_path / "out" / "checkpoint-2")
