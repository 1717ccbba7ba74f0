"""Adapted layers that add the frozen product in place: peft's own outputs and gradients, in every state."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from exactness import assert_same, named
from four_bits import quantised
from peft import LoraConfig, get_peft_model
from peft.tuners.lora import LoraLayer
from torch import nn

from llava_tuning.training.added_product import added_product
from llava_tuning.training.float8 import FrozenFloat8Linear
from llava_tuning.training.four_bit import FrozenFourBitLinear
from llava_tuning.training.frozen import FrozenLinear
from llava_tuning.training.lora import add_in_place


class Kept(FrozenLinear):
    """A frozen product of the project's own, as float8's and QLoRA's are."""

    def __init__(self, linear: nn.Linear) -> None:
        super().__init__(linear)
        self.kept = linear.weight

    def product(self, rows: torch.Tensor, half: torch.Tensor | None = None) -> torch.Tensor:
        product = rows @ self.kept.t()
        # Twice of it, with the gradient of the whole.
        return product if half is None else half + half.detach() + product


def adapted(**settings: Any) -> Any:
    torch.manual_seed(0)
    inner = nn.Sequential(nn.Linear(24, 40), nn.SiLU(), nn.Linear(40, 24, bias=False))
    options = {"r": 4, "lora_alpha": 12, "init_lora_weights": False, **settings}
    return get_peft_model(inner, LoraConfig(target_modules=["0", "2"], **options))


def in_place(model: Any) -> Any:
    add_in_place([part for part in model.modules() if isinstance(part, LoraLayer)])
    return model


def outcome(model: Any, compiled: bool = False) -> list[torch.Tensor]:
    """Output, and gradients of the input and of all that trains."""
    torch.manual_seed(1)
    x = torch.randn(2, 7, 24, requires_grad=True)
    run = torch.compile(model, backend="aot_eager", dynamic=True, fullgraph=True) if compiled else model
    output = run(x)
    trained = [weight for weight in model.parameters() if weight.requires_grad]
    return [output, *torch.autograd.grad((output * torch.randn_like(output)).sum(), [x, *trained])]


@pytest.mark.parametrize("compiled", [False, True])
@pytest.mark.parametrize(
    "settings", [{}, {"use_dora": True}, {"lora_bias": True}, {"use_rslora": True}], ids=str
)
def test_output_and_gradients_are_pefts(settings: dict[str, Any], compiled: bool) -> None:
    if compiled and settings:
        pytest.skip("one of them is enough")
    found = outcome(in_place(adapted(**settings)), compiled)
    assert_same(named(found), named(outcome(adapted(**settings))))


def test_the_frozen_product_may_be_one_of_the_projects_own() -> None:
    model = in_place(adapted())
    for layer in model.modules():
        if isinstance(layer, LoraLayer):
            layer.base_layer = Kept(layer.base_layer)  # type: ignore[assignment]
    assert_same(named(outcome(model)), named(outcome(adapted())))


def test_adapters_can_be_left_out_merged_and_joined_by_others() -> None:
    model, expected = in_place(adapted()), adapted()
    x = torch.randn(3, 24)
    with model.disable_adapter(), expected.disable_adapter():
        torch.testing.assert_close(model(x), expected(x))
    for one in (model, expected):
        torch.manual_seed(2)
        one.add_adapter("second", LoraConfig(target_modules=["0", "2"], r=2, init_lora_weights=False))
        one.base_model.set_adapter(["default", "second"])
    torch.testing.assert_close(model(x), expected(x))
    for one in (model, expected):
        torch.manual_seed(3)
        one.add_adapter("first", LoraConfig(target_modules=["0"], r=2, init_lora_weights=False))
        one.base_model.set_adapter(["first"])  # which the second layer lacks
    torch.testing.assert_close(model(x), expected(x))
    for one in (model, expected):
        one.base_model.set_adapter(["default"])
        one.merge_adapter()
    torch.testing.assert_close(model(x), expected(x))


def test_a_hook_on_the_frozen_layer_is_called() -> None:
    layer: Any = in_place(adapted()).base_model.model[0]
    called = []
    layer.base_layer.register_forward_hook(lambda *seen: called.append(seen))
    layer(torch.randn(2, 24))
    assert len(called) == 1


