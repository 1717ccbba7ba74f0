"""A frozen feed-forward part whose gradient leaves in float8: its output is exact, its gradient near."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn
from transformers import LlamaConfig
from transformers.models.llama.modeling_llama import LlamaMLP

from llava_tuning.training.swiglu import FrozenSwiGLU, convert_swiglu, swiglu_grad_float8


def mlp(dtype: torch.dtype = torch.bfloat16, **settings: Any) -> LlamaMLP:
    torch.manual_seed(0)
    config = LlamaConfig(**{"hidden_size": 64, "intermediate_size": 160, **settings})
    return LlamaMLP(config).to(dtype).requires_grad_(False)


@pytest.mark.parametrize("compiled", [False, True])
def test_the_output_is_exact_and_the_gradient_within_a_few_percent(compiled: bool) -> None:
    exact, converted = mlp(), nn.Sequential(mlp())
    assert convert_swiglu(converted) == 1 and isinstance(converted[0], FrozenSwiGLU)
    step = converted
    if compiled:
        step = torch.compile(converted, backend="aot_eager", dynamic=True, fullgraph=True)
    x = torch.randn(1, 20, 64, dtype=torch.bfloat16, requires_grad=True)
    found, expected = step(x), exact(x)
    torch.testing.assert_close(found, expected)
    weights = torch.randn_like(found)
    one, other = (torch.autograd.grad((out * weights).sum(), x)[0].float() for out in (found, expected))
    assert 0 < float((one - other).norm() / other.norm()) < 0.08


def test_the_gradient_is_that_of_the_formula_whatever_its_size() -> None:
    torch.manual_seed(0)
    gate, up = (torch.randn(6, 96, requires_grad=True) for _ in range(2))
    grad = torch.randn(6, 96) * torch.logspace(-7, 2, 6)[:, None]
    grad[3] = 0
    expected = torch.cat(torch.autograd.grad((nn.functional.silu(gate) * up * grad).sum(), (gate, up)), dim=1)
    check(*swiglu_grad_float8(gate.detach(), up.detach(), grad), expected)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="the kernel needs a GPU")
@pytest.mark.parametrize("inner", [96, 1536, 8192])
def test_the_kernel_computes_the_same(inner: int) -> None:
    torch.manual_seed(0)
    rows = [torch.randn(300, inner, dtype=torch.bfloat16) for _ in range(3)]
    float8, scale = swiglu_grad_float8(*(part.cuda() for part in rows))
    expected, its_scale = swiglu_grad_float8(*rows)
    check(float8.cpu(), scale.cpu(), expected.float() * its_scale)


def check(float8: torch.Tensor, scale: torch.Tensor, expected: torch.Tensor) -> None:
    """Each row is within float8's rounding of what is expected."""
    assert float8.dtype == torch.float8_e4m3fn and scale.shape == (len(expected), 1)
    for row, other in zip(float8.float() * scale, expected, strict=True):
        assert float((row - other).norm()) <= 0.04 * float(other.norm())


def test_only_what_is_frozen_and_fits_is_converted() -> None:
    trained, adapted = mlp(), mlp()
    trained.up_proj.weight.requires_grad_(True)
    adapted.gate_proj = nn.Sequential(adapted.gate_proj)  # type: ignore[assignment]
    others = (trained, adapted, mlp(hidden_act="gelu"), mlp(mlp_bias=True), mlp(intermediate_size=100))
    assert convert_swiglu(nn.Sequential(*others)) == 0
