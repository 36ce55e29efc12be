"""What the model card says of a run over several experiences."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from ..training import MultiTaskTrainingArguments
from ..training.model_card import CardSection
from ..training.model_card.changed_arguments import changed_arguments
from ..training.model_card.markdown import escape, table
from .results import ContinualResults
from .scenario import Scenario
from .scenario_table import SCENARIO_HEADER, scenario_rows
from .tables import markdown_comparison, markdown_matrix

__all__ = ["describe_run"]

_FOLDED = 20
"""Experiences up to which tables are not folded away."""


def describe_run(
    scenario: Scenario,
    strategy: Sequence[Mapping[str, Any]],
    results: ContinualResults,
    bounds: Sequence[ContinualResults],
    args: MultiTaskTrainingArguments,
    pictures: Collection[str] = (),
) -> CardSection:
    """
    Describe a run for a model card.

    Args:
        scenario ([`Scenario`]): The experiences.
        strategy (`Sequence[Mapping[str, Any]]`): Name and options of each strategy, see [`Combination.options`].
        results ([`ContinualResults`]): What was measured.
        bounds (`Sequence[ContinualResults]`): What other strategies reach.
        args ([`MultiTaskTrainingArguments`]): The training arguments, which hold for each experience.
        pictures (`Collection[str]`, *optional*): Pictures that lie beside the card.

    Returns:
        [`CardSection`]: Scenario, strategy, scores and training arguments.
    """
    count = len(scenario.experiences)
    experiences = table(
        SCENARIO_HEADER,
        [[escape(cell) if isinstance(cell, str) else cell for cell in row] for row in scenario_rows(scenario)],
    )
    arguments = table(
        ["argument", "value"], [[f"`{name}`", escape(value)] for name, value in changed_arguments(args).items()]
    )
    parts = [
        f"Scenario: `{scenario.kind}`, {count} experiences, one learnt after another. "
        f"Strategy: {', '.join(map(_with_options, strategy))}.",
        _folded(experiences, "experiences", count),
        "After each experience, the score on each of those learnt so far (%): the mean over its heads of their "
        "primary metrics.",
        _folded(markdown_matrix(results), "scores", count),
        *(f"![{name}]({name})" for name in pictures),
        "After the last experience:",
        markdown_comparison([results, *bounds]),
        "Each experience was trained with these arguments, the seed one higher each time:",
        arguments,
    ]
    return CardSection(title="Continual learning", text="\n\n".join(parts))


def _with_options(strategy: Mapping[str, Any]) -> str:
    given = {name: value for name, value in strategy.items() if name != "name" and value is not None}
    options = ", ".join(f"{name} {escape(value)}" for name, value in given.items())
    return f"`{strategy['name']}`" + (f" ({options})" if options else "")


def _folded(text: str, title: str, count: int) -> str:
    return text if count <= _FOLDED else f"<details><summary>{title}</summary>\n\n{text}\n\n</details>"
