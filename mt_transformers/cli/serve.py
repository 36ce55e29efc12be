"""`mt-transformers serve FOLDER`: every head's answer on a page in the browser, and as JSON."""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from typing import Any

__all__ = ["add_parser"]


def add_parser(commands: Any) -> None:
    """Add the command to the parser."""
    parser = commands.add_parser("serve", help="show every head's answer on a page in the browser")
    parser.add_argument("folder", metavar="FOLDER", help="folder of a trained model")
    parser.add_argument(
        "--host", default="127.0.0.1", help="where to listen; default: 127.0.0.1, which only this machine reaches"
    )
    parser.add_argument("--port", type=int, default=7860, help="default: 7860")
    parser.add_argument("--heads", help="names of the heads that answer, with commas; default: all")
    parser.add_argument(
        "--max_characters", type=int, default=20_000, help="the longest input (characters); default: 20000"
    )
    parser.set_defaults(run=_run, takes_overrides=False)


def _run(arguments: argparse.Namespace, _: list[str]) -> None:
    from ..inference.page.launch import check_address, check_gradio

    check_address(arguments.host, arguments.port)
    # read when gradio is imported
    os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
    check_gradio()
    from threading import Event

    from ..inference import MultiTaskPredictor, load_model
    from ..inference.page import PredictionService, describe_model, find_forms, launch_page

    heads = None if arguments.heads is None else arguments.heads.split(",")
    predictor = MultiTaskPredictor(*load_model(arguments.folder))
    service = PredictionService(predictor, heads, arguments.max_characters)
    forms = find_forms(predictor.model, service.heads)
    title = Path(arguments.folder).resolve().name
    subtitle = describe_model(predictor.model, arguments.folder)
    page = launch_page(service, forms, title, subtitle, arguments.host, arguments.port)
    try:
        print(f"{title}: {page.local_url} (JSON: {page.local_api_url}run/predict). Ctrl-C ends it.", flush=True)
        Event().wait()
    finally:
        page.close(verbose=False)
