"""Products with frozen weights in float8: near the exact ones, in both directions."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from exactness import relative_error
from torch import nn

from llava_tuning.training import float8, language_model, swiglu
from llava_tuning.training import model as model_module
from llava_tuning.training.float8 import FrozenFloat8Linear, convert_frozen, to_float8


def test_rows_are_scaled_each_to_its_own_range() -> None:
    torch.manual_seed(0)
    values = torch.randn(8, 64) * torch.logspace(-6, 3, 8)[:, None]
    found, scale = to_float8(values)
    assert found.dtype == torch.float8_e4m3fn and scale.shape == (8, 1)
    for row, expected in zip(found.float() * scale, values, strict=True):
        assert relative_error(row, expected) < 0.04
    zero, _ = to_float8(torch.zeros(1, 16))
    assert not zero.float().any()


@pytest.mark.parametrize("backward_only", [False, True])
@pytest.mark.parametrize("bias", [False, True])
def test_output_and_gradient_are_within_a_few_percent(bias: bool, backward_only: bool) -> None:
    torch.manual_seed(0)
    exact = nn.Linear(64, 96, bias=bias).bfloat16().requires_grad_(False)
    converted = FrozenFloat8Linear(exact, backward_only)
    x = torch.randn(2, 10, 64, dtype=torch.bfloat16, requires_grad=True)
    found, expected = converted(x), exact(x)
    assert found.shape == expected.shape and found.dtype == torch.bfloat16
    allowed = 0.004 if backward_only else 0.06  # a bias is added after rounding
    assert relative_error(found, expected) < allowed
    weights = torch.randn_like(found)
    grads = [torch.autograd.grad((out * weights).sum(), x)[0] for out in (found, expected)]
    assert 0 < relative_error(*grads) < 0.06


def test_only_frozen_layers_of_sizes_that_the_hardware_takes_are_converted() -> None:
    model = nn.Sequential(nn.Linear(32, 32), nn.Linear(32, 32), nn.Linear(32, 7))
    model[0].requires_grad_(False)
    model[2].requires_grad_(False)
    assert convert_frozen(model) == 1
    assert [type(layer) for layer in model] == [FrozenFloat8Linear, nn.Linear, nn.Linear]


@pytest.mark.parametrize("kind", ["pretrain", "lora"])
def test_a_model_trains_on_nearly_the_same_loss(
    kind: str, build: Callable[..., Any], batch: dict[str, Any]
) -> None:
    expected = build(kind)(batch)["loss"]
    model = build(kind, frozen_fp8=True)
    assert any(isinstance(part, FrozenFloat8Linear) for part in model.language_model().modules())
    with torch.autocast("cpu", dtype=torch.bfloat16):  # as on a GPU
        loss = model(batch)["loss"]
    assert loss.item() == pytest.approx(expected.item(), rel=0.02) and loss.item() != expected.item()
    loss.backward()
    assert all(parameter.grad.any() for parameter in model.projector.parameters())


@pytest.mark.parametrize("kind", ["pretrain", "lora", "vision_lora"])
def test_gradients_alone_in_float8_leave_the_loss_what_it_was(
    kind: str, build: Callable[..., Any], batch: dict[str, Any]
) -> None:
    losses, grads = [], []
    for asked in ("auto", "backward"):  # the first is none before the machine is known
        model = build(kind, frozen_fp8=asked)
        with torch.autocast("cpu", dtype=torch.bfloat16):  # as on a GPU
            loss = model(batch)["loss"]
        loss.backward()
        losses.append(loss.item())
        trained = [weight for weight in model.parameters() if weight.requires_grad]
        grads.append(torch.cat([weight.grad.flatten() for weight in trained if weight.grad is not None]))
    assert losses[0] == losses[1]
    assert 0 < relative_error(grads[1], grads[0]) < 0.1


def test_weights_are_converted_where_they_will_be_used(
    monkeypatch: pytest.MonkeyPatch, build: Callable[..., Any]
) -> None:
    """On the CPU, a thread for each process, billions of weights took a minute and more."""
    device, converted = "meta", []
    for module in (language_model, model_module):
        monkeypatch.setattr(module, "get_device", lambda: device)

    def note(values: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        converted.append(values.device.type)
        return to_float8(values)

    for module in (float8, swiglu):
        monkeypatch.setattr(module, "to_float8", note)
    for kind in ("lora", "vision_lora"):
        with pytest.raises(NotImplementedError, match="meta"):  # `build` brings it to the CPU
            build(kind, frozen_fp8="backward")
    assert set(converted) == {device}
