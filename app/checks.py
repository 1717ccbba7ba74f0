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


def read_root_path(given: str, source: str = "--root-path") -> str:
    """Such a path as /llava, without a slash at its end; empty where there is none.

    Args:
        source: the option or variable that gave it.

    Raises:
        UserError: it is no path.
    """
    root_path = given.rstrip("/")
    if root_path and not re.fullmatch(r"(/[\w.~-]+)+", root_path):
        raise UserError(f"{source} {given}: not such a path as /llava; begin with / and give no site")
    return root_path
