"""Names and layout of tensors in GGUF, as llama.cpp's own converter writes them.

The language model's are those of the architecture `llama`; the rest are `clip`'s with the projector `mlp`
(`convert_hf_to_gguf.py` and `tools/mtmd` in llama.cpp).
"""

from __future__ import annotations

import re
from dataclasses import dataclass

import torch

_LANGUAGE_MODEL = {
    "embed_tokens": "token_embd",
    "norm": "output_norm",
    "lm_head": "output",
    "input_layernorm": "attn_norm",
    "post_attention_layernorm": "ffn_norm",
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
}
_VISION_TOWER = {
    "embeddings.class_embedding": "v.class_embd",
    "embeddings.patch_embedding": "v.patch_embd",
    "embeddings.position_embedding": "v.position_embd",
    "pre_layrnorm": "v.pre_ln",
    "layer_norm1": "ln1",
    "layer_norm2": "ln2",
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.out_proj": "attn_out",
    "mlp.fc1": "ffn_up",
    "mlp.fc2": "ffn_down",
}
_PROJECTOR = {"linear_1": "mm.0", "linear_2": "mm.2"}
_UNUSED = ("vision_tower.post_layernorm.", "vision_tower.embeddings.position_ids")
_LAYER = re.compile(r"(?:encoder\.)?layers\.(\d+)\.(.+)")


@dataclass(frozen=True)
class Place:
    """Where a tensor goes: into the file of the language model or of what sees, and under which name."""

    name: str
    sees: bool
    layer: int | None = None


def place(name: str) -> Place | None:
    """The place of a weight of a LLaVA or Llama directory; None where llama.cpp has no use for it.

    Raises:
        KeyError: no such weight is known.
    """
    name = name.removeprefix("model.") if name.startswith(("model.vision", "model.multi")) else name
    name = name.replace("vision_tower.vision_model.", "vision_tower.", 1)
    if name.startswith(_UNUSED):
        return None
    if name.startswith("vision_tower."):
        return _place(name.removeprefix("vision_tower."), _VISION_TOWER, sees=True)
    if name.startswith("multi_modal_projector."):
        return _place(name.removeprefix("multi_modal_projector."), _PROJECTOR, sees=True)
    if name.endswith(".rotary_emb.inv_freq"):
        return None
    for prefix in ("model.language_model.", "language_model.model.", "language_model.", "model."):
        if name.startswith(prefix):
            name = name.removeprefix(prefix)
            break
    return _place(name, _LANGUAGE_MODEL, sees=False)


def _place(name: str, table: dict[str, str], *, sees: bool) -> Place:
    layer = None
    prefix = ""
    if match := _LAYER.fullmatch(name):
        layer, name = int(match[1]), match[2]
        prefix = f"{'v.' if sees else ''}blk.{layer}."
    if name in table:  # a parameter without `.weight`
        return Place(prefix + table[name], sees, layer)
    module, _, kind = name.rpartition(".")
    return Place(f"{prefix}{table[module]}.{kind}", sees, layer)


def expected(layers: int, *, tied: bool) -> set[str]:
    """Names that a language model's file must have."""
    ends = {"token_embd.weight", "output_norm.weight"} | (set() if tied else {"output.weight"})
    inner = [new for new in _LANGUAGE_MODEL.values() if new.startswith(("attn", "ffn"))]
    return ends | {f"blk.{layer}.{new}.weight" for layer in range(layers) for new in inner}


def expected_to_see(layers: int) -> set[str]:
    """Names that the file of what sees must have."""
    ends = {new if new == "v.class_embd" else f"{new}.weight" for new in _VISION_TOWER.values() if "." in new}
    inner = [new for new in _VISION_TOWER.values() if "." not in new]
    blocks = {f"v.blk.{layer}.{new}.weight" for layer in range(layers) for new in inner}
    return ends | blocks | {f"{new}.weight" for new in _PROJECTOR.values()}


def interleave(weight: torch.Tensor, heads: int) -> torch.Tensor:
    """Rows of a query or key projection, (heads * head size, ...), in the order of GGUF's rotary embedding.

    Llama in transformers rotates the first half of a head against the second; llama.cpp's `llama` rotates
    neighbours.
    """
    half = weight.shape[0] // heads // 2
    return weight.reshape(heads, 2, half, *weight.shape[1:]).transpose(1, 2).reshape(weight.shape)
