"""The training loop's single step."""

from __future__ import annotations

from collections.abc import Iterator
from threading import Event
from types import SimpleNamespace
from typing import Any

import pytest
from torch import nn

from llava_tuning.errors import UserError
from llava_tuning.training.loop import TokenMeanLoop, read_ahead


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


@pytest.mark.parametrize("count", [1, 2])
def test_the_next_batch_is_asked_for_while_a_step_runs(count: int) -> None:
    asked = [Event() for _ in range(6)]

    def batches() -> Iterator[int]:
        for number, event in enumerate(asked):
            event.set()
            yield number

    seen = []
    for number in read_ahead(batches(), count):
        seen.append(number)
        assert all(event.wait(60) for event in asked[: number + count + 1])
    assert seen == [0, 1, 2, 3, 4, 5]


def test_batches_before_a_bad_one_are_trained_on_first() -> None:
    def batches() -> Iterator[int]:
        yield from (1, 2)
        raise UserError("a picture is broken")

    ahead = read_ahead(batches(), 3)
    assert [next(ahead), next(ahead)] == [1, 2]
    with pytest.raises(UserError, match="a picture is broken"):
        next(ahead)
