"""The page's parts, put together with Gradio."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import takewhile
from typing import TYPE_CHECKING, Any, cast

from markupsafe import Markup

from ...errors import InputError
from .cards import show_error, show_prediction
from .forms import InputBox, InputForm
from .service import PredictionService

if TYPE_CHECKING:
    import gradio as gr

__all__ = ["build_page"]

_TOP_K = 5
"""Classes that the page shows of a head that chooses one."""

_WAITING = 256
"""Requests that may wait; with more the queue says that it is full."""


def build_page(service: PredictionService, forms: Sequence[InputForm], title: str, subtitle: str) -> gr.Blocks:
    """
    Put the page together.

    Args:
        service ([`PredictionService`]): What answers.
        forms (`Sequence[InputForm]`): The kinds of rows; each has a tab if there are several.
        title (`str`): What stands on top.
        subtitle (`str`): What stands beside it.

    Returns:
        `gradio.Blocks`: To be launched.
    """
    import gradio as gr
    from gradio.events import api

    heading = Markup('<div class="mt-title"><h1>{}</h1><p>{}</p></div>').format(title, subtitle)
    with gr.Blocks(analytics_enabled=False, title=title) as page:
        gr.HTML(heading)
        answers = gr.HTML(elem_id="answers", render=False)
        if len(forms) == 1:
            _add_form(service, forms[0], answers)
        else:
            with gr.Tabs():
                for form in forms:
                    with gr.Tab(form.title):
                        _add_form(service, form, answers)
        answers.render()
        api(_api_function(service), api_name="predict", queue=False)
    page.queue(max_size=_WAITING, default_concurrency_limit=None)
    return cast("gr.Blocks", page)


def _add_form(service: PredictionService, form: InputForm, answers: gr.HTML) -> None:
    import gradio as gr

    show = _page_function(service, form)
    with gr.Row(equal_height=False):
        with gr.Column(scale=3):
            boxes = _add_boxes(form.boxes)
            button = gr.Button("Predict", variant="primary", elem_classes="mt-predict")
        if form.examples:
            with gr.Column(scale=2, elem_classes="mt-examples"):
                gr.HTML('<div class="mt-heading">Examples</div>')
                for example in form.examples:
                    _add_example(example, boxes, show, answers)
    options: dict[str, Any] = {"api_visibility": "private", "show_progress": "minimal"}
    button.click(show, boxes, answers, **options)
    for box in boxes:
        if isinstance(box, gr.Textbox):
            box.submit(show, boxes, answers, **options)


def _add_boxes(boxes: Sequence[InputBox]) -> list[Any]:
    """The boxes in their order; the optional ones at the end are folded away."""
    import gradio as gr

    always = len(boxes) - len(list(takewhile(lambda box: box.optional, reversed(boxes))))
    found = [_box(box) for box in boxes[:always]]
    if always < len(boxes):
        with gr.Accordion("More", open=False):
            found += [_box(box) for box in boxes[always:]]
    return found


def _add_example(example: Sequence[Any], boxes: Sequence[Any], show: Callable[..., str], answers: gr.HTML) -> None:
    """A button that fills the boxes and asks for the answers."""
    import gradio as gr

    def fill() -> tuple[Any, ...]:
        return (*example, show(*example))

    gr.Button(" · ".join(str(value) for value in example if value), size="sm").click(
        fill, None, [*boxes, answers], api_visibility="private", show_progress="hidden"
    )


def _box(box: InputBox) -> Any:
    import gradio as gr

    if box.kind == "image":
        return gr.Image(type="pil", label=box.label, sources=["upload", "clipboard"], height=280)
    if box.kind == "words":
        return gr.Checkbox(label=box.label, container=False)
    lines = 1 if box.optional or box.name == "question" else 3
    return gr.Textbox(label=box.label, lines=lines, max_lines=12, elem_id=f"box-{box.name}")


def _page_function(service: PredictionService, form: InputForm) -> Callable[..., str]:
    """What the button does: never an exception, whose message Gradio would take for HTML."""
    head_types = {name: service.predictor.model.named_heads[name].config.head_type for name in service.heads}

    def show(*values: Any) -> str:
        try:
            row = form.row(values)
            return str(show_prediction(service(row, top_k=_TOP_K), row, head_types))
        except InputError as error:
            return str(show_error(str(error)))

    return show


def _api_function(service: PredictionService) -> Callable[..., dict[str, Any]]:
    import gradio as gr

    def predict(
        row: str | list[str] | dict[str, Any], heads: list[str] | None = None, top_k: int | None = None
    ) -> dict[str, Any]:
        """
        Every head's answer for a row.

        Args:
            row: A text, a list of words, or an object such as {"text": ..., "text_pair": ...}, {"tokens": [...]} or
                {"question": ..., "context": ...}.
            heads: Names of the heads that answer; all if it is left out.
            top_k: Answers of heads that choose one of several: a list of the best instead of the best alone.

        Returns:
            answers: for each head its answer; errors: for each head that failed its message; tokens: what the backbone
            read; milliseconds: how long the pass took.
        """
        try:
            _refuse_media(row)
            return service(row, heads, top_k).to_dict()
        except InputError as error:
            raise gr.Error(str(error), print_exception=False) from error

    return predict


def _refuse_media(row: Any) -> None:
    """A name of a file would be one of this machine, which is none of a client's business."""
    from ...data import MEDIA

    found = [name for name in MEDIA if isinstance(row, dict) and name in row]
    if found:
        raise InputError(f"{found[0]}: the API takes texts only; the page takes images.")
