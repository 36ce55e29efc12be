"""Trials of a hyper-parameter search: each is a run of its own, under values that the search has chosen."""

from __future__ import annotations

import copy
import inspect
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields, replace
from typing import Any, TypeVar

from transformers import Trainer, enable_full_determinism, set_seed
from transformers.integrations import is_optuna_available
from transformers.trainer_utils import BestRun

from ..configuration import check_loss_settings
from ..data import Mixture, PreparedTasks
from ..errors import InputError, check_known
from ..modeling import MultiTaskModel
from .arguments import MultiTaskTrainingArguments
from .dotted_keys import set_value

__all__ = ["NO_OPTUNA", "TrialsMixin", "eval_score", "take_prepared"]

NO_OPTUNA = 'a search needs optuna, which is not installed: pip install "mt_transformers[search]".'
"""What is missing, wherever a search is asked for."""

_SECTIONS = ("heads", "loss_weights", "mixture")
"""First names of the values that are no training arguments."""

_LAYERS_ONLY = ("classifier_dropout", "fusion", "hidden_act", "hidden_sizes", "layer", "num_layers", "pooling")
"""Fields of heads that no prepared row depends on."""

T = TypeVar("T", bound="TrialsMixin")


def eval_score(metrics: Mapping[str, float]) -> float:
    """
    Take what a search maximizes by default: the mean of every head's primary metric.

    Args:
        metrics (`Mapping[str, float]`): Metrics by name, as [`MultiTaskTrainer.evaluate`] gives them.

    Returns:
        `float`: The score.

    Raises:
        InputError: If there is none, or it is not finite.

    Example:
        >>> eval_score({"eval_loss": 1.5, "eval_score": 0.75, "eval_snips_intent_accuracy": 0.75})
        0.75
    """
    score = metrics.get("eval_score", math.nan)
    if not math.isfinite(score):
        raise InputError(f"search: expected an eval_score that is a number, found {score!r}.")
    return score


@dataclass(frozen=True, kw_only=True)
class _Given:
    """What a trainer was made from, before it changed any of it."""

    args: MultiTaskTrainingArguments
    mixture: Mixture
    model_init: Callable[..., MultiTaskModel] | None
    kwargs: dict[str, Any]


