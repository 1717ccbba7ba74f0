"""Size of a small CLIP and of the run that trains it."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Literal

from transformers import CLIPConfig, CLIPTextConfig, CLIPVisionConfig

from llava_tuning.errors import UserError

Pooling = Literal["class", "patches"]  # what stands for a picture, see `features.picture_features`
TEXT_LENGTH = 64  # tokens of a caption that the text side reads
HEAD_WIDTH = 64  # of an attention head, as in every CLIP of OpenAI's


@dataclass(frozen=True)
class ClipSettings:
    """Size of the model and of the run; `image_size` and `patch_size` in pixels."""

    image_size: int = 96
    patch_size: int = 16
    width: int = 256
    layers: int = 6
    heads: int = 4
    epochs: float = 20
    batch_size: int = 256
    lr: float = 5e-4
    weight_decay: float = 0.1
    warmup_ratio: float = 0.05
    seed: int = 0
    everyday_share: float = 0.5  # of a batch, where everyday pictures are given beside records
    held_out_style: str | None = None  # of the everyday pictures: only scored
    pooling: Pooling = "class"


def check_settings(settings: ClipSettings) -> None:
    side, patch = settings.image_size, settings.patch_size
    if side % patch:
        below = side // patch * patch
        near = f"{below} or {below + patch}" if below else str(patch)
        raise UserError(f"image size {side} is no multiple of patch size {patch}; choose {near}")
    if settings.width % settings.heads:
        raise UserError(
            f"{settings.heads} heads do not divide width {settings.width}; choose a multiple of {HEAD_WIDTH}"
        )
    for name, value in (("epochs", settings.epochs), ("lr", settings.lr)):
        if not 0 < value < math.inf:  # written so that NaN fails too
            raise UserError(f"--{name} {value}: give a number above 0")
    if not 0 < settings.everyday_share <= 1:
        raise UserError(f"--everyday-share {settings.everyday_share}: give a share above 0, up to 1")


def clip_config(settings: ClipSettings, vocabulary: int) -> CLIPConfig:
    shared: dict[str, Any] = {
        "hidden_size": settings.width,
        "intermediate_size": 4 * settings.width,
        "num_attention_heads": settings.heads,
        "projection_dim": settings.width,
    }
    # Id 0 closes every caption. (An eos id of 2 would switch transformers to the first CLIP's pooling.)
    text = CLIPTextConfig(
        vocab_size=vocabulary,
        num_hidden_layers=4,
        max_position_embeddings=TEXT_LENGTH,
        eos_token_id=0,
        bos_token_id=1,
        pad_token_id=0,
        **shared,
    )
    vision = CLIPVisionConfig(
        num_hidden_layers=settings.layers,
        image_size=settings.image_size,
        patch_size=settings.patch_size,
        **shared,
    )
    return CLIPConfig(text_config=text, vision_config=vision, projection_dim=settings.width)
