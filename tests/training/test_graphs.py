"""A stack of layers is captured where its input's shape comes again, and replayed it computes the same."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
import torch
from torch import nn

from llava_tuning.training.graphs import MOST, SEEN, Graph, GraphedStack
from llava_tuning.training.recompute import Recompute

on_a_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs an NVIDIA GPU")


def call(layer: nn.Module, hidden: torch.Tensor) -> torch.Tensor:
    output: torch.Tensor = layer(hidden)
    return output


class Counted:
    """In place of a graph: computes as always, and counts."""

    made: list[Counted]
    pool = "shared"
    hidden_bytes = 3

    def __init__(self, layers: Sequence[nn.Module], step: Any, hidden: torch.Tensor, pool: Any) -> None:
        assert pool == ("shared" if self.made else None)
        self.made.append(self)
        self.layers, self.step, self.calls = layers, step, 0

    def __call__(self, hidden: torch.Tensor) -> torch.Tensor:
        self.calls += 1
        for layer in self.layers:
            hidden = self.step(layer, hidden)
        return hidden


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch) -> list[Counted]:
    made: list[Counted] = []
    monkeypatch.setattr(Counted, "made", made, raising=False)
    return made


def test_only_a_shape_that_comes_again_is_captured(counted: list[Counted]) -> None:
    layers = [nn.Linear(4, 4), nn.Linear(4, 4)]
    stack = GraphedStack(Recompute(False), Counted)
    for pictures in [*[2] * SEEN, 3]:
        stack.run(layers, call, torch.ones(pictures, 4))
    assert not counted and stack.hidden_bytes == 0
    for _ in range(3):
        found = stack.run(layers, call, torch.ones(2, 4))
    torch.testing.assert_close(found, layers[1](layers[0](torch.ones(2, 4))))
    assert [graph.calls for graph in counted] == [3] and stack.hidden_bytes == 3
    stack.run(layers, call, torch.ones(3, 4))
    assert len(counted) == 1  # the other shape has come twice, but not oftener
    with torch.no_grad():  # something else to compute, though of the same shape
        stack.run(layers, call, torch.ones(2, 4))
    assert counted[0].calls == 3
    stack.forget()
    stack.run(layers, call, torch.ones(2, 4))
    assert counted[0].calls == 3 and stack.hidden_bytes == 0


def test_there_are_no_more_graphs_than_memory_is_meant_for(counted: list[Counted]) -> None:
    stack = GraphedStack(Recompute(False), Counted)
    for pictures in range(1, MOST + 3):
        for _ in range(SEEN + 2):
            stack.run([nn.Linear(4, 4)], call, torch.ones(pictures, 4))
    assert len(counted) == MOST


@pytest.mark.parametrize("why", ["recomputed", "trained before", "processes"])
def test_what_cannot_be_replayed_runs_as_always(
    why: str, counted: list[Counted], monkeypatch: pytest.MonkeyPatch
) -> None:
    if why == "processes":
        monkeypatch.setattr("llava_tuning.training.graphs.get_world_size", lambda: 2)
    stack = GraphedStack(Recompute(why == "recomputed"), Counted)
    hidden = torch.ones(2, 4, requires_grad=why == "trained before")
    layer = nn.Linear(4, 4)
    for _ in range(SEEN + 3):
        found = stack.run([layer], call, hidden)
    assert not counted
    torch.testing.assert_close(found, layer(hidden))


def test_training_goes_on_where_nothing_can_be_captured() -> None:
    tries = []

    def failing(*_: Any) -> Any:
        tries.append(1)
        raise RuntimeError("operation not permitted when stream is capturing\nand more")

    stack = GraphedStack(Recompute(False), failing)
    layer = nn.Linear(4, 4)
    for _ in range(SEEN):
        stack.run([layer], call, torch.ones(2, 4))
    with pytest.warns(UserWarning, match="without a CUDA graph: operation not permitted"):
        stack.run([layer], call, torch.ones(2, 4))
    found = stack.run([layer], call, torch.ones(2, 4))
    assert len(tries) == 1
    torch.testing.assert_close(found, layer(torch.ones(2, 4)))


def tower(frozen: bool = False) -> nn.ModuleList:
    """Three layers with a frozen part, on the GPU."""
    torch.manual_seed(0)
    layers = nn.ModuleList([nn.Sequential(nn.Linear(32, 64), nn.GELU(), nn.Linear(64, 32)) for _ in range(3)])
    for layer in layers:
        layer[0].weight.requires_grad_(False)  # type: ignore[index, union-attr]
    return layers.cuda().requires_grad_(False) if frozen else layers.cuda()


@on_a_gpu
def test_a_graph_has_the_gradients_of_its_layers_as_weights_change() -> None:
    own, other = tower(), tower()
    graphs: dict[int, Graph] = {}
    optimizers = [torch.optim.SGD([w for w in t.parameters() if w.requires_grad], 0.1) for t in (own, other)]
    for step in range(6):
        for pictures in (5, 3):  # accumulated, by graphs that share memory
            hidden = torch.randn(pictures, 7, 32, device="cuda")
            if pictures not in graphs:
                graphs[pictures] = Graph(own, call, hidden, graphs[5].pool if graphs else None)
            found = graphs[pictures](hidden)
            wanted = nn.Sequential(*other)(hidden)
            torch.testing.assert_close(found, wanted)
            (found**2).mean().backward()
            (wanted**2).mean().backward()
        for one, two in zip(own.parameters(), other.parameters(), strict=True):
            assert (one.grad is None) == (two.grad is None)
            if one.grad is not None:
                torch.testing.assert_close(one.grad, two.grad)
        for optimizer in optimizers:
            optimizer.step()
            optimizer.zero_grad(set_to_none=step % 2 == 0)


@on_a_gpu
def test_a_frozen_stack_is_replayed_too() -> None:
    layers = tower(frozen=True)
    stack = GraphedStack(Recompute("auto"))
    for _ in range(SEEN + 3):
        hidden = torch.randn(4, 7, 32, device="cuda")
        with torch.no_grad():
            found = stack.run(layers, call, hidden)
            torch.testing.assert_close(found, nn.Sequential(*layers)(hidden))
    assert stack._captured


@on_a_gpu
def test_a_backward_pass_of_an_earlier_run_is_refused() -> None:
    layers = tower()
    hidden = torch.randn(4, 7, 32, device="cuda")
    graph = Graph(layers, call, hidden)
    first = graph(hidden)
    graph(hidden)
    with pytest.raises(RuntimeError, match="ran again before the backward pass"):
        first.sum().backward()


@on_a_gpu
@pytest.mark.parametrize("vision_rank", [4, 0])
def test_a_models_steps_are_the_same_by_graphs(vision_rank: int) -> None:
    from benchmarks.train.shapes import SHAPES, make_batches
    from benchmarks.train.steps import Ours, Task

    task = Task("finetune", "lora", 8, vision_rank, dropout=0.1)
    batches = [batch for batch in make_batches(SHAPES["tiny"], "finetune", 4, 8)]

    def losses(graphs: bool) -> list[float]:
        torch.manual_seed(0)
        ours = Ours(SHAPES["tiny"], task, "cuda")
        if not graphs:
            ours.model.picture_graphs = None
        found = [float(ours.step(ours.data(batch))) for batch in batches]
        if graphs:
            assert ours.model.picture_graphs is not None and ours.model.picture_graphs._captured
        return found

    torch.testing.assert_close(losses(True), losses(False), rtol=1e-3, atol=0)
