"""Make a directory whole or not at all."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from llava_tuning.errors import UserError


@contextmanager
def complete_or_not_at_all(out: Path) -> Iterator[Path]:
    """A directory beside `out` that becomes `out` when nothing failed, and is gone when something did.

    Raises:
        UserError: `out` is there and not empty, or cannot be made.
    """
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise UserError(f"{out}: is there already and not empty; delete it or give another --out")
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        building = Path(tempfile.mkdtemp(prefix=f".{out.name}.partial-", dir=out.parent))
    except OSError as error:
        raise UserError(f"{out}: cannot be made ({error.strerror}); give another --out") from None
    building.chmod(0o755)
    try:
        yield building
        let_others_read(building)
        if out.is_dir():
            out.rmdir()
        building.rename(out)
    except BaseException:
        shutil.rmtree(building, ignore_errors=True)
        raise


def let_others_read(directory: Path) -> None:
    """Let everyone read the weights: safetensors lets only their owner."""
    for file in directory.glob("*.safetensors"):
        file.chmod(0o644)
