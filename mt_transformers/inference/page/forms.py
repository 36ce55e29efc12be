"""Which boxes the page needs, for the heads that it shows."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from ...errors import InputError
from ...heads import HeadConfig
from ...modeling import MultiTaskModel
from ..export import ExportedMultiTaskModel

__all__ = ["InputBox", "InputForm", "find_forms"]


@dataclass(frozen=True)
class InputBox:
    """
    One box of a form.

    Args:
        name (`str`): The input of a row that it fills.
        label (`str`): What stands above it.
        kind (`str`, *optional*, defaults to `"text"`):
            `"text"`; `"lines"`, a list with one text a line; `"image"`; or `"words"`, a switch that makes a list of
            words of the text, cut at spaces.
        optional (`bool`, *optional*, defaults to `False`): Whether a row may leave it out.
    """

    name: str
    label: str
    kind: Literal["text", "lines", "image", "words"] = "text"
    optional: bool = False


@dataclass(frozen=True)
class InputForm:
    """
    The boxes of one kind of row.

    Args:
        title (`str`): What the kind is called.
        boxes (`tuple[InputBox, ...]`): The boxes, in their order.
        examples (`tuple[tuple[Any, ...], ...]`, *optional*): Values to try, one a box each.
    """

    title: str
    boxes: tuple[InputBox, ...]
    examples: tuple[tuple[Any, ...], ...] = ()

    def row(self, values: Sequence[Any]) -> dict[str, Any]:
        """
        Make a row of what stands in the boxes.

        Args:
            values (`Sequence[Any]`): One a box.

        Returns:
            `dict[str, Any]`: The row.

        Raises:
            InputError: If a box is empty that a row needs.

        Example:
            >>> form = InputForm("Pair", (InputBox("text", "Text"), InputBox("text_pair", "Second", optional=True)))
            >>> form.row(["a text", ""])
            {'text': 'a text'}
        """
        row: dict[str, Any] = {}
        for box, value in zip(self.boxes, values, strict=True):
            if box.kind == "words":
                row = _as_words(row) if value else row
            elif value is not None and (not isinstance(value, str) or value.strip()):
                row[box.name] = _lines(value) if box.kind == "lines" else value
            elif not box.optional:
                raise InputError(f"{box.label}: nothing is there yet.")
        return row


def _as_words(row: Mapping[str, Any]) -> dict[str, Any]:
    if "text_pair" in row:
        raise InputError("words cut at spaces: expected one text, found two.")
    return {"tokens": row["text"].split(), **{name: value for name, value in row.items() if name != "text"}}


def _lines(value: str) -> list[str]:
    return [line for line in map(str.strip, value.splitlines()) if line]


_TEXT = InputBox("text", "Text")
_PAIR = InputBox("text_pair", "Second text, for pairs", optional=True)
_WORDS = InputBox("tokens", "Words are cut at spaces", "words", optional=True)
_IMAGE = InputBox("images", "Image", "image")
_SENTENCES = (
    "Play some jazz by Miles Davis on Spotify",
    "Book a table for four at an Italian restaurant in Boston",
    "My card has not arrived yet, can I track it?",
)
_FORMS = {
    "question": InputForm(
        "Question",
        (InputBox("question", "Question"), InputBox("context", "Context")),
        (("Who wrote Emma?", "Emma is a novel by Jane Austen, published in December 1815."),),
    ),
    "choices": InputForm(
        "Choices",
        (InputBox("text", "Text", optional=True), InputBox("choices", "Choices, one a line", "lines")),
        (("She opened the door and", "walked in.\nate the door.\nflew to the moon."),),
    ),
    "sentences": InputForm(
        "Sentences",
        (InputBox("sentences", "Sentences, one a line", "lines"),),
        (("A man plays the guitar.\nSomeone is making music.",),),
    ),
    "chosen": InputForm(
        "Answers",
        (
            InputBox("text", "Text", optional=True),
            InputBox("chosen", "Chosen answer"),
            InputBox("rejected", "Rejected answer"),
        ),
        (("How do I boil an egg?", "Put it into boiling water for eight minutes.", "Eggs are round."),),
    ),
}
_IMAGE_FORM = InputForm("Image", (_IMAGE,))


def find_forms(model: MultiTaskModel | ExportedMultiTaskModel, heads: Collection[str]) -> list[InputForm]:
    """
    Find the kinds of rows that heads answer, each with its boxes.

    Args:
        model ([`MultiTaskModel`] or [`ExportedMultiTaskModel`]): The model.
        heads (`Collection[str]`): Names of its heads.

    Returns:
        `list[InputForm]`: That of plain texts first.

    Raises:
        InputError: If no head reads texts or images: there is no box for audio.

    Example:
        >>> from transformers import BertConfig
        >>> from mt_transformers import MultiTaskConfig
        >>> bert = BertConfig(hidden_size=8, num_hidden_layers=1, num_attention_heads=2, vocab_size=9)
        >>> model = MultiTaskModel(
        ...     MultiTaskConfig(
        ...         backbone_config=bert,
        ...         heads={"mood": {"head_type": "sequence_classification", "num_labels": 2}, "qa": {"head_type":
        ...         "question_answering"}},
        ...     )
        ... )
        >>> [form.title for form in find_forms(model, ["mood", "qa"])]
        ['Text', 'Question']
    """
    configs = [model.named_heads[name].config for name in heads]
    if model.backbone.info.reads_together:
        return [InputForm("Text and image", (_TEXT, _IMAGE))]
    outputs = {output for config in configs for output in config.inputs}
    plain = [config for config in configs if _reads_plain_text(config)]
    forms = [_text_form(plain)] if plain else []
    needed = {name for config in configs for name in config.task_inputs}
    forms += [form for name, form in _FORMS.items() if name in needed]
    if any("image" in output for output in outputs):
        forms.append(_IMAGE_FORM)
    if not forms:
        found = ", ".join(sorted(outputs)) or "nothing"
        raise InputError(f"the page has boxes for texts and images, but the heads read {found}.")
    return forms


def _reads_plain_text(config: HeadConfig) -> bool:
    return any("text" in output for output in config.inputs) and not set(config.task_inputs) - {"text", "tokens"}


def _text_form(configs: Sequence[HeadConfig]) -> InputForm:
    """A box for the text, and what some of these heads can make use of beside it."""
    pair = (_PAIR,) if any(config.pools for config in configs) else ()
    words = (_WORDS,) if any(config.word_level for config in configs) else ()
    blank = ("",) * len(pair) + (False,) * len(words)
    return InputForm("Text", (_TEXT, *pair, *words), tuple((text, *blank) for text in _SENTENCES))
