"""Find out what a model directory holds, and load it without surprises."""

from __future__ import annotations

import importlib
import json
import logging
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from llava_tuning.errors import UserError

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

    from llava_tuning.inference.memory_modes import Choice


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


def load_model(
    directory: Path,
    device: str = "auto",
    load_in: str = "auto",
    say: Callable[[str], None] = lambda line: None,
    template: str | None = None,
) -> LoadedModel:
    """Load a LLaVA or Llama directory; every weight must be there, and none too many.

    Args:
        directory: the model's.
        device, load_in: see `memory_modes.choose`.
        say: is told in one line what the weights are held in and why, before they are read.
        template: a chat template in Jinja instead of the model's own.

    Raises:
        UserError: as for `check_model_directory` and `choose`, or damaged or incomplete files.
    """
    kind = check_model_directory(directory)
    import torch
    from transformers.utils.logging import disable_progress_bar

    from llava_tuning.inference.machine import find_machine
    from llava_tuning.inference.memory_modes import QUANTISED, choose
    from llava_tuning.models.cache import return_memory
    from llava_tuning.models.sizes import sizes_of

    disable_progress_bar()
    try:
        # Headers and index: what is cut off or missing is named before anything is read.
        choice = choose(load_in, device, sizes_of(directory), find_machine())
        say(choice.line)
        loaded = _load(kind, directory, choice)
    except (UserError, torch.OutOfMemoryError):
        raise
    except Exception as error:  # the loaders raise many kinds for damaged files
        reason = " ".join(str(error).split())[:300]
        raise UserError(
            f"{directory}: cannot be loaded ({reason}); make or copy the model directory again"
        ) from error
    if template is not None:
        loaded.tokenizer.chat_template = template
    if not loaded.tokenizer.chat_template:
        raise UserError(
            f"{directory}: has no chat template; add chat_template.jinja, or chat with --template"
        )
    if choice.mode == "int8":
        from llava_tuning.inference.int8 import convert_int8

        convert_int8(loaded.model.get_decoder().layers)  # type: ignore[arg-type]
    elif choice.mode not in QUANTISED:  # those are where they belong
        loaded.model.to(choice.device)  # type: ignore[arg-type]
    if choice.mode in QUANTISED and choice.device == "cpu":
        _leave_file(loaded.model)
        return_memory()
    loaded.model.eval()
    return loaded


def _load(kind: str, directory: Path, choice: Choice) -> LoadedModel:
    import torch

    dtype: torch.dtype = getattr(torch, choice.dtype)
    options = _quantisation(choice, dtype) if choice.mode in ("4bit", "8bit") else {}
    if kind == "llava":
        from llava_tuning.models.llava import load_llava

        return LoadedModel(*load_llava(directory, dtype, **options))
    from llava_tuning.models.llama import load_llama

    return LoadedModel(*load_llama(directory, dtype, **options), None)


def _quantisation(choice: Choice, dtype: torch.dtype) -> dict[str, Any]:
    """What transformers is told to quantise by bitsandbytes while it reads."""
    from transformers import BitsAndBytesConfig

    from llava_tuning.inference.memory_modes import KEPT_WHOLE

    _import_bitsandbytes()
    config = BitsAndBytesConfig(
        load_in_4bit=choice.mode == "4bit",
        load_in_8bit=choice.mode == "8bit",
        bnb_4bit_quant_type="nf4",
        bnb_4bit_compute_dtype=dtype,
        llm_int8_skip_modules=list(KEPT_WHOLE),
    )
    return {"quantization_config": config, "device_map": {"": choice.device}}


def _leave_file(model: torch.nn.Module) -> None:
    """Copy what was not quantised: as long as a tensor lies in the weights' file, all of it stays mapped."""
    for parameter in model.parameters():
        if parameter.is_floating_point():
            parameter.data = parameter.data.clone()


def _import_bitsandbytes() -> None:
    """But let it fetch no CPU kernel from a hub, as it does where the package `kernels` is installed."""
    for module in ("backends.cpu.ops", "autograd._functions"):  # of that, and of each cast to float16
        logging.getLogger(f"bitsandbytes.{module}").setLevel(logging.ERROR)
    if "bitsandbytes" in sys.modules:
        return
    before = sys.modules.get("kernels")
    sys.modules["kernels"] = None  # type: ignore[assignment]
    try:
        importlib.import_module("bitsandbytes")
    finally:
        del sys.modules["kernels"]
        if before is not None:
            sys.modules["kernels"] = before
