"""The optimizer wrapper: mmengine's own results, with the norm read after the update."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from mmengine.logging import MessageHub
from mmengine.optim import OptimWrapper
from torch import nn

from llava_tuning.training.optim import UnhurriedOptimWrapper


def trained(kind: type[OptimWrapper], max_norm: float, hub: str) -> tuple[torch.Tensor, list[float]]:
    torch.manual_seed(0)
    layer = nn.Linear(4, 3)
    layer.bias.requires_grad_(False)
    wrapper: Any = kind(torch.optim.AdamW(layer.parameters(), lr=0.1), clip_grad={"max_norm": max_norm})
    wrapper.message_hub = MessageHub.get_instance(hub)
    for row in torch.randn(3, 4):
        wrapper.update_params(layer(row).square().sum())
    history = wrapper.message_hub.log_scalars["train/grad_norm"].data[0]
    return layer.weight.detach(), [float(value) for value in history]


@pytest.mark.parametrize("max_norm", [0.1, 1e6])
def test_weights_and_published_norms_are_mmengines(max_norm: float) -> None:
    expected, norms = trained(OptimWrapper, max_norm, f"theirs-{max_norm}")
    found, published = trained(UnhurriedOptimWrapper, max_norm, f"ours-{max_norm}")
    torch.testing.assert_close(found, expected, rtol=0, atol=0)
    assert published == norms and len(norms) == 3 and min(norms) > 0.1


def test_the_update_is_under_way_before_the_norm_is_read() -> None:
    order = []
    layer = nn.Linear(2, 1)

    class Norm:
        def __float__(self) -> float:
            order.append("read")
            return 1.0

    wrapper: Any = UnhurriedOptimWrapper(
        torch.optim.SGD(layer.parameters(), lr=0.1), clip_grad={"max_norm": 1}
    )
    wrapper.clip_func = lambda weights, **_: Norm()
    wrapper.optimizer.register_step_post_hook(lambda *_: order.append("updated"))
    wrapper.update_params(layer(torch.ones(2)).sum())
    assert order == ["updated", "read"]
