"""Products with frozen 4-bit weights: those of bitsandbytes, in both directions."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from exactness import assert_same, named, step_of
from four_bits import quantised
from mmengine.config import Config
from torch import nn
from xtuner.registry import BUILDER

from llava_tuning.training.four_bit import FrozenFourBitLinear, convert_four_bit


@pytest.mark.parametrize("nested", [False, True])
@pytest.mark.parametrize("bias", [False, True])
def test_output_and_gradient_are_those_of_bitsandbytes(bias: bool, nested: bool) -> None:
    theirs = quantised(96, 64, bias, nested)
    x = torch.randn(2, 5, 64, requires_grad=True)
    expected, found = theirs(x), FrozenFourBitLinear(theirs)(x)
    weights = torch.randn_like(found)
    mine, other = ([out, *torch.autograd.grad((out * weights).sum(), x)] for out in (found, expected))
    assert_same(named(mine), named(other))


def test_casting_a_model_leaves_the_scales_alone() -> None:
    layer = FrozenFourBitLinear(quantised(64, 64))
    x = torch.randn(3, 64)
    expected = layer(x)
    torch.testing.assert_close(layer.bfloat16()(x), expected, rtol=0, atol=0)


def test_all_quantised_layers_are_replaced_and_no_other() -> None:
    model = nn.Sequential(quantised(64, 64), nn.Linear(64, 64))
    assert convert_four_bit(model) == 1
    assert [type(layer) for layer in model] == [FrozenFourBitLinear, nn.Linear]


def test_qlora_trains_as_lora_over_the_rounded_weights(
    build: Callable[..., Any], batch: dict[str, Any]
) -> None:
    quantised, whole = build("qlora"), build("lora")
    bases = dict(whole.llm.named_modules())
    replaced = 0
    for name, module in quantised.llm.named_modules():
        if isinstance(module, FrozenFourBitLinear):
            eye = torch.eye(module.in_features)
            bases[name].weight.data = module(eye).T.contiguous()
            replaced += 1
    assert replaced == 2 * 7
    expected, found = (step_of(model, model(batch)["loss"]) for model in (whole, quantised))
    assert any("lora_A" in name for name in found)
    assert_same(found, expected)


def test_nothing_of_a_quantised_model_is_widened(load_config: Callable[..., Config]) -> None:
    config = load_config("lora")
    config.model.llm.update(dtype="bfloat16", load_in_4bit=True)
    model = BUILDER.build(config.model).language_model()
    kept = (model.lm_head, model.get_input_embeddings(), model.model.norm)
    assert {module.weight.dtype for module in kept} == {torch.bfloat16}
