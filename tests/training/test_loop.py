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
    loop._runner, loop._iter = (
        SimpleNamespace(model=model, call_hook=lambda *_, **__: None, optim_wrapper=None),
        0,
    )
    for _ in range(2):
        loop._run_step({}, None)
        (model.module if inner else model).eval()
    loop._run_step({}, None)
    assert model.found == [True, True, True]
