"""The steps of a training forward pass: one layer each, compiled once for all layers and all lengths."""

from __future__ import annotations

import functools
import os
import shutil
import warnings
from collections.abc import Callable
from typing import Any

import torch
from mmengine.device import get_device

from llava_tuning.training.attention import Layout

Step = Callable[..., torch.Tensor]
# Steps from which compiling pays, with adapters the second. On a GPU it saves about 0.1 s a step and takes
# half a minute, with adapters three; on a CPU it saves a tenth of a step and takes 5 and 65 s, which with
# adapters two records a step repay in 325 steps.
COMPILED_FROM, ADAPTED_COMPILED_FROM = 300, 1500
COMPILED_FROM_ON_CPU, ADAPTED_COMPILED_FROM_ON_CPU = 100, 400


def vision_layer(layer: Any, hidden: torch.Tensor) -> torch.Tensor:
    """A layer of CLIP; `hidden` is (pictures, 1 + patches, vision hidden)."""
    output: torch.Tensor = layer(hidden, None)
    return output


def decoder_layer(
    layer: Any,
    hidden: torch.Tensor,
    rotary: tuple[torch.Tensor, torch.Tensor],
    layout: Layout,
) -> torch.Tensor:
    """A layer of Llama over a packed row; `hidden` is (1, tokens, hidden).

    Args:
        rotary: cosine and sine, (1, tokens, head size) each.
        layout: where the samples lie.
    """
    attended = _attend(layer, hidden, rotary, layout)
    hidden = hidden + attended
    output: torch.Tensor = hidden + layer.mlp(layer.post_attention_layernorm(hidden))
    return output


def last_decoder_layer(
    layer: Any,
    hidden: torch.Tensor,
    rotary: tuple[torch.Tensor, torch.Tensor],
    layout: Layout,
    at: torch.Tensor,
) -> torch.Tensor:
    """The last layer, which has to go on only at the positions `at`: (positions, hidden)."""
    attended = _attend(layer, hidden, rotary, layout)
    hidden = hidden[0, at] + attended[0, at]
    output: torch.Tensor = hidden + layer.mlp(layer.post_attention_layernorm(hidden))
    return output


def _attend(
    layer: Any,
    hidden: torch.Tensor,
    rotary: tuple[torch.Tensor, torch.Tensor],
    layout: Layout,
) -> torch.Tensor:
    attended: torch.Tensor = layer.self_attn(
        hidden_states=layer.input_layernorm(hidden),
        position_embeddings=rotary,
        attention_mask=None,
        layout=layout,
    )[0]
    return attended


def compiled_from(adapted: bool, on_gpu: bool) -> int:
    """Steps that a run must have for compiling to pay; `adapted`: with LoRA."""
    if on_gpu:
        return ADAPTED_COMPILED_FROM if adapted else COMPILED_FROM
    return ADAPTED_COMPILED_FROM_ON_CPU if adapted else COMPILED_FROM_ON_CPU


def can_compile() -> bool:
    """Whether there is a GPU to compile for and a C compiler; warns where that is missing."""
    if not torch.cuda.is_available():
        return False
    if not (os.environ.get("CC") or any(map(shutil.which, ("cc", "gcc", "clang")))):
        warnings.warn("no C compiler found: the layers are not compiled; install gcc", stacklevel=2)
        return False
    return True


@functools.cache
def compiled(step: Step, adapted: bool = False) -> Step:
    """`step` compiled for any number of tokens and pictures; itself where nothing can be compiled.

    The weights are inputs of the compiled code, so all layers of a stack share it. `adapted` says that the
    layers have adapters.
    """
    on_gpu = torch.cuda.is_available()
    if not (can_compile() if on_gpu else _builds_for_cpu()):
        return step
    _compile_once()
    if not (adapted and on_gpu):
        return torch.compile(step, dynamic=True)
    if not _starts_from_cpp():
        return step
    # Adapters' many small kernels take longer to start one by one from Python than to run.
    return torch.compile(step, dynamic=True, options={"cpp_wrapper": True, "combo_kernels": True})


def _compile_once() -> None:
    """Keep the compiler from starting again, which it did in runs, on layers that it has compiled."""
    torch._dynamo.config.optimize_ddp = False  # it would cut each layer at the buckets of DDP
    # A length that happens to be the model's width would be taken for it, and so for a constant: samples of
    # 2,048 tokens, which come first, in a model that is 2,048 wide.
    torch.fx.experimental._config.use_duck_shape = False
    # Code is compiled for a number of CPU threads. Pinning memory sets it to one for threads that start
    # later, such as those of the backward pass, which computes layers again: here it is one from the start.
    if torch.cuda.is_available():
        torch.set_num_threads(1)


@functools.cache
def _starts_from_cpp() -> bool:
    """Whether code that starts kernels from C++ can be built here: tried on a sum, once."""
    reason = _why_not("cuda", cpp_wrapper=True)
    if reason:
        warnings.warn(
            f"layers with adapters are not compiled: C++ that starts kernels could not be built ({reason}); "
            "install g++ and CUDA's headers",
            stacklevel=2,
        )
    return not reason


@functools.cache
def _builds_for_cpu() -> bool:
    """Whether models run on the CPU and code for it can be built, likewise."""
    if get_device() != "cpu":
        return False
    reason = _why_not("cpu")
    if reason:
        warnings.warn(
            f"layers are not compiled: C++ could not be built ({reason}); install g++ and Python's headers "
            "(python3-dev), or set compile_layers to False",
            stacklevel=2,
        )
    return not reason


def _why_not(device: str, **options: Any) -> str:
    """Why a sum cannot be compiled; empty where it can."""
    try:
        torch.compile(_sum, options=options or None)(torch.zeros(8, device=device))
    except Exception as error:  # whatever the compilers or their headers lack
        lines = str(error).strip().splitlines() or [type(error).__name__]
        return next((line for line in lines if "error: " in line), lines[0])[:200]
    return ""


def _sum(x: torch.Tensor) -> torch.Tensor:
    return x + x
