"""Tasks, their rows, and the mixture of both."""

from __future__ import annotations

from .collator import DataCollatorForMultiTask
from .dataset import GOLD_PREFIX, LABEL_PREFIX, TASK_INDEX, MultiTaskDataset
from .inputs import (
    APART,
    MEDIA,
    SEVERAL,
    EncodedTexts,
    check_inputs,
    encode_texts,
    outputs_given,
    sequence_table,
    text_inputs,
)
from .media import check_media
from .mixture import Mixture
from .plan import MixturePlan, TaskPlan, plan_mixture
from .prepared import PreparedTasks
from .preprocessing import complete_heads, find_max_length, prepare_split
from .processing import Processing, load_processing
from .sampler import MultiTaskBatchSampler
from .shares import shares_of
from .streaming import MultiTaskStream
from .task import SPLITS, Task, label_sources, load_splits

__all__ = [
    "APART",
    "GOLD_PREFIX",
    "LABEL_PREFIX",
    "MEDIA",
    "SEVERAL",
    "SPLITS",
    "TASK_INDEX",
    "DataCollatorForMultiTask",
    "EncodedTexts",
    "Mixture",
    "MixturePlan",
    "MultiTaskBatchSampler",
    "MultiTaskDataset",
    "MultiTaskStream",
    "PreparedTasks",
    "Processing",
    "Task",
    "TaskPlan",
    "check_inputs",
    "check_media",
    "complete_heads",
    "encode_texts",
    "find_max_length",
    "label_sources",
    "load_processing",
    "load_splits",
    "outputs_given",
    "plan_mixture",
    "prepare_split",
    "sequence_table",
    "shares_of",
    "text_inputs",
]
