"""How a command of the shell ends: one message for what is wrong, and never a traceback for what a user gave."""

from __future__ import annotations

import sys
from collections.abc import Callable

from ..errors import InputError

__all__ = ["exit_status"]


def exit_status(program: str, action: Callable[[], object]) -> int:
    """
    Do what a command does.

    Args:
        program (`str`): What the message on standard error begins with.
        action (`Callable[[], object]`): It.

    Returns:
        `int`: 0, 2 for input that cannot be used, or 130 if it was interrupted from the keyboard.

    Example:
        >>> exit_status("tool", lambda: None)
        0
    """
    try:
        action()
    except InputError as error:
        print(f"{program}: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print(f"{program}: interrupted.", file=sys.stderr)
        return 130
    return 0
