"""
Strategies of continual learning on as many processes as were started, each with the same rows in a step.

Called with a folder, to which the first process writes the weights that each strategy ends with.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

from safetensors.torch import save_file

from continual_streams import class_stream, make_continual, weights

ROWS = 8
STRATEGIES: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "ncm": ({}, {}),
    "ranpac": ({}, {"hidden_sizes": [16], "hidden_act": "relu"}),
    "l2p": ({"pool_size": 4, "prompt_length": 2, "top_k": 2}, {}),
    "twf": ({"buffer_size": 12}, {}),
}


def main(folder: Path) -> None:
    """Train with each strategy, and write its weights."""
    processes = int(os.environ.get("WORLD_SIZE", "1"))
    for name, (options, head) in STRATEGIES.items():
        trainer = make_continual(
            folder / f"{name}-{processes}",
            class_stream(**head),
            {"name": name, **options},
            per_device_train_batch_size=ROWS // processes,
        )
        trainer.train()
        if trainer.trainer is not None and trainer.trainer.is_world_process_zero():
            save_file(weights(trainer.model), folder / f"{name}-{processes}.safetensors")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
