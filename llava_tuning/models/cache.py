"""A cache of directories that can be made again: each is built once, whole or not at all."""

from __future__ import annotations

import contextlib
import ctypes
import gc
import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

from filelock import FileLock

from llava_tuning.errors import UserError


def cache_root() -> Path:
    """The cache directory: `LLAVA_TUNING_CACHE`, or `~/.cache/llava-tuning`."""
    chosen = os.environ.get("LLAVA_TUNING_CACHE")
    return Path(chosen).expanduser() if chosen else Path.home() / ".cache" / "llava-tuning"


def build_once(name: str, builder: Callable[[Path], None]) -> Path:
    """The cached directory `name`; `builder` fills an empty directory with it when it is not there yet.

    Two processes that ask at once build it once: the second waits. A builder that fails, or is killed, leaves
    nothing under `name`.

    Raises:
        UserError: the cache directory cannot be written.
    """
    root = cache_root()
    target = root / name
    if target.is_dir():
        return target
    try:
        root.mkdir(parents=True, exist_ok=True)
        lock = FileLock(root / f".{name}.lock")
        lock.acquire()
    except OSError as error:
        raise UserError(
            f"{root}: the cache cannot be written ({error.strerror}); set LLAVA_TUNING_CACHE"
        ) from None
    try:
        if target.is_dir():
            return target
        for abandoned in root.glob(f".{name}.tmp-*"):  # of a process that was killed; the lock is ours
            shutil.rmtree(abandoned, ignore_errors=True)
        building = Path(tempfile.mkdtemp(prefix=f".{name}.tmp-", dir=root))
        building.chmod(0o755)
        try:
            builder(building)
            building.rename(target)
        except BaseException:
            shutil.rmtree(building, ignore_errors=True)
            raise
    finally:
        lock.release()
        return_memory()
    return target


def return_memory() -> None:
    """Give what a builder has freed back to the system: glibc would keep hundreds of megabytes."""
    gc.collect()
    with contextlib.suppress(OSError, AttributeError):  # another C library
        ctypes.CDLL("libc.so.6").malloc_trim(0)
