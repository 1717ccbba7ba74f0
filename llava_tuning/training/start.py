"""A run that begins with a model's parts, as `export --parts` writes them and `assets/default` holds them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from mmengine.config import Config
from safetensors import SafetensorError
from safetensors.torch import load_file

from llava_tuning.errors import UserError
from llava_tuning.models.default import DEFAULT_NAME, PARTS
from llava_tuning.models.parts import ADAPTER, ADAPTER_CONFIG, PROJECTOR, TOWER, check_base, check_plain
from llava_tuning.models.provenance import read_provenance
from llava_tuning.training.checkpoint import read_weights

START = "start.pth"  # in the work directory: the parts' weights under the names of a checkpoint
_LORA = {"r": 8, "lora_alpha": 8, "use_rslora": False}  # peft's defaults


def parts_named(load_from: str | Path | None) -> Path | None:
    """The folder of parts that is meant, `default` or a directory; None for a checkpoint's path and for None.

    Raises:
        UserError: the directory is no complete folder of parts, or its adapter is no plain LoRA.
    """
    if load_from is None:
        return None
    parts = PARTS if str(load_from) == DEFAULT_NAME else Path(load_from).expanduser()
    if not parts.is_dir() or parts.suffix == ".pth":  # DeepSpeed's checkpoints are directories
        return None
    for name in (ADAPTER, ADAPTER_CONFIG, PROJECTOR, TOWER):
        if not (parts / name).is_file():
            raise UserError(
                f"--load-from {load_from}: lacks {name}; name a folder that `export --parts` wrote"
            )
    check_plain(parts, "trained further")
    return parts


def settings_of(parts: Path, given: Mapping[str, Any]) -> dict[str, Any]:
    """What a config has to say to go on with the parts' tower and adapter, beside what was `given`."""
    tuned = any(name.startswith("visual_encoder_lora.") for name in given)
    return {
        "vision_tower": str((parts / TOWER.parent).resolve()),
        "projector_checkpoint": str((parts / PROJECTOR).resolve()),
        **{f"llm_lora.{name}": value for name, value in _lora(parts).items()},
        **({} if tuned else {"visual_encoder_lora": None}),
    }


def check_stage(config: Config, parts: Path) -> None:
    """Parts go on in a LLaVA finetuning run that trains the language model by LoRA.

    Raises:
        UserError: the config is another.
    """
    if config.stage != "finetune" or config.llm_lora is None or not config.freeze_llm:
        raise UserError(
            f"--load-from {parts}: goes with a LLaVA finetuning config by LoRA alone; choose one "
            "(`llava-tuning config list -p lora`)"
        )


def check_parts(config: Config, parts: Path) -> None:
    """What trains and what it begins with are the parts', and the language model (checked before) is theirs.

    Raises:
        UserError: settings say otherwise.
    """
    own = settings_of(parts, {})
    for name in ("vision_tower", "projector_checkpoint"):
        if Path(config[name] or "").resolve() != Path(own[name]):
            raise UserError(f"--load-from {parts}: begins with its own {name}; leave {name} out")
    if config.visual_encoder_lora is not None:
        raise UserError(
            f"--load-from {parts}: its vision tower stays as it is; leave visual_encoder_lora out"
        )
    for name, value in _lora(parts).items():
        here = config.llm_lora.get(name, _LORA[name])
        if here != value:
            raise UserError(
                f"--load-from {parts}: its adapter has {name} = {value}, here it has {here}; leave "
                "llm_lora out"
            )
    if (provenance := read_provenance(parts)) is not None:
        check_base(provenance, Path(config.llm), parts)


def check_resumed(run: Path, parts: Path | None) -> None:
    """A run is resumed with the parts that it began with: its checkpoints hold no vision tower.

    Args:
        run: its work directory.

    Raises:
        UserError: with others, with none, or with some where it began with none.
    """
    begun = run / START
    if parts is None and begun.is_file():
        raise UserError(f"{run}: the run began with a model's parts; give the same --load-from again")
    if parts is None:
        return
    was = read_weights(begun) if begun.is_file() else {}
    same = all(name in was and torch.equal(value, was[name]) for name, value in _weights(parts).items())
    if not same:
        raise UserError(
            f"--load-from {parts}: the run in {run} did not begin with it; name another --work-dir"
        )


def write_start(parts: Path, work_dir: Path) -> Path:
    """Write the parts' weights, in float32, as a checkpoint that a run loads; returns its path."""
    start = work_dir / START
    unfinished = start.with_suffix(".part")  # other machines' processes may be reading it
    torch.save({"state_dict": _weights(parts), "meta": {}}, unfinished)
    unfinished.replace(start)
    return start


def _weights(parts: Path) -> dict[str, torch.Tensor]:
    """Adapter and projector under a checkpoint's names, float32."""
    try:
        adapter = load_file(parts / ADAPTER)
    except SafetensorError as error:
        raise UserError(f"{parts / ADAPTER}: not readable ({error}); export the parts again") from None
    weights = {f"llm.{name.removesuffix('.weight')}.default.weight": value for name, value in adapter.items()}
    return {name: value.float() for name, value in {**weights, **read_weights(parts / PROJECTOR)}.items()}


def _lora(parts: Path) -> dict[str, Any]:
    adapter = json.loads((parts / ADAPTER_CONFIG).read_text(encoding="utf-8"))
    return {name: adapter.get(name, default) for name, default in _LORA.items()}
