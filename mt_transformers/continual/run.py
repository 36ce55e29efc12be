"""From a recipe with experiences to a trained folder."""

from __future__ import annotations

import copy
import json
import logging
import math
import shutil
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any, TypeVar

from accelerate import PartialState
from transformers import set_seed

from ..errors import InputError
from ..modeling import MultiTaskModel
from ..training import LoadedRecipe, MultiTaskTrainingArguments
from ..training.fingerprint import fingerprint
from ..training.run import RESULTS_FILE, facts_for_card, load_recipe_processing, save_folder
from ..whole_files import whole_file
from .experience_trainer import ExperienceTrainer
from .experiences import build_scenario, parse_experiences
from .plots import draw_curves, draw_matrix
from .progress import Progress
from .results import ContinualResults
from .run_card import describe_run
from .scenario import Scenario
from .strategies import make_strategy
from .trainer import ContinualTrainer

__all__ = ["ContinualRun", "build_continual", "recipe_scenario", "run_continual"]

_MATRIX, _CURVES = "accuracy_matrix.png", "average_accuracy.png"
_SETTING = "setting.sha256"

Setting = TypeVar("Setting")


@dataclass(frozen=True, kw_only=True)
class ContinualRun:
    """
    What came out of a recipe with experiences.

    Args:
        results ([`ContinualResults`]): The scores after each experience.
        bounds (`tuple[ContinualResults, ...]`): Those of the strategies that it is compared with.
        metrics (`dict[str, float]`): What `all_results.json` says: the measures, the score on each experience, and the
            metrics of the final model on all rows of the validation splits (`eval_`) and of the test splits (`test_`).
    """

    results: ContinualResults
    bounds: tuple[ContinualResults, ...]
    metrics: dict[str, float]


def recipe_scenario(loaded: LoadedRecipe) -> Scenario:
    """
    Make the scenario that a recipe describes.

    Args:
        loaded ([`LoadedRecipe`]): The recipe.

    Returns:
        [`Scenario`].

    Raises:
        InputError: If the recipe has no experiences, or they do not fit its tasks and heads.
    """
    return build_scenario(loaded, parse_experiences(_section(loaded)))


def build_continual(loaded: LoadedRecipe, scenario: Scenario | None = None, strategy: Any = None) -> ContinualTrainer:
    """
    Put the heads of the first experience on the recipe's backbone and make the trainer.

    Args:
        loaded ([`LoadedRecipe`]): The recipe.
        scenario ([`Scenario`], *optional*): Its scenario, where that was made already.
        strategy (`Any`, *optional*): Another strategy than the recipe's, see [`make_strategy`].

    Returns:
        [`ContinualTrainer`]: Ready to train.

    Raises:
        InputError: If the backbone cannot be loaded, a row cannot be used, or scenario, strategy and training
            arguments do not fit.
    """
    recipe, args = loaded.recipe, copy.copy(loaded.arguments)
    scenario = recipe_scenario(loaded) if scenario is None else scenario
    if recipe.initializer:
        raise InputError("initializer: its patterns are for heads that are there from the start, not for experiences.")
    for name in ("learning_rates", "weight_decays", "freeze_until"):
        setattr(args, name, _for_scenario(getattr(args, name), scenario, list(loaded.heads)))
    loss_weights = _for_scenario(recipe.loss_weights, scenario, list(loaded.heads))
    # the heads' first weights belong to what the seed settles
    set_seed(args.seed)
    heads = scenario.heads_after(0)
    model = MultiTaskModel.from_backbone(
        recipe.backbone,
        heads=heads,
        loss_weights={name: weight for name, weight in loss_weights.items() if name in heads},
        loss_reduction=recipe.loss_reduction,  # type: ignore[arg-type]
        tasks={
            name: [head for head in task.labels if head in heads]
            for name, task in scenario.tasks.items()
            if any(head in heads for head in task.labels)
        },
    )
    facts = facts_for_card(loaded)
    origins = {name: facts.datasets.get(_recipe_task(name, scenario)) for name in scenario.tasks}
    facts.datasets = {name: origin for name, origin in origins.items() if origin is not None}
    return ContinualTrainer(
        model,
        args,
        scenario,
        _strategy(loaded) if strategy is None else strategy,
        mixture=recipe.mixture,
        processing_class=load_recipe_processing(recipe, model),
        callbacks=[facts],
        loss_weights=loss_weights,
    )


def run_continual(loaded: LoadedRecipe) -> ContinualRun:
    """
    Learn the experiences of a recipe one after another, evaluate the model that is left, and save the folder.

    Beside what [`run_recipe`] saves there are `continual_results.json` and, where matplotlib is installed,
    `accuracy_matrix.png` and `average_accuracy.png`. The strategies that the recipe names as bounds come first, each
    in a folder `bound-<name>` of its own, with the same seed and the same training arguments.

    With `resume_from_checkpoint: true` among the training arguments a run that was interrupted goes on, within an
    experience, between two, or behind the last; a bound that has come to its end with the same setting stays as it is.

    Args:
        loaded ([`LoadedRecipe`]): The recipe.

    Returns:
        [`ContinualRun`].

    Raises:
        InputError: If scenario, strategy, rows and arguments do not fit, or the run to be resumed was another one.
    """
    config = parse_experiences(_section(loaded))
    scenario = build_scenario(loaded, config)
    strategy = make_strategy(_strategy(loaded))
    strategy.check(scenario)
    folder, resume = Path(str(loaded.arguments.output_dir)), _wants_to_resume(loaded.arguments)
    progress = Progress.of(folder, scenario, strategy)
    found = progress.read() if resume else None
    others = [name for name in config.bounds if make_strategy(name).options() != strategy.options()]
    bounds = tuple(_run_bound(loaded, scenario, name, resume) for name in others)
    count = len(scenario.experiences)
    if found is not None and found[0] == count and progress.is_closed(count):
        return ContinualRun(results=found[1], bounds=bounds, metrics=_read_metrics(folder / RESULTS_FILE))
    continual = build_continual(loaded, scenario)
    results = continual.train(resume_from_checkpoint=resume)
    metrics = _measures(results)
    with continual.concluding() as trainer:
        for split, prefix in (("validation", "eval"), ("test", "test")):
            if any(split in splits for splits in trainer.splits.values()):
                metrics |= trainer.evaluate(split=split, metric_key_prefix=prefix)
        _save(continual, trainer, ContinualRun(results=results, bounds=bounds, metrics=metrics))
        # what is pushed is the folder, without the rows that the strategy remembers
        continual.close()
        if loaded.arguments.push_to_hub:
            trainer.push_to_hub()
    return ContinualRun(results=results, bounds=bounds, metrics=metrics)


