"""The files of a run's directory, their rows, and the lock that tells whether it is being written."""

from __future__ import annotations

import fcntl
import json
import time
from pathlib import Path
from typing import IO, Any

CONFIG_FILE = "config.py"
LOSS_FILE = "loss.jsonl"
SAMPLES_FILE = "samples.jsonl"
SCORES_FILE = "scores.jsonl"
SELECTION_FILE = "selection.json"
STOP_FILE = "early_stop.json"
_TRIES = 5


def read_rows(path: Path) -> list[Any]:
    """The values of a JSON-lines file; none when there is no such file.

    Lines that are not JSON are left out: the one being written, or one that a crash tore.
    """
    rows: list[Any] = []
    if not path.is_file():
        return rows
    # Only "\n" ends a JSON line: splitlines() would cut at U+2028 inside an answer as well.
    for line in path.read_text(encoding="utf-8", errors="replace").split("\n"):
        try:
            rows.append(json.loads(line))
        except (ValueError, RecursionError):
            continue
    return rows


def keep_rows(path: Path, before: int) -> None:
    """Drop the rows from step `before` on: a run that starts or resumes there writes them anew."""
    kept = [row for row in read_rows(path) if row["step"] < before]
    text = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in kept)
    path.write_text(text, encoding="utf-8")


def hold(file: IO[Any]) -> None:
    """Tell readers that the file is being written, until it is closed or this process ends in any way.

    Where the file system knows no locks, or another process writes it too, readers are told nothing of this
    one.
    """
    for _ in range(_TRIES):  # a reader that looks holds it for a moment
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        except BlockingIOError:
            time.sleep(0.02)
        except OSError:
            return


def is_held(path: Path) -> bool:
    """Whether a process is writing the file."""
    try:
        with path.open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return False
    return False
