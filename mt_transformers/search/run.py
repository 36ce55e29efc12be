"""The search of a recipe: trial after trial, each a training run under values that optuna draws."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from transformers.integrations import is_optuna_available
from transformers.utils import is_matplotlib_available, logging

from ..data import complete_heads, label_sources
from ..errors import InputError
from ..heads import get_head_config
from ..modeling import MultiTaskModel
from ..training import LoadedRecipe, MultiTaskTrainer, load_recipe
from ..training.recipe import parse_recipe, read_values
from ..training.run import build_model, facts_for_card, load_recipe_processing
from ..training.search_space import SearchSpace, suggest_values
from ..training.trials import NO_OPTUNA
from .best_recipe import put_in, write_best
from .checks import check_values
from .plot import draw_search
from .records import SearchRecord, TrialRecord

if TYPE_CHECKING:
    import optuna

__all__ = ["search_recipe"]

SEARCH_FOLDER = "search"
"""Where in the run's folder a search writes."""

_STUDY = "search"

_FAULTS = (ArithmeticError, ImportError, RuntimeError, TypeError, ValueError)
"""What training raises under values that it cannot be run with; memory that runs out is a RuntimeError."""

logger = logging.get_logger(__name__)


def search_recipe(
    path: str | os.PathLike[str],
    overrides: Sequence[str] = (),
    trials: int = 20,
    on_trial: Callable[[TrialRecord], None] | None = None,
) -> SearchRecord:
    """
    Search for the values of a recipe with which the mean of the heads' primary metrics gets highest.

    Each trial trains the recipe with values that optuna draws for the keys in its section `search`, from its seed, and
    is evaluated on the validation splits; its folder goes when it is over. In `search` in the run's folder there are
    then `search.json` with all trials, `search.png`, and `best.yaml`, the recipe with the best values. A search that
    was interrupted goes on after its last whole trial, to the same values as one that was not. A trial whose values
    cannot be trained, say because its loss is NaN, has no score.

    Source: the tree-structured Parzen estimator, Bergstra et al. (2011), section 4,
    https://papers.nips.cc/paper/4443-algorithms-for-hyper-parameter-optimization, as optuna has it.

    Args:
        path (`str`): The recipe.
        overrides (`Sequence[str]`, *optional*): Pairs such as `--training.seed`, `1`.
        trials (`int`, *optional*, defaults to 20): Number of trials, those of an interrupted search among them.
        on_trial (`Callable`, *optional*): Is told of each trial when it is over.

    Returns:
        [`SearchRecord`]: All trials.

    Raises:
        InputError: If optuna is missing, the recipe or a value that is to be tried cannot be, the folder has another
            search, or no trial got a score.
    """
    if not is_optuna_available():
        raise InputError(NO_OPTUNA)
    if trials < 1:
        raise InputError(f"search: expected at least 1 trial, found {trials}.")
    search = _Search(path, overrides)
    with _quiet_optuna():
        search.run(trials, on_trial)
    return search.record


