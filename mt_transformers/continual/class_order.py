"""In which order, and in which groups, the classes of a head come."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from ..errors import InputError, check_known
from ..heads import HeadConfig, SequenceClassificationHeadConfig

__all__ = ["check_permutation", "choose_classes", "class_groups", "single_label_config"]


def class_groups(
    names: Sequence[str],
    *,
    experiences: int | None = None,
    classes: Sequence[Sequence[str]] | None = None,
    order: Sequence[str] | None = None,
    seed: int | None = None,
) -> tuple[tuple[str, ...], ...]:
    """
    Divide classes among experiences.

    Args:
        names (`Sequence[str]`): Names of the classes, in the order of their ids.
        experiences (`int`, *optional*):
            How many groups; all of one size, but for a remainder, of which the first groups get one class each.
        classes (`Sequence[Sequence[str]]`, *optional*): The groups themselves, in place of a number of them.
        order (`Sequence[str]`, *optional*): The order in which the classes are divided. Defaults to that of the ids.
        seed (`int`, *optional*):
            Shuffles the ids instead, with NumPy's legacy generator, whose stream never changes: 1993 gives the class
            orders that the code of Rebuffi et al. (2017), iCaRL, made customary.

    Returns:
        `tuple[tuple[str, ...], ...]`: The names of each experience.

    Raises:
        InputError: If there are fewer than two groups, more groups than classes, an empty group, or names that repeat,
            are missing or unknown.

    Example:
        >>> class_groups(["a", "b", "c", "d", "e"], experiences=2)
        (('a', 'b', 'c'), ('d', 'e'))
        >>> class_groups(["a", "b", "c", "d", "e"], experiences=3, seed=1993)
        (('a', 'c'), ('d', 'e'), ('b',))
    """
    if classes is not None:
        others = {"experiences": experiences, "order": order, "seed": seed}
        given = [name for name, value in others.items() if value is not None]
        if given:
            raise InputError(f"classes: the groups are given, so that {', '.join(given)} cannot be given too.")
        return _check_groups(names, classes)
    if experiences is None:
        raise InputError("expected the number of experiences, or the classes of each.")
    if type(experiences) is not int or not 2 <= experiences <= len(names):
        raise InputError(
            f"experiences: expected 2 to {len(names)}, as many as there are classes at most, found {experiences!r}."
        )
    ordered = _ordered(names, order, seed)
    return tuple(tuple(ordered[place] for place in part) for part in np.array_split(range(len(names)), experiences))


def _check_groups(names: Sequence[str], classes: Sequence[Sequence[str]]) -> tuple[tuple[str, ...], ...]:
    if isinstance(classes, str) or any(isinstance(group, str) or not group for group in classes):
        raise InputError(f"classes: expected at least one class in each group, found {classes!r}.")
    if len(classes) < 2:
        raise InputError(f"classes: expected at least two groups, found {len(classes)}.")
    check_permutation([name for group in classes for name in group], names, "classes", "class")
    return tuple(tuple(group) for group in classes)


def _ordered(names: Sequence[str], order: Sequence[str] | None, seed: int | None) -> Sequence[str]:
    if order is not None and seed is not None:
        raise InputError("order, seed: expected one of them, found both.")
    if order is not None:
        check_permutation(order, names, "order", "class")
        return order
    if seed is None:
        return names
    if type(seed) is not int or not 0 <= seed < 2**32:
        raise InputError(f"seed: expected a number from 0 to 2 ** 32 - 1, found {seed!r}.")
    return [names[place] for place in np.random.RandomState(seed).permutation(len(names))]


def check_permutation(found: Sequence[str], expected: Sequence[str], where: str, what: str) -> None:
    """
    Refuse a list that does not name each of some things once.

    Args:
        found (`Sequence[str]`): The list.
        expected (`Sequence[str]`): Names of all things.
        where (`str`): Where the list was given, as the message shall say it.
        what (`str`): What such a thing is called.

    Raises:
        InputError: If a name is unknown, stands twice or is missing.

    Example:
        >>> check_permutation(["b"], ["a", "b"], "order", "task")
        Traceback (most recent call last):
            ...
        mt_transformers.errors.InputError: order: expected each task once, but 'a' is missing.
    """
    check_known(found, expected, where, what)
    twice = [name for name, count in Counter(found).items() if count > 1]
    if twice:
        raise InputError(f"{where}: expected each {what} once, but {twice[0]!r} stands twice.")
    lacking = [name for name in expected if name not in set(found)]
    if lacking:
        more = f" and {len(lacking) - 1} more are missing" if len(lacking) > 1 else " is missing"
        raise InputError(f"{where}: expected each {what} once, but {lacking[0]!r}{more}.")


def choose_classes(config: SequenceClassificationHeadConfig, names: Sequence[str]) -> SequenceClassificationHeadConfig:
    """
    Give a head some of its classes, in another order.

    Args:
        config ([`SequenceClassificationHeadConfig`]): The head, complete; it is left as it is.
        names (`Sequence[str]`): Names of the classes, in the order of their new ids.

    Returns:
        [`SequenceClassificationHeadConfig`]: A copy with these classes; a class keeps its weight in the loss.

    Example:
        >>> config = SequenceClassificationHeadConfig(id2label=["a", "b", "c"], class_weights=[1.0, 2.0, 3.0])
        >>> chosen = choose_classes(config, ["c", "a"])
        >>> chosen.id2label, chosen.class_weights
        ({0: 'c', 1: 'a'}, [3.0, 1.0])
    """
    weights = config.class_weights
    if isinstance(weights, list):
        by_name = dict(zip(config.names, weights, strict=True))
        weights = [by_name[name] for name in names]
    return replace(
        config, num_labels=len(names), id2label=dict(enumerate(names)), label2id=None, class_weights=weights
    )


def single_label_config(head: str, config: HeadConfig) -> SequenceClassificationHeadConfig:
    """
    Refuse a head whose classes cannot be divided among experiences.

    Args:
        head (`str`): The head.
        config ([`HeadConfig`]): Its config.

    Returns:
        [`SequenceClassificationHeadConfig`]: The config, whose type is now known.

    Raises:
        InputError: If it does not choose one class for a whole row.
    """
    if not isinstance(config, SequenceClassificationHeadConfig):
        raise InputError(
            f"head {head!r}: expected sequence_classification, image_classification or audio_classification, whose "
            f"classes can be divided, found {config.head_type}."
        )
    if config.multi_label:
        raise InputError(
            f"head {head!r}: expected the problem_type 'single_label_classification', since a row with several labels "
            f"may belong to several experiences, found {config.problem_type!r}."
        )
    return config
