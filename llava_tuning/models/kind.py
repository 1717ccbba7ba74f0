"""What a model directory holds, told from its files alone."""

from __future__ import annotations

import json
from pathlib import Path

from llava_tuning.errors import UserError


def check_model_directory(directory: Path) -> str:
    """The directory's kind, "llava" or "llama", told from its files alone: quick, before anything is loaded.

    Raises:
        UserError: it holds nothing that can be chatted with.
    """
    if not directory.is_dir():
        raise UserError(
            f"{directory}: no such model directory; give one made by prepare or export, or 'default'"
        )
    config = directory / "config.json"
    if not config.is_file():
        raise UserError(
            f"{directory}: no config.json, so not a model directory; give one made by prepare or export"
        )
    try:
        kind = json.loads(config.read_text(encoding="utf-8")).get("model_type")
    except (ValueError, AttributeError):
        raise UserError(f"{config}: not a JSON object; make the model directory again") from None
    if kind == "internlm2":
        raise UserError(f"{directory}: an InternLM2 checkpoint; convert it with 'llava-tuning prepare' first")
    if kind not in ("llava", "llama"):
        raise UserError(
            f"{directory}: model type {kind!r} is not supported; give a LLaVA or Llama model directory"
        )
    if not any(directory.glob("*.safetensors")):
        raise UserError(f"{directory}: no *.safetensors weights; make or copy the model directory again")
    if not any((directory / name).is_file() for name in ("tokenizer.json", "tokenizer.model")):
        raise UserError(f"{directory}: no tokenizer.json; make or copy the model directory again")
    return str(kind)
