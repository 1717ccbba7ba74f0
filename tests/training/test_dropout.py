"""Dropout by a hash: a share as asked for, another mask each time, the same one in the backward pass."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn

from llava_tuning.training import language_model
from llava_tuning.training.dropout import HashedDropout, draw_seeds, keep


def seed(value: int) -> torch.Tensor:
    return torch.tensor(value, dtype=torch.int32)


@pytest.mark.parametrize("rate", [0.05, 0.5])
def test_masks_look_like_independent_draws(rate: float) -> None:
    rows, columns = 2048, 1024
    masks = [keep((rows, columns), seed(n), rate).double() for n in (-(2**31), 0, 1, 2**31 - 1)]
    deviation = (rate * (1 - rate)) ** 0.5
    for mask in masks:
        assert mask.mean().item() == pytest.approx(1 - rate, abs=5 * deviation / (rows * columns) ** 0.5)
        # Means of single rows and columns scatter as those of independent values do.
        assert mask.mean(1).std().item() == pytest.approx(deviation / columns**0.5, rel=0.15)
        assert mask.mean(0).std().item() == pytest.approx(deviation / rows**0.5, rel=0.15)
    flat = [(mask - mask.mean()).flatten() / deviation for mask in masks]
    shifts = (1, 2, 63, 64, 1023, 1024, 1025, 4096)
    pairs = [(flat[0][n:], flat[0][:-n]) for n in shifts] + [(flat[0], other) for other in flat[1:]]
    for one, other in pairs:
        assert abs((one * other).mean().item()) < 5 / len(one) ** 0.5


def test_compiled_code_drops_in_both_directions_what_the_seed_says() -> None:
    dropout = HashedDropout(0.25)
    step = torch.compile(dropout, backend="aot_eager", fullgraph=True)
    torch.manual_seed(0)
    masks = []
    for _ in range(2):
        draw_seeds([dropout])
        x = torch.rand(2, 50, 64) + 1
        y = step(x.requires_grad_())
        kept = keep(x.shape, dropout.seed, 0.25)
        torch.testing.assert_close(y, torch.where(kept, x / 0.75, 0.0))
        (grad,) = torch.autograd.grad(y.sum(), x)
        torch.testing.assert_close(grad, torch.where(kept, torch.tensor(1 / 0.75), torch.tensor(0.0)))
        masks.append(kept)
    assert (masks[0] != masks[1]).float().mean().item() == pytest.approx(2 * 0.25 * 0.75, rel=0.1)
    assert torch.equal(step.eval()(x), x)


def test_seeds_differ_among_layers_and_follow_the_global_random_numbers() -> None:
    dropouts = [HashedDropout(0.1) for _ in range(50)]
    drawn = []
    for _ in range(2):
        torch.manual_seed(3)
        draw_seeds(dropouts)
        drawn.append([dropout.seed.item() for dropout in dropouts])
    assert drawn[0] == drawn[1] and len(set(drawn[0])) == 50
    draw_seeds(dropouts)
    assert [dropout.seed.item() for dropout in dropouts] != drawn[0]


@pytest.mark.parametrize("kind", ["lora", pytest.param("vision_lora", marks=pytest.mark.slow)])
def test_a_compiled_model_drops_adapters_inputs_anew_in_each_step(
    kind: str, build: Callable[..., Any], batch: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    steps: dict[Any, Any] = {}

    def compiled(step: Any, adapted: bool) -> Any:
        return steps.setdefault(step, torch.compile(step, backend="aot_eager", dynamic=True))

    monkeypatch.setattr(language_model, "compiled", compiled)
    monkeypatch.setattr(language_model, "get_device", lambda: "cuda")  # a CPU's own dropout stays
    torch._dynamo.reset()
    model = build(kind, max_steps=2000, **{"llm_lora.lora_dropout": 0.05})
    assert not any(type(part) is nn.Dropout for part in model.llm.modules())
    same = [model(batch)["loss"].item() for _ in range(2)]
    assert same[0] == pytest.approx(same[1])  # at a rate of zero
    for part in model.modules():
        if isinstance(part, HashedDropout):
            part.p = 0.5
    assert len({round(model(batch)["loss"].item(), 4) for _ in range(3)}) == 3
    model.eval()
    assert model(batch)["loss"].item() == pytest.approx(same[0], rel=1e-5)
