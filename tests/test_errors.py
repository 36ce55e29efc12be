"""The exception for unusable input, and the check of names behind most of its messages."""

from __future__ import annotations

import pytest

from mt_transformers.errors import InputError, check_known


def test_an_input_error_is_a_value_error() -> None:
    with pytest.raises(ValueError, match=r"^head 'x'$"):
        raise InputError("head 'x'")


def test_known_names_pass() -> None:
    check_known([], [], "here")
    check_known(["b", "a"], ["a", "b", "c"], "here")


def test_the_message_says_where_what_and_which_are_known() -> None:
    with pytest.raises(InputError) as caught:
        check_known(["a", "zebra"], ["b", "a"], "task 'snips'", "column")
    assert str(caught.value) == "task 'snips': unknown column 'zebra'. Known: a, b."


def test_a_near_name_is_suggested() -> None:
    with pytest.raises(InputError) as caught:
        check_known(["poolng"], ["id2label", "pooling"], "head 'intent'")
    assert str(caught.value) == (
        "head 'intent': unknown key 'poolng', did you mean 'pooling'? Known: id2label, pooling."
    )


def test_nothing_known() -> None:
    with pytest.raises(InputError) as caught:
        check_known(["x"], [], "labels", "head")
    assert str(caught.value) == "labels: unknown head 'x'. Known: none."


def test_a_name_that_is_no_string_is_unknown_too() -> None:
    with pytest.raises(InputError, match="unknown key 3"):
        check_known([3], ["a"], "recipe")  # type: ignore[list-item]


def test_known_may_be_an_iterator() -> None:
    check_known(["a", "b"], iter(["a", "b"]), "here")
