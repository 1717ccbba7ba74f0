"""Read a training checkpoint as tensors and plain values alone: a pickle could run anything."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from llava_tuning.errors import UserError


def read_weights(checkpoint: str | Path) -> dict[str, Any]:
    """The `state_dict` of an `iter_N.pth`, mapped from the file rather than read.

    Raises:
        UserError: the file is damaged, no checkpoint, or holds more than tensors and plain values.
    """
    try:
        state = torch.load(checkpoint, map_location="cpu", weights_only=True, mmap=True)
        weights: dict[str, Any] = state.get("state_dict", state)
    except Exception as error:  # torch and pickle raise many kinds for damaged files
        reason = str(error).partition("\n")[0][:200]
        raise UserError(
            f"{checkpoint}: not readable as weights alone ({reason}); name the iter_N.pth of a run"
        ) from None
    return weights
