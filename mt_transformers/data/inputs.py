"""What a row is read as: a text, a pair, words, windows of a context, choices, sentences apart, images, audio."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch

from ..errors import InputError
from ..heads import Span

if TYPE_CHECKING:
    from transformers import BatchEncoding, PreTrainedTokenizerBase

__all__ = ["MEDIA", "EncodedTexts", "check_inputs", "encode_texts", "outputs_given", "sequence_table", "text_inputs"]

_TEXTS: tuple[frozenset[str], ...] = (
    frozenset({"text"}),
    frozenset({"text", "text_pair"}),
    frozenset({"tokens"}),
    frozenset({"question", "context"}),
    frozenset({"choices"}),
    frozenset({"text", "choices"}),
    frozenset({"sentences"}),
    frozenset({"chosen", "rejected"}),
    frozenset({"text", "chosen", "rejected"}),
)

MEDIA = {"images": "encoded_image", "audio": "encoded_audio"}
"""Inputs that are no text, with the backbone's output that they become."""

SEVERAL = frozenset({"context", "choices", "sentences", "chosen"})
"""Inputs of which a row may be several sequences."""

APART = SEVERAL - {"context"}
"""Those of them whose sequences are texts of their own, of which the first does not stand for the row."""

LISTS = {"tokens": "lists of words", "choices": "lists of texts", "sentences": "lists of texts"}
"""Inputs that hold a list a row, unless several columns are named."""


def text_inputs(names: Collection[str]) -> frozenset[str]:
    """The names of inputs that are text."""
    return frozenset(name for name in names if name not in MEDIA)


def outputs_given(names: Collection[str]) -> set[str]:
    """
    The backbone's outputs that inputs may become.

    Args:
        names (`Collection[str]`): Names of the inputs.

    Returns:
        `set[str]`: Names of outputs.

    Example:
        >>> sorted(outputs_given(["text", "images"]))
        ['encoded_image', 'encoded_text', 'encoded_text_decoder']
    """
    texts = {"encoded_text", "encoded_text_decoder"} if text_inputs(names) else set()
    return texts | {output for name, output in MEDIA.items() if name in names}


def check_inputs(names: Collection[str]) -> None:
    """
    Refuse inputs that do not go together.

    Args:
        names (`Collection[str]`): Names of the inputs.

    Raises:
        InputError: If they are no known combination, which are listed.

    Example:
        >>> check_inputs(["text", "images"])
        >>> check_inputs(["text", "tokens"])
        Traceback (most recent call last):
            ...
        mt_transformers.errors.InputError: inputs: expected one of [text; text, text_pair; tokens; context, question;
        choices; choices, text; sentences; chosen, rejected; chosen, rejected, text], images or audio, or one of these
        with images; found text, tokens.
    """
    texts = text_inputs(names)
    media = set(names) - texts
    if texts in _TEXTS and media <= {"images"}:
        return
    if not texts and len(media) == 1:
        return
    expected = "; ".join(", ".join(sorted(each)) for each in _TEXTS)
    raise InputError(
        f"inputs: expected one of [{expected}], images or audio, or one of these with images; "
        f"found {', '.join(sorted(names)) or 'none'}."
    )


def sequence_table(sequences: Sequence[Sequence[int]]) -> torch.Tensor:
    """
    Put the places of each row's sequences into one tensor, as the model takes them.

    Args:
        sequences (`Sequence[Sequence[int]]`): For each row the places of its sequences in the batch.

    Returns:
        `torch.Tensor` of shape `(rows, sequences)`: -1 where a row has fewer.

    Example:
        >>> sequence_table([[0, 2], [1]])
        tensor([[ 0,  2],
                [ 1, -1]])
    """
    widest = max(map(len, sequences))
    return torch.tensor([[*own, *[-1] * (widest - len(own))] for own in sequences])


@dataclass(frozen=True)
class EncodedTexts:
    """
    The sequences of some rows.

    Args:
        encoding (`BatchEncoding`): All sequences, the tokenizer's answer.
        sequences (`Sequence[Sequence[int]]`): For each row the places of its sequences in `encoding`.
    """

    encoding: BatchEncoding
    sequences: Sequence[Sequence[int]]

    def word_ids(self) -> list[list[int | None]]:
        """For each row the words of its first sequence's sub-tokens."""
        return [self.encoding.word_ids(own[0]) for own in self.sequences]

    def context_offsets(self, row: int) -> list[list[Span | None]]:
        """For each window of a row the tokens' places in the context; the encoding needs offsets."""
        windows = []
        for place in self.sequences[row]:
            parts = self.encoding.sequence_ids(place)
            spans = self.encoding["offset_mapping"][place]
            windows.append([tuple(span) if part == 1 else None for part, span in zip(parts, spans, strict=True)])
        return windows


