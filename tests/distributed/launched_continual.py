"""What a test starts on several processes, and calls on one to compare: short continual runs in float64."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from safetensors.torch import save_file

from continual_streams import class_stream, head_stream, make_continual, weights

RUNS: dict[str, tuple[str, dict[str, Any]]] = {
    # heads that have no row in the step learn from rows out of the buffer, or from a teacher
    "derpp-heads": ("heads", {"name": "derpp", "buffer_size": 6}),
    "er_ace-heads": ("heads", {"name": "er_ace", "buffer_size": 6}),
    "lwf-heads": ("heads", {"name": "lwf", "alpha": 5.0}),
    # the classes of a step are those of the rows of all processes
    "er_ace-classes": ("classes", {"name": "er_ace", "buffer_size": 6}),
    "icarl-classes": ("classes", {"name": "icarl", "buffer_size": 12}),
    "gdumb-classes": ("classes", {"name": "gdumb", "buffer_size": 12}),
}
"""Name of a run -> its scenario and strategy."""
STREAMS = {"heads": head_stream, "classes": class_stream}
GLOBAL_BATCH = 4


def train(folder: Path, name: str, processes: int) -> None:
    """Make a run, and write the weights of this process."""
    kind, strategy = RUNS[name]
    given = {"per_device_train_batch_size": GLOBAL_BATCH // processes, "optim": "sgd", "learning_rate": 0.3}
    trainer = make_continual(folder / name, STREAMS[kind](24), strategy, **given)
    trainer.model.double()
    trainer.train()
    save_file(weights(trainer.model), folder / f"{name}-{trainer.args.process_index}.safetensors")


if __name__ == "__main__":
    for run in RUNS:
        train(Path(sys.argv[1]), run, int(os.environ["WORLD_SIZE"]))
