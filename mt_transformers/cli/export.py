"""`mt-transformers export FOLDER`: a trained folder as a graph for ONNX Runtime or `torch.export`."""

from __future__ import annotations

import argparse
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from ..errors import InputError

if TYPE_CHECKING:
    from ..inference.export import OnnxExport
    from ..inference.export.comparison import ExportEvaluation, HeadComparison
    from ..modeling import MultiTaskModel

__all__ = ["add_parser"]

_UNMEASURED = (
    "What int8 costs in accuracy was not measured: with --recipe the metrics of every head are computed before and "
    "after."
)


def add_parser(commands: Any) -> None:
    """Add the command to the parser."""
    parser = commands.add_parser("export", help="write a trained folder as ONNX, which predict runs, or torch.export")
    parser.add_argument("folder", metavar="FOLDER", help="folder of a trained model")
    parser.add_argument(
        "--format", default="onnx", choices=("onnx", "dynamo"), help="dynamo is torch.export; default: onnx"
    )
    parser.add_argument("--output", help="folder to write; default: FOLDER with _onnx or _dynamo added")
    parser.add_argument("--heads", help="names of the heads to export, with commas; default: all")
    parser.add_argument("--quantize", action="store_true", help="int8 weights in the matrix products (onnx only)")
    parser.add_argument("--recipe", help="YAML file that says where data is to compare metrics on (onnx only)")
    parser.add_argument(
        "--split", default="validation", choices=("train", "validation", "test"), help="default: validation"
    )
    parser.set_defaults(run=_run, takes_overrides=True)


def _run(arguments: argparse.Namespace, overrides: list[str]) -> None:
    if overrides and arguments.recipe is None:
        raise InputError(f"unknown argument(s): {' '.join(overrides)}.")
    for name in ("quantize", "recipe"):
        if arguments.format != "onnx" and getattr(arguments, name):
            raise InputError(f"--{name}: only goes with --format onnx, found {arguments.format}.")
    output = arguments.output or f"{str(arguments.folder).rstrip('/')}_{arguments.format}"

    from ..inference import load_trained_model
    from ..inference.export import export_dynamo, trace_onnx
    from ..inference.export.folder import check_target
    from ..inference.export.graph import check_traceable, choose_heads
    from ..inference.export.tracing import ONNX_PACKAGES, check_packages
    from ..modeling import merge_adapters
    from ..training.adapter_training import is_adapted

    check_target(output)
    check_packages(*(ONNX_PACKAGES if arguments.format == "onnx" else ()))
    model, processing_class = load_trained_model(arguments.folder)
    heads = choose_heads(model, None if arguments.heads is None else arguments.heads.split(","))
    if is_adapted(model):
        model = merge_adapters(cast(Any, model))
    check_traceable(model)
    if arguments.format == "dynamo":
        export_dynamo(model, processing_class, output, heads=heads)
        print(f"Saved to {output}")
        return
    evaluation = None
    if arguments.recipe is not None:
        evaluation = _evaluation(arguments, overrides, model, processing_class, heads)
    export = trace_onnx(model, processing_class, heads)
    (export.quantize() if arguments.quantize else export).save(output)
    print(f"Saved to {output} ({_megabytes(output):.1f} MB)", flush=True)
    if evaluation is not None:
        _compare(evaluation, export, output, arguments.quantize)
    elif arguments.quantize:
        print(_UNMEASURED)


def _megabytes(folder: str) -> float:
    return sum(each.stat().st_size for each in Path(folder).iterdir()) / 1e6


def _evaluation(
    arguments: argparse.Namespace, overrides: list[str], model: MultiTaskModel, processing_class: Any, heads: list[str]
) -> ExportEvaluation:
    """What evaluates on the recipe's rows, which are read and encoded before anything is exported."""
    from ..inference.export.comparison import ExportEvaluation
    from ..training import load_recipe, read_recipe

    recipe = read_recipe(arguments.recipe, overrides)
    recipe.training = {**recipe.training, "output_dir": arguments.folder}
    loaded = load_recipe(recipe, {name: head.config for name, head in model.named_heads.items()})
    return ExportEvaluation(model, processing_class, loaded.recipe.tasks, arguments.split, loaded.arguments, heads)


def _compare(evaluation: ExportEvaluation, export: OnnxExport, output: str, quantized: bool) -> None:
    """Metrics of the model, of the graph in float32, and of the one in int8 if that is what was asked for."""
    from tempfile import TemporaryDirectory

    from ..inference.export import load_exported
    from ..inference.export.folder import COMPARISON_FILE
    from .files import write_json

    evaluation.run("torch")
    with TemporaryDirectory() if quantized else nullcontext() as temporary:
        plain = output if temporary is None else str(Path(temporary) / "onnx")
        if quantized:
            export.save(plain)
        evaluation.run("onnx", load_exported(plain)[0])
    if quantized:
        evaluation.run("int8", load_exported(output)[0])
    comparisons = evaluation.comparisons
    print(f"\n{_format(comparisons)}")
    write_json(
        Path(output) / COMPARISON_FILE,
        [{"task": each.task, "head": each.head, "metric": each.metric, **each.values} for each in comparisons],
    )


def _format(comparisons: list[HeadComparison]) -> str:
    from .table import format_table

    header = ["task", "head", "metric", *comparisons[0].values, "difference"]
    rows = [
        [
            each.task,
            each.head,
            each.metric,
            *(f"{value:.4f}" for value in each.values.values()),
            f"{each.difference:+.4f}",
        ]
        for each in comparisons
    ]
    return format_table(header, rows)
