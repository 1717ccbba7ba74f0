"""Train a small CLIP, unvaried, in float32, by processes of torchrun: OUT DATA TOKENIZER EVERYDAY."""

from __future__ import annotations

import sys
from pathlib import Path

import torch

from llava_tuning.training.clip import pools, train
from llava_tuning.training.clip.settings import ClipSettings

SETTINGS = ClipSettings(image_size=32, patch_size=8, width=32, layers=2, heads=2, epochs=6, batch_size=4)


def main() -> None:
    out, data, tokenizer, everyday = map(Path, sys.argv[1:])
    train.fast_dtype = lambda device: torch.float32
    pools.Pool.varied = lambda pool, chosen, generator: pool.pictures[chosen][:, :3].float() / 255
    train.train_clip([(data / "pretrain.json", data)], out, tokenizer, SETTINGS, everyday=everyday)


if __name__ == "__main__":
    main()
