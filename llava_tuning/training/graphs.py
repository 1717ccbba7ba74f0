"""A CUDA graph of a stack of layers: thousands of kernels, forward and backward, are started by two calls."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Protocol

import torch
from mmengine.dist import get_world_size
from torch import nn
from torch.autograd.function import once_differentiable

from llava_tuning.training.recompute import Recompute

LayerStep = Callable[[nn.Module, torch.Tensor], torch.Tensor]
IN_A_ROW = 2  # runs with inputs of one shape after which the next is captured
UNUSED = 8  # runs with others after which the graph's memory is given back
WARM_UP = 2  # passes before it, in which libraries allocate and load what they need


class Captured(Protocol):
    """What a stack computes for hidden states of one shape."""

    hidden_bytes: int

    def holds(self) -> bool:
        """Whether the weights still lie where they lay."""

    def __call__(self, hidden: torch.Tensor) -> torch.Tensor:
        """The stack's output, which the next call overwrites."""


class Graph:
    """The forward and backward pass of a stack of layers with trained weights, for one shape of input.

    Weights are read where they lie, so their updates show. There is memory for one pass: each backward pass
    belongs to the last forward pass, once.

    Args:
        layers, step: `step(layer, hidden)` for each layer in turn.
        hidden: an input of the shape, without a gradient.

    Attributes:
        hidden_bytes: what the graph holds and the allocator does not count as allocated.
    """

    def __init__(self, layers: Sequence[nn.Module], step: LayerStep, hidden: torch.Tensor) -> None:
        self.runs = 0
        self._input = hidden.detach().clone()
        self._grad_output = torch.zeros_like(hidden)
        with _aliases(layers) as (self._places, leaves):
            self._capture(layers, step, leaves)
        self._lay = [leaf.data_ptr() for leaf in leaves]

    def _capture(self, layers: Sequence[nn.Module], step: LayerStep, leaves: Sequence[torch.Tensor]) -> None:
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
                backward(forward())
        stream.wait_stream(own)
        torch.clear_autocast_cache()  # else casts of the warm-up would be taken for those of every run
        torch.cuda.empty_cache()
        before = _not_allocated(device)
        # Threads that pin memory go on meanwhile, which only this mode allows.
        where: Any = {"stream": own, "capture_error_mode": "thread_local"}
        self._forward, self._backward = torch.cuda.CUDAGraph(), torch.cuda.CUDAGraph()
        with torch.cuda.graph(self._forward, **where):
            output = forward()
        with torch.cuda.graph(self._backward, pool=self._forward.pool(), **where):
            self._grads = backward(output)
        torch.clear_autocast_cache()
        self._output = output.detach()
        del output
        self.hidden_bytes = max(0, _not_allocated(device) - before)
        torch.cuda.reset_peak_memory_stats(
            device
        )  # the peak so far has activations that are hidden from now on

    def holds(self) -> bool:
        """Whether the trained weights still lie where they lay, and are trained."""
        return all(
            parameters.get(name) is weight and weight.requires_grad and weight.data_ptr() == lay
            for (parameters, name, weight), lay in zip(self._places, self._lay, strict=True)
        )

    def __call__(self, hidden: torch.Tensor) -> torch.Tensor:
        """The stack's output, which the next call overwrites."""
        output: torch.Tensor = _Replay.apply(self, hidden, *(weight for _, _, weight in self._places))
        return output

    def forward(self, hidden: torch.Tensor) -> torch.Tensor:
        """Replay the forward pass."""
        self.runs += 1
        self._input.copy_(hidden)
        self._forward.replay()
        return self._output.detach()

    def backward(self, grad: torch.Tensor) -> Sequence[torch.Tensor]:
        """Gradients of the trained weights."""
        self.runs += 1  # the activations are used up
        self._grad_output.copy_(grad)
        self._backward.replay()
        copies: Sequence[torch.Tensor] = torch._foreach_mul(self._grads, 1.0)
        return copies  # for the next backward pass may come before these are used


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
            raise RuntimeError("these layers ran again before this backward pass of theirs, or it ran before")
        return None, None, *ctx.graph.backward(grad)


Place = tuple[dict[str, Any], str, nn.Parameter]  # a module's parameters, the name of one, and the parameter


@contextmanager
def _aliases(layers: Sequence[nn.Module]) -> Iterator[tuple[list[Place], list[nn.Parameter]]]:
    """Where the trained weights of `layers` are, and others over the same memory in their place meanwhile.

    A weight waits for the stream on which its gradients were added up before, which a capture must not.
    """
    places: list[Place] = [
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
        yield places, aliases
    finally:
        for parameters, name, weight in places:
            parameters[name] = weight


class GraphedStack:
    """Runs a stack of layers as `Recompute` does, and by a CUDA graph once its input keeps its shape.

    There is one graph in a run, for it holds the activations of its shape; it is given up when its shape
    comes no longer, or weights have moved. Only in one process, where no layer is computed again, and where
    the layers are trained and nothing before them.

    Args:
        memory: runs the stack where there is no graph.
        capture: makes what computes the stack for one shape.
    """

    def __init__(self, memory: Recompute, capture: Callable[..., Captured] = Graph) -> None:
        self._memory = memory
        self._capture = capture
        self._key: Any = None  # what the last runs had in common
        self._in_a_row = 0
        self._captured: tuple[Any, Captured] | None = None
        self._unused = 0  # runs with others since the last of the graph
        self._tried = False

    @property
    def hidden_bytes(self) -> int:
        """What the graph holds and the allocator does not count as allocated."""
        return 0 if self._captured is None else self._captured[1].hidden_bytes

    def run(
        self, layers: Sequence[nn.Module], step: LayerStep, hidden: torch.Tensor, reserved: int = 0
    ) -> torch.Tensor:
        """`step(layer, hidden)` for each layer in turn; `reserved` as in `Recompute.run`."""
        key = (hidden.shape, hidden.dtype, torch.is_autocast_enabled(hidden.device.type))
        self._in_a_row = self._in_a_row + 1 if key == self._key else 1
        self._key = key
        possible = torch.is_grad_enabled() and not hidden.requires_grad and get_world_size() == 1
        if possible and self._in_a_row > IN_A_ROW and not self._tried:
            self._try(layers, step, hidden)
        if self._captured is not None and not (self._unused <= UNUSED and self._captured[1].holds()):
            self._captured = None
        if possible and self._captured is not None and self._captured[0] == key:
            self._unused = 0
            return self._captured[1](hidden)
        self._unused += 1
        output = self._memory.run(layers, step, hidden, reserved)
        if self._memory.recomputed:
            self._in_a_row = 0
        return output

    def _try(self, layers: Sequence[nn.Module], step: LayerStep, hidden: torch.Tensor) -> None:
        self._tried, self._unused = True, 0
        try:
            self._captured = self._key, self._capture(layers, step, hidden)
        except RuntimeError as error:  # an operation that cannot be captured, or no memory
            reason = (str(error).splitlines() or [""])[0][:200]
            warnings.warn(
                f"these layers go on without a CUDA graph, a little slower ({reason}); should training fail "
                "after this, set vision_cuda_graph to False",
                stacklevel=2,
            )


def _not_allocated(device: torch.device) -> int:
    return torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
