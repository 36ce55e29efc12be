"""What a test starts on several processes, and calls on one to compare: strategies of continual learning."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from continual_streams import class_stream, head_stream, make_continual
from launching import leave, spare_imports

STRATEGIES: dict[str, Any] = {
    # 5 rows for two processes, of which the first one has one more
    "agem": {"name": "agem", "buffer_size": 5},
    "gem": {"name": "gem", "buffer_size": 5},
    "ewc_online": {"name": "ewc_online", "ewc_lambda": 1e4, "fisher_rows": 7},
    "si": {"name": "si", "c": 10.0},
    # the classes of a step are those of the rows of all processes
    "er_ace": {"name": "er_ace", "buffer_size": 6},
    "icarl": {"name": "icarl", "buffer_size": 12},
    "gdumb": {"name": "gdumb", "buffer_size": 12},
    # old heads learn from a teacher, with rows that they have no label for
    "lwf": {"name": "lwf", "alpha": 5.0},
    "ncm": {"name": "ncm"},
    "ranpac": {"name": "ranpac"},
    "l2p": {"name": "l2p", "pool_size": 4, "prompt_length": 2, "top_k": 2},
    "twf": {"name": "twf", "buffer_size": 6},
    # its buffer has rows of heads that no row of the step has a label for
    "derpp+ewc_online": [{"name": "derpp", "buffer_size": 6}, {"name": "ewc_online", "ewc_lambda": 1e4}],
}
HEADS: dict[str, dict[str, Any]] = {"ranpac": {"hidden_sizes": [16], "hidden_act": "relu"}}
SCENARIOS = {"classes": class_stream, "heads": head_stream}
RUNS = [(name, kind) for name in STRATEGIES for kind in SCENARIOS if (name, kind) != ("icarl", "heads")]


def train(name: str, kind: str, folder: Path) -> None:
    """
    Make one of `RUNS`, in float64 and 8 rows a step, and save the weights.

    Args:
        name (`str`): The strategy.
        kind (`str`): The scenario.
        folder (`Path`): Where to save them.
    """
    processes = int(os.environ.get("WORLD_SIZE", "1"))
    given: dict[str, Any] = {"per_device_train_batch_size": 8 // processes, "weight_decay": 0.1}
    trainer = make_continual(
        folder / f"{name}-{kind}", SCENARIOS[kind](**HEADS.get(name, {})), STRATEGIES[name], **given
    )
    trainer.model.double()
    trainer.train()
    if trainer.args.process_index == 0:
        torch.save(trainer.model.state_dict(), folder / f"{name}-{kind}.pt")


if __name__ == "__main__":
    spare_imports()
    for strategy, scenario in RUNS:
        train(strategy, scenario, Path(sys.argv[1]))
    if torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()
    leave()
