"""Numbers that are read a step later: none is lost, none is another step's."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from mmengine.logging import MessageHub

from llava_tuning.runs.files import LOSS_FILE
from llava_tuning.training.dataset import collate
from llava_tuning.training.hooks import LateRuntimeInfoHook, LossCurveHook, loss_curve, runtime_info
from llava_tuning.training.late import Late

DEVICES = [
    "cpu",
    pytest.param("cuda", marks=pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")),
]


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("steps", [0, 1, 3])
def test_each_number_comes_once_with_its_note_so_many_steps_later(steps: int, device: str) -> None:
    late = Late(steps)
    number = torch.zeros((), device=device)
    due = [late.put(number.add_(1), note=f"step {step}") for step in range(1, 6)]  # the same memory each time
    assert due == [[(f"step {n - steps}", float(n - steps))] if n > steps else [] for n in range(1, 6)]
    assert late.rest() == [(f"step {n}", float(n)) for n in range(6 - steps, 6)]
    assert late.rest() == []


@pytest.mark.parametrize("device", DEVICES)
def test_only_a_gpus_numbers_are_late(device: str) -> None:
    due = Late().put(torch.tensor(2.5, device=device))
    assert due == ([(None, 2.5)] if device == "cpu" else [])


@pytest.fixture
def runner(tmp_path: Path, request: pytest.FixtureRequest) -> Any:
    return SimpleNamespace(
        work_dir=str(tmp_path),
        cfg=SimpleNamespace(default_hooks=SimpleNamespace(checkpoint=SimpleNamespace(interval=3))),
        optim_wrapper=SimpleNamespace(get_lr=lambda: {"lr": [1e-3]}),
        message_hub=MessageHub.get_instance(request.node.name),
        train_dataloader=SimpleNamespace(dataset=None),
        **dict.fromkeys(("iter", "epoch", "max_epochs", "max_iters"), 0),
    )


def written(runner: Any) -> list[tuple[int, float]]:
    lines = (Path(runner.work_dir) / LOSS_FILE).read_text(encoding="utf-8").splitlines()
    return [(row["step"], row["loss"]) for row in map(json.loads, lines)]


def test_a_checkpoint_finds_all_rows_before_it(
    runner: Any, dataset: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loss_curve, "Late", lambda: Late(1))
    hook = LossCurveHook()
    hook.before_train(runner)
    batch = collate([dataset[0]])
    losses = [(step + 1, 2.0**-step) for step in range(5)]
    for step in range(5):
        runner.iter = step
        hook.after_train_iter(runner, step, batch, {"loss": torch.tensor(2.0**-step)})
        # The interval of checkpoints, which draw the curve, is 3.
        assert written(runner) == (losses[: step + 1] if step == 2 else losses[:step])
    hook.before_save_checkpoint(runner, {})
    assert written(runner) == losses
    hook.after_train(runner)
    assert written(runner) == losses


def test_the_last_row_is_written_when_the_run_ends(
    runner: Any, dataset: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loss_curve, "Late", lambda: Late(1))
    hook = LossCurveHook()
    hook.before_train(runner)
    hook.after_train_iter(runner, 0, collate([dataset[0]]), {"loss": torch.tensor(0.5)})
    assert written(runner) == []
    hook.after_train(runner)
    assert written(runner) == [(1, 0.5)]


def test_the_log_has_the_loss_of_the_step_before(runner: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runtime_info, "Late", lambda: Late(1))
    hook = LateRuntimeInfoHook()
    hook.before_train(runner)
    shown = []
    for step in range(3):
        hook.after_train_iter(runner, step, None, {"loss": torch.tensor(float(step))})
        known = runner.message_hub.log_scalars.get("train/loss")
        shown.append(None if known is None else known.current())
    assert shown == [None, 0.0, 1.0]
