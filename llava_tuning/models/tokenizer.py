"""Load a tokenizer from a directory, or say in one sentence why that failed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from llava_tuning.errors import UserError


def load_tokenizer(directory: Path, *, name: str | Path, remedy: str) -> Any:
    """The tokenizer in `directory`; nothing is asked of a hub.

    Args:
        name: what the message calls the directory.
        remedy: what the user is to do when it cannot be loaded.

    Raises:
        UserError: it cannot be loaded.
    """
    from transformers import AutoTokenizer  # takes seconds: callers check cheaper things first

    try:
        return AutoTokenizer.from_pretrained(directory, local_files_only=True)
    except Exception as error:  # each tokenizer class fails in its own way
        reason = " ".join(str(error).split())[:200]
        raise UserError(f"{name}: its tokenizer cannot be loaded ({reason}); {remedy}") from None
