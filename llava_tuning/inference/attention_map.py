"""How much an answer attended to each patch of a picture: what the model weighed, not why it said so.

Attention is read from the decoder's upper half, where what a picture shows has reached the words; the mean
over its heads and over the steps that wrote the answer.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from PIL import Image

CHUNK_TOKENS = 64  # of an answer at once: all of a long one's weights would not fit into the memory


@dataclass(frozen=True)
class PictureAttention:
    """A picture, and the share of attention that each of its patches got.

    `weights` is (rows, columns), float32, on the CPU. Its patches cover the picture padded to a square. The
    weights of all pictures of a conversation sum to at most 1; the rest went to text.
    """

    image: Image.Image
    weights: torch.Tensor


@torch.inference_mode()
def answer_attention(
    decoder: Any, embeds: torch.Tensor, answer_tokens: int, cache: Any, cache_argument: str
) -> torch.Tensor:
    """Mean attention of the steps that wrote an answer, over the heads of the decoder's upper half.

    A token is written by the step that reads the one before it, so these steps read the prompt's last token
    and all of the answer but its last. Everything before is read with the decoder's own fast attention.

    Args:
        decoder: a Llama decoder without its language-model head.
        embeds: (1, length, hidden), the prompt's and the answer's input embeddings.
        answer_tokens: how many of them are the answer's, 1 or more.
        cache: an empty cache, as `cache_argument` of the decoder takes it.

    Returns:
        (length,) in float32 on the CPU; sums to 1.
    """
    length = embeds.shape[1]
    first = length - answer_tokens - 1  # the prompt's last token
    positions = torch.arange(length, device=embeds.device)[None]  # (1, length)

    def read(start: int, end: int) -> None:
        decoder(
            inputs_embeds=embeds[:, start:end],
            position_ids=positions[:, start:end],
            use_cache=True,
            **{cache_argument: cache},
        )

    if first:
        read(0, first)
    layers = decoder.layers[len(decoder.layers) // 2 :]
    total = torch.zeros(length, device=embeds.device)

    def add(module: Any, arguments: Any, output: tuple[torch.Tensor, torch.Tensor]) -> None:
        weights = output[1][0].float()  # (heads, steps, length so far)
        total[: weights.shape[-1]] += weights.mean(0).sum(0)

    with _eager(decoder), _hooked([layer.self_attn for layer in layers], add):
        for start in range(first, length - 1, CHUNK_TOKENS):
            read(start, min(start + CHUNK_TOKENS, length - 1))
    return (total / (len(layers) * answer_tokens)).cpu()


@contextmanager
def _eager(decoder: Any) -> Iterator[None]:
    """The attention that tells its weights; the fast ones never have them all at once."""
    usual = decoder.config._attn_implementation
    decoder.set_attn_implementation("eager")
    try:
        yield
    finally:
        decoder.set_attn_implementation(usual)


@contextmanager
def _hooked(modules: Sequence[torch.nn.Module], hook: Any) -> Iterator[None]:
    handles = [module.register_forward_hook(hook) for module in modules]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()