def _save(continual: ContinualTrainer, trainer: ExperienceTrainer, run: ContinualRun) -> None:
    """Save model, tokenizer, card, results and pictures; each file appears whole or not at all."""
    folder = Path(str(continual.args.output_dir))
    if trainer.is_world_process_zero():
        if continual.strategy.beside_model:
            warnings.warn(
                f"strategy {continual.strategy.name!r} answers with what is no part of a model: the one in {folder} "
                "alone does not reach these scores.",
                stacklevel=3,
            )
        run.results.save(folder)
        pictures = _draw(run, folder)
        options = continual.strategy.options()
        section = describe_run(continual.scenario, options, run.results, run.bounds, continual.args, pictures)
        trainer.model_card_callback.sections = [section]
    save_folder(trainer, run.metrics)


def _draw(run: ContinualRun, folder: Path) -> list[str]:
    """Draw the pictures, if there is what draws them; their names."""
    if find_spec("matplotlib") is None:
        logging.getLogger(__name__).warning(
            'no pictures are drawn, since matplotlib is not installed: pip install "mt_transformers[continual]".'
        )
        return []
    draw_matrix(run.results, folder / _MATRIX)
    draw_curves([run.results, *run.bounds], folder / _CURVES)
    return [_MATRIX, _CURVES]


def _run_bound(loaded: LoadedRecipe, scenario: Scenario, name: str, resume: bool) -> ContinualResults:
    """What a strategy reaches, from its folder if it was there before."""
    args = copy.copy(loaded.arguments)
    folder = Path(str(args.output_dir)) / f"bound-{name}"
    args.output_dir = str(folder)
    setting = fingerprint(loaded, scenario=scenario.state())
    same = resume and (folder / _SETTING).is_file() and (folder / _SETTING).read_text(encoding="utf-8") == setting
    if same and ContinualResults.is_saved(folder):
        return ContinualResults.load(folder)
    # nobody writes before all have read
    PartialState().wait_for_everyone()
    continual = build_continual(replace(loaded, arguments=args), scenario, name)
    if args.process_index == 0 and not same:
        shutil.rmtree(folder, ignore_errors=True)
        with whole_file(folder / _SETTING) as unfinished:
            unfinished.write_text(setting, encoding="utf-8")
    results = continual.train(resume_from_checkpoint=same)
    if args.process_index == 0:
        results.save(folder)
    continual.close()
    return results


def _section(loaded: LoadedRecipe) -> dict[str, Any]:
    if loaded.recipe.experiences is None:
        raise InputError("experiences: the section is missing, which says how the tasks are learnt one after another.")
    return loaded.recipe.experiences


def _strategy(loaded: LoadedRecipe) -> Any:
    return "naive" if loaded.recipe.strategy is None else loaded.recipe.strategy


def _wants_to_resume(args: MultiTaskTrainingArguments) -> bool:
    given: Any = args.resume_from_checkpoint
    if given in (None, False, "false", "False"):
        return False
    if given not in (True, "true", "True"):
        raise InputError(
            f"resume_from_checkpoint: expected true, since a run over experiences goes on in its own output_dir, "
            f"found {given!r}."
        )
    return True


def _recipe_task(name: str, scenario: Scenario) -> str:
    """The task of the recipe that a task of the scenario is, or a part of."""
    return name.rpartition("_")[0] if scenario.kind == "task_incremental" else name


def _for_scenario(settings: Mapping[str, Setting], scenario: Scenario, heads: Sequence[str]) -> dict[str, Setting]:
    """Settings by head, under the names that heads have in the scenario, which may have divided the only one."""
    if scenario.kind != "task_incremental":
        return dict(settings)
    divided = {head: value for name, value in settings.items() if name in heads for head in scenario.heads}
    return {name: value for name, value in settings.items() if name not in heads} | divided


def _measures(results: ContinualResults) -> dict[str, float]:
    final = zip(results.experiences, results.matrix[-1].tolist(), strict=True)
    scores = {f"score_{name}": score for name, score in final}
    return {"train_runtime": sum(results.seconds), **results.measures(), **scores}


def _read_metrics(file: Path) -> dict[str, float]:
    try:
        values = json.loads(file.read_text(encoding="utf-8"))
        return {name: math.nan if value is None else float(value) for name, value in values.items()}
    except (OSError, ValueError, TypeError, AttributeError) as error:
        raise InputError(f"{file}: expected the results of the run that ended here, found {error!r}.") from error