class TrialsMixin(Trainer):
    """
    Adds a search over `learning_rates`, `loss_weights`, the mixture and balancing to a `Trainer` over several tasks.

    The Trainer gives a trial its values by changing its own training arguments. What several tasks need, the loss
    weights, the sampler, the balancer, the counts of labels, is made together with the trainer: so each trial has a
    trainer of its own, with a new model, and nothing is left over from the one before. Rows are prepared once.
    """

    args: MultiTaskTrainingArguments
    tasks: dict[str, Any]
    prepared: PreparedTasks
    objective: Any
    _given: _Given
    # number of a trial of the search that runs -> its values
    _tried: dict[str, dict[str, Any]]

    def _take_model(
        self,
        model: MultiTaskModel | None,
        args: MultiTaskTrainingArguments,
        mixture: Mixture | None,
        kwargs: dict[str, Any],
    ) -> MultiTaskModel:
        """The model to begin with; what trials need is kept, `model_init` taken out of the keyword arguments."""
        model_init = kwargs.pop("model_init", None)
        self._given = _Given(
            args=copy.copy(args), mixture=mixture or Mixture(), model_init=model_init, kwargs=dict(kwargs)
        )
        if model is not None and model_init is None:
            return model
        if model is not None or model_init is None:
            found = "none of them" if model is None else "both"
            raise InputError(f"model, model_init: expected one of them, found {found}.")
        if kwargs.get("optimizers") is not None:
            raise InputError("optimizers: expected none with model_init, for each trial has a model of its own.")
        return self._new_model({}, args)

    def _new_model(self, values: Mapping[str, Any], args: MultiTaskTrainingArguments) -> MultiTaskModel:
        """A model under the seed, so that equal values begin with equal weights."""
        model_init = self._given.model_init
        if model_init is None:
            raise InputError("model_init: expected a function that makes the model of a trial, found none.")
        takes_values = bool(inspect.signature(model_init).parameters)
        if not takes_values and (of_heads := [key for key in values if key.startswith("heads.")]):
            raise InputError(f"{of_heads[0]}: expected a model_init that takes the values of a trial, to build it in.")
        enable_full_determinism(args.seed) if args.full_determinism else set_seed(args.seed)
        return model_init(dict(values)) if takes_values else model_init()

    def with_values(self: T, values: Mapping[str, Any], output_dir: str | None = None) -> T:
        """
        Make a trainer as this one was made, with a new model and some values changed.

        Args:
            values (`Mapping[str, Any]`):
                Values by key: a training argument (`learning_rate`), an entry of one (`learning_rates.heads`),
                `loss_weights.<head>`, `mixture.<field>`, `mixture.weights.<task>`; `heads.<head>.<field>` is left to
                `model_init`.
            output_dir (`str`, *optional*): Where it writes to. Defaults to the `output_dir` of this one.

        Returns:
            [`MultiTaskTrainer`]: Ready to train.

        Raises:
            InputError: If this trainer has no `model_init`, or there is no such value, or it cannot be.
        """
        given = self._given
        training = [key for key in values if key.partition(".")[0] not in _SECTIONS]
        args = _change(given.args, {key: values[key] for key in training}, "training argument")
        if output_dir is not None:
            args.output_dir = output_dir
        mixture = _change(given.mixture, _section(values, "mixture"), "field of the mixture")
        model = self._new_model(values, args)
        weights = {**model.config.loss_weights, **_section(values, "loss_weights")}
        check_loss_settings(weights, model.config.loss_reduction, list(model.heads))
        model.config.loss_weights = weights
        make: Any = type(self)
        made: T = make(
            model,
            args,
            tasks=self.tasks,
            mixture=mixture,
            processing_class=self.processing_class,
            prepared=self.prepared,
            **given.kwargs,
        )
        return made

    def hyperparameter_search(
        self,
        hp_space: Callable[[Any], dict[str, Any]] | None = None,
        compute_objective: Callable[[dict[str, float]], float] | None = None,
        n_trials: int = 20,
        direction: str | list[str] = "maximize",
        backend: Any = None,
        hp_name: Callable[[Any], str] | None = None,
        **kwargs: Any,
    ) -> Any:
        """
        As `Trainer.hyperparameter_search`, with optuna; by default `eval_score` is maximized.

        Each trial trains a new model under the seed, with a trainer of its own in `run-<number>`, and is evaluated on
        the validation splits when its training is over. This trainer and its model are left as they are;
        `trainer.with_values(best.hyperparameters).train()` trains the best values again. Pruning, which needs
        evaluations in the course of training, is not supported.

        Args:
            hp_space (`Callable`, *optional*): Gives for an optuna trial its values, by the keys of [`with_values`].
            compute_objective (`Callable`, *optional*): Makes the objective of an evaluation's metrics.
            n_trials (`int`, *optional*, defaults to 20): Number of trials.
            direction (`str` or `list[str]`, *optional*, defaults to `"maximize"`): `maximize` or `minimize`.
            backend (`str`, *optional*): `optuna`.
            hp_name (`Callable`, *optional*): Gives for a trial the name of its folder.
            kwargs (`Any`): For `optuna.create_study` and `Study.optimize`, such as `sampler` or `storage`.

        Returns:
            `transformers.trainer_utils.BestRun`: The best trial: its number, its objective and its values, those that
            `hp_space` gave.

        Raises:
            InputError: If there is no `model_init`, no validation split, or no optuna.
        """
        check_known([backend or "optuna"], ["optuna"], "hyperparameter_search", "backend")
        if not is_optuna_available():
            raise InputError(NO_OPTUNA)
        if self._given.model_init is None:
            raise InputError("hyperparameter_search: expected a trainer with model_init in place of a model.")
        if not any("validation" in splits for splits in self.prepared.splits.values()):
            raise InputError("hyperparameter_search: expected a validation split, by which trials are compared.")
        kept, self._tried = (self.model, self.model_wrapped), {}
        self.model_init = self._given.model_init
        try:
            best: Any = super().hyperparameter_search(
                hp_space, compute_objective or eval_score, n_trials, direction, "optuna", hp_name, **kwargs
            )
            return [self._named(each) for each in best] if isinstance(best, list) else self._named(best)
        finally:
            self.model_init, self.hp_search_backend = None, None  # type: ignore[assignment]
            # what the Trainer gives free after each trial
            self.model, self.model_wrapped = kept

    def _named(self, best: BestRun) -> BestRun:
        """A trial with the values that it was trained with, in place of what was drawn to make them."""
        return best._replace(hyperparameters=self._tried.get(best.run_id, best.hyperparameters))

    def _train_trial(self, trial: Any) -> Any:
        """Train and evaluate under the values of a trial."""
        values = self._tried[str(trial.number)] = self.hp_space(trial)
        trainer = self.with_values(values, self._get_output_dir(trial))
        done = trainer.train()
        self.objective = self.compute_objective(trainer.evaluate())
        return done


def take_prepared(prepared: PreparedTasks, done: PreparedTasks | None) -> PreparedTasks:
    """
    Take over rows that were prepared for the same tasks, if they would be prepared alike.

    Args:
        prepared ([`PreparedTasks`]): With rows yet to be prepared; it is changed.
        done ([`PreparedTasks`], *optional*): With prepared rows.

    Returns:
        [`PreparedTasks`]: The first one.
    """
    if done is not None and not done.streams and _row_settings(prepared) == _row_settings(done):
        prepared.splits = {name: dict(splits) for name, splits in done.splits.items()}
    return prepared


def _row_settings(prepared: PreparedTasks) -> Any:
    heads = {
        name: {key: value for key, value in head.to_dict().items() if key not in _LAYERS_ONLY}
        for name, head in prepared.heads.items()
    }
    return prepared.max_length, heads


def _section(values: Mapping[str, Any], section: str) -> dict[str, Any]:
    """The values of a section, by what is behind its name."""
    return {key.partition(".")[2]: value for key, value in values.items() if key.partition(".")[0] == section}


Changed = TypeVar("Changed", MultiTaskTrainingArguments, Mixture)


def _change(given: Changed, values: Mapping[str, Any], what: str) -> Changed:
    """A copy with some fields, or entries of fields, changed; it is checked as a new one is."""
    names = [key.partition(".")[0] for key in values]
    check_known(names, [each.name for each in fields(given) if each.init], "hyperparameter_search", what)
    changed = {name: copy.deepcopy(getattr(given, name)) for name in names}
    for key, value in values.items():
        set_value(changed, key, value, key)
    return replace(given, **changed)
