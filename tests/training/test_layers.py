"""Compiled layers compute the same, and are compiled once for rows of all lengths."""

from __future__ import annotations

import shutil
import sysconfig
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from exactness import assert_same, step_of
from torch import nn
from torch._dynamo.backends.debugging import aot_eager
from torch.nn import functional

from llava_tuning.training import attention, language_model, layers
from llava_tuning.training import dataset as dataset_module
from llava_tuning.training.dataset import collate

needs_compiler = pytest.mark.skipif(
    not (shutil.which("g++") and Path(sysconfig.get_path("include"), "Python.h").is_file()),
    reason="needs g++ and Python's headers (Debian: python3-dev)",
)
# Rows of other lengths: samples alike (then attention is padded) and not, with and without text.
ROWS = [[1, 2, 3], [4, 4, 4], [0, 1, 7], [5, 5], [4, 0, 5, 6], [6, 6, 6, 6], [11, 12, 2, 3]]


def masked(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    starts: torch.Tensor,
    longest: int,
    scaling: float | None,
) -> torch.Tensor:
    """Attention over a row by a mask: what a compiler can trace where there is no kernel for it."""
    place = torch.arange(query.shape[2])
    sample = torch.searchsorted(starts, place, right=True)
    mask = (sample[:, None] == sample) & (place[:, None] >= place)
    output = functional.scaled_dot_product_attention(query, key, value, attn_mask=mask, scale=scaling)
    return output.transpose(1, 2)


