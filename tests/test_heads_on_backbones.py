"""Every head on every family of backbones: those that fit train, save and answer; the others are refused by name."""

from __future__ import annotations

import json
import subprocess
import sys
from functools import lru_cache
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from backbones import AUDIO, ENCODER_DECODERS, FAMILIES, IMAGES, TEXT_DECODERS, TEXTS, TWO_INPUTS, tiny_backbone_config
from head_tasks import TASKS, head_batch, head_config
from mt_transformers import MultiTaskConfig, MultiTaskModel
from mt_transformers.errors import InputError
from mt_transformers.heads import SourceRow, get_head_class, head_types

READS_ANYTHING = ("sequence_classification", "regression")
POOLS_TEXT = ("multiple_choice", "sentence_similarity", "preference")
CAUSAL = {*TEXT_DECODERS, "clip"}


def fits(head_type: str, family: str) -> bool:
    """Whether a head makes sense on a backbone of this family."""
    if head_type == "image_classification":
        return family in IMAGES or family in TWO_INPUTS
    if head_type == "audio_classification":
        return family in AUDIO
    if head_type in READS_ANYTHING:
        return True
    if head_type == "masked_language_modeling":
        return family not in IMAGES and family not in AUDIO and family not in CAUSAL
    if head_type == "causal_language_modeling":
        return family in CAUSAL
    return family in TEXTS or family in TWO_INPUTS


PAIRS = [(head_type, family) for head_type in TASKS for family in FAMILIES]
FITTING = [pair for pair in PAIRS if fits(*pair)]
# a single stream has no text without an image: several sequences of text a row cannot each have one
TRAINED = [(head, family) for head, family in FITTING if not (family == "vilt" and head_config(head).multi_sequence)]


def make_model(head_type: str, family: str) -> MultiTaskModel:
    torch.manual_seed(0)
    config = head_config(head_type)
    backbone = tiny_backbone_config(family)
    return MultiTaskModel(MultiTaskConfig(backbone_config=backbone, heads={"head": config})).eval()


@lru_cache
def _batch(head_type: str, family: str) -> dict[str, Any]:
    return head_batch(head_type, family, make_model(head_type, family).named_heads["head"].config)


def make_batch(head_type: str, family: str) -> dict[str, Any]:
    """The batch of a head on a family, to be changed at will."""
    return dict(_batch(head_type, family))


def outputs_of(model: MultiTaskModel, batch: dict[str, Any]) -> dict[str, torch.Tensor]:
    with torch.no_grad():
        return {name: value for name, value in model(**batch).items() if torch.is_tensor(value)}


def test_every_head_type_has_its_task() -> None:
    own = {name for name in head_types() if get_head_class(name).__module__.startswith("mt_transformers.")}
    assert set(TASKS) == own


@pytest.mark.parametrize(("head_type", "family"), [pair for pair in PAIRS if pair not in FITTING])
def test_heads_that_make_no_sense_are_refused_by_name(head_type: str, family: str) -> None:
    backbone = tiny_backbone_config(family)
    with pytest.raises(InputError, match=rf"^head 'head': .*{head_type}.*{backbone.model_type}"):
        MultiTaskConfig(backbone_config=backbone, heads={"head": head_config(head_type)})


@pytest.mark.parametrize(("head_type", "family"), TRAINED)
def test_heads_train_and_answer(head_type: str, family: str) -> None:
    model = make_model(head_type, family)
    batch = make_batch(head_type, family)
    outputs = model(**batch)
    assert bool(torch.isfinite(outputs["loss"]))
    outputs["loss"].backward()
    gradients = [value.grad for name, value in model.backbone.named_parameters() if value.grad is not None]
    assert any(bool(gradient.any()) for gradient in gradients)
    assert all(bool(torch.isfinite(gradient).all()) for gradient in gradients)
    head = model.named_heads["head"]
    own = {key: outputs[f"head_{key}"] for key in head.config.output_names if f"head_{key}" in outputs}
    labels = batch["labels"]["head"]
    assert len(head.predictions(own, labels)) == len(labels)
    del batch["labels"], batch["rows"]
    answers = outputs_of(model, batch)
    own = {key: answers[f"head_{key}"] for key in head.config.output_names if f"head_{key}" in answers}
    decoded = head.decode(own, [SourceRow(to_tokens=str)] * len(labels))
    assert len(json.loads(json.dumps(decoded, allow_nan=False))) == len(labels)


