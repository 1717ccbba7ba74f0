"""Started by torchrun in `test_processes.py`: trains by each config of a folder, one after the other.

Beside what a run leaves, each process notes whether its row of each step held pictures.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import torch

from llava_tuning.training import compat

compat.apply()

from mmengine.config import Config  # noqa: E402
from mmengine.dist import get_rank  # noqa: E402
from mmengine.hooks import Hook  # noqa: E402
from mmengine.runner import Runner  # noqa: E402

from llava_tuning.training.run import leave_together  # noqa: E402


class Pictures(Hook):
    """Notes which steps had pictures in this process."""

    def __init__(self) -> None:
        self.steps: list[bool] = []

    def before_train_iter(self, runner: Runner, batch_idx: int, data_batch: Any = None) -> None:
        self.steps.append("pixel_values" in data_batch["data"])


def main(folder: Path) -> None:
    """Train by every `*.config.py` of the folder."""
    torch.set_num_threads(1)
    for path in sorted(folder.glob("*.config.py")):
        config = Config.fromfile(path)
        config.work_dir = str(folder / path.name.removesuffix(".config.py"))
        config.experiment_name = path.stem
        config.launcher = "pytorch"
        runner = Runner.from_cfg(config)
        pictures = Pictures()
        runner.register_hook(pictures)
        runner.train()
        (Path(config.work_dir) / f"pictures_{get_rank()}.json").write_text(json.dumps(pictures.steps))
    leave_together()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
