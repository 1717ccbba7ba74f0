"""A stack of layers is captured once its input keeps its shape, and replayed it computes the same."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from typing import Any

import pytest
import torch
from torch import nn

from llava_tuning.training.graphs import IN_A_ROW, UNUSED, Graph, GraphedStack
from llava_tuning.training.recompute import Recompute

on_a_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs an NVIDIA GPU")


def call(layer: nn.Module, hidden: torch.Tensor) -> torch.Tensor:
    output: torch.Tensor = layer(hidden)
    return output


class Counted:
    """In place of a graph: computes as always, and counts."""

    made: list[Counted]
    hidden_bytes = 3

    def __init__(self, layers: Sequence[nn.Module], step: Any, hidden: torch.Tensor) -> None:
        self.made.append(self)
        self.layers, self.step, self.calls, self.held = layers, step, 0, True

    def holds(self) -> bool:
        return self.held

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


def test_a_shape_is_captured_when_it_has_come_in_a_row(counted: list[Counted]) -> None:
    layers = [nn.Linear(4, 4), nn.Linear(4, 4)]
    stack = GraphedStack(Recompute(False), Counted)

    def run(pictures: int) -> torch.Tensor:
        return stack.run(layers, call, torch.ones(pictures, 4))

    for pictures in [2] * IN_A_ROW + [3] + [2] * IN_A_ROW:
        run(pictures)
    assert not counted and stack.hidden_bytes == 0
    torch.testing.assert_close(run(2), layers[1](layers[0](torch.ones(2, 4))))
    assert [graph.calls for graph in counted] == [1] and stack.hidden_bytes == 3
    for _ in range(IN_A_ROW + 2):  # another number of pictures goes on as always: there is one graph
        run(3)
    with torch.no_grad():  # as while an answer is written
        run(2)
    assert len(counted) == 1 and counted[0].calls == 1
    run(2)
    assert counted[0].calls == 2


def test_a_graph_is_given_up_when_weights_have_moved(counted: list[Counted]) -> None:
    stack = GraphedStack(Recompute(False), Counted)
    layer = nn.Linear(4, 4)
    for _ in range(IN_A_ROW + 1):
        stack.run([layer], call, torch.ones(2, 4))
    counted[0].held = False
    for _ in range(IN_A_ROW + 2):
        found = stack.run([layer], call, torch.ones(2, 4))
    assert [graph.calls for graph in counted] == [1] and stack.hidden_bytes == 0
    torch.testing.assert_close(found, layer(torch.ones(2, 4)))


def test_a_graph_gives_its_memory_back_when_its_shape_comes_no_longer(counted: list[Counted]) -> None:
    stack = GraphedStack(Recompute(False), Counted)
    layer = nn.Linear(4, 4)
    varied = [3, 4] * UNUSED  # before there is a graph
    for pictures in varied + [2] * (IN_A_ROW + 1) + [3] * UNUSED + [2] + [3] * UNUSED:
        stack.run([layer], call, torch.ones(pictures, 4))
    assert counted[0].calls == 2 and stack.hidden_bytes == 3
    for pictures in (3, 3):
        stack.run([layer], call, torch.ones(pictures, 4))
    assert stack.hidden_bytes == 0


@pytest.mark.parametrize("why", ["recomputed", "trained before", "processes"])
def test_what_cannot_be_replayed_runs_as_always(
    why: str, counted: list[Counted], monkeypatch: pytest.MonkeyPatch
) -> None:
    if why == "processes":
        monkeypatch.setattr("llava_tuning.training.graphs.get_world_size", lambda: 2)
    stack = GraphedStack(Recompute(why == "recomputed"), Counted)
    hidden = torch.ones(2, 4, requires_grad=why == "trained before")
    layer = nn.Linear(4, 4)
    for _ in range(IN_A_ROW + 3):
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
    for _ in range(IN_A_ROW):
        stack.run([layer], call, torch.ones(2, 4))
    with pytest.warns(UserWarning, match="without a CUDA graph.*operation not permitted.*vision_cuda_graph"):
        stack.run([layer], call, torch.ones(2, 4))
    found = stack.run([layer], call, torch.ones(2, 4))
    assert len(tries) == 1
    torch.testing.assert_close(found, layer(torch.ones(2, 4)))


def tower() -> nn.ModuleList:
    """Three layers with a frozen part, on the GPU."""
    torch.manual_seed(0)
    layers = nn.ModuleList([nn.Sequential(nn.Linear(32, 64), nn.GELU(), nn.Linear(64, 32)) for _ in range(3)])
    for layer in layers:
        layer[0].weight.requires_grad_(False)  # type: ignore[index, union-attr]
    return layers.cuda()


@on_a_gpu
@pytest.mark.parametrize("half", [False, True])
def test_a_graph_has_the_gradients_of_its_layers_as_weights_change(half: bool) -> None:
    own, other = tower(), tower()
    optimizers = [torch.optim.SGD([w for w in t.parameters() if w.requires_grad], 0.1) for t in (own, other)]
    graph = None
    for step in range(6):
        for _ in range(2):  # accumulated
            hidden = torch.randn(5, 7, 32, device="cuda")
            with torch.autocast("cuda", dtype=torch.bfloat16) if half else nullcontext():
                graph = graph or Graph(own, call, hidden)
                found, wanted = graph(hidden), nn.Sequential(*other)(hidden)
            torch.testing.assert_close(found, wanted)
            (found.float() ** 2).mean().backward()
            (wanted.float() ** 2).mean().backward()
        for one, two in zip(own.parameters(), other.parameters(), strict=True):
            assert (one.grad is None) == (two.grad is None)
            if one.grad is not None:
                torch.testing.assert_close(one.grad, two.grad, rtol=0.02 if half else 1e-4, atol=1e-5)
        for optimizer in optimizers:
            optimizer.step()
            optimizer.zero_grad(set_to_none=step % 2 == 0)


@on_a_gpu
@pytest.mark.parametrize("again", ["forward", "backward"])
def test_a_backward_pass_without_its_forward_pass_is_refused(again: str) -> None:
    hidden = torch.randn(4, 7, 32, device="cuda")
    graph = Graph(tower(), call, hidden)
    first = graph(hidden)
    if again == "forward":
        graph(hidden)
    else:
        first.sum().backward(retain_graph=True)
    with pytest.raises(RuntimeError, match="ran again before this backward pass"):
        first.sum().backward()


@on_a_gpu
def test_a_graph_knows_when_weights_have_moved() -> None:
    layers = tower()
    graph = Graph(layers, call, torch.randn(4, 7, 32, device="cuda"))
    assert graph.holds() and graph.hidden_bytes > 0
    layers[1][2].bias.data = layers[1][2].bias.data.clone()  # type: ignore[index, union-attr]
    assert not graph.holds()


@on_a_gpu
def test_a_models_gradients_are_the_same_by_a_graph() -> None:
    from benchmarks.train.shapes import SHAPES, make_batches
    from benchmarks.train.steps import Ours, Task

    batches = make_batches(SHAPES["tiny"], "finetune", 4, 8)

    def gradients(graphed: bool) -> list[torch.Tensor]:
        torch.manual_seed(0)
        task = Task("finetune", "lora", 8, 4, dropout=0.1)
        ours = Ours(SHAPES["tiny"], task, "cuda", vision_cuda_graph=graphed)
        for name, weight in ours.model.named_parameters():
            if "lora_B" in name:  # zeros would keep lora_A from learning
                nn.init.normal_(weight, std=0.1)
        trained = [w for n, w in ours.model.named_parameters() if "visual_encoder" in n and w.requires_grad]
        found = []
        for batch in batches:
            ours.model.zero_grad()
            data = ours.model.data_preprocessor(ours.data(batch), True)
            ours.model(**data, mode="loss")["loss"].backward()
            found += [w.grad.clone() for w in trained if w.grad is not None]
        assert not graphed or ours.model.hidden_bytes > 0
        return found

    own, wanted = gradients(True), gradients(False)
    assert len(own) == len(wanted) > 0
    for one, two in zip(own, wanted, strict=True):
        assert float((one - two).norm()) <= 0.02 * float(two.norm())
