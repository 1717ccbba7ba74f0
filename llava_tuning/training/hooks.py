"""What a run shows and leaves behind: answers at intervals, a progress bar, a loss curve."""

from __future__ import annotations

import json
import logging
import resource
import sys
import time
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from mmengine.dist import get_world_size, is_main_process
from mmengine.hooks import Hook
from mmengine.runner import Runner
from transformers.integrations import is_deepspeed_zero3_enabled
from xtuner.utils import IMAGE_TOKEN_INDEX

from llava_tuning.errors import UserError
from llava_tuning.models.conversation import Message, render_conversation
from llava_tuning.models.pictures import open_picture
from llava_tuning.runs.files import LOSS_FILE, SAMPLES_FILE, hold, read_rows
from llava_tuning.training.checkpoint import POSITION
from llava_tuning.training.language_model import LanguageModelStep
from llava_tuning.training.quiet import set_console_level


class SampleAnswersHook(Hook):
    """Greedy answers to fixed questions before training, every N steps and at the end.

    They go to the log and to `samples.jsonl` (step, image, question, answer) in the work directory. Under
    ZeRO-3 on several processes there are none: the first process has but its share of the weights.
    """

    priority = "LOW"

    def __init__(
        self,
        every_n_iters: int,
        questions: Sequence[str],
        images: Sequence[str] = (),
        max_new_tokens: int = 48,
    ) -> None:
        self.every_n_iters = every_n_iters
        self.questions = list(questions)
        pictures: list[str | None] = list(images) or [None]
        self.images = pictures * len(self.questions) if len(pictures) == 1 else pictures
        self.max_new_tokens = max_new_tokens

    def before_train(self, runner: Runner) -> None:
        if is_main_process():
            keep_rows(Path(runner.work_dir) / SAMPLES_FILE, before=runner.iter)
            if self.questions and _spreads_weights():
                runner.logger.warning("ZeRO-3 on several processes: no sample answers while it trains")
        self._sample(runner, runner.iter)

    def after_train_iter(
        self, runner: Runner, batch_idx: int, data_batch: Any = None, outputs: Any = None
    ) -> None:
        step = runner.iter + 1
        if step % self.every_n_iters == 0 or step == runner.max_iters:
            self._sample(runner, step)

    def _sample(self, runner: Runner, step: int) -> None:
        if not is_main_process() or _spreads_weights():
            return
        model = getattr(runner.model, "module", runner.model)
        dataset = runner.train_dataloader.dataset
        was_training = model.training
        model.eval()
        with (Path(runner.work_dir) / SAMPLES_FILE).open("a", encoding="utf-8") as file:
            for image, question in zip(self.images, self.questions, strict=False):
                answer = greedy_answer(model, dataset, question, image, self.max_new_tokens)
                row = {"step": step, "image": image, "question": question, "answer": answer}
                file.write(json.dumps(row, ensure_ascii=False) + "\n")
                runner.logger.info(f"step {step} | {image or 'no picture'} | {question} | {answer}")
        model.train(was_training)


def _spreads_weights() -> bool:
    """Whether one process alone cannot answer, and would wait for the others for ever."""
    return get_world_size() > 1 and is_deepspeed_zero3_enabled()


@torch.no_grad()
def greedy_answer(
    model: LanguageModelStep, dataset: Any, question: str, image: str | None, max_new_tokens: int
) -> str:
    """The training model's own greedy answer; `dataset` supplies tokenizer, pictures and their processor."""
    rendered = render_conversation(
        dataset.tokenizer,
        [Message("user", question, images=int(image is not None))],
        image_token_id=IMAGE_TOKEN_INDEX,
        tokens_per_image=dataset.patches,
        generation_prompt=True,
    )
    device = next(model.llm.parameters()).device
    pixels = None
    if image is not None:
        picture = open_picture(Path(dataset.image_folder) / image)
        pixels = dataset.image_processor(picture, return_tensors="pt")["pixel_values"].to(device)
    with model.autocast():
        embeds = model.embed(torch.tensor([rendered.input_ids], device=device), pixels)
        ids = model.llm.generate(
            inputs_embeds=embeds,
            attention_mask=torch.ones(embeds.shape[:2], dtype=torch.long, device=device),
            max_new_tokens=max_new_tokens,
            do_sample=False,
            use_cache=True,
            pad_token_id=dataset.tokenizer.pad_token_id or 0,
        )
    return dataset.tokenizer.decode(ids[0], skip_special_tokens=True).strip()


class PlainCheckpointHook(Hook):
    """Keeps mmengine's log history out of checkpoints.

    The history pickles methods, which `weights_only=True` refuses for good reason; only smoothed log values
    are lost.
    """

    def before_save_checkpoint(self, runner: Runner, checkpoint: dict[str, Any]) -> None:
        checkpoint["message_hub"] = {"log_scalars": {}, "runtime_info": {}, "resumed_keys": {}}


