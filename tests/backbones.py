"""
Tiny backbones of every family that the tests cover. Tests write `from backbones import ...`.

- `TEXT_ENCODERS`, `TEXT_DECODERS`, `ENCODER_DECODERS`, `IMAGES`, `AUDIO`, `TWO_INPUTS`: family -> a function that
  gives a new config, 2 layers and 32 wide; `TEXTS` and `FAMILIES` hold several of them.
- `tiny_backbone_config`, `tiny_backbone`, `tiny_backbone_inputs`: a config, a backbone and a batch of a family.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from transformers import (
    AlbertConfig,
    BartConfig,
    BertConfig,
    CLIPConfig,
    ConvNextConfig,
    DebertaV2Config,
    Dinov2Config,
    DistilBertConfig,
    ElectraConfig,
    GemmaConfig,
    GPT2Config,
    HubertConfig,
    LlamaConfig,
    MBartConfig,
    ModernBertConfig,
    MPNetConfig,
    MT5Config,
    PegasusConfig,
    PreTrainedConfig,
    Qwen2Config,
    ResNetConfig,
    RobertaConfig,
    SiglipConfig,
    SwinConfig,
    T5Config,
    ViltConfig,
    ViTConfig,
    Wav2Vec2Config,
    WhisperConfig,
    XLMRobertaConfig,
)

from fixtures import SPECIAL_TOKENS, VOCABULARY
from mt_transformers import Backbone

MakeConfig = Callable[[], PreTrainedConfig]

MODALITIES = ("text", "image", "audio")
IMAGE_SIZE = 16
SAMPLES = 160
MEL_BINS, MEL_FRAMES = 8, 24

IDS = {
    "vocab_size": len(VOCABULARY),
    "pad_token_id": VOCABULARY.index("[PAD]"),
    "bos_token_id": VOCABULARY.index("[CLS]"),
    "eos_token_id": VOCABULARY.index("[SEP]"),
}
LAYERS = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 48}
TEXT = {**IDS, **LAYERS, "max_position_embeddings": 40}
DECODER = {**TEXT, "num_key_value_heads": 2, "head_dim": 8}
T5 = {**IDS, "d_model": 32, "d_kv": 8, "d_ff": 48, "num_layers": 2, "num_heads": 4, "decoder_start_token_id": 0}
BART = {
    **IDS,
    "d_model": 32,
    "max_position_embeddings": 40,
    **{f"{side}_layers": 2 for side in ("encoder", "decoder")},
    **{f"{side}_attention_heads": 4 for side in ("encoder", "decoder")},
    **{f"{side}_ffn_dim": 48 for side in ("encoder", "decoder")},
}
PATCHES = {**LAYERS, "image_size": IMAGE_SIZE, "patch_size": 8}
SPEECH = {
    **LAYERS,
    "conv_dim": (8, 8, 8),
    "conv_kernel": (6, 3, 2),
    "conv_stride": (4, 2, 2),
    "num_conv_pos_embeddings": 4,
    "num_conv_pos_embedding_groups": 2,
    "feat_extract_norm": "layer",
    "mask_time_length": 2,
    "layerdrop": 0.0,
}

TEXT_ENCODERS: dict[str, MakeConfig] = {
    "bert": lambda: BertConfig(**TEXT),
    "roberta": lambda: RobertaConfig(**TEXT),
    "distilbert": lambda: DistilBertConfig(
        **IDS, dim=32, n_layers=2, n_heads=4, hidden_dim=48, max_position_embeddings=40
    ),
    "albert": lambda: AlbertConfig(**TEXT, embedding_size=16),
    "electra": lambda: ElectraConfig(**TEXT, embedding_size=16),
    "deberta-v2": lambda: DebertaV2Config(
        **TEXT, relative_attention=True, pos_att_type=["c2p", "p2c"], position_biased_input=False
    ),
    "mpnet": lambda: MPNetConfig(**TEXT),
    "modernbert": lambda: ModernBertConfig(**TEXT, cls_token_id=2, sep_token_id=3, local_attention=8),
    "xlm-roberta": lambda: XLMRobertaConfig(**TEXT),
}

TEXT_DECODERS: dict[str, MakeConfig] = {
    "gpt2": lambda: GPT2Config(**IDS, n_embd=32, n_layer=2, n_head=4, n_positions=40),
    "llama": lambda: LlamaConfig(**TEXT, num_key_value_heads=2),
    "qwen2": lambda: Qwen2Config(**TEXT, num_key_value_heads=2),
    "gemma": lambda: GemmaConfig(**DECODER),
}

ENCODER_DECODERS: dict[str, MakeConfig] = {
    "t5": lambda: T5Config(**T5),
    "mt5": lambda: MT5Config(**T5, feed_forward_proj="gated-gelu"),
    "bart": lambda: BartConfig(**BART, decoder_start_token_id=3),
    "mbart": lambda: MBartConfig(**BART),
    "pegasus": lambda: PegasusConfig(**BART, decoder_start_token_id=0),
}

IMAGES: dict[str, MakeConfig] = {
    "vit": lambda: ViTConfig(**PATCHES),
    "swin": lambda: SwinConfig(
        image_size=IMAGE_SIZE, patch_size=2, embed_dim=16, depths=[1, 1], num_heads=[2, 4], window_size=4
    ),
    "convnext": lambda: ConvNextConfig(image_size=IMAGE_SIZE, hidden_sizes=[16, 32], depths=[1, 1], num_stages=2),
    "resnet": lambda: ResNetConfig(
        embedding_size=8, hidden_sizes=[16, 32], depths=[1, 1], layer_type="basic", hidden_act="relu"
    ),
    "dinov2": lambda: Dinov2Config(**{**PATCHES, "mlp_ratio": 2}),
}

AUDIO: dict[str, MakeConfig] = {
    "wav2vec2": lambda: Wav2Vec2Config(**SPEECH),
    "hubert": lambda: HubertConfig(**SPEECH),
    "whisper": lambda: WhisperConfig(
        **{**BART, "max_position_embeddings": None},
        num_mel_bins=MEL_BINS,
        max_source_positions=MEL_FRAMES // 2,
        max_target_positions=20,
        decoder_start_token_id=2,
    ),
}

TWO_INPUTS: dict[str, MakeConfig] = {
    "clip": lambda: CLIPConfig(text_config=TEXT, vision_config=PATCHES, projection_dim=20),
    "siglip": lambda: SiglipConfig(text_config={**TEXT, "projection_size": 32}, vision_config=PATCHES),
    "vilt": lambda: ViltConfig(**TEXT, image_size=IMAGE_SIZE, patch_size=8),
}

TEXTS = {**TEXT_ENCODERS, **TEXT_DECODERS, **ENCODER_DECODERS}
"""Families that read text alone."""

FAMILIES = {**TEXTS, **IMAGES, **AUDIO, **TWO_INPUTS}
"""All families."""


def tiny_backbone_config(family: str, **changes: Any) -> PreTrainedConfig:
    """
    A new config of a family, with some fields changed.

    Example:
        >>> tiny_backbone_config("vit").hidden_size
        32
    """
    config = FAMILIES[family]()
    for name, value in changes.items():
        setattr(config, name, value)
    return config


def tiny_backbone(family: str, **changes: Any) -> Backbone:
    """A backbone of a family with random weights, in evaluation mode and in float64, so that comparisons are sharp."""
    return Backbone.from_config(tiny_backbone_config(family, **changes)).eval().double()


def tiny_backbone_inputs(family: str, rows: int = 3, seed: int = 0) -> dict[str, torch.Tensor]:
    """
    A batch for a backbone of a family: what the family reads, row i with i parts of padding on the right.

    Args:
        family (`str`): The family.
        rows (`int`, *optional*, defaults to 3): Rows, 3 at most.
        seed (`int`, *optional*, defaults to 0): Which ids, pixels and samples.

    Returns:
        `dict[str, torch.Tensor]`: Inputs of the model.

    Example:
        >>> {name: tuple(value.shape) for name, value in tiny_backbone_inputs("clip").items()}
        {'input_ids': (3, 7), 'attention_mask': (3, 7), 'pixel_values': (3, 3, 16, 16)}
    """
    generator = torch.Generator().manual_seed(seed)
    inputs = {}
    if family in TEXTS or family in TWO_INPUTS:
        inputs |= _text(rows, generator)
    if family in IMAGES or family in TWO_INPUTS:
        inputs["pixel_values"] = torch.randn(rows, 3, IMAGE_SIZE, IMAGE_SIZE, generator=generator)
    if family == "vilt":
        inputs["pixel_mask"] = _first(torch.tensor([16, 8, 16])[:rows], IMAGE_SIZE).unsqueeze(1).repeat(1, 16, 1)
    if family == "whisper":
        inputs["input_features"] = torch.randn(rows, MEL_BINS, MEL_FRAMES, generator=generator)
        inputs["attention_mask"] = _first(MEL_FRAMES - 7 * torch.arange(rows), MEL_FRAMES)
    elif family in AUDIO:
        mask = _first(SAMPLES - 31 * torch.arange(rows), SAMPLES)
        inputs["input_values"] = torch.randn(rows, SAMPLES, generator=generator) * mask
        inputs["attention_mask"] = mask
    return inputs


def _text(rows: int, generator: torch.Generator) -> dict[str, torch.Tensor]:
    """Rows of 7, 6 and 5 tokens, the last of each a [SEP]."""
    length, lengths = 7, 7 - torch.arange(rows)
    input_ids = torch.randint(len(SPECIAL_TOKENS), len(VOCABULARY), (rows, length), generator=generator)
    input_ids[torch.arange(rows), lengths - 1] = VOCABULARY.index("[SEP]")
    mask = _first(lengths, length)
    return {"input_ids": input_ids * mask, "attention_mask": mask}


def _first(lengths: torch.Tensor, length: int) -> torch.Tensor:
    """A mask with a number of ones in each row."""
    return (torch.arange(length) < lengths.unsqueeze(1)).long()
