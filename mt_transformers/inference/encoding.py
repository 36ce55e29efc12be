"""Rows to predict as the model's inputs, and what their tokens stand for."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

import torch

from ..data import MEDIA, EncodedTexts, Processing, encode_texts, sequence_table, text_inputs
from ..heads import HeadConfig, SourceRow, find_words

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

__all__ = ["RowEncoder"]


@dataclass
class RowEncoder:
    """
    Turns rows into tensors.

    Args:
        processing ([`Processing`]): What reads texts, images and audio.
        configs (`Mapping[str, HeadConfig]`): Configs of the model's heads.
        max_length (`int`, *optional*): Length to which texts are cut (tokens).
    """

    processing: Processing
    configs: Mapping[str, HeadConfig]
    max_length: int | None

    def __post_init__(self) -> None:
        self.truncated_rows = 0
        strides = [config.window_stride for config in self.configs.values()]
        self._stride = max((each for each in strides if each is not None), default=None)

    def read(self, row: Mapping[str, Any]) -> dict[str, Any]:
        """The row with its image or recording, which are in memory for one batch only."""
        return {name: self.processing.read(name, value) if name in MEDIA else value for name, value in row.items()}

    def encode(
        self, rows: Sequence[Mapping[str, Any]], answering: Collection[str]
    ) -> tuple[dict[str, Any], list[SourceRow]]:
        """
        Encode rows that have the same inputs.

        Args:
            rows (`Sequence[Mapping[str, Any]]`): The rows, as [`read`] gives them.
            answering (`Collection[str]`): Names of the heads that will answer them.

        Returns:
            `tuple[dict[str, Any], list[SourceRow]]`: Arguments of the model, and what each row's tokens stand for.
        """
        names = [name for name in rows[0] if name != "task"]
        values = {name: [row[name] for row in rows] for name in names}
        inputs: dict[str, Any] = {}
        sources = [SourceRow()] * len(rows)
        if text_inputs(names):
            texts = self._encode_texts({name: values[name] for name in text_inputs(names)})
            inputs |= self._text_tensors(texts, [name for name in answering if self.configs[name].multi_sequence])
            by_words = any(self.configs[name].word_level for name in answering)
            sources = [self._source(texts, number, row, by_words) for number, row in enumerate(rows)]
        if "images" in names:
            inputs |= self.processing.pixels(values["images"])
        if "audio" in names:
            inputs |= self.processing.samples(values["audio"])
        return inputs, sources

    def tokens(self, row: Mapping[str, Any]) -> list[list[str]]:
        """
        What the backbone reads of a row's texts.

        Args:
            row (`Mapping[str, Any]`): The row, as [`check_row`] gives it.

        Returns:
            `list[list[str]]`: The tokens of each of its sequences; nothing if it has no text.
        """
        texts = {name: [row[name]] for name in text_inputs(row) if name != "task"}
        if not texts:
            return []
        encoding = encode_texts(texts, self._tokenizer, self.max_length, self._stride).encoding
        return [list(self._tokenizer.convert_ids_to_tokens(ids)) for ids in encoding["input_ids"]]

    @property
    def _tokenizer(self) -> PreTrainedTokenizerBase:
        return cast("PreTrainedTokenizerBase", self.processing.tokenizer)

    def _encode_texts(self, texts: Mapping[str, Sequence[Any]]) -> EncodedTexts:
        found = encode_texts(texts, self._tokenizer, self.max_length, self._stride, offsets=True, padding=True)
        if "context" not in texts:
            self.truncated_rows += sum(bool(each.overflowing) for each in found.encoding.encodings or ())
        return found

    def _text_tensors(self, texts: EncodedTexts, several: Sequence[str]) -> dict[str, Any]:
        """The rows' first sequences in front, further ones that heads read behind them, and which are whose."""
        names = [name for name in self._tokenizer.model_input_names if name in texts.encoding]
        order = [own[0] for own in texts.sequences]
        order += [place for own in texts.sequences for place in own[1:] if several]
        columns = {name: [texts.encoding[name][place] for place in order] for name in names}
        # empty texts, of a tokenizer that adds nothing to them: one position, which is padding
        inputs: dict[str, Any] = {
            name: torch.tensor(each) if each[0] else torch.zeros(len(each), 1, dtype=torch.long)
            for name, each in columns.items()
        }
        if len(order) > len(texts.sequences):
            places = {place: number for number, place in enumerate(order)}
            sequences = sequence_table([[places[place] for place in own] for own in texts.sequences])
            inputs["sequences"] = dict.fromkeys(several, sequences)
        return inputs

    def _source(self, texts: EncodedTexts, number: int, row: Mapping[str, Any], by_words: bool) -> SourceRow:
        """What the tokens of a row stand for; its words only where a head labels words."""
        to_tokens = self._tokenizer.convert_ids_to_tokens
        if "context" in row:
            return SourceRow((), row["context"], texts.context_offsets(number), to_tokens)
        text = row.get("tokens", row.get("text"))
        words = find_words(texts.encoding, texts.sequences[number][0], text) if by_words and text is not None else []
        return SourceRow(words, text if isinstance(text, str) else " ".join(text or ()), (), to_tokens)
