"""Loss, size, memory and seconds of each step, in a file and drawn."""

from __future__ import annotations

import json
import resource
import time
from pathlib import Path
from typing import Any

import torch
from mmengine.dist import get_world_size, is_main_process
from mmengine.hooks import Hook
from mmengine.runner import Runner

from llava_tuning.runs.files import LOSS_FILE, hold, keep_rows, read_rows


class WaitHook(Hook):
    """Notes for `LossCurveHook` when a step began and how long it waited for its data."""

    priority = "LOWEST"  # after all that others do between two steps

    def before_train(self, runner: Runner) -> None:
        self.ended = time.perf_counter()

    def before_train_iter(self, runner: Runner, batch_idx: int, data_batch: Any = None) -> None:
        now = time.perf_counter()
        runner.message_hub.update_info("step_began", now)
        runner.message_hub.update_info("waited", now - self.ended)

    def after_train_iter(
        self, runner: Runner, batch_idx: int, data_batch: Any = None, outputs: Any = None
    ) -> None:
        self.ended = time.perf_counter()


class LossCurveHook(Hook):
    """Appends a row a step to `loss.jsonl`; draws `loss.png` at checkpoints and at the end.

    A row has step, loss, rate, the step's samples and tokens (of one process, times the processes), the most
    memory that this process has taken so far in GiB (the GPU's, or the machine's without one), the step's
    seconds, and of these the seconds waited for data; what other hooks do between two steps (answers,
    checkpoints) counts in neither.
    """

    priority = "BELOW_NORMAL"  # before the scheduler sets the next step's rate
    peak = 0.0

    def before_train(self, runner: Runner) -> None:
        if not is_main_process():
            return
        path = Path(runner.work_dir) / LOSS_FILE
        keep_rows(path, before=runner.iter + 1)
        self.file = path.open("a", encoding="utf-8", buffering=1)  # a line a step, for those who watch
        hold(self.file)
        self.interval = runner.cfg.default_hooks.checkpoint.interval

    def after_train_iter(
        self, runner: Runner, batch_idx: int, data_batch: Any = None, outputs: Any = None
    ) -> None:
        if not is_main_process():
            return
        step = runner.iter + 1
        loss = outputs["loss"].item()
        lr = runner.optim_wrapper.get_lr()["lr"][0]
        model = getattr(runner.model, "module", runner.model)
        self.peak = max(self.peak, _peak_memory(model))  # mmengine's log has PyTorch count anew
        row = {"step": step, "loss": loss, "lr": lr, **_size(data_batch), "memory_gib": self.peak}
        began = runner.message_hub.get_info("step_began")
        if began is not None:  # configs copied from older versions have no WaitHook
            waited = runner.message_hub.get_info("waited")
            row |= {"seconds": round(time.perf_counter() - began + waited, 4), "waited": round(waited, 4)}
        self.file.write(json.dumps(row) + "\n")
        if step % self.interval == 0:
            draw_losses(Path(runner.work_dir))

    def after_train(self, runner: Runner) -> None:
        if is_main_process():
            self.file.close()
            draw_losses(Path(runner.work_dir))


def _size(batch: Any) -> dict[str, int]:
    """Samples and tokens (picture positions included) of a step; nothing for batches of the user's own."""
    try:
        data = batch["data"]
        samples, tokens = len(data["cu_seqlens"]) - 1, data["input_ids"].shape[1]
    except (KeyError, TypeError, IndexError):
        return {}
    return {"samples": samples * get_world_size(), "tokens": tokens * get_world_size()}


def _peak_memory(model: Any) -> float:
    if torch.cuda.is_available():
        peak = torch.cuda.max_memory_allocated() + getattr(model, "hidden_bytes", 0)
    else:
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    return round(peak / 2**30, 2)


def draw_losses(work_dir: Path) -> None:
    """`loss.png` from `loss.jsonl`: each step's loss and its moving average."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    rows = read_rows(work_dir / LOSS_FILE)
    if not rows:
        return
    steps = [row["step"] for row in rows]
    losses = [row["loss"] for row in rows]
    smooth, average = [], losses[0]
    for loss in losses:
        average = 0.95 * average + 0.05 * loss
        smooth.append(average)
    figure, axes = pyplot.subplots(figsize=(8, 4.5), dpi=110)
    axes.plot(steps, losses, color="#9db8d9", linewidth=0.8, label="each step")
    axes.plot(steps, smooth, color="#1f4e8c", linewidth=1.8, label="moving average")
    axes.set(xlabel="step", ylabel="loss (nats per supervised token)", title=work_dir.name)
    axes.grid(alpha=0.3)
    axes.legend()
    figure.tight_layout()
    figure.savefig(work_dir / "loss.png")
    pyplot.close(figure)