class _Search:
    """A search that is set up: the recipe is checked, what was tried before is read."""

    def __init__(self, path: str | os.PathLike[str], overrides: Sequence[str]) -> None:
        self._values, self._recipe_folder = read_values(path, overrides), Path(path).resolve().parent
        try:
            self._recipe = parse_recipe(self._values, self._recipe_folder)
            if self._recipe.search is None:
                raise InputError("expected a section 'search', which says what is tried for which values.")
            self._space: SearchSpace = self._recipe.search
            check_values(self._values, self._recipe_folder, self._space)
        except InputError as error:
            raise InputError(f"recipe {path}: {error}") from error
        self.record = SearchRecord(
            folder=Path(str(self._recipe.training["output_dir"])) / SEARCH_FOLDER,
            recipe=put_in(self._values, {}),
            search=dict(self._values["search"]),
        )
        self.record.take_over()
        if not self.record.trials and any(self.record.folder.glob("run-*")):
            raise InputError(
                f"{self.record.folder}: something else is there, in folders run-*: remove them, or give another "
                "training.output_dir."
            )

    def run(self, trials: int, on_trial: Callable[[TrialRecord], None] | None) -> None:
        """Run the trials that are missing, and write what came out after each."""
        if len(self.record.trials) < trials:
            self.record.save()
            trainer, storage = self._make_trainer(), self._make_storage()
            while len(self.record.trials) < trials:
                trial = self._try_next(trainer, storage)
                self.record.trials.append(trial)
                self._write()
                if on_trial is not None:
                    on_trial(trial)
        if not self.record.ranked():
            raise InputError(f"search: no trial has a score; the last one: {self.record.trials[-1].fault}")
        if is_matplotlib_available():
            draw_search(self.record, self._space, self.record.picture_file)
        else:
            logger.warning(f"{self.record.picture_file} is not drawn: matplotlib is not installed.")

    def _make_trainer(self) -> MultiTaskTrainer:
        """A trainer over the recipe whose trials write to the search's own folder."""
        changed: dict[str, Any] = {
            "output_dir": str(self.record.folder),
            "push_to_hub": False,
            "resume_from_checkpoint": None,
        }
        may_load_best = "training.load_best_model_at_end" in self._space
        if not self._recipe.training.get("load_best_model_at_end") and not may_load_best:
            changed["save_strategy"] = "no"
        loaded = load_recipe(replace(self._recipe, training=self._recipe.training | changed))
        if loaded.arguments.world_size > 1:
            raise InputError(f"search: expected one process, found {loaded.arguments.world_size}.")
        recipe = loaded.recipe
        if not any("validation" in task.dataset for task in recipe.tasks.values()):
            raise InputError("search: expected a validation split, by which trials are compared.")
        return MultiTaskTrainer(
            None,
            loaded.arguments,
            tasks=recipe.tasks,
            mixture=recipe.mixture,
            processing_class=load_recipe_processing(recipe, build_model(loaded)),
            callbacks=[facts_for_card(loaded)],
            model_init=partial(_make_model, loaded),
        )

    def _make_storage(self) -> optuna.storages.InMemoryStorage:
        """What optuna knows of the trials so far; they are kept in the record, whatever version of optuna reads it."""
        import optuna

        storage = optuna.storages.InMemoryStorage()
        study = optuna.create_study(storage=storage, study_name=_STUDY, direction="maximize")
        for each in self.record.trials:
            state = optuna.trial.TrialState.FAIL if each.eval_score is None else optuna.trial.TrialState.COMPLETE
            study.add_trial(
                optuna.trial.create_trial(
                    state=state,
                    params={key: tried.drawn_for(each.values[key]) for key, tried in self._space.items()},
                    distributions={key: tried.distribution for key, tried in self._space.items()},
                    value=each.eval_score,
                )
            )
        return storage

    def _try_next(self, trainer: MultiTaskTrainer, storage: optuna.storages.InMemoryStorage) -> TrialRecord:
        """Train and evaluate under the next values; those that cannot be trained are a result, too."""
        from optuna.samplers import TPESampler

        number, started = len(self.record.trials), time.monotonic()
        folder, chosen = self.record.folder / f"run-{number}", dict[str, Any]()

        def hp_space(trial: optuna.Trial) -> dict[str, Any]:
            chosen.update(suggest_values(self._space, trial))
            return {key.removeprefix("training."): value for key, value in chosen.items()}

        # the values of a trial follow from the seed, its number and the trials before it, interrupted or not
        seed = int(np.random.SeedSequence([trainer.args.seed, number]).generate_state(1)[0])
        study: dict[str, Any] = {
            "storage": storage,
            "study_name": _STUDY,
            "load_if_exists": True,
            "sampler": TPESampler(seed=seed),
        }
        score, fault = None, None
        shutil.rmtree(folder, ignore_errors=True)
        try:
            trainer.hyperparameter_search(hp_space, n_trials=1, hp_name=lambda _: folder.name, **study)
            score = trainer.objective
        except _FAULTS as error:
            fault = str(error) if isinstance(error, InputError) else f"{type(error).__name__}: {error}"
        finally:
            shutil.rmtree(folder, ignore_errors=True)
        seconds = round(time.monotonic() - started, 3)
        return TrialRecord(number=number, values=chosen, eval_score=score, seconds=seconds, fault=fault)

    def _write(self) -> None:
        self.record.save()
        for best in self.record.ranked()[:1]:
            write_best(self.record.best_file, self._values, self._recipe_folder, best.values)


def _make_model(loaded: LoadedRecipe, values: dict[str, Any]) -> MultiTaskModel:
    """The model of a trial; heads whose fields are searched for are completed anew."""
    of_heads = {key: value for key, value in values.items() if key.startswith("heads.")}
    if not of_heads:
        return build_model(loaded)
    recipe = loaded.recipe
    fields = put_in({"heads": recipe.heads}, of_heads)["heads"]
    heads = {name: get_head_config(name, each) for name, each in fields.items()}
    splits: dict[str, Any] = {name: task.dataset for name, task in recipe.tasks.items()}
    complete_heads(heads, label_sources(recipe.tasks, splits), all_fed=True)
    return build_model(replace(loaded, heads=heads))


@contextmanager
def _quiet_optuna() -> Iterator[None]:
    """Leave it to the caller to tell of trials, and of those that fail."""
    import optuna

    level = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    try:
        yield
    finally:
        optuna.logging.set_verbosity(level)
