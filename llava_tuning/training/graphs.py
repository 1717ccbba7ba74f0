"""CUDA graphs of a stack of layers: thousands of kernels, forward and backward, are started by two calls."""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Protocol

import torch
from mmengine.dist import get_world_size
from torch import nn
from torch.autograd.function import once_differentiable

from llava_tuning.training.recompute import Recompute

LayerStep = Callable[[nn.Module, torch.Tensor], torch.Tensor]
SEEN = 2  # times that a shape has come before it is worth a graph
MOST = 4  # graphs of one stack; each keeps input, output and gradients of its own
WARM_UP = 2  # passes before a graph is captured, in which libraries allocate and load what they need


class Captured(Protocol):
    """What a stack computes for hidden states of one shape."""

    hidden_bytes: int
    pool: Any

    def __call__(self, hidden: torch.Tensor) -> torch.Tensor:
        """The stack's output, which is overwritten by the next call."""


class Graph:
    """A stack's forward and, where anything is trained, backward pass for one shape of input.

    Weights are read where they lie, so their updates show, but they must not be moved. There is memory for
    one pass: a backward pass belongs to the last forward pass.

    Args:
        layers, step: `step(layer, hidden)` for each layer in turn.
        hidden: an input of the shape, without a gradient.
        pool: memory of graphs which never run at the same time, for one more; None for memory of its own.

    Attributes:
        hidden_bytes: what the graph holds and the allocator does not count as allocated.
    """

    def __init__(
        self, layers: Sequence[nn.Module], step: LayerStep, hidden: torch.Tensor, pool: Any = None
    ) -> None:
        self.runs = 0
        self._input = hidden.detach().clone()
        self._grad_output = torch.zeros_like(hidden)
        self._grads: tuple[torch.Tensor, ...] = ()
        with _aliases(layers if torch.is_grad_enabled() else []) as (self.trained, leaves):
            self._capture(layers, step, leaves, pool)

    def _capture(
        self, layers: Sequence[nn.Module], step: LayerStep, leaves: Sequence[torch.Tensor], pool: Any
    ) -> None:
        def forward() -> torch.Tensor:
            output = self._input
            for layer in layers:
                output = step(layer, output)
            return output

        def backward(output: torch.Tensor) -> tuple[torch.Tensor, ...]:
            return torch.autograd.grad(output, leaves, self._grad_output)

        device = self._input.device
        stream, own = torch.cuda.current_stream(device), torch.cuda.Stream(device)
        own.wait_stream(stream)
        with torch.cuda.stream(own):
            for _ in range(WARM_UP):
                output = forward()
                if leaves:
                    backward(output)
            del output
        stream.wait_stream(own)
        torch.cuda.empty_cache()
        before = _not_allocated(device)
        # Threads that pin memory go on meanwhile, which only this mode allows.
        where: Any = {"stream": own, "capture_error_mode": "thread_local"}
        self._forward, self._backward = torch.cuda.CUDAGraph(), torch.cuda.CUDAGraph()
        with torch.cuda.graph(self._forward, pool=pool, **where):
            output = forward()
        self.pool = self._forward.pool()
        if leaves:
            with torch.cuda.graph(self._backward, pool=self.pool, **where):
                self._grads = backward(output)
        self._output = output.detach()
        del output
        self.hidden_bytes = max(0, _not_allocated(device) - before)

    def __call__(self, hidden: torch.Tensor) -> torch.Tensor:
        """The stack's output, which the next call overwrites."""
        output: torch.Tensor = _Replay.apply(self, hidden, *self.trained)
        return output

    def forward(self, hidden: torch.Tensor) -> torch.Tensor:
        """Replay the forward pass."""
        self.runs += 1
        self._input.copy_(hidden)
        self._forward.replay()
        return self._output.detach()

    def backward(self, grad: torch.Tensor) -> Sequence[torch.Tensor]:
        """Gradients of the `trained` weights."""
        self._grad_output.copy_(grad)
        self._backward.replay()
        copies: Sequence[torch.Tensor] = torch._foreach_mul(self._grads, 1.0)
        return copies  # for the next backward pass may come before these are used


@contextmanager
def _aliases(layers: Sequence[nn.Module]) -> Iterator[tuple[list[nn.Parameter], list[nn.Parameter]]]:
    """The trained weights of `layers`, and others over the same memory that stand in their place meanwhile.

    A weight waits for the stream on which its gradients were added up before, which a capture must not.
    """
    places = [
        (module._parameters, name, weight)
        for layer in layers
        for module in layer.modules()
        for name, weight in module._parameters.items()
        if weight is not None and weight.requires_grad
    ]
    aliases = [nn.Parameter(weight.detach()) for _, _, weight in places]
    try:
        for (parameters, name, _), alias in zip(places, aliases, strict=True):
            parameters[name] = alias
        yield [weight for _, _, weight in places], aliases
    finally:
        for parameters, name, weight in places:
            parameters[name] = weight


class _Replay(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, graph: Graph, hidden: torch.Tensor, *trained: torch.Tensor) -> torch.Tensor:  # type: ignore[override]
        output = graph.forward(hidden)
        ctx.graph, ctx.run = graph, graph.runs
        return output

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: torch.Tensor) -> tuple[torch.Tensor | None, ...]:  # type: ignore[override]
        if ctx.run != ctx.graph.runs:
            raise RuntimeError("these layers ran again before the backward pass of this run of theirs")
        return None, None, *ctx.graph.backward(grad)


class GraphedStack:
    """Runs a stack of layers as `Recompute` does, and by a CUDA graph where its input's shape comes again.

    Only where no layer is computed again, where nothing before the stack is trained, and in one process.

    Args:
        memory: runs the stack where there is no graph.
        capture: makes what computes the stack for one shape.
    """

    def __init__(self, memory: Recompute, capture: Callable[..., Captured] = Graph) -> None:
        self._memory = memory
        self._capture = capture
        self.forget()

    def forget(self) -> None:
        """Drop all graphs: weights are about to be moved."""
        self._seen: Counter[Any] = Counter()
        self._captured: dict[Any, Captured] = {}
        self._most = MOST

    @property
    def hidden_bytes(self) -> int:
        """What the graphs hold and the allocator does not count as allocated."""
        return sum(captured.hidden_bytes for captured in self._captured.values())

    def run(
        self, layers: Sequence[nn.Module], step: LayerStep, hidden: torch.Tensor, reserved: int = 0
    ) -> torch.Tensor:
        """`step(layer, hidden)` for each layer in turn; `reserved` as in `Recompute.run`."""
        key = (hidden.shape, hidden.requires_grad, torch.is_grad_enabled())
        if key not in self._captured and self._seen[key] >= SEEN and len(self._captured) < self._most:
            self._add(key, layers, step, hidden)
        if key in self._captured:
            return self._captured[key](hidden)
        output = self._memory.run(layers, step, hidden, reserved)
        if not (self._memory.recomputed or hidden.requires_grad) and get_world_size() == 1:
            self._seen[key] += 1
        return output

    def _add(self, key: Any, layers: Sequence[nn.Module], step: LayerStep, hidden: torch.Tensor) -> None:
        pool = next((captured.pool for captured in self._captured.values()), None)
        try:
            self._captured[key] = self._capture(layers, step, hidden, pool)
        except RuntimeError as error:  # an operation that cannot be captured, or no memory
            reason = (str(error).splitlines() or [""])[0][:200]
            warnings.warn(f"the vision tower goes on without a CUDA graph: {reason}", stacklevel=2)
            self._most = 0


def _not_allocated(device: torch.device) -> int:
    return torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
