"""How commands end."""

from __future__ import annotations

import pytest

from mt_transformers.cli.exit_status import exit_status
from mt_transformers.errors import InputError


def fail(error: BaseException) -> None:
    raise error


def test_what_is_done_ends_with_0(capsys: pytest.CaptureFixture[str]) -> None:
    done = []
    assert exit_status("tool", lambda: done.append("it")) == 0
    assert done == ["it"]
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("error", "status", "message"),
    [(InputError("no such file."), 2, "tool: no such file.\n"), (KeyboardInterrupt(), 130, "tool: interrupted.\n")],
)
def test_one_message_and_no_traceback(
    error: BaseException, status: int, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert exit_status("tool", lambda: fail(error)) == status
    assert capsys.readouterr() == ("", message)


def test_a_mistake_of_the_program_is_not_hidden() -> None:
    with pytest.raises(ZeroDivisionError):
        exit_status("tool", lambda: 1 / 0)
