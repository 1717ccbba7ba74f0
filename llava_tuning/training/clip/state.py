"""A CLIP run's state, to go on from, and what it leaves: the vision tower with its picture processor."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from transformers import CLIPModel, CLIPVisionModel
from transformers.models.llava.image_processing_pil_llava import LlavaImageProcessorPil

from llava_tuning.errors import UserError
from llava_tuning.models.directory import let_others_read
from llava_tuning.training.clip.settings import ClipSettings

STATE_FILE = "train_state.pt"


def save_state(
    out: Path, model: CLIPModel, optimizer: torch.optim.Optimizer, step: int, settings: ClipSettings
) -> None:
    out.mkdir(parents=True, exist_ok=True)
    part = out / f"{STATE_FILE}.part"
    state = {"model": model.state_dict(), "optimizer": optimizer.state_dict(), "step": step}
    torch.save({**state, "settings": asdict(settings)}, part)
    part.replace(out / STATE_FILE)


def resume_state(
    out: Path, model: CLIPModel, optimizer: torch.optim.Optimizer, device: str, settings: ClipSettings
) -> int:
    if not (out / STATE_FILE).is_file():
        raise UserError(f"--resume: {out} holds no {STATE_FILE}; start without --resume")
    try:
        state = torch.load(out / STATE_FILE, map_location=device, weights_only=True)
        before: dict[str, Any] = {"pooling": "class", **state["settings"]}  # states of before it existed
    except Exception as error:  # torch and pickle raise many kinds for damaged files
        reason = str(error).partition("\n")[0][:200]
        raise UserError(
            f"--resume: {out / STATE_FILE} is damaged ({reason}); delete it and start without --resume"
        ) from None
    changed = [name for name, value in asdict(settings).items() if before.get(name) != value]
    if changed:
        was = ", ".join(f"{name} {before.get(name)} (now {getattr(settings, name)})" for name in changed)
        raise UserError(f"--resume: {out} was begun with {was}; give the same, or start without --resume")
    try:
        model.load_state_dict(state["model"])
        optimizer.load_state_dict(state["optimizer"])
    except (RuntimeError, ValueError):  # the vocabulary alone is left to differ
        raise UserError(
            f"--resume: {out} was begun with another tokenizer; give the same, or start without --resume"
        ) from None
    return int(state["step"])


def save_tower(
    out: Path,
    model: CLIPModel,
    processor: LlavaImageProcessorPil,
    settings: ClipSettings,
    scores: dict[str, float],
    pictures: int,
) -> None:
    shape: Any = model.config.vision_config
    tower: Any = CLIPVisionModel(shape)
    source = getattr(model.vision_model, "vision_model", model.vision_model)
    target = getattr(tower, "vision_model", tower)
    target.load_state_dict(source.state_dict(), strict=True)
    tower.to(torch.bfloat16).save_pretrained(out)
    let_others_read(out)
    processor.save_pretrained(out)
    about = {"settings": asdict(settings), "pictures": pictures, **scores}
    (out / "train_clip.json").write_text(json.dumps(about, indent=1), encoding="utf-8")
    (out / STATE_FILE).unlink(missing_ok=True)