@pytest.mark.parametrize(("head_type", "family"), TRAINED)
def test_padding_changes_nothing(head_type: str, family: str) -> None:
    """A batch, and the same batch with three more columns of padding, on the right and on the left."""
    model = make_model(head_type, family)
    batch = make_batch(head_type, family)
    if "input_ids" not in batch:
        pytest.skip("there is no padding in images, and that of audio is held in tests/backbone")
    if family == "siglip" and model.named_heads["head"].config.reads_pooled:
        pytest.skip("SigLIP pools the last position, token or padding: its texts have to be padded to one length")
    row_losses = outputs_of(model, batch)["head_row_losses"]
    inputs = ("input_ids", "attention_mask", "token_type_ids")
    wider = {name: torch.nn.functional.pad(batch[name], (0, 3)) for name in inputs if name in batch}
    labels = batch["labels"]["head"]
    if model.named_heads["head"].config.word_level or head_type == "causal_language_modeling":
        labels = torch.nn.functional.pad(labels, (0, 0) * (labels.dim() - 2) + (0, 3), value=-100)
    right = outputs_of(model, {**batch, **wider, "labels": {"head": labels}})
    torch.testing.assert_close(right["head_row_losses"], row_losses, rtol=1e-4, atol=1e-5)
    if head_type in (*READS_ANYTHING, *POOLS_TEXT):
        left = {name: torch.nn.functional.pad(batch[name], (3, 0)) for name in wider}
        moved = outputs_of(model, {**batch, **left})
        torch.testing.assert_close(moved["head_row_losses"], row_losses, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("head_type", "family"), TRAINED)
def test_16_bits(head_type: str, family: str) -> None:
    model = make_model(head_type, family).to(torch.bfloat16)
    losses = outputs_of(model, make_batch(head_type, family))["head_row_losses"]
    assert losses.dtype == torch.float32
    assert bool(torch.isfinite(losses).all())


def test_heads_are_loaded_in_another_process(tmp_path: Path) -> None:
    """Weights come back to the bit; outputs within the last digits, since their sums depend on where memory lies."""
    for head_type, family in TRAINED:
        model = make_model(head_type, family)
        folder = tmp_path / f"{head_type}-{family}"
        model.save_pretrained(folder)
        batch = make_batch(head_type, family)
        flat = {name: value for name, value in batch.items() if torch.is_tensor(value)}
        flat |= {f"sequences.{name}": value for name, value in batch.get("sequences", {}).items()}
        flat["labels"] = batch["labels"]["head"]
        flat["expected"] = outputs_of(model, batch)["head_row_losses"]
        save_file({name: value.contiguous() for name, value in flat.items()}, folder / "batch.safetensors")
        save_file({name: value.contiguous().clone() for name, value in model.state_dict().items()}, folder / "all")
    script = "import sys, test_heads_on_backbones as suite; suite.check_folders(sys.argv[1])"
    path = str(Path(__file__).parent)
    done = subprocess.run([sys.executable, "-c", script, str(tmp_path)], cwd=path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == str(len(TRAINED))


def check_folders(root: str) -> None:
    """Load each folder and compare; writes how many there were."""
    from transformers import AutoModel

    folders = sorted(Path(root).iterdir())
    for folder in folders:
        model = AutoModel.from_pretrained(folder)
        expected = load_file(folder / "all")
        assert set(expected) == set(model.state_dict()), folder.name
        assert all(torch.equal(value, expected[name]) for name, value in model.state_dict().items()), folder.name
        flat = load_file(folder / "batch.safetensors")
        losses, labels = flat.pop("expected"), flat.pop("labels")
        sequences = {"head": flat.pop("sequences.head")} if "sequences.head" in flat else None
        found = outputs_of(model, {**flat, "labels": {"head": labels}, "sequences": sequences})["head_row_losses"]
        torch.testing.assert_close(found, losses, rtol=1e-5, atol=1e-6, msg=folder.name)
    sys.stdout.write(f"{len(folders)}\n")


def test_the_decoder_is_read_by_a_head_that_asks_for_it() -> None:
    for family in ENCODER_DECODERS:
        config = head_config("sequence_classification", input="encoded_text_decoder")
        backbone = tiny_backbone_config(family)
        model = MultiTaskModel(MultiTaskConfig(backbone_config=backbone, heads={"head": config})).eval()
        outputs = model(**make_batch("sequence_classification", family))
        assert "encoded_text_decoder" in outputs
        outputs["loss"].backward()
        read = [value.grad is not None for value in model.backbone.parameters() if value.requires_grad]
        assert all(read)
