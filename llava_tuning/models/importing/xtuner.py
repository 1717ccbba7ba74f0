"""XTuner's LLaVA format → a model directory.

XTuner writes what a run trained, each part in a folder of its own: `projector/`, `llm_adapter/` and
`visual_encoder_adapter/` (LoRA, peft's format), or the whole language model beside them and the whole
`visual_encoder/` where these were trained in full. What was frozen is not there and is named by whoever
imports. None of its Python files is run.
"""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any

import torch

from llava_tuning.errors import UserError
from llava_tuning.models.checkpoints import Checkpoint, read_config, some_names
from llava_tuning.models.directory import complete_or_not_at_all
from llava_tuning.models.importing.lora import LoraAdapter
from llava_tuning.models.importing.origin import Origin, find_origin
from llava_tuning.models.llama import load_llama
from llava_tuning.models.llava import assemble, load_image_processor, save_llava
from llava_tuning.models.prepare import SMOLLM2, prepare
from llava_tuning.models.provenance import (
    BaseModelSource,
    Provenance,
    hash_file,
    read_provenance,
    write_provenance,
)
from llava_tuning.models.smollm2 import smollm2_directory

PROJECTOR, LLM_ADAPTER = "projector", "llm_adapter"
TOWER_ADAPTER, TOWER = "visual_encoder_adapter", "visual_encoder"
_WEIGHT_FILES = ("*.safetensors", "*.bin")


def is_xtuner_llava(source: Path) -> bool:
    """Whether a directory is in XTuner's format."""
    return (source / PROJECTOR / "config.json").is_file()


def import_xtuner(
    origin: Origin,
    out: Path,
    llm: str | None = None,
    vision_tower: str | None = None,
    chat_template: str | None = None,
) -> Path:
    """Put XTuner's parts and their base models together.

    Args:
        origin: a directory with `projector/`.
        out: the directory to make.
        llm: base of `llm_adapter/`, or the frozen language model: an InternLM2 or Llama directory, a hub id,
            or 'smollm2'.
        vision_tower: a CLIP directory or hub id, likewise.
        chat_template: in place of the language model's own, in Jinja.

    Raises:
        UserError: a part is missing, damaged, or belongs to another base model.
    """
    source = origin.directory
    projector = _projector(source / PROJECTOR)
    base, adapter = _language_model(source, llm)
    tower_origin, tower_adapter = _vision_tower(origin, vision_tower)
    image_processor = load_image_processor(tower_origin.directory)
    with complete_or_not_at_all(out) as building, tempfile.TemporaryDirectory(dir=building.parent) as place:
        prepared = prepare(base, Path(place) / "llm", adapter=adapter, chat_template=chat_template)
        language_model, tokenizer = load_llama(prepared)
        tower = _load_tower(tower_origin.directory, tower_adapter)
        model, processor = assemble(language_model, tower, projector, tokenizer, image_processor)
        save_llava(model, processor, building)
        own = read_provenance(prepared)
        sources = list(own.base_models) if own else []
        sources += [_source("vision tower", tower_origin)]
        sources += [
            _source(role, origin, name)
            for role, name in (("projector", PROJECTOR), ("adapter", LLM_ADAPTER), ("adapter", TOWER_ADAPTER))
            if (source / name).is_dir()
        ]
        write_provenance(
            building, Provenance(stage="imported", base_models=sources, template=tokenizer.chat_template)
        )
    return out


def _projector(directory: Path) -> dict[str, torch.Tensor]:
    """`0.weight`, `0.bias`, `2.weight`, `2.bias`."""
    config = read_config(directory)
    found = {name: config.get(name) for name in ("model_type", "depth", "hidden_act", "bias")}
    if found != {"model_type": "projector", "depth": 2, "hidden_act": "gelu", "bias": True}:
        raise UserError(
            f"{directory}: {found}; only projectors of two layers with gelu and bias can be imported"
        )
    weights = {name.removeprefix("model."): tensor for name, tensor in Checkpoint(directory)}
    if wrong := set(weights) ^ {"0.weight", "0.bias", "2.weight", "2.bias"}:
        raise UserError(
            f"{directory}: its weights are not a projector's ({some_names(wrong)}); download it again"
        )
    return weights


def _language_model(source: Path, llm: str | None) -> tuple[str, Path | None]:
    """The base, as `prepare` takes it, and the adapter."""
    adapter = source / LLM_ADAPTER if (source / LLM_ADAPTER).is_dir() else None
    if (source / "config.json").is_file():
        if llm is not None or adapter is not None:
            raise UserError(f"{source}: holds its whole language model; leave out --llm and {LLM_ADAPTER}/")
        return str(source), None
    if llm is None:
        raise UserError(f"{source}: {_needs('language model', adapter)}; give it with --llm")
    return (str(smollm2_directory()) if llm == SMOLLM2 else llm), adapter


def _vision_tower(origin: Origin, vision_tower: str | None) -> tuple[Origin, Path | None]:
    source = origin.directory
    adapter = source / TOWER_ADAPTER if (source / TOWER_ADAPTER).is_dir() else None
    if (source / TOWER).is_dir():
        if vision_tower is not None:
            raise UserError(f"{source}: holds its whole vision tower; leave out --vision-tower")
        return Origin(source / TOWER, f"{origin.name}/{TOWER}", origin.revision), None
    if vision_tower is None:
        raise UserError(f"{source}: {_needs('CLIP vision tower', adapter)}; give it with --vision-tower")
    return find_origin(vision_tower), adapter


def _needs(what: str, adapter: Path | None) -> str:
    name = _base_name(adapter) if adapter is not None else None
    return f"holds no {what}" + (f", and its adapter was trained on {name}" if name else "")


def _base_name(adapter: Path) -> Any:
    try:
        return json.loads((adapter / "adapter_config.json").read_text(encoding="utf-8")).get(
            "base_model_name_or_path"
        )
    except (OSError, ValueError, AttributeError):
        return None


def _load_tower(directory: Path, adapter: Path | None) -> Any:
    from transformers import CLIPVisionModel

    kind = read_config(directory).get("model_type")
    if kind not in ("clip", "clip_vision_model"):
        raise UserError(f"{directory}: is a {kind} model; give a CLIP model, as XTuner's LLaVA uses")
    Checkpoint(directory)  # damaged files are named here
    loaded: Any = CLIPVisionModel.from_pretrained(
        directory, dtype="auto", output_loading_info=True, local_files_only=True
    )
    tower, info = loaded
    if missing := info["missing_keys"]:
        raise UserError(f"{directory}: missing weights {some_names(set(missing))}; download it again")
    if adapter is not None:
        lora = LoraAdapter(adapter)
        for name, weight in tower.named_parameters():
            weight.data = lora.merge(name, weight.data)
        lora.check_used()
    return tower


def _source(role: str, origin: Origin, part: str = "") -> BaseModelSource:
    """An origin, or a part of it, as provenance names it."""
    directory = origin.directory / part
    files = [file for pattern in _WEIGHT_FILES for file in sorted(directory.glob(pattern))]
    hashes = {file.name: hash_file(file) for file in files}
    name = f"{origin.name}/{part}" if part else origin.name
    return BaseModelSource(role=role, name=name, revision=origin.revision, hashes=hashes)
