"""The chunked losses are cross-entropy and divergence, and so are their gradients."""

from __future__ import annotations

import pytest
import torch
from exactness import assert_same, named
from torch.nn import functional

from llava_tuning.training.loss import linear_cross_entropy, linear_divergence

POSITIONS, HIDDEN, WORDS = 23, 16, 50


def operands(dtype: torch.dtype = torch.float64) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    torch.manual_seed(0)
    hidden = torch.randn(POSITIONS, HIDDEN, dtype=dtype, requires_grad=True)
    weight = torch.randn(WORDS, HIDDEN, dtype=dtype, requires_grad=True)
    return hidden, weight, torch.randint(0, WORDS, (POSITIONS,))


@pytest.mark.parametrize("chunk", [1, 7, 23, 100, None])
def test_loss_and_gradients_are_those_of_all_logits(chunk: int | None) -> None:
    hidden, weight, targets = operands(torch.float32)
    expected = functional.cross_entropy(hidden @ weight.T, targets)
    found = linear_cross_entropy(hidden, weight, targets, chunk)
    one, other = ([loss, *torch.autograd.grad(3 * loss, [hidden, weight])] for loss in (found, expected))
    assert_same(named(one), named(other))


@pytest.mark.parametrize("chunk", [1, 7, 23, 100, None])
def test_divergence_and_its_gradient_are_those_of_all_logits(chunk: int | None) -> None:
    hidden, weight, _ = operands(torch.float32)
    base = hidden.detach() + torch.randn(POSITIONS, HIDDEN)
    own, its = (functional.log_softmax(rows @ weight.detach().T, -1) for rows in (hidden, base))
    expected = functional.kl_div(own, its, reduction="batchmean", log_target=True)
    found = linear_divergence(hidden, weight, base, chunk)
    one, other = ([loss, *torch.autograd.grad(3 * loss, hidden)] for loss in (found, expected))
    assert_same(named(one), named(other))


def test_a_frozen_head_gets_no_gradient_and_costs_none() -> None:
    hidden, weight, targets = operands()
    loss = linear_cross_entropy(hidden, weight.detach(), targets, 5)
    assert loss.dtype == torch.float32
    (grad,) = torch.autograd.grad(loss, hidden)
    assert grad.dtype == hidden.dtype and grad.any()


def test_never_are_all_logits_in_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    hidden, weight, targets = operands(torch.float32)
    sizes = []
    original = torch.Tensor.logsumexp

    def seen(self: torch.Tensor, *args: object, **kwargs: object) -> torch.Tensor:
        sizes.append(tuple(self.shape))
        return original(self, *args, **kwargs)  # type: ignore[call-overload, no-any-return]

    monkeypatch.setattr(torch.Tensor, "logsumexp", seen)
    linear_cross_entropy(hidden, weight, targets, 8).backward()
    assert sizes == [(8, WORDS), (8, WORDS), (7, WORDS)]


def test_float16_keeps_gradients_that_a_mean_would_lose() -> None:
    """Divided by a large number of positions before scaling, they would be zero in half precision."""
    torch.manual_seed(0)
    many = 4096
    hidden = (1e-3 * torch.randn(many, HIDDEN)).half().requires_grad_()
    weight = (1e-3 * torch.randn(WORDS, HIDDEN)).half()
    loss = linear_cross_entropy(hidden, weight, torch.randint(0, WORDS, (many,)))
    (grad,) = torch.autograd.grad(loss * 2.0**16, hidden)
    assert (grad != 0).float().mean() > 0.99


def test_half_precision_rounds_each_gradient_but_not_all_of_them_one_way() -> None:
    """A third is 0.2 % off in bfloat16; were the mean's divisor rounded, so would be every gradient."""
    torch.manual_seed(0)
    exact = torch.randn(3, 4096, requires_grad=True)
    weight, targets = torch.randn(WORDS, 4096) / 64, torch.tensor([1, 2, 3])
    half = exact.detach().bfloat16().requires_grad_()
    (found,) = torch.autograd.grad(linear_cross_entropy(half, weight, targets), half)
    (expected,) = torch.autograd.grad(linear_cross_entropy(exact, weight, targets), exact)
    ratio = float((found.float() * expected).sum() / (expected * expected).sum())
    assert ratio == pytest.approx(1, abs=1e-3)
