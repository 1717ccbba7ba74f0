"""What can be wrong with a command line, found out in a second, before anything is loaded."""

from __future__ import annotations

import re
import tempfile
from pathlib import Path

from llava_tuning.errors import UserError


def check_writable(directory: Path) -> None:
    """Make the directory for votes before anything is loaded.

    Raises:
        UserError: it cannot be made or written; says what to choose instead.
    """
    try:
        directory.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=directory):
            pass
    except OSError as error:
        raise UserError(
            f"--feedback {directory}: cannot be written ({error.strerror}); choose another directory"
        ) from None


def check_root_path(root_path: str) -> None:
    """
    Raises:
        UserError: it is not empty, and not such a path as /llava.
    """
    if root_path and not re.fullmatch(r"(/[\w.~-]+)+", root_path):
        raise UserError(
            f"--root-path {root_path}: not such a path as /llava; begin with / and end without one"
        )