class RandomStateHook(Hook):
    """Dropout goes on where it stopped: the random state is saved, and restored before a resumed run's step.

    One process writes the checkpoint, so its state alone is kept; further processes draw anew.
    """

    def __init__(self) -> None:
        self.saved: dict[str, torch.Tensor] = {}

    def before_save_checkpoint(self, runner: Runner, checkpoint: dict[str, Any]) -> None:
        checkpoint["random_state"] = {"cpu": torch.get_rng_state()}
        if torch.cuda.is_available():
            checkpoint["random_state"]["cuda"] = torch.cuda.get_rng_state()

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict[str, Any]) -> None:
        if is_main_process() and runner._resume:
            self.saved = checkpoint.get("random_state", {})

    def before_train_iter(self, runner: Runner, batch_idx: int, data_batch: Any = None) -> None:
        # Not earlier: the data loader draws from the same generator while it skips what was trained on.
        if not self.saved:
            return
        torch.set_rng_state(self.saved["cpu"].cpu())
        if "cuda" in self.saved and torch.cuda.is_available():
            torch.cuda.set_rng_state(self.saved["cuda"].cpu())
        self.saved = {}


def _check_shapes(model: Any, state: dict[str, torch.Tensor]) -> None:
    """A checkpoint has every trained weight in its shape, and no other."""
    own = {name: value.shape for name, value in getattr(model, "module", model).state_dict().items()}
    its = {name: value.shape for name, value in state.items()}
    for name in sorted(own.keys() | its.keys()):
        if own.get(name) != its.get(name):
            shapes = [
                tuple(shape) if shape is not None else "not there" for shape in (its.get(name), own.get(name))
            ]
            raise UserError(
                f"the checkpoint does not fit this run: {name} is {shapes[0]} in it, and {shapes[1]} here; "
                "name one of a run on the same base models and with the same adapters"
            )


class PositionHook(Hook):
    """Keeps in checkpoints where the run is in its data; a resumed run's rate follows its own schedule.

    mmengine restores the schedule that the checkpoint was written under, which ends where that run would have
    ended.
    """

    def __init__(self) -> None:
        self.resumed = False

    def before_save_checkpoint(self, runner: Runner, checkpoint: dict[str, Any]) -> None:
        position = runner.train_loop.position()
        if position is not None:
            # `iter` is raised after the hooks that save.
            checkpoint[POSITION] = {**position, "batches": position["batches"] + 1}

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict[str, Any]) -> None:
        _check_shapes(runner.model, checkpoint["state_dict"])  # mmengine leaves out what does not fit
        if not runner._resume:  # never called under DeepSpeed
            return
        runner.train_loop.resume(checkpoint.get(POSITION))
        checkpoint.pop("param_schedulers", None)
        first = runner.optim_wrapper.optimizer.param_groups  # of this run's step 1
        for group, new in zip(checkpoint["optimizer"]["param_groups"], first, strict=True):
            group.update(lr=new["lr"], initial_lr=new["initial_lr"])
        self.resumed = True

    def before_train(self, runner: Runner) -> None:
        if not self.resumed:
            return
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # schedulers want to see a step of the optimizer first
            for _ in range(runner.iter + runner.train_loop.ahead):
                for scheduler in runner.param_schedulers:
                    scheduler.step()


class ProgressHook(Hook):
    """A bar with loss and time left on a terminal; elsewhere mmengine's log lines say the same."""

    def __init__(self) -> None:
        self.progress: Any = None

    def before_train(self, runner: Runner) -> None:
        if not is_main_process():
            return
        if not sys.stdout.isatty():
            set_console_level(runner.logger, logging.INFO)
            return
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

        set_console_level(runner.logger, logging.WARNING)
        self.progress = Progress(
            TextColumn("training"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("loss {task.fields[loss]}"),
            TimeRemainingColumn(),
        )
        self.progress.start()
        self.task = self.progress.add_task("train", total=runner.max_iters, completed=runner.iter, loss="–")

    def after_train_iter(
        self, runner: Runner, batch_idx: int, data_batch: Any = None, outputs: Any = None
    ) -> None:
        if self.progress is not None:
            self.progress.update(self.task, completed=runner.iter + 1, loss=f"{outputs['loss'].item():.3f}")

    def after_train(self, runner: Runner) -> None:
        if self.progress is not None:
            self.progress.stop()


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
        self.peak = max(self.peak, _peak_memory())  # mmengine's log has PyTorch count anew
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


def _peak_memory() -> float:
    if torch.cuda.is_available():
        peak = torch.cuda.max_memory_allocated()
    else:
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    return round(peak / 2**30, 2)


def keep_rows(path: Path, before: int) -> None:
    """Drop the rows from step `before` on: a run that starts or resumes there writes them anew."""
    kept = [row for row in read_rows(path) if row["step"] < before]
    text = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in kept)
    path.write_text(text, encoding="utf-8")


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
