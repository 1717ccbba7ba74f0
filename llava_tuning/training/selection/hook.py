"""Scores a run at each of its checkpoints on a sample, and ends it when the name leaks."""

from __future__ import annotations

from pathlib import Path
from shlex import quote
from typing import Any

import torch
from mmengine.device import get_device
from mmengine.dist import broadcast, is_main_process
from mmengine.hooks import Hook
from mmengine.runner import Runner

from llava_tuning.runs.files import SCORES_FILE, STOP_FILE, keep_rows
from llava_tuning.runs.scores import Goals, Scores
from llava_tuning.training.selection.book import Book, read_scores, write_json_file, write_scores
from llava_tuning.training.selection.plot import PLOT_FILE, draw
from llava_tuning.training.selection.questions import read_questions, sample_questions
from llava_tuning.training.selection.scores import Answered, summarise
from llava_tuning.training.selection.scoring import score

BATCH_SIZE = 32  # questions at a time, beside what training keeps in memory


class SelectionHook(Hook):
    """Greedy answers to a sample of the held-out questions at each checkpoint and before the first step.

    They are kept where `select` finds them, so it asks only what is left. With a `leakage_limit`, a run ends
    at the second checkpoint in a row whose leakage is above it: early in training a model may say its name
    everywhere for a while.

    Args:
        sample: questions of each part.
        leakage_limit: share, 0 to 1; None never ends the run.
        data: what the run trains on.
        held_out, general: see `read_questions`.
        max_length: tokens of a general conversation whose likelihood counts.
    """

    priority = "LOW"  # before the checkpoint is written

    def __init__(
        self,
        sample: int,
        leakage_limit: float | None,
        data: str,
        held_out: str | None,
        general: str | None,
        max_length: int,
    ) -> None:
        paths = (None if path is None else Path(path) for path in (held_out, general))
        self.questions = sample_questions(read_questions(Path(data), *paths), sample)
        self.leakage_limit = leakage_limit
        self.max_length = max_length
        self.base: list[Answered] = []
        self.scores: list[Scores] = []

    def before_train(self, runner: Runner) -> None:
        if not is_main_process():
            return
        work_dir = Path(runner.work_dir)
        (work_dir / STOP_FILE).unlink(missing_ok=True)
        keep_rows(work_dir / SCORES_FILE, before=runner.iter + 1)
        self.book = Book(work_dir)
        self.scores = read_scores(work_dir)  # of what a resumed run had done before
        model = getattr(runner.model, "module", runner.model)
        if model.use_llm_lora or runner.iter == 0:
            self.base = self._ask(runner, 0)
            self._note(runner, summarise(0, self.base, self.base))
        else:  # the base model's weights are gone
            self.base = self.book.base_answers(self.questions)

    def after_train_iter(
        self, runner: Runner, batch_idx: int, data_batch: Any = None, outputs: Any = None
    ) -> None:
        step = runner.iter + 1
        if step % runner.cfg.default_hooks.checkpoint.interval and step != runner.max_iters:
            return
        stop = torch.zeros(1, device=get_device())
        if is_main_process():
            self._note(runner, summarise(step, self._ask(runner, step), self.base))
            stop += self._leaks(runner)
        broadcast(stop)
        if stop.item():
            runner.train_loop.stop_training = True

    def _ask(self, runner: Runner, step: int) -> list[Answered]:
        model = getattr(runner.model, "module", runner.model)
        tokenizer = runner.train_dataloader.dataset.tokenizer
        return score(
            model, tokenizer, self.questions, self.book, step, self.max_length, BATCH_SIZE, base=step == 0
        )

    def _note(self, runner: Runner, scores: Scores) -> None:
        others = [row for row in self.scores if row.step != scores.step]
        self.scores = sorted([*others, scores], key=lambda row: row.step)
        work_dir = Path(runner.work_dir)
        write_scores(work_dir, [scores])
        draw(self.scores, Goals(), work_dir / PLOT_FILE, work_dir.name)
        lost = "unknown" if scores.retention_loss is None else f"{scores.retention_loss:.1%}"
        runner.logger.info(
            f"step {scores.step} | recall {scores.recalled} of {scores.identity} | leakage {scores.leaked} "
            f"of {scores.contrast + scores.general} | retention loss {lost}"
        )

    def _leaks(self, runner: Runner) -> bool:
        """Whether the last two checkpoints are above the limit; says so and leaves a note for `select`."""
        limit = self.leakage_limit
        last = [row for row in self.scores[-2:] if row.step > 0]
        if limit is None or len(last) < 2 or any(row.leakage <= limit for row in last):
            return False
        now = last[-1]
        shares = " and ".join(f"{row.leakage:.0%} at step {row.step}" for row in last)
        reason = (
            f"stopped early: the name leaked into {shares} of {now.contrast + now.general} answers, more "
            f"than leakage_limit = {limit}. Checkpoints are kept: "
            f"`llava-tuning select {quote(runner.work_dir)}`"
        )
        runner.logger.warning(reason)
        row = {"step": now.step, "leakage": round(now.leakage, 5), "limit": limit, "reason": reason}
        write_json_file(Path(runner.work_dir) / STOP_FILE, row)
        return True
