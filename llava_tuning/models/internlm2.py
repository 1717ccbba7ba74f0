"""InternLM2 → Llama: the same network under other names, with the fused QKV taken apart.

Layout after InternLM's modeling_internlm2.py (Apache-2.0): `wqkv` is grouped by key/value head: for each
come its query heads, one key head and one value head.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from transformers import LlamaConfig

from llava_tuning.errors import UserError

IGNORED_SUFFIX = "rotary_emb.inv_freq"  # a buffer that old checkpoints saved; computed from rope_theta
_OUTSIDE = {
    "model.tok_embeddings.weight": "model.embed_tokens.weight",
    "model.norm.weight": "model.norm.weight",
    "output.weight": "lm_head.weight",
}
_IN_LAYER = {
    "attention.wo.weight": "self_attn.o_proj.weight",
    "feed_forward.w1.weight": "mlp.gate_proj.weight",
    "feed_forward.w3.weight": "mlp.up_proj.weight",
    "feed_forward.w2.weight": "mlp.down_proj.weight",
    "attention_norm.weight": "input_layernorm.weight",
    "ffn_norm.weight": "post_attention_layernorm.weight",
}
_FUSED = "attention.wqkv.weight"


@dataclass(frozen=True)
class InternLM2Shape:
    """The sizes of an InternLM2 model."""

    hidden: int
    intermediate: int
    layers: int
    heads: int
    kv_heads: int
    vocab: int
    tied: bool

    @property
    def head_dim(self) -> int:
        return self.hidden // self.heads

    @property
    def groups(self) -> int:
        """Query heads per key/value head."""
        return self.heads // self.kv_heads

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> InternLM2Shape:
        """Sizes from `config.json`.

        Raises:
            UserError: a key is missing, the heads do not divide, or the model has biases.
        """
        try:
            shape = cls(
                hidden=config["hidden_size"],
                intermediate=config["intermediate_size"],
                layers=config["num_hidden_layers"],
                heads=config["num_attention_heads"],
                kv_heads=config.get("num_key_value_heads") or config["num_attention_heads"],
                vocab=config["vocab_size"],
                tied=bool(config.get("tie_word_embeddings", False)),
            )
        except KeyError as error:
            raise UserError(f"config.json has no {error}; take the original config.json") from None
        for key, value in vars(shape).items():
            if key != "tied" and (not isinstance(value, int) or value < 1):
                raise UserError(f"config.json: {value!r} is no size ({key}); take the original config.json")
        if shape.hidden % shape.heads:
            raise UserError(f"config.json: {shape.heads} heads do not divide hidden size {shape.hidden}")
        if shape.heads % shape.kv_heads:
            raise UserError(
                f"config.json: {shape.kv_heads} key/value heads do not divide {shape.heads} query heads"
            )
        if config.get("bias"):
            raise UserError("config.json: bias is true; InternLM2 models with biases cannot be prepared")
        return shape

    def expected(self) -> dict[str, tuple[int, ...]]:
        """Name and shape of every tensor that a checkpoint of this size has."""
        fused = self.kv_heads * (self.groups + 2) * self.head_dim
        in_layer: dict[str, tuple[int, ...]] = {
            _FUSED: (fused, self.hidden),
            "attention.wo.weight": (self.hidden, self.hidden),
            "feed_forward.w1.weight": (self.intermediate, self.hidden),
            "feed_forward.w3.weight": (self.intermediate, self.hidden),
            "feed_forward.w2.weight": (self.hidden, self.intermediate),
            "attention_norm.weight": (self.hidden,),
            "ffn_norm.weight": (self.hidden,),
        }
        tensors: dict[str, tuple[int, ...]] = {
            "model.tok_embeddings.weight": (self.vocab, self.hidden),
            "model.norm.weight": (self.hidden,),
        }
        if not self.tied:
            tensors["output.weight"] = (self.vocab, self.hidden)
        for layer in range(self.layers):
            tensors.update({f"model.layers.{layer}.{name}": size for name, size in in_layer.items()})
        return tensors


def convert_tensor(name: str, tensor: torch.Tensor, shape: InternLM2Shape) -> list[tuple[str, torch.Tensor]]:
    """What one InternLM2 tensor becomes: query, key and value for a fused QKV, else itself renamed."""
    if name in _OUTSIDE:
        return [(_OUTSIDE[name], tensor)]
    _, _, layer, within = name.split(".", 3)
    prefix = f"model.layers.{layer}."
    if within in _IN_LAYER:
        return [(prefix + _IN_LAYER[within], tensor)]
    query, key, value = split_qkv(tensor, shape)
    return [
        (f"{prefix}self_attn.q_proj.weight", query),
        (f"{prefix}self_attn.k_proj.weight", key),
        (f"{prefix}self_attn.v_proj.weight", value),
    ]


def split_qkv(fused: torch.Tensor, shape: InternLM2Shape) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Query (heads·head_dim, hidden), key and value (kv_heads·head_dim, hidden) of a fused weight."""
    grouped = fused.view(shape.kv_heads, shape.groups + 2, shape.head_dim, shape.hidden)
    query = grouped[:, : shape.groups].reshape(-1, shape.hidden)  # (heads * head_dim, hidden)
    key = grouped[:, shape.groups].reshape(-1, shape.hidden)  # (kv_heads * head_dim, hidden)
    value = grouped[:, shape.groups + 1].reshape(-1, shape.hidden)
    return query, key, value


def llama_config(config: dict[str, Any], dtype: torch.dtype) -> LlamaConfig:
    """The Llama configuration of an InternLM2 `config.json`.

    Raises:
        UserError: a rope scaling or an activation that Llama does not have.
    """
    shape = InternLM2Shape.from_config(config)
    if config.get("hidden_act", "silu") != "silu":
        raise UserError(f"config.json: activation {config['hidden_act']} is not InternLM2's silu")
    return LlamaConfig(
        vocab_size=shape.vocab,
        hidden_size=shape.hidden,
        intermediate_size=shape.intermediate,
        num_hidden_layers=shape.layers,
        num_attention_heads=shape.heads,
        num_key_value_heads=shape.kv_heads,
        head_dim=shape.head_dim,
        hidden_act="silu",
        max_position_embeddings=config.get("max_position_embeddings", 2048),
        initializer_range=config.get("initializer_range", 0.02),
        rms_norm_eps=config.get("rms_norm_eps", 1e-6),
        rope_parameters=_rope(config),
        tie_word_embeddings=shape.tied,
        bos_token_id=config.get("bos_token_id", 1),
        eos_token_id=config.get("eos_token_id", 2),
        pad_token_id=config.get("pad_token_id", 2),
        architectures=["LlamaForCausalLM"],
        dtype=dtype,
    )


def _rope(config: dict[str, Any]) -> dict[str, Any]:
    theta = float(config.get("rope_theta", 10000))
    scaling = config.get("rope_scaling") or {}
    kind, factor = scaling.get("type", scaling.get("rope_type")), float(scaling.get("factor", 1.0))
    if not scaling or factor == 1.0:
        # "dynamic" by 1.0 changes nothing within the trained length.
        return {"rope_type": "default", "rope_theta": theta}
    if kind in ("dynamic", "linear"):
        return {"rope_type": kind, "factor": factor, "rope_theta": theta}
    raise UserError(f"config.json: rope_scaling {scaling} is not one of dynamic, linear or none")
