"""Whether a checkpoint has everything that its config promises."""

from __future__ import annotations

from ..errors import InputError

__all__ = ["check_loaded"]


def check_loaded(folder: str, missing: set[str], mismatched: set[str], init_missing_heads: bool) -> None:
    """
    Refuse a checkpoint that leaves weights random.

    Args:
        folder (`str`): Where it is from.
        missing (`set[str]`): Parameters that it lacks.
        mismatched (`set[str]`): Parameters that it has in other shapes.
        init_missing_heads (`bool`): Whether heads may start anew.

    Raises:
        InputError: If there is such a parameter, naming its head or the backbone.
    """
    for keys, fault in ((missing, "lacks weights"), (mismatched, "has weights of other shapes")):
        for key in sorted(keys):
            part, _, rest = key.partition(".")
            if part == "heads" and init_missing_heads:
                continue
            owner = f"head {rest.partition('.')[0]!r}" if part == "heads" else "the backbone"
            hint = " Pass init_missing_heads=True to start that head anew." if part == "heads" else ""
            raise InputError(f"{folder}: the checkpoint {fault} for {owner} ({key}).{hint}")
