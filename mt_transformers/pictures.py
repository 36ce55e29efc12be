"""Pictures drawn with matplotlib, which is imported when one is drawn, and then only the part without windows."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from .errors import InputError, check_known
from .whole_files import whole_file

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["literal", "picture"]

_FORMATS = ("pdf", "png", "svg")


@contextmanager
def picture(file: Path, size: tuple[float, float], extra: str) -> Iterator[Figure]:
    """
    Give a figure to draw on, which is written at the end.

    Args:
        file (`Path`): A `.png`, `.svg` or `.pdf` file; it appears whole or not at all.
        size (`tuple[float, float]`): Width and height (inches).
        extra (`str`): The extra of this package that installs matplotlib.

    Yields:
        `Figure`: Nobody's current one.

    Raises:
        InputError: If matplotlib is not installed, the file has another ending, or it cannot be written.

    Example:
        >>> from pathlib import Path
        >>> from tempfile import TemporaryDirectory
        >>> with TemporaryDirectory() as folder:
        ...     with picture(Path(folder, "line.svg"), (2, 1), "continual") as figure:
        ...         _ = figure.subplots().plot([1, 2])
        ...     [path.name for path in Path(folder).iterdir()]
        ['line.svg']
    """
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise InputError(
            f"{file} is drawn with matplotlib, which is not installed: "
            f'pip install "mt_transformers[{extra}]" ({error}).'
        ) from error
    ending = file.suffix.removeprefix(".").lower()
    check_known([ending], _FORMATS, str(file), "ending")
    figure = Figure(figsize=size, layout="constrained")
    yield figure
    with whole_file(file) as unfinished:
        figure.savefig(unfinished, format=ending, dpi=150)


def literal(text: str) -> str:
    """
    Write a text that is drawn as it is.

    Args:
        text (`str`): A name.

    Returns:
        `str`: Between two dollar signs matplotlib would read a formula.

    Example:
        >>> literal("$a$")
        '\\\\$a\\\\$'
    """
    return text.replace("$", r"\$")
