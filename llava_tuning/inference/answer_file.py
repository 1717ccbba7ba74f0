"""The file that a batch run appends to, and continues after an interruption."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from types import TracebackType
from typing import Any

from filelock import FileLock, Timeout

from llava_tuning.errors import UserError
from llava_tuning.inference.backend import GenerationSettings

_SAMPLE_BYTES = 1 << 20


def run_meta(model: str, directory: Path, settings: GenerationSettings, mode: str | None) -> dict[str, Any]:
    """What must be the same for a run to be continued: model files, settings, what weights are held in."""
    given = {name: value for name, value in asdict(settings).items() if value != ()}  # no stop texts
    given["load_in"] = mode
    return {"model": model, "fingerprint": fingerprint(directory), "settings": given}


def fingerprint(directory: Path) -> str:
    """Tells model directories apart quickly: names, sizes, first and last MiB of their files."""
    digest = hashlib.sha256()
    for file in sorted(directory.iterdir()):
        if file.suffix not in (".safetensors", ".json", ".jinja") or file.name == "provenance.json":
            continue
        size = file.stat().st_size
        digest.update(f"{file.name} {size}\n".encode())
        with file.open("rb") as stream:
            digest.update(stream.read(_SAMPLE_BYTES))
            if size > _SAMPLE_BYTES:
                stream.seek(-min(size - _SAMPLE_BYTES, _SAMPLE_BYTES), os.SEEK_END)
                digest.update(stream.read())
    return digest.hexdigest()[:16]


def _changes(then: Any, now: Any) -> str:
    """What differs between two runs' settings, e.g. `temperature 0.0, now 0.5`."""
    then, now = (value if isinstance(value, dict) else {"value": value} for value in (then, now))
    keys = [key for key in {**then, **now} if then.get(key) != now.get(key)]
    return "; ".join(f"{key} {then.get(key)}, now {now.get(key)}" for key in keys)


class AnswerFile:
    """JSON lines at `path`, one row an answer, each written out at once; beside it `path`.meta.json.

    A context manager: it holds a lock, so that two runs cannot write the same rows.

    Raises:
        UserError (on entering): the file belongs to another model, other settings or no run at all, is
            damaged elsewhere than in its last line, or is being written by another run.
    """

    def __init__(self, path: Path, meta: Mapping[str, Any]) -> None:
        self.path = path
        self._meta_path = path.with_name(path.name + ".meta.json")
        self._meta = dict(meta)
        self._lock = FileLock(path.with_name(f".{path.name}.lock"))
        self.rows: list[dict[str, Any]] = []

    def __enter__(self) -> AnswerFile:
        if self.path.is_dir():
            raise UserError(f"{self.path}: is a folder; give --out a file's name")
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._lock.acquire(timeout=0)
        except Timeout:
            raise UserError(
                f"{self.path}: another run is writing it; wait for it or choose another --out"
            ) from None
        except OSError as error:
            raise UserError(
                f"{self.path}: cannot be written ({error.strerror}); choose another --out"
            ) from None
        try:
            self._check_meta()
            self.rows = self._read()
            self._stream = self.path.open("a", encoding="utf-8", newline="\n")
        except BaseException:
            self._lock.release()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stream.close()
        Path(self._lock.lock_file).unlink(missing_ok=True)
        self._lock.release()

    def append(self, row: Mapping[str, Any]) -> None:
        """Write one row; it is on its way to the disk when this returns."""
        self._stream.write(json.dumps(row, ensure_ascii=False) + "\n")
        self._stream.flush()
        self.rows.append(dict(row))

    def _check_meta(self) -> None:
        if not self.path.exists() or self.path.stat().st_size == 0:
            temporary = self._meta_path.with_name(self._meta_path.name + ".tmp")
            temporary.write_text(
                json.dumps(self._meta, ensure_ascii=False, indent=1) + "\n", encoding="utf-8"
            )
            temporary.replace(self._meta_path)
            return
        try:
            found = json.loads(self._meta_path.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            raise UserError(
                f"{self.path}: exists, but {self._meta_path.name} beside it does not say of which run; "
                "choose another --out or move it away"
            ) from None
        for key, value in self._meta.items():
            if key == "model" or found.get(key) == value:
                continue
            if key == "fingerprint":
                then, now = found.get("model"), self._meta["model"]
                what = f"of {then}, whose files were others" if then == now else f"of {then}, not of {now}"
            else:
                what = f"with other {key} ({_changes(found.get(key), value)})"
            raise UserError(f"{self.path}: holds answers {what}; choose another --out or move it away")

    def _read(self) -> list[dict[str, Any]]:
        """The rows that are there. A torn last line (the run was killed while writing it) is cut off."""
        if not self.path.exists():
            return []
        data = self.path.read_bytes()
        rows: list[dict[str, Any]] = []
        good = 0  # bytes up to the end of the last whole line
        for number, line in enumerate(data.splitlines(keepends=True), 1):
            try:
                row = json.loads(line) if line.endswith(b"\n") else None
            except ValueError:
                row = None
            if not isinstance(row, dict):
                if good + len(line) < len(data):
                    raise UserError(
                        f"{self.path}: line {number} is damaged; delete it and run the command again"
                    )
                break
            rows.append(row)
            good += len(line)
        if good < len(data):
            with self.path.open("r+b") as stream:
                stream.truncate(good)
        return rows
