"""Checkpoints are there whole or not at all, also where a run is killed while it writes one."""

from __future__ import annotations

from pathlib import Path

from mmengine.fileio.backends import LocalBackend, register_backend


class WholeFilesBackend(LocalBackend):  # type: ignore[misc]
    """mmengine's files on this machine, each written beside its place and then put there."""

    def put(self, obj: bytes, filepath: str | Path) -> None:
        """Write a file; an older one of this name stays as it is until the new one is whole."""
        part = Path(f"{filepath}.part")
        try:
            super().put(obj, part)
        except BaseException:
            part.unlink(missing_ok=True)
            raise
        part.replace(filepath)


def register() -> None:
    """Let mmengine's checkpoints be written by it, in this process."""
    register_backend("local", WholeFilesBackend, force=True, prefixes="")
