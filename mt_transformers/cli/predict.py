"""`mt-transformers predict FOLDER`: every head's answer for each line of a file."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import InputError

if TYPE_CHECKING:
    from ..inference import MultiTaskPredictor

__all__ = ["add_parser"]


def add_parser(commands: Any) -> None:
    """Add the command to the parser."""
    parser = commands.add_parser("predict", help="write every head's answer for each line of a file")
    parser.add_argument("folder", metavar="FOLDER", help="folder of a trained model")
    parser.add_argument(
        "--input",
        required=True,
        help='JSON lines: a text, a list of words, {"text": ...}, {"text": ..., "text_pair": ...}, {"tokens": [...]} '
        'or {"images": NAME_OF_FILE}, with an optional "task"',
    )
    parser.add_argument("--output", required=True, help="JSON lines: line number and outputs of the heads")
    parser.add_argument("--heads", help="names of the heads that answer, with commas; default: all")
    parser.add_argument("--top_k", type=int, help="answers of a head that chooses; default: the best one")
    parser.add_argument(
        "--threshold", type=float, help="probability from which one of several labels counts; default: the head's own"
    )
    parser.add_argument("--batch_size", type=int, default=32, help="rows that are encoded together; default: 32")
    parser.add_argument(
        "--on-error", default="fail", choices=("fail", "skip"), help="what a bad line does; default: fail"
    )
    parser.set_defaults(run=_run, takes_overrides=False)


def _run(arguments: argparse.Namespace, _: list[str]) -> None:
    path = Path(arguments.input)
    if not path.is_file():
        raise InputError(f"{path}: no such file.")
    from tqdm.auto import tqdm

    from ..inference import MultiTaskPredictor, load_model
    from .files import open_whole

    predictor = MultiTaskPredictor(*load_model(arguments.folder), batch_size=arguments.batch_size)
    options: dict[str, Any] = {"heads": None if arguments.heads is None else arguments.heads.split(",")}
    options |= {"top_k": arguments.top_k, "threshold": arguments.threshold}
    # what the options are refused for is no fault of the rows
    predictor([], **options)
    bad = _bad_lines(path, predictor)
    for number, fault in bad.items():
        print(f"{path}, line {number}: {fault}", file=sys.stderr)
    if bad and arguments.on_error == "fail":
        raise InputError(f"{path}: {len(bad)} line(s) cannot be used; --on-error skip would leave them out.")
    numbers = (number for number, _ in _lines(path) if number not in bad)
    rows = (_parse(line, predictor.tasks) for number, line in _lines(path) if number not in bad)
    answers = predictor.stream(rows, **options)
    with open_whole(arguments.output) as file:
        for number, outputs in zip(numbers, tqdm(answers, unit=" lines"), strict=True):
            file.write(json.dumps({"line": number, "outputs": outputs}, ensure_ascii=False) + "\n")
    if predictor.truncated_rows:
        number = predictor.truncated_rows
        print(f"{number} line(s) were longer than the model reads: their ends were left out.", file=sys.stderr)


def _lines(path: Path) -> Iterator[tuple[int, bytes]]:
    with path.open("rb") as file:
        for number, line in enumerate(file, start=1):
            yield number, line.rstrip(b"\r\n")


def _parse(line: bytes, tasks: Mapping[str, Sequence[str]]) -> dict[str, Any]:
    from ..inference import check_row

    try:
        text = line.decode("utf-8")
    except UnicodeDecodeError as error:
        raise InputError(f"no valid UTF-8 at byte {error.start}.") from error
    try:
        value = json.loads(text)
    except ValueError as error:
        raise InputError(f"no valid JSON: {error}.") from error
    except RecursionError as error:
        raise InputError("no valid JSON: nested too deeply.") from error
    return check_row(value, tasks)


def _bad_lines(path: Path, predictor: MultiTaskPredictor) -> dict[int, str]:
    """The lines that cannot be used, found before any of them is predicted."""
    faults = ((number, _fault(line, predictor)) for number, line in _lines(path))
    return {number: fault for number, fault in faults if fault is not None}


def _fault(line: bytes, predictor: MultiTaskPredictor) -> str | None:
    try:
        predictor.check(_parse(line, predictor.tasks))
    except InputError as error:
        return str(error)
    return None
