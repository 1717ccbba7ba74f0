"""Layers are computed again only as far as memory demands, and computing them again changes nothing."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from llava_tuning.training.recompute import Mode, Recompute, layers_to_recompute


@given(st.integers(0, 80), st.integers(1, 10**9), st.integers(-(10**9), 10**11))
def test_what_is_kept_fits_and_no_layer_more_would(layers: int, each: int, room: int) -> None:
    again = layers_to_recompute(layers, each, room)
    assert 0 <= again <= layers
    kept = layers - again
    assert kept == 0 or kept * each <= room
    assert again == 0 or (kept + 1) * each > room


def test_layers_that_keep_nothing_are_never_recomputed() -> None:
    assert layers_to_recompute(5, 0, 0) == 0


@pytest.mark.parametrize(("mode", "runs"), [(False, 1), (True, 2), ("auto", 1)])
def test_the_backward_pass_runs_recomputed_layers_again(mode: Mode, runs: int) -> None:
    """Without a GPU, whose memory could be asked, "auto" keeps everything."""
    torch.manual_seed(0)
    layers = nn.ModuleList([nn.Sequential(nn.Linear(4, 4), nn.Dropout(0.5), nn.Tanh()) for _ in range(3)])
    calls = []

    def step(layer: nn.Module, hidden: torch.Tensor) -> torch.Tensor:
        calls.append(layer)
        output: torch.Tensor = layer(hidden)
        return output

    x = torch.randn(2, 4)

    def gradient(policy: Recompute) -> torch.Tensor:
        torch.manual_seed(1)
        policy.run(layers, step, x).sum().backward()
        grad = layers[0][0].weight.grad  # type: ignore[index, union-attr]
        assert isinstance(grad, torch.Tensor)
        layers.zero_grad()
        return grad.clone()

    policy = Recompute(mode)
    found = gradient(policy)
    assert len(calls) == 3 * runs
    assert policy.recomputed == (3 if mode is True else 0)
    torch.testing.assert_close(found, gradient(Recompute(False)), rtol=0, atol=0)  # dropout included


def test_nothing_is_recomputed_where_nothing_is_learnt() -> None:
    policy = Recompute(True)
    with torch.no_grad():
        policy.run([nn.Linear(2, 2)], lambda layer, x: layer(x), torch.ones(1, 2))
    assert policy.recomputed == 0


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs an NVIDIA GPU")
def test_a_gpus_memory_decides() -> None:
    layers = nn.ModuleList(
        [nn.Sequential(nn.Linear(256, 4096), nn.GELU(), nn.Linear(4096, 256)) for _ in range(8)]
    )
    layers = layers.cuda()
    x = torch.randn(4096, 256, device="cuda", requires_grad=True)
    used = {}
    for mebibytes in (300, 2500, 8000):
        policy = Recompute("auto", limit=mebibytes * 2**20)
        policy.run(layers, lambda layer, hidden: layer(hidden), x).sum().backward()
        used[mebibytes] = policy.recomputed
    assert used[300] == 7 and used[8000] == 0 and 0 < used[2500] < 7
