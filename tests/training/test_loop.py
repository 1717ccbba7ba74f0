"""The training loop's single step."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from torch import nn

from llava_tuning.training.loop import TokenMeanLoop


class Recorder(nn.Module):
    """Notes the mode in which each step found it."""

    def __init__(self) -> None:
        super().__init__()
        self.module = nn.Dropout(0.5)  # as a wrapper for several processes has it
        self.found: list[bool] = []

    def train_step(self, _data: Any, optim_wrapper: None) -> dict[str, Any]:
        self.found.append(self.training and self.module.training)
        return {}


@pytest.mark.parametrize("inner", [False, True])
def test_a_step_trains_although_a_hook_left_the_model_in_the_other_mode(inner: bool) -> None:
    model = Recorder()
    loop = TokenMeanLoop.__new__(TokenMeanLoop)
    loop._runner = SimpleNamespace(model=model, call_hook=lambda *_, **__: None, optim_wrapper=None)
    loop._iter = 0
    for _ in range(2):
        loop._run_step({}, None)
        (model.module if inner else model).eval()
    loop._run_step({}, None)
    assert model.found == [True, True, True]


def test_what_was_loaded_in_the_other_mode_trains_from_the_first_step(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    model = Recorder()
    model.module.eval()  # as `from_pretrained` leaves it, below a root in training mode
    loop = TokenMeanLoop.__new__(TokenMeanLoop)
    loop._runner = SimpleNamespace(model=model, call_hook=lambda *_, **__: None, optim_wrapper=None, cfg={})
    loop._iter, loop.max_iters, loop.stop_training = 0, 1, False
    part = nn.Sequential(nn.Dropout(0.5)).eval()
    model.part = part
    monkeypatch.setattr(loop, "_from_here", lambda: iter([{"data": {"targets": [1]}}]))
    loop.run()
    assert model.found == [True] and part.training and part[0].training