def test_a_row_by_itself_is_taken_as_peft_takes_it() -> None:
    x = torch.randn(24)
    torch.testing.assert_close(in_place(adapted())(x), adapted()(x))


FROZEN = ["linear", "float8", "four bits"]


def frozen_layer(kind: str, bias: bool = False) -> Any:
    torch.manual_seed(0)
    linear = nn.Linear(64, 96, bias=bias, dtype=torch.bfloat16).requires_grad_(False)
    if kind.startswith("float8"):
        return FrozenFloat8Linear(linear, backward_only=kind == "float8")
    return FrozenFourBitLinear(quantised(96, 64)) if kind == "four bits" else linear


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("kind", FROZEN)
def test_what_an_adapter_adds_is_not_lost_in_half_precision(kind: str, bias: bool) -> None:
    if bias and kind == "four bits":
        pytest.skip("its language models have none")
    linear = nn.Linear(64, 96, dtype=torch.bfloat16).requires_grad_(False)
    model = get_peft_model(nn.Sequential(linear), LoraConfig(target_modules=["0"], r=4, lora_alpha=4))
    layer: Any = in_place(model).base_model.model[0]
    adapter = layer.lora_B["default"].weight
    nn.init.constant_(adapter, 2.0**-13)  # far less than half of the last digit of what it is added to
    layer.base_layer = frozen = frozen_layer(kind, bias)
    offset = frozen.bias.float() if bias else 0.0
    x, eye = torch.randn(4096, 64, dtype=torch.bfloat16), torch.eye(64, dtype=torch.bfloat16)
    weight = frozen.product(eye).T if isinstance(frozen, FrozenLinear) else frozen.weight
    without = (x.float() @ weight.float().T + offset).bfloat16().float()
    with torch.autocast("cpu", torch.bfloat16):
        found = (layer(x).float() - without).mean(dim=1)
    added = (layer.lora_A["default"](x.float()) @ adapter.T).mean(dim=1)
    # Of its sum over a row all is there, but for rounding that favours neither side.
    assert float((found @ added / (added @ added)).detach()) == pytest.approx(1, abs=0.1)


@pytest.mark.parametrize("kind", [*FROZEN, "float8 both ways"])
def test_twice_the_half_is_added_and_gets_the_gradient_of_the_whole(kind: str) -> None:
    layer = frozen_layer(kind)
    x = torch.randn(8, 64).bfloat16().requires_grad_()
    half = torch.randn(8, 96).bfloat16().requires_grad_()
    by_itself = layer(x)
    (of_x,) = torch.autograd.grad(by_itself.sum(), x)
    taken = half * 1
    total = added_product(taken, x, layer.weight) if kind == "linear" else layer.product(x, taken)
    torch.testing.assert_close(total.float(), 2 * half.float() + by_itself.float(), rtol=0.02, atol=0.02)
    found = torch.autograd.grad(total.sum(), [x, half])
    torch.testing.assert_close(found, (of_x, torch.ones_like(half)))


@pytest.mark.parametrize("kind", FROZEN)
def test_the_sum_takes_no_memory_of_its_own(kind: str) -> None:
    layer = frozen_layer(kind)
    rows, half = torch.randn(8, 64).bfloat16(), torch.randn(8, 96).bfloat16()
    place = half.data_ptr()
    total = added_product(half, rows, layer.weight) if kind == "linear" else layer.product(rows, half)
    assert total.data_ptr() == place


@pytest.mark.parametrize("kind", FROZEN)
def test_an_input_without_gradient_costs_no_product_on_the_way_back(kind: str) -> None:
    layer = frozen_layer(kind)
    rows, half = torch.randn(8, 64).bfloat16(), torch.randn(8, 96).bfloat16().requires_grad_()
    taken = half * 1
    total = added_product(taken, rows, layer.weight) if kind == "linear" else layer.product(rows, taken)
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as seen:
        total.sum().backward()
    products = {"aten::mm", "aten::_scaled_mm", "aten::matmul"}
    assert products.isdisjoint(event.name for event in seen.events())
    torch.testing.assert_close(half.grad, torch.ones_like(half))  # the whole's: half of it is held
