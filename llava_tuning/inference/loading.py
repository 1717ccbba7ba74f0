"""Find out what a model directory holds, and load it without surprises."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from llava_tuning.errors import UserError

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel, PreTrainedTokenizerBase


@dataclass(frozen=True)
class LoadedModel:
    """A model in evaluation mode with what prepares its input. `image_processor` is None for a text model."""

    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    image_processor: Any | None


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


def require_eyes(directory: Path) -> None:
    """Refuse, before it is loaded, a model that takes no pictures.

    Raises:
        UserError: as for `check_model_directory`, or it holds a text model.
    """
    if check_model_directory(directory) != "llava":
        raise UserError(f"{directory}: a text model, which takes no pictures; give a LLaVA model directory")


def choose_device(device: str) -> torch.device:
    """The torch device for "auto", "cpu", "cuda" or "cuda:N".

    Raises:
        UserError: no such device here.
    """
    import torch

    if device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        chosen = torch.device(device)
    except RuntimeError:
        chosen = None
    if chosen is None or chosen.type not in ("cpu", "cuda"):
        raise UserError(f"device {device!r} is unknown; choose auto, cpu, cuda or cuda:N")
    if chosen.type == "cuda" and (chosen.index or 0) >= torch.cuda.device_count():
        raise UserError(
            f"device {device!r}: this machine has {torch.cuda.device_count()} GPUs; choose cpu or auto"
        )
    return chosen


def choose_dtype(dtype: str, device: torch.device) -> torch.dtype:
    """The torch dtype for "auto", "bfloat16", "float16" or "float32".

    Raises:
        UserError: another name.
    """
    import torch

    names = {"bfloat16": torch.bfloat16, "float16": torch.float16, "float32": torch.float32}
    if dtype != "auto":
        if dtype not in names:
            raise UserError(f"dtype {dtype!r} is unknown; choose auto, {', '.join(names)}")
        return names[dtype]
    if device.type == "cuda":
        return torch.bfloat16 if torch.cuda.is_bf16_supported(including_emulation=False) else torch.float16
    # Without these instructions bfloat16 is emulated on a CPU, several times slower than float32.
    can: dict[str, Any] = getattr(torch.cpu, "get_capabilities", dict)()
    return torch.bfloat16 if can.get("avx512_bf16") or can.get("amx_bf16") else torch.float32


def load_model(directory: Path, device: str = "auto", dtype: str = "auto") -> LoadedModel:
    """Load a LLaVA or Llama directory; every weight must be there, and none too many.

    Raises:
        UserError: as for `check_model_directory`, or damaged or incomplete files, or no such device or dtype.
    """
    kind = check_model_directory(directory)
    import torch
    from transformers.utils import logging

    from llava_tuning.models.checkpoints import Checkpoint

    Checkpoint(directory)  # headers and index: what is cut off or missing is named before anything is read
    logging.disable_progress_bar()
    chosen = choose_device(device)
    weights = choose_dtype(dtype, chosen)
    try:
        loaded = _load_llava(directory, weights) if kind == "llava" else _load_llama(directory, weights)
    except (UserError, torch.OutOfMemoryError):
        raise
    except Exception as error:  # the loaders raise many kinds for damaged files
        reason = " ".join(str(error).split())[:300]
        raise UserError(
            f"{directory}: cannot be loaded ({reason}); make or copy the model directory again"
        ) from error
    if not loaded.tokenizer.chat_template:
        raise UserError(f"{directory}: the tokenizer has no chat template; add chat_template.jinja")
    loaded.model.to(chosen).eval()  # type: ignore[arg-type]
    return loaded


def _load_llava(directory: Path, dtype: torch.dtype) -> LoadedModel:
    from llava_tuning.models.llava import load_llava

    return LoadedModel(*load_llava(directory, dtype))


def _load_llama(directory: Path, dtype: torch.dtype) -> LoadedModel:
    from llava_tuning.models.llama import load_llama

    return LoadedModel(*load_llama(directory, dtype), None)
