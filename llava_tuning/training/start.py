"""A run that begins with a model's parts, as `export --parts` writes them and `assets/default` holds them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from mmengine.config import Config
from safetensors.torch import load_file

from llava_tuning.errors import UserError
from llava_tuning.models.default import DEFAULT_NAME, PARTS
from llava_tuning.models.parts import ADAPTER, ADAPTER_CONFIG, PROJECTOR, TOWER, check_base
from llava_tuning.models.provenance import read_provenance
from llava_tuning.training.checkpoint import read_weights

START = "start.pth"  # in the work directory: the parts' weights under the names of a checkpoint
_OF_THE_ADAPTER = ("r", "lora_alpha", "use_rslora")


def parts_named(load_from: str | Path | None) -> Path | None:
    """The folder of parts that is meant, `default` or a directory; None for a checkpoint's file and for None.

    Raises:
        UserError: the directory is no complete folder of parts, or its adapter is no plain LoRA.
    """
    if load_from is None or not (str(load_from) == DEFAULT_NAME or Path(load_from).is_dir()):
        return None
    parts = PARTS if str(load_from) == DEFAULT_NAME else Path(load_from)
    for name in (ADAPTER, ADAPTER_CONFIG, PROJECTOR, TOWER):
        if not (parts / name).is_file():
            raise UserError(
                f"--load-from {load_from}: lacks {name}; name a folder that `export --parts` wrote, or the "
                "iter_N.pth of a run"
            )
    other = [
        name for name in load_file(parts / ADAPTER) if not name.endswith((".lora_A.weight", ".lora_B.weight"))
    ]
    if other:
        raise UserError(
            f"--load-from {load_from}: its adapter has {other[0]}; only plain LoRA can be trained further"
        )
    return parts


def settings_of(parts: Path) -> dict[str, Any]:
    """What a config has to say to go on with the parts: their tower, which stays as it is, and their rank."""
    adapter = json.loads((parts / ADAPTER_CONFIG).read_text(encoding="utf-8"))
    return {
        "vision_tower": str((parts / TOWER.parent).resolve()),
        "visual_encoder_lora": None,
        "projector_checkpoint": str((parts / PROJECTOR).resolve()),
        **{f"llm_lora.{name}": adapter[name] for name in _OF_THE_ADAPTER if adapter.get(name)},
    }


def check_parts(config: Config, parts: Path) -> None:
    """A config can go on with parts if it trains what they hold, on the same language model.

    Raises:
        UserError: it does not.
    """
    trains = {
        "a LLaVA finetuning config": config.stage == "finetune",
        "one that trains the language model by LoRA": config.llm_lora is not None and config.freeze_llm,
        "visual_encoder_lora=None": config.visual_encoder_lora is None,
        "the vision tower that belongs to them": Path(config.vision_tower or "").resolve()
        == (parts / TOWER.parent).resolve(),
    }
    for wanted, given in trains.items():
        if not given:
            raise UserError(f"--load-from {parts}: needs {wanted}")
    rank = settings_of(parts)["llm_lora.r"]
    if config.llm_lora["r"] != rank:
        raise UserError(
            f"--load-from {parts}: its adapter has rank {rank}, here it has {config.llm_lora['r']}; leave "
            "llm_lora out"
        )
    provenance = read_provenance(parts)
    if provenance is not None:
        check_base(provenance, Path(config.llm), parts)


def write_start(parts: Path, folder: Path) -> Path:
    """Write the parts' weights, in float32, as a checkpoint that a run loads; returns its path."""
    weights = {
        f"llm.{name.removesuffix('.weight')}.default.weight": value.float()
        for name, value in load_file(parts / ADAPTER).items()
    }
    weights |= {name: value.float() for name, value in read_weights(parts / PROJECTOR).items()}
    torch.save({"state_dict": weights, "meta": {}}, folder / START)
    return folder / START
