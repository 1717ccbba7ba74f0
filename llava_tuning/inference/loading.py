"""Find out what a model directory holds, and load it without surprises."""

from __future__ import annotations

import importlib
import logging
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from llava_tuning.errors import UserError
from llava_tuning.models.kind import check_model_directory

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

    from llava_tuning.inference.memory_modes import Choice, Mode


@dataclass(frozen=True)
class LoadedModel:
    """A model in evaluation mode with what prepares its input.

    `image_processor` is None for a text model; `mode` is what the weights are held in, where that was chosen.
    """

    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    image_processor: Any | None
    mode: Mode | None = None


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
    from transformers.utils.logging import disable_progress_bar

    from llava_tuning.inference.memory_modes import QUANTISED
    from llava_tuning.models.cache import return_memory

    disable_progress_bar()
    choice = choose_for(directory, device, load_in)
    say(choice.line)
    quantisation = _quantisation(choice)
    with _damage_said(directory):
        loaded = _load(kind, directory, choice, quantisation)
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


def choose_for(directory: Path, device: str, load_in: str) -> Choice:
    """What a model directory is loaded in on this machine; quick, only headers and index are read.

    Raises:
        UserError: as for `choose`, or a file of the weights is cut off or missing.
    """
    from llava_tuning.inference.machine import find_machine
    from llava_tuning.inference.memory_modes import choose
    from llava_tuning.models.sizes import sizes_of

    with _damage_said(directory):
        sizes = sizes_of(directory)
    return choose(load_in, device, sizes, find_machine())


@contextmanager
def _damage_said(directory: Path) -> Iterator[None]:
    import torch

    try:
        yield
    except (UserError, torch.OutOfMemoryError):
        raise
    except Exception as error:  # the loaders raise many kinds for damaged files
        reason = " ".join(str(error).split())[:300]
        raise UserError(
            f"{directory}: cannot be loaded ({reason}); make or copy the model directory again"
        ) from error


def _load(kind: str, directory: Path, choice: Choice, quantisation: dict[str, Any]) -> LoadedModel:
    import torch

    dtype: torch.dtype = getattr(torch, choice.dtype)
    if kind == "llava":
        from llava_tuning.models.llava import load_llava

        return LoadedModel(*load_llava(directory, dtype, **quantisation), choice.mode)
    from llava_tuning.models.llama import load_llama

    return LoadedModel(*load_llama(directory, dtype, **quantisation), None, choice.mode)


def _quantisation(choice: Choice) -> dict[str, Any]:
    """What transformers is told to quantise by bitsandbytes while it reads; nothing in other modes."""
    if choice.mode not in ("4bit", "8bit"):
        return {}
    import torch
    from transformers import BitsAndBytesConfig

    from llava_tuning.inference.memory_modes import KEPT_WHOLE

    _import_bitsandbytes()
    config = BitsAndBytesConfig(
        load_in_4bit=choice.mode == "4bit",
        load_in_8bit=choice.mode == "8bit",
        bnb_4bit_quant_type="nf4",
        bnb_4bit_compute_dtype=getattr(torch, choice.dtype),
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
    except Exception as error:  # it raises many kinds where a library of CUDA's is missing
        reason = " ".join(str(error).split())[:300]
        raise UserError(
            f"bitsandbytes cannot be loaded ({reason}); install it anew, or choose another --load-in"
        ) from error
    finally:
        del sys.modules["kernels"]
        if before is not None:
            sys.modules["kernels"] = before
