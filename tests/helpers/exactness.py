"""Two ways to compute one thing in float32: all that they give may differ by rounding, and by no more."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

TOLERANCE = 1e-5  # relative

Named = dict[str, torch.Tensor]


def step_of(model: torch.nn.Module, loss: torch.Tensor) -> Named:
    """The loss, and the gradient of every parameter that has one."""
    model.zero_grad()
    loss.backward()
    gradients = {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}
    return {"loss": loss.detach(), **gradients}


def named(tensors: Any) -> Named:
    """Tensors that have no names, for `assert_same`."""
    return {str(number): tensor.detach() for number, tensor in enumerate(tensors)}


def relative_error(found: torch.Tensor, expected: torch.Tensor) -> float:
    """‖found - expected‖ / ‖expected‖: a tensor's smallest entries are rounded as coarsely as its largest."""
    difference = (found.double() - expected.double()).norm().item()
    return difference / size if (size := expected.double().norm().item()) else difference and float("inf")


def assert_same(found: Mapping[str, torch.Tensor], expected: Mapping[str, torch.Tensor]) -> None:
    """Each tensor is within TOLERANCE by norm; one that is all zero is so in both."""
    assert found.keys() == expected.keys()
    assert any(tensor.any() for name, tensor in expected.items() if name != "loss"), "nothing to compare"
    errors = {name: relative_error(found[name], tensor) for name, tensor in expected.items()}
    wrong = {name: error for name, error in errors.items() if not error <= TOLERANCE}  # NaN is wrong too
    worst = sorted(wrong.items(), key=lambda item: -item[1])[:5]
    assert not wrong, f"{len(wrong)} of {len(errors)} differ, relative errors: " + ", ".join(
        f"{name} {error:.1e}" for name, error in worst
    )
