"""
Score a trained folder by the definitions of the CoNLL 2018 shared task, on gold tokens, and write its trees.

    python scripts/score_conllu.py FOLDER test.parquet --output test.conllu

The parquet file has the columns `tokens`, `lemma`, `upos`, `xpos`, `head` and `deprel`; the folder a head for trees,
and perhaps one for lemmas, and heads named `upos` and `xpos`. What no head predicts is left empty, and scores 0.
"""

from __future__ import annotations

import argparse
import json
from itertools import accumulate
from pathlib import Path
from typing import Any

from datasets import Dataset, load_dataset

from mt_transformers.inference import MultiTaskPredictor, load_model
from mt_transformers.metrics.conllu import ConlluWord, score_conllu, write_conllu


def gold_sentence(row: dict[str, Any], names: dict[str, Any]) -> list[ConlluWord]:
    """The words of a row as the dataset has them; `names` are the label names of the columns that hold ids."""
    tags = {column: [own[index] for index in row[column]] for column, own in names.items()}
    columns = zip(row["tokens"], row["lemma"], tags["upos"], row["xpos"], row["head"], tags["deprel"], strict=True)
    keys = ("form", "lemma", "upos", "xpos", "head", "deprel")
    return [ConlluWord(**dict(zip(keys, values, strict=True))) for values in columns]


def system_sentence(tokens: list[str], answer: dict[str, Any], heads: dict[str, str]) -> list[ConlluWord]:
    """The words of a row as the model has them; words that it did not see hang on the first one."""
    starts = [0, *accumulate(len(token) + 1 for token in tokens)]
    numbers = {start: number for number, start in enumerate(starts, start=1)}
    # head -> start of a word -> what the head says of it
    found = {name: {word["start"]: word for word in words} for name, words in answer.items()}
    tree = answer[heads["dependency_parsing"]]
    words = []
    for start, token in zip(starts, tokens, strict=False):
        fields = {"form": token, "head": 1, "deprel": "dep"}
        if start in found[heads["dependency_parsing"]]:
            word = found[heads["dependency_parsing"]][start]
            head = numbers[tree[word["head"] - 1]["start"]] if word["head"] else 0
            fields |= {"head": head, "deprel": word["deprel"]}
        if "lemmatization" in heads:
            fields["lemma"] = found[heads["lemmatization"]].get(start, {}).get("lemma") or "_"
        for name in ("upos", "xpos"):
            if start in found.get(name, {}):
                fields[name] = found[name][start]["label"]
        words.append(ConlluWord(**fields))
    return words


def main() -> None:
    """Read the command line, predict, score."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder")
    parser.add_argument("data")
    parser.add_argument("--output", help="file for the predicted trees, in CoNLL-U")
    arguments = parser.parse_args()
    rows: Dataset = load_dataset("parquet", data_files={"test": arguments.data})["test"]
    names = {column: rows.features[column].feature.names for column in ("upos", "deprel")}
    predictor = MultiTaskPredictor(*load_model(arguments.folder), batch_size=64)
    heads = {head.config.head_type: name for name, head in predictor.model.named_heads.items()}
    heads = {
        head_type: heads[head_type] for head_type in ("dependency_parsing", "lemmatization") if head_type in heads
    }
    asked = [name for name in predictor.model.heads if name in ("upos", "xpos") or name in heads.values()]
    answers = predictor([{"tokens": tokens} for tokens in rows["tokens"]], asked)
    gold = [gold_sentence(row, names) for row in rows]
    system = [system_sentence(tokens, answer, heads) for tokens, answer in zip(rows["tokens"], answers, strict=True)]
    print(json.dumps(score_conllu(gold, system), indent=2))
    if arguments.output:
        Path(arguments.output).write_text(write_conllu(system), encoding="utf-8")


if __name__ == "__main__":
    main()
