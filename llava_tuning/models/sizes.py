"""How many parameters a model has, told apart by what becomes of them when it is loaded in fewer bits."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

from llava_tuning.models.checkpoints import Checkpoint


@dataclass(frozen=True)
class Sizes:
    """Args:
    layers: parameters of the matrices in the language model's layers.
    rest: of embedding, head, norms, projector and vision tower.
    values_per_token: numbers that a token's keys and values take.
    """

    layers: int
    rest: int
    values_per_token: int

    @property
    def parameters(self) -> int:
        """All of them."""
        return self.layers + self.rest


def sizes_of(directory: Path) -> Sizes:
    """From a model directory's configuration and the headers of its weights; nothing is loaded.

    Raises:
        UserError: the weights are incomplete or unreadable.
    """
    from transformers import AutoConfig

    layers = rest = 0
    for name, info in Checkpoint(directory).tensors.items():
        if len(info.shape) == 2 and ".layers." in name and "vision_tower" not in name:
            layers += prod(info.shape)
        else:
            rest += prod(info.shape)
    return _sizes(layers, rest, AutoConfig.from_pretrained(directory).get_text_config())


def sizes_of_shapes(text: dict[str, Any], vision: dict[str, Any] | None) -> Sizes:
    """From configurations alone, as `LlamaConfig` and `CLIPVisionConfig` take them."""
    import torch
    from transformers import CLIPVisionConfig, CLIPVisionModel, LlamaConfig, LlamaForCausalLM

    from llava_tuning.models.llava import new_projector

    with torch.device("meta"):
        llm = LlamaForCausalLM(LlamaConfig(**text))
        parts: list[Any] = [llm]
        if vision is not None:
            tower = CLIPVisionModel(CLIPVisionConfig(**vision))
            parts += [tower, new_projector(tower.config.hidden_size, llm.config.hidden_size)]
    every = sum(parameter.numel() for part in parts for parameter in part.parameters())
    layers = sum(p.numel() for p in llm.model.layers.parameters() if p.dim() == 2)
    return _sizes(layers, every - layers, llm.config)


def _sizes(layers: int, rest: int, text: Any) -> Sizes:
    width = getattr(text, "head_dim", None) or text.hidden_size // text.num_attention_heads
    per_token = 2 * text.num_hidden_layers * text.num_key_value_heads * width
    return Sizes(layers, rest, per_token)
