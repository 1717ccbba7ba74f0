"""Losses of a language-model head without holding all logits, forward or backward."""

from __future__ import annotations

from typing import Any

import torch

CHUNK_BYTES = 2**29  # float32 logits held at a time


class _LinearCrossEntropy(torch.autograd.Function):
    """Gradients are made chunk by chunk beside the loss, as in Liger Kernel (arXiv:2410.10989, section 3.2).

    They are kept unscaled: half precision then loses nothing to small numbers before a gradient scaler acts.
    """

    @staticmethod
    def forward(  # type: ignore[override]
        ctx: Any, hidden: torch.Tensor, weight: torch.Tensor, targets: torch.Tensor, chunk: int
    ) -> torch.Tensor:
        head = weight.to(hidden.dtype)
        need_hidden, need_weight = ctx.needs_input_grad[:2]
        loss = torch.zeros((), dtype=torch.float32, device=hidden.device)
        grad_hidden = torch.empty_like(hidden) if need_hidden else None
        grad_weight = torch.zeros_like(weight) if need_weight else None
        for rows, wanted, start in zip(
            hidden.split(chunk), targets.split(chunk), range(0, len(hidden), chunk), strict=True
        ):
            logits = (rows @ head.T).float()  # (chunk, vocabulary)
            norm = logits.logsumexp(dim=-1, keepdim=True)
            loss += (norm - logits.gather(1, wanted[:, None])).sum()
            if grad_hidden is None and grad_weight is None:
                continue
            logits.sub_(norm).exp_()
            logits.scatter_add_(1, wanted[:, None], logits.new_full((len(wanted), 1), -1.0))
            grad_logits = logits.to(hidden.dtype)
            del logits
            if grad_hidden is not None:
                grad_hidden[start : start + chunk] = grad_logits @ head
            if grad_weight is not None:
                grad_weight += (grad_logits.T @ rows).to(weight.dtype)
        ctx.save_for_backward(grad_hidden, grad_weight)
        ctx.count = len(targets)
        return loss / len(targets)

    @staticmethod
    def backward(ctx: Any, grad_loss: torch.Tensor) -> tuple[torch.Tensor | None, ...]:  # type: ignore[override]
        scale = grad_loss / ctx.count  # stays float32: rounded to half precision it would bias all gradients
        grads = (None if g is None else (g.float() * scale).to(g.dtype) for g in ctx.saved_tensors)
        return (*grads, None, None)


def linear_cross_entropy(
    hidden: torch.Tensor, weight: torch.Tensor, targets: torch.Tensor, chunk: int | None = None
) -> torch.Tensor:
    """Mean cross-entropy of `hidden @ weight.T` against `targets`, in nats, float32.

    Equal to `cross_entropy((hidden @ weight.T).float(), targets)`.

    Args:
        hidden: (positions, hidden size); products are computed in its dtype, the softmax in float32.
        weight: (vocabulary, hidden size).
        targets: (positions) token ids.
        chunk: positions whose logits are held at a time; by default as many as `CHUNK_BYTES` take.
    """
    chunk = chunk or max(1, CHUNK_BYTES // (4 * weight.shape[0]))
    with torch.autocast(hidden.device.type, enabled=False):
        loss: torch.Tensor = _LinearCrossEntropy.apply(hidden, weight, targets, chunk)
    return loss


class _LinearDivergence(torch.autograd.Function):
    """As `_LinearCrossEntropy`, with a distribution in place of each target; the head does not train."""

    @staticmethod
    def forward(  # type: ignore[override]
        ctx: Any, hidden: torch.Tensor, weight: torch.Tensor, base: torch.Tensor, chunk: int
    ) -> torch.Tensor:
        head = weight.to(hidden.dtype)
        loss = torch.zeros((), dtype=torch.float32, device=hidden.device)
        grad_hidden = torch.empty_like(hidden)
        for rows, wanted, start in zip(
            hidden.split(chunk), base.split(chunk), range(0, len(hidden), chunk), strict=True
        ):
            own = (rows @ head.T).float().log_softmax(dim=-1)  # (chunk, vocabulary)
            its = (wanted.to(head.dtype) @ head.T).float().log_softmax(dim=-1)
            shares = its.exp()
            loss += (shares * (its - own)).sum()
            del its
            grad_hidden[start : start + chunk] = own.exp_().sub_(shares).to(hidden.dtype) @ head
        ctx.save_for_backward(grad_hidden)
        ctx.count = len(hidden)
        return loss / len(hidden)

    @staticmethod
    def backward(ctx: Any, grad_loss: torch.Tensor) -> tuple[torch.Tensor | None, ...]:  # type: ignore[override]
        (grad_hidden,) = ctx.saved_tensors
        scale = grad_loss / ctx.count
        return (grad_hidden.float() * scale).to(grad_hidden.dtype), None, None, None


def linear_divergence(
    hidden: torch.Tensor, weight: torch.Tensor, base: torch.Tensor, chunk: int | None = None
) -> torch.Tensor:
    """Mean Kullback-Leibler divergence of what `hidden` predicts from what `base` predicts, in nats, float32.

    Equal to `kl_div` of the two heads' log-probabilities, `base`'s as target, with reduction `batchmean`.

    Args:
        hidden: (positions, hidden size); products are computed in its dtype, the softmax in float32.
        weight: (vocabulary, hidden size) of the head that both share; it gets no gradient.
        base: (positions, hidden size), without gradient.
        chunk: positions whose logits are held at a time; by default as many as `CHUNK_BYTES` take.
    """
    chunk = chunk or max(1, CHUNK_BYTES // (20 * weight.shape[0]))  # five tensors of this size at a time
    with torch.autocast(hidden.device.type, enabled=False):
        loss: torch.Tensor = _LinearDivergence.apply(hidden, weight, base, chunk)
    return loss
