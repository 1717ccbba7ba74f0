"""Read a training checkpoint as tensors and plain values alone: a pickle could run anything."""

from __future__ import annotations

import contextlib
import importlib.util
import io
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file

from llava_tuning.errors import UserError
from llava_tuning.training import compat

POSITION = "data_position"  # its key in a checkpoint


def read_weights(checkpoint: str | Path) -> dict[str, Any]:
    """The `state_dict` of an `iter_N.pth`, mapped from the file rather than read.

    A folder of parts has its projector in a file of its own, `projector.safetensors`; that is read under a
    checkpoint's names.

    DeepSpeed writes `iter_N.pth` as a directory with a share of the weights for each process; these are put
    together in float32.

    Raises:
        UserError: the file is damaged, no checkpoint, or holds more than tensors and plain values; the
            directory is incomplete, or DeepSpeed is not installed.
    """
    if Path(checkpoint).is_dir():
        return _read_deepspeed(Path(checkpoint))
    try:
        if Path(checkpoint).suffix == ".safetensors":
            return {f"projector.model.{name}": weight for name, weight in load_file(checkpoint).items()}
        state = torch.load(checkpoint, map_location="cpu", weights_only=True, mmap=True)
        weights: dict[str, Any] = state.get("state_dict", state)
    except Exception as error:  # torch and pickle raise many kinds for damaged files
        reason = str(error).partition("\n")[0][:200]
        raise UserError(
            f"{checkpoint}: not readable as weights alone ({reason}); name the iter_N.pth of a run"
        ) from None
    return weights


def read_position(checkpoint: Path) -> tuple[int, dict[str, Any] | None]:
    """Steps made, and the state of `position.Position`; None in checkpoints of older versions."""
    state = torch.load(checkpoint, map_location="cpu", weights_only=True, mmap=True)
    if "iter" not in state.get("meta", {}):
        raise UserError(f"{checkpoint}: does not say after which step it was made; name a run's iter_N.pth")
    return state["meta"]["iter"], state.get(POSITION)


def _read_deepspeed(checkpoint: Path) -> dict[str, Any]:
    check_readable(checkpoint)
    compat.apply()
    from deepspeed.utils.zero_to_fp32 import get_fp32_state_dict_from_zero_checkpoint

    # DeepSpeed unpickles, which can run code. Its checkpoints are read only where the user names them or the
    # run that wrote them, as for resuming the run; nothing searches for or downloads one.
    try:
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
            state: dict[str, Any] = get_fp32_state_dict_from_zero_checkpoint(
                str(checkpoint.absolute().parent), tag=checkpoint.name
            )
    except Exception as error:  # files missing or cut off, of another version, no checkpoint at all
        reason = str(error).partition("\n")[0][:200]
        raise UserError(
            f"{checkpoint}: not readable as a checkpoint of DeepSpeed ({reason}); name a complete iter_N.pth"
        ) from None
    return state


def check_readable(checkpoint: Path) -> None:
    """Raise a UserError where only DeepSpeed could read the checkpoint and it is not installed."""
    if checkpoint.is_dir():
        check_deepspeed(f"{checkpoint}: was written by DeepSpeed, and reading it")


def check_deepspeed(need: str) -> None:
    """Raise a UserError that begins with `need` where DeepSpeed is not installed."""
    if importlib.util.find_spec("deepspeed") is None:
        raise UserError(f"{need} needs DeepSpeed: pip install deepspeed")
