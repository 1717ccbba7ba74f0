"""Whether a place can be written, known before hours of work end there."""

from __future__ import annotations

import tempfile
from pathlib import Path

from llava_tuning.errors import UserError


def check_place(directory: Path, option: str = "--out") -> None:
    """Check that `directory` can be made or written to; leaves nothing behind.

    Raises:
        UserError: a file is in the way, or the place cannot be written.
    """
    place = directory.absolute()
    while not place.exists():
        place = place.parent
    if not place.is_dir():
        raise UserError(f"{option} {directory}: {place} is a file; name a directory")
    try:
        tempfile.TemporaryDirectory(dir=place).cleanup()  # rights alone do not tell of read-only disks
    except OSError as error:
        raise UserError(
            f"{option} {directory}: {place} cannot be written ({error.strerror}); choose another place"
        ) from None