def encode_texts(
    inputs: Mapping[str, Sequence[Any]],
    tokenizer: PreTrainedTokenizerBase,
    max_length: int | None,
    stride: int | None = None,
    offsets: bool = False,
    padding: bool = False,
) -> EncodedTexts:
    """
    Tokenize the text inputs of some rows.

    Args:
        inputs (`Mapping[str, Sequence[Any]]`): For each input one value a row.
        tokenizer (`PreTrainedTokenizerBase`): A fast tokenizer.
        max_length (`int`, *optional*): Length to which sequences are cut (tokens); contexts become several windows.
        stride (`int`, *optional*): Tokens that two windows of a context share.
        offsets (`bool`, *optional*, defaults to `False`): Whether characters' offsets are kept.
        padding (`bool`, *optional*, defaults to `False`): Whether to pad to one length, on the right.

    Returns:
        [`EncodedTexts`].
    """
    options = {
        "truncation": max_length is not None,
        "max_length": max_length,
        "return_offsets_mapping": offsets or "question" in inputs,
        "padding": padding,
        "padding_side": "right",
        "return_attention_mask": padding,
    }
    if "question" in inputs:
        return _encode_windows(inputs, tokenizer, stride, options)
    rows = [_pairs(inputs, row) for row in range(len(next(iter(inputs.values()))))]
    flat = [pair for row in rows for pair in row]
    second = [[pair[1] for pair in flat]] if flat and flat[0][1] is not None else []
    first = [pair[0] for pair in flat]
    encoding = tokenizer(first, *second, is_split_into_words="tokens" in inputs, **options)
    places, sequences = 0, []
    for row in rows:
        sequences.append(range(places, places + len(row)))
        places += len(row)
    return EncodedTexts(encoding, sequences)


def _pairs(inputs: Mapping[str, Sequence[Any]], row: int) -> list[tuple[Any, Any]]:
    """The sequences of a row, each a text, or its words, and perhaps a second text."""
    values = {name: each[row] for name, each in inputs.items()}
    text = values.get("text")
    if "tokens" in values:
        return [(values["tokens"], None)]
    if "sentences" in values:
        return [(sentence, None) for sentence in values["sentences"]]
    if "chosen" in values:
        answers = [values["chosen"], values["rejected"]]
    elif "choices" in values:
        answers = values["choices"]
    else:
        return [(text, values.get("text_pair"))]
    return [(answer, None) if text is None else (text, answer) for answer in answers]


def _encode_windows(
    inputs: Mapping[str, Sequence[Any]],
    tokenizer: PreTrainedTokenizerBase,
    stride: int | None,
    options: Mapping[str, Any],
) -> EncodedTexts:
    """Cut long contexts into windows, each behind the question."""
    questions, contexts = list(inputs["question"]), list(inputs["context"])
    max_length = options["max_length"]
    if max_length is None:
        encoding = tokenizer(questions, contexts, **options)
        return EncodedTexts(encoding, [[row] for row in range(len(questions))])
    # a window keeps at least half of its tokens for the context, however long the question is
    questions = _shorten(questions, tokenizer, max_length // 2)
    room = max_length - max_length // 2 - tokenizer.num_special_tokens_to_add(pair=True)
    if room < 1:
        raise InputError(f"max_length: {max_length} tokens leave no room for a context.")
    encoding = tokenizer(
        questions,
        contexts,
        **{**options, "truncation": "only_second"},
        stride=min(stride or 0, room - 1),
        return_overflowing_tokens=True,
    )
    sequences: list[list[int]] = [[] for _ in questions]
    for place, row in enumerate(encoding["overflow_to_sample_mapping"]):
        sequences[row].append(place)
    return EncodedTexts(encoding, sequences)


def _shorten(texts: Sequence[str], tokenizer: PreTrainedTokenizerBase, max_length: int) -> list[str]:
    """Texts cut behind so many tokens."""
    encoding = tokenizer(list(texts), add_special_tokens=False, return_offsets_mapping=True)
    return [
        text if len(spans) <= max_length else text[: spans[max_length - 1][1]]
        for text, spans in zip(texts, encoding["offset_mapping"], strict=True)
    ]
