"""What a run of the benchmark is told."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

__all__ = ["Settings"]


@dataclass(frozen=True)
class Settings:
    """
    Sizes of a run, and where it finds its model and its data.

    Args:
        backbone (`str`): Folder, or name on the hub, of the pretrained backbone.
        data (`Path`): Folder with `tweeteval_emotion/train.parquet` and the like.
        repeats (`int`): Runs of each variant.
        rows (`int`): Training rows of a run.
        batch_size (`int`): Rows of a batch.
        max_length (`int`): Length to which rows are cut (tokens).
        head_counts (`tuple[int, ...]`): Numbers of heads whose step time is measured.
        many_heads (`int`): Heads of the model that is built, saved, loaded and evaluated.
        head_steps (`int`): Optimizer steps of a run of the section `heads`.
        sampler_rows (`int`): Rows of all tasks of the section `sampler`.
        sampler_tasks (`int`): Tasks of the section `sampler`.
        accuracy_rows (`int`): Training rows of a run of the section `accuracy`; 0 for all.
        seeds (`int`): Seeds of the section `accuracy`.
        learning_rate (`float`): Of both, falling linearly to 0.
        device (`str`): `cpu` or `cuda`.
        peak_tflops (`float`, *optional*): Peak of the GPU in bf16 without sparsity (TFLOP/s), if it is not known.
    """

    backbone: str
    data: Path
    repeats: int = 5
    rows: int = 768
    batch_size: int = 32
    max_length: int = 128
    head_counts: tuple[int, ...] = (1, 4, 16, 64, 256)
    many_heads: int = 500
    head_steps: int = 32
    sampler_rows: int = 20_000_000
    sampler_tasks: int = 20
    accuracy_rows: int = 0
    seeds: int = 3
    learning_rate: float = 3e-4
    device: str = "cpu"
    peak_tflops: float | None = None
