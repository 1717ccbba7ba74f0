"""Shapes of models that this project is used with, as `LlamaConfig` and `CLIPVisionConfig` take them."""

from __future__ import annotations

from typing import Any

Shape = dict[str, Any]

# internlm/internlm2-chat-1_8b after `llava-tuning prepare`
INTERNLM2_1_8B: Shape = {
    "vocab_size": 92544,
    "hidden_size": 2048,
    "intermediate_size": 8192,
    "num_hidden_layers": 24,
    "num_attention_heads": 16,
    "num_key_value_heads": 8,
    "max_position_embeddings": 32768,
    "rms_norm_eps": 1e-5,
    "tie_word_embeddings": False,
}
# internlm/internlm2-chat-7b
INTERNLM2_7B: Shape = {
    **INTERNLM2_1_8B,
    "hidden_size": 4096,
    "intermediate_size": 14336,
    "num_hidden_layers": 32,
    "num_attention_heads": 32,
}
# HuggingFaceTB/SmolLM2-135M-Instruct
SMOLLM2_135M: Shape = {
    "vocab_size": 49152,
    "hidden_size": 576,
    "intermediate_size": 1536,
    "num_hidden_layers": 30,
    "num_attention_heads": 9,
    "num_key_value_heads": 3,
    "max_position_embeddings": 8192,
    "tie_word_embeddings": True,
}
# openai/clip-vit-large-patch14-336
CLIP_L: Shape = {
    "hidden_size": 1024,
    "intermediate_size": 4096,
    "num_hidden_layers": 24,
    "num_attention_heads": 16,
    "image_size": 336,
    "patch_size": 14,
    "projection_dim": 768,
}
# the embedded model's own
CLIP_SMALL: Shape = {
    "hidden_size": 256,
    "intermediate_size": 1024,
    "num_hidden_layers": 8,
    "num_attention_heads": 4,
    "image_size": 112,
    "patch_size": 14,
    "projection_dim": 256,
}
SERVED: dict[str, tuple[Shape, Shape]] = {
    "embedded demo (SmolLM2-135M)": (SMOLLM2_135M, CLIP_SMALL),
    "InternLM2-1.8B, CLIP ViT-L/14-336": (INTERNLM2_1_8B, CLIP_L),
    "InternLM2-7B, CLIP ViT-L/14-336": (INTERNLM2_7B, CLIP_L),
}
