"""Attention over a packed row equals attention over each sample alone, on the CPU and in the GPU's kernel."""

from __future__ import annotations

from itertools import pairwise

import pytest
import torch
from exactness import assert_same, named
from torch.nn import functional

from llava_tuning.training.attention import Layout, packed_attention

LENGTHS = [5, 1, 130, 77]
SHAPES = [(9, 3, 64), (16, 8, 128)]  # heads, key-value heads, head size: SmolLM2-135M's and InternLM2-1.8B's


def random_row(heads: int, groups: int, size: int) -> tuple[list[torch.Tensor], torch.Tensor]:
    """Query, key and value of a row of samples, and where the samples start."""
    torch.manual_seed(0)
    rows = [torch.randn(1, n, sum(LENGTHS), size) for n in (heads, groups, groups)]
    return rows, torch.tensor([0, *torch.tensor(LENGTHS).cumsum(0)], dtype=torch.int32)


def layout(starts: torch.Tensor, padded: bool) -> Layout:
    """With the places of a padded batch, or without."""
    if not padded:
        return Layout(starts, max(LENGTHS))
    width = 192
    grid = torch.full((len(LENGTHS), width), -1, device=starts.device)
    for sample, (a, b) in enumerate(pairwise(starts.tolist())):
        grid[sample, : b - a] = torch.arange(a, b)
    return Layout(starts, max(LENGTHS), grid, (grid.flatten() >= 0).nonzero()[:, 0])


def one_by_one(rows: list[torch.Tensor], starts: torch.Tensor) -> torch.Tensor:
    """Each sample with a causal mask, written out."""
    query, key, value = rows
    groups = query.shape[1] // key.shape[1]
    outputs = []
    for a, b in pairwise(starts.tolist()):
        q, k, v = query[:, :, a:b], key[:, :, a:b], value[:, :, a:b]
        k, v = k.repeat_interleave(groups, 1), v.repeat_interleave(groups, 1)
        scores = q @ k.transpose(2, 3) * q.shape[-1] ** -0.5
        later = torch.ones(b - a, b - a, dtype=torch.bool, device=q.device).triu(1)
        outputs.append(functional.softmax(scores.masked_fill(later, -torch.inf), dim=-1) @ v)
    return torch.cat(outputs, dim=2).transpose(1, 2)


def gradients(output: torch.Tensor, rows: list[torch.Tensor]) -> list[torch.Tensor]:
    weights = torch.linspace(-1, 1, output.numel(), device=output.device).view(output.shape)
    return list(torch.autograd.grad((output.float() * weights).sum(), rows))


@pytest.mark.parametrize("padded", [False, True])
@pytest.mark.parametrize(("heads", "groups", "size"), SHAPES)
def test_a_packed_row_equals_its_samples(heads: int, groups: int, size: int, padded: bool) -> None:
    rows, starts = random_row(heads, groups, size)
    for row in rows:
        row.requires_grad_()
    found, _ = packed_attention(torch.nn.Identity(), *rows, layout=layout(starts, padded), scaling=size**-0.5)
    expected = one_by_one(rows, starts)
    mine, other = ([output, *gradients(output, rows)] for output in (found, expected))
    assert_same(named(mine), named(other))


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs an NVIDIA GPU")
@pytest.mark.parametrize("padded", [False, True])
@pytest.mark.parametrize(("heads", "groups", "size"), SHAPES)
def test_the_gpus_kernel_equals_them_too(heads: int, groups: int, size: int, padded: bool) -> None:
    rows, starts = random_row(heads, groups, size)
    rows = [row.cuda().requires_grad_() for row in rows]
    half = [row.detach().bfloat16().requires_grad_() for row in rows]
    found, _ = packed_attention(
        torch.nn.Identity(), *half, layout=layout(starts.cuda(), padded), scaling=size**-0.5
    )
    expected = one_by_one(rows, starts)
    pairs = zip([found, *gradients(found, half)], [expected, *gradients(expected, rows)], strict=True)
    for mine, other in pairs:
        assert (mine.float() - other).norm() / other.norm() < 1e-2
