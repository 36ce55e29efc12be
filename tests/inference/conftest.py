"""A model that has learned `two_tasks`, in a folder."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from fixtures import INTENTS, MOODS, SLOTS, tiny_model, tiny_tokenizer, two_tasks
from mt_transformers import MultiTaskTrainer, MultiTaskTrainingArguments


@pytest.fixture(scope="session")
def trained_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with model and tokenizer; tests leave it as it is."""
    folder = tmp_path_factory.mktemp("trained")
    heads = {
        "intent": {"head_type": "sequence_classification", "id2label": INTENTS},
        "slots": {"head_type": "token_classification", "id2label": SLOTS},
        "mood": {"head_type": "sequence_classification", "id2label": MOODS},
    }
    args = MultiTaskTrainingArguments(
        output_dir=str(folder / "unused"),
        use_cpu=True,
        report_to=[],
        disable_tqdm=True,
        save_strategy="no",
        logging_strategy="no",
        num_train_epochs=25,
        learning_rate=1e-2,
        lr_scheduler_type="constant",
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = tiny_model(heads, tasks={"requests": ["intent", "slots"], "moods": ["mood"]})
        trainer = MultiTaskTrainer(model, args, tasks=two_tasks(), processing_class=tiny_tokenizer())
        trainer.train()
    model.save_pretrained(folder)
    tiny_tokenizer().save_pretrained(folder)
    return folder
