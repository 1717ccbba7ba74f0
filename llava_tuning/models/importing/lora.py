"""A LoRA adapter merged tensor by tensor into a checkpoint that may have another layout than Llama's.

peft merges into a model that is loaded. XTuner's adapters for InternLM2 belong to modules that only
InternLM2's own remote code has (`attention.wqkv`), so the sums are formed on its weights before
these are converted.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

from llava_tuning.errors import UserError
from llava_tuning.models.checkpoints import Checkpoint, load_weights, some_names

_PREFIX = "base_model.model."
_PARTS = (".lora_A.weight", ".lora_B.weight")
# Settings that change what an adapter computes, and the values that change nothing.
_PLAIN: dict[str, tuple[Any, ...]] = {
    "peft_type": ("LORA",),
    "bias": ("none", None),
    "use_dora": (False, None),
    "fan_in_fan_out": (False, None),
    "modules_to_save": (None, []),
    "rank_pattern": ({}, None),
    "alpha_pattern": ({}, None),
    "layer_replication": (None,),
    "lora_bias": (False, None),
}


class LoraAdapter:
    """An adapter in peft's format: `weight + lora_B @ lora_A * alpha / r` (arXiv:2106.09685).

    Raises:
        UserError: incomplete, or of a kind that computes more than this.
    """

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        config = _config(directory)
        rank, alpha = config.get("r"), config.get("lora_alpha")
        if not isinstance(rank, int) or rank < 1 or not isinstance(alpha, int | float):
            raise UserError(f"{directory / 'adapter_config.json'}: no rank and alpha; download it again")
        self.scale = alpha / (rank**0.5 if config.get("use_rslora") else rank)
        self._pairs = _pairs(directory)
        self._unused = set(self._pairs)

    def merge(self, name: str, weight: torch.Tensor) -> torch.Tensor:
        """The weight `name` with what was learnt on it, in its own dtype; summed up in float32.

        Raises:
            UserError: the shapes do not fit.
        """
        module = name.removesuffix(".weight").replace("vision_model.", "", 1)
        if not name.endswith(".weight") or module not in self._pairs:
            return weight
        self._unused.discard(module)
        down, up = self._pairs[module]
        if (up.shape[0], down.shape[1]) != tuple(weight.shape) or up.shape[1] != down.shape[0]:
            raise UserError(
                f"{self.directory}: {module} is {up.shape[0]} × {down.shape[1]} there, but "
                f"{weight.shape[0]} × {weight.shape[1]} in the base model; give the base "
                "model that it was trained on"
            )
        return (weight.float() + self.scale * (up.float() @ down.float())).to(weight.dtype)

    def check_used(self) -> None:
        """After all weights went through `merge`.

        Raises:
            UserError: some of the adapter belongs to no weight of the base model.
        """
        if self._unused:
            raise UserError(
                f"{self.directory}: the base model has no {some_names(self._unused)}; give the base model "
                "that it was trained on"
            )


class AdaptedCheckpoint(Checkpoint):
    """The weights of a directory with an adapter merged into each as it is read."""

    def __init__(self, directory: Path, adapter: LoraAdapter) -> None:
        super().__init__(directory)
        self.adapter = adapter

    def __iter__(self) -> Iterator[tuple[str, torch.Tensor]]:
        for name, tensor in super().__iter__():
            yield name, self.adapter.merge(name, tensor)
        self.adapter.check_used()


def _config(directory: Path) -> dict[str, Any]:
    path = directory / "adapter_config.json"
    if not path.is_file():
        raise UserError(f"{directory}: holds no adapter_config.json; download the adapter again")
    try:
        config: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise UserError(f"{path}: not valid JSON ({error}); download it again") from None
    for name, plain in _PLAIN.items():
        if config.get(name, plain[0]) not in plain:
            raise UserError(
                f"{path}: {name} is {config[name]!r}; only plain LoRA adapters ({name} {plain[0]!r}) can be "
                "imported; merge it with peft first"
            )
    return config


def _pairs(directory: Path) -> dict[str, tuple[torch.Tensor, torch.Tensor]]:
    files = [directory / name for name in ("adapter_model.safetensors", "adapter_model.bin")]
    file = next((file for file in files if file.is_file()), None)
    if file is None:
        raise UserError(
            f"{directory}: holds no {files[0].name} or {files[1].name}; download the adapter again"
        )
    halves: dict[str, dict[str, torch.Tensor]] = {}
    for name, tensor in load_weights(file).items():
        plain = name.replace(".default.", ".").removeprefix(_PREFIX)
        part = next((part for part in _PARTS if plain.endswith(part)), None)
        if part is None:
            raise UserError(f"{file}: {name} is no part of a LoRA adapter; merge it with peft first")
        halves.setdefault(plain.removesuffix(part).replace("vision_model.", "", 1), {})[part] = tensor
    for module, pair in halves.items():
        if len(pair) != 2:
            raise UserError(f"{file}: half of the adapter of {module} is missing; download it again")
    return {module: (pair[_PARTS[0]], pair[_PARTS[1]]) for module, pair in halves.items()}
