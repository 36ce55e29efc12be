"""What several processes would not train as one does is refused before any training."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from torch.distributed.fsdp import CPUOffloadPolicy
from transformers import T5Config, Wav2Vec2Config

from fixtures import tiny_model
from mt_transformers import MultiTaskModel
from mt_transformers.errors import InputError
from mt_transformers.training.parallelism import check_parallelism

TEXT = {"intent": {"head_type": "sequence_classification", "num_labels": 2}}
AUDIO = {"sound": {"head_type": "audio_classification", "num_labels": 2}}


def accelerator(plugin: dict[str, Any] | None = None, **changes: Any) -> Any:
    """Stands for accelerate's, whose state depends on how the processes were started."""
    values = {"mixed_precision": "no", "parallelism_config": None, "deepspeed_plugin": None, "compiler": "NO"}
    values |= changes
    state = SimpleNamespace(
        deepspeed_plugin=values["deepspeed_plugin"],
        num_processes=2,
        device=SimpleNamespace(type="cpu"),
        dynamo_plugin=SimpleNamespace(backend=SimpleNamespace(value=values["compiler"])),
    )
    if plugin is not None:
        state.fsdp_plugin = SimpleNamespace(**{"fsdp_version": 2, "cpu_offload": None, **plugin})
    return SimpleNamespace(
        state=state, mixed_precision=values["mixed_precision"], parallelism_config=values["parallelism_config"]
    )


def audio_model(**changes: Any) -> MultiTaskModel:
    sizes = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
    convolutions = {"conv_dim": (8,), "conv_stride": (5,), "conv_kernel": (10,), "num_feat_extract_layers": 1}
    positions = {"num_conv_pos_embeddings": 4, "num_conv_pos_embedding_groups": 2}
    return tiny_model(AUDIO, Wav2Vec2Config(**{**sizes, **convolutions, **positions, **changes}))


def test_without_shards_nothing_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ACCELERATE_USE_FSDP", raising=False)
    assert check_parallelism(tiny_model(TEXT), accelerator()) is False
    assert check_parallelism(tiny_model(TEXT), accelerator(mixed_precision="fp16")) is False


@pytest.mark.parametrize("mixed_precision", ["no", "bf16"])
def test_fsdp2_is_taken(mixed_precision: str) -> None:
    assert check_parallelism(tiny_model(TEXT), accelerator({}, mixed_precision=mixed_precision)) is True


@pytest.mark.parametrize(
    ("found", "message"),
    [
        (accelerator(deepspeed_plugin=object()), "deepspeed is not supported: .* Use fsdp"),
        (accelerator({"fsdp_version": 1}), "expected version 2 .*, found 1"),
        (accelerator({"cpu_offload": CPUOffloadPolicy()}), "expected no cpu_offload"),
        (accelerator({}, mixed_precision="fp16"), "expected bf16, found fp16"),
        (accelerator({}, parallelism_config=object()), "cannot be combined with a parallelism_config"),
        (accelerator({}, compiler="INDUCTOR"), "cannot be combined with torch_compile"),
    ],
)
def test_what_would_train_otherwise_is_refused(found: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        check_parallelism(tiny_model(TEXT), found)


def test_fsdp_that_accelerate_would_pass_over_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ACCELERATE_USE_FSDP", "true")
    with pytest.raises(InputError, match=r"accelerate shards nothing on 2 process\(es\) of cpu: start one process a"):
        check_parallelism(tiny_model(TEXT), accelerator())


def test_tied_weights_are_refused() -> None:
    sizes = {"d_model": 16, "d_kv": 8, "d_ff": 16, "num_layers": 1, "num_heads": 2, "vocab_size": 50}
    with pytest.raises(InputError, match="a 't5' backbone has tied weights"):
        check_parallelism(tiny_model(TEXT, T5Config(**sizes)), accelerator({}))


def test_dropped_layers_are_refused() -> None:
    with pytest.raises(InputError, match="expected layerdrop to be 0"):
        check_parallelism(audio_model(), accelerator({}))


def test_a_backbone_without_input_embeddings_is_refused() -> None:
    with pytest.raises(InputError, match="a 'wav2vec2' backbone has no input embeddings"):
        check_parallelism(audio_model(layerdrop=0.0), accelerator({}))


def test_the_old_torch_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.__version__", "2.7.1+cpu")
    with pytest.raises(InputError, match=r"expected torch from 2.8 up, found 2.7.1\+cpu"):
        check_parallelism(tiny_model(TEXT), accelerator({}))
