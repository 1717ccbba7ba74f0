"""What a CLIP compares: a vector of length 1 for each picture and for each caption."""

from __future__ import annotations

from typing import Any

import torch
from torch.nn import functional

from llava_tuning.training.clip.settings import Pooling


def picture_features(model: Any, pixels: torch.Tensor, pooling: Pooling) -> torch.Tensor:
    """Float32 (batch, projection) of normalised pixels (batch, 3, side, side).

    "class" is CLIP's own: the position before the patches, after the last layer. "patches" is the mean of the
    patches after the layer before the last, which is what LLaVA reads; the last layer is left as it is.
    """
    if pooling == "class":
        return _normal(model.get_image_features(pixel_values=pixels))
    tower = getattr(model.vision_model, "vision_model", model.vision_model)
    hidden = tower.pre_layrnorm(tower.embeddings(pixels))
    for layer in tower.encoder.layers[:-1]:
        hidden = layer(hidden, attention_mask=None)
    return _normal(model.visual_projection(tower.post_layernorm(hidden[:, 1:].mean(dim=1))))


def caption_features(model: Any, ids: torch.Tensor) -> torch.Tensor:
    """Float32 (batch, projection) of tokens (batch, TEXT_LENGTH)."""
    return _normal(model.get_text_features(input_ids=ids))


def _normal(features: Any) -> torch.Tensor:
    """Newer versions of transformers return the features inside an output."""
    found: torch.Tensor = getattr(features, "pooler_output", features)
    return functional.normalize(found.float(), dim=-1)