@pytest.fixture
def on_cpu(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """As on a machine without a GPU; what the code under test sets or keeps is set back."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(layers, "get_device", lambda: "cpu")
    kept = (layers.compiled, layers._builds_for_cpu)
    for cached in kept:
        cached.cache_clear()
    torch._dynamo.reset()
    shapes = torch.fx.experimental._config.patch(use_duck_shape=True)  # type: ignore[attr-defined]
    with shapes, torch._dynamo.config.patch(optimize_ddp=True):
        yield
    for cached in kept:
        cached.cache_clear()


@pytest.fixture
def graphs(on_cpu: None, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Layers are compiled in one graph each, without generating code; each adds an entry."""
    found: list[int] = []

    def backend(graph: Any, inputs: Any) -> Any:
        found.append(len(graph.graph.nodes))
        return aot_eager(graph, inputs)

    compile_ = torch.compile

    def without_code(step: Any, dynamic: bool, **_: Any) -> Any:
        return compile_(step, dynamic=dynamic, fullgraph=True, backend=backend)

    monkeypatch.setattr(torch, "compile", without_code)
    monkeypatch.setattr(layers, "_builds_for_cpu", lambda: True)
    monkeypatch.setattr(attention, "_each_sample", masked)
    return found


@pytest.mark.parametrize(
    ("kind", "checkpointing"),
    [
        ("pretrain", False),
        pytest.param("lora", True, marks=pytest.mark.slow),  # is half of what the next compiles
        ("vision_lora", True),
        ("full", False),
        ("qlora", False),
    ],
)
def test_compiling_changes_nothing_and_happens_once(
    kind: str, checkpointing: bool, build: Callable[..., Any], dataset: Any, graphs: list[int]
) -> None:
    rows = [collate([dataset[i] for i in indices])["data"] for indices in ROWS]
    assert {"padded_grid" in row for row in rows} == {True, False}
    plain, compiled = (
        build(kind, checkpointing, compile_layers=False),
        build(kind, checkpointing, max_steps=2000),
    )
    counts = []
    for row in rows:
        expected, found = (step_of(model, model(row)["loss"]) for model in (plain, compiled))
        assert_same(found, expected)
        counts.append(len(graphs))
    assert graphs and counts[1] == counts[-1]  # both layouts have come up by the second row


@needs_compiler
@pytest.mark.parametrize(
    "kind",
    [pytest.param(kind, marks=pytest.mark.slow) for kind in ("pretrain", "lora", "full")] + ["vision_lora"],
)
def test_code_built_for_a_cpu_computes_the_same(
    kind: str, build: Callable[..., Any], dataset: Any, on_cpu: None
) -> None:
    """With the compiler itself; pictures and texts, attention padded and sample by sample."""
    plain, compiled = build(kind, False, compile_layers=False), build(kind, False, max_steps=2000)
    assert layers._builds_for_cpu()
    torch._dynamo.utils.counters.clear()
    counts = []
    for indices in ROWS:
        row = collate([dataset[i] for i in indices])["data"]
        expected, found = (step_of(model, model(row)["loss"]) for model in (plain, compiled))
        assert_same(found, expected)
        counts.append(torch._dynamo.utils.counters["stats"]["unique_graphs"])
    assert counts[0] and counts[1] == counts[-1]  # both layouts have come up by the second row


@needs_compiler
def test_in_bfloat16_a_cpus_code_comes_near_and_drops_anew_in_each_step(
    build: Callable[..., Any], batch: dict[str, Any], on_cpu: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(language_model, "get_device", lambda: "cpu")
    rate = {"llm_lora.lora_dropout": 0.05}
    plain, compiled = (
        build("lora", compile_layers=False, **rate),
        build("lora", max_steps=2000, **rate),
    )
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert layers._builds_for_cpu()
        torch._dynamo.utils.counters.clear()
        expected, found = plain(batch)["loss"].item(), compiled(batch)["loss"].item()
        assert torch._dynamo.utils.counters["stats"]["unique_graphs"]
        assert found == pytest.approx(expected, rel=0.01)  # rounded elsewhere
        dropouts = [part for part in compiled.llm.modules() if isinstance(part, nn.Dropout)]
        assert {type(part) for part in dropouts} == {nn.Dropout}
        for part in dropouts:
            part.p = 0.5
        assert len({compiled(batch)["loss"].item() for _ in range(3)}) == 3


def test_samples_as_long_as_the_model_is_wide_are_compiled_for_all_lengths(
    build: Callable[..., Any], graphs: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dataset_module, "LENGTH_MULTIPLE", 8)  # the small model is 32 wide
    model = build("lora", False, max_steps=2000)
    counts = []
    for length in (model.language_model().config.hidden_size, 48, 24):
        ids = torch.arange(3, 3 + length)
        row = collate([{"input_ids": ids, "labels": ids}] * 3)["data"]
        assert row["padded_grid"].shape == (3, length)
        step_of(model, model(row)["loss"])
        counts.append(len(graphs))
    assert graphs and counts[0] == counts[-1]


def test_layers_are_compiled_where_there_is_a_gpu_and_a_compiler(monkeypatch: pytest.MonkeyPatch) -> None:
    def step(layer: Any, hidden: torch.Tensor) -> torch.Tensor:
        return hidden

    threads: list[int] = []
    monkeypatch.setattr(torch, "set_num_threads", threads.append)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setenv("CC", "gcc")
    layers.compiled.cache_clear()
    assert layers.compiled(step) is not step
    assert threads == [1]  # else what the backward pass's threads compute again is compiled again
    monkeypatch.delenv("CC")
    monkeypatch.setenv("PATH", "")
    layers.compiled.cache_clear()
    with pytest.warns(UserWarning, match="no C compiler found"):
        assert layers.compiled(step) is step
    layers.compiled.cache_clear()


NO_HEADER = """CppCompileError: C++ compile error

Command:
g++ -x c++ kernel.cpp
Output:
kernel.cpp:1:10: fatal error: Python.h: No such file or directory"""


def test_layers_are_left_alone_where_nothing_can_be_built_for_the_cpu(
    on_cpu: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(step: Any, **_: Any) -> Any:
        raise RuntimeError(NO_HEADER)

    monkeypatch.setattr(torch, "compile", broken)
    with pytest.warns(
        UserWarning, match=r"\(kernel.cpp:1:10: fatal error: Python.h.*install g\+\+ and Python"
    ):
        assert layers.compiled(layers.vision_layer, True) is layers.vision_layer


def test_a_cpu_keeps_its_threads_and_other_devices_their_layers(
    on_cpu: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    threads: list[int] = []
    asked: list[Any] = []
    monkeypatch.setattr(torch, "set_num_threads", threads.append)
    monkeypatch.setattr(torch, "compile", lambda step, **given: asked.append((step, given)) or (lambda x: x))
    assert layers.compiled(layers.decoder_layer, True) is not layers.decoder_layer
    assert asked[-1] == (layers.decoder_layer, {"dynamic": True}) and not threads
    asked.clear()
    for cached in (layers.compiled, layers._builds_for_cpu):
        cached.cache_clear()
    monkeypatch.setattr(layers, "get_device", lambda: "mps")
    assert layers.compiled(layers.decoder_layer) is layers.decoder_layer and not asked


@pytest.mark.parametrize("broken", [True, False])
def test_adapters_kernels_start_from_cpp_where_that_can_be_built(
    broken: bool, monkeypatch: pytest.MonkeyPatch, recwarn: pytest.WarningsRecorder
) -> None:
    asked = []

    def compile_(step: Any, **settings: Any) -> Any:
        if step is layers._sum:
            if broken:
                raise RuntimeError("fatal error: cuda.h: No such file or directory\n#include <cuda.h>")
            return lambda x: x
        asked.append(settings.get("options"))
        return step

    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch, "set_num_threads", lambda _: None)
    monkeypatch.setattr(torch, "zeros", lambda *_, **__: None)
    monkeypatch.setattr(torch, "compile", compile_)
    monkeypatch.setenv("CC", "gcc")
    for cached in (layers.compiled, layers._starts_from_cpp):
        cached.cache_clear()
    layers.compiled(layers.vision_layer, True)
    layers.compiled(layers.vision_layer)
    for cached in (layers.compiled, layers._starts_from_cpp):
        cached.cache_clear()
    assert asked == [*([] if broken else [{"cpp_wrapper": True, "combo_kernels": True}]), None]
    assert any("(fatal error: cuda.h: No such file" in str(one.message) for one in recwarn) == broken
