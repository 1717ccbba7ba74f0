"""A folder of training runs, read without writing into it or leaving it."""

from __future__ import annotations

import json
import stat
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import Any, TypeVar

from llava_tuning.errors import UserError
from llava_tuning.runs.files import (
    CONFIG_FILE,
    LOSS_FILE,
    SAMPLES_FILE,
    SCORES_FILE,
    SELECTION_FILE,
    STOP_FILE,
    is_held,
    read_rows,
)
from llava_tuning.runs.run import Choice, Problem, Run, SampledAnswer, State, Step, read_score
from llava_tuning.runs.scores import Scores
from llava_tuning.runs.settings import read_settings

MAX_RUNS = 200  # the newest are shown
MAX_FILE_BYTES = 256 * 2**20
MAX_CONFIG_BYTES = 2**20
_Row = TypeVar("_Row", Step, SampledAnswer, Scores)


class RunFolder:
    """The runs directly below a folder, by name.

    A run is a directory that holds a `loss.jsonl` or a config with a stage. Links that lead out of the folder
    are not followed.

    Args:
        folder: holds the runs.
        data: where pictures of the runs may lie besides the runs' own folders. A run's config names its image
            folder, and whoever wrote the config must not choose what of the machine is shown.
    """

    def __init__(self, folder: Path, data: Path | None = None) -> None:
        self.folder = folder
        self.data = data

    def names(self) -> list[str]:
        """The runs' names, the one that was written last first.

        Raises:
            UserError: there is no such folder, or it cannot be read.
        """
        found: list[tuple[int, str]] = []
        try:
            for path in self.folder.iterdir():
                plain = path.name.isprintable() and path.is_dir() and self._inside(path)
                if plain and (when := self._written(path)) is not None:
                    found.append((when, path.name))
        except FileNotFoundError:
            raise UserError(
                f"{self.folder}: no such folder; name the one that holds the runs with --runs"
            ) from None
        except OSError as error:
            raise UserError(
                f"{self.folder}: cannot be read ({error.strerror}); name another with --runs"
            ) from None
        return [name for _, name in sorted(found, key=lambda item: (-item[0], item[1]))[:MAX_RUNS]]

    def read(self, name: str) -> Run:
        """One run, as far as it can be read.

        Raises:
            UserError: the folder has no such run.
        """
        if name not in self.names():
            raise UserError(f"{name}: no such run in {self.folder}; choose another one")
        return _Reader(self, name).run()

    def read_all(self) -> list[Run]:
        """All runs, in the order of `names`."""
        return [_Reader(self, name).run() for name in self.names()]

    def file(self, path: Path) -> Path | None:
        """The path, where it is an ordinary file of this folder that is small enough to be read."""
        try:
            status = path.stat()
            sound = stat.S_ISREG(status.st_mode) and status.st_size <= MAX_FILE_BYTES
            return path if sound and self._inside(path) else None
        except OSError:
            return None

    def _inside(self, path: Path) -> bool:
        return path.resolve().is_relative_to(self.folder.resolve())

    def _written(self, path: Path) -> int | None:
        """When the run in a directory was last written, in ns; None where there is none."""
        if (losses := self.file(path / LOSS_FILE)) is not None:
            return _time_of(losses)
        config = self.file(path / CONFIG_FILE)
        if config is not None and "stage" in (_cached(_settings, config) or {}):
            return _time_of(config)
        return None


class _Reader:
    """Reads one run, and gathers what is wrong with it."""

    def __init__(self, folder: RunFolder, name: str) -> None:
        self._folder = folder
        self._path = folder.folder / name
        self._problems: list[tuple[Problem, str]] = []

    def run(self) -> Run:
        settings = self._settings()
        steps = self._rows(LOSS_FILE, Step.from_row, "bad_rows")
        total = settings.get("train_cfg")
        total = total.get("max_iters") if isinstance(total, dict) else None
        total = total if type(total) is int and 0 < total < 2**63 else None
        stage, images, folder = (settings.get(key) for key in ("stage", "evaluation_images", "image_folder"))
        return Run(
            self._path.name,
            self._state(steps[-1].step if steps else 0, total),
            stage if isinstance(stage, str) else None,
            total,
            steps,
            self._rows(SAMPLES_FILE, SampledAnswer.from_row, "bad_rows"),
            self._rows(SCORES_FILE, read_score, "bad_scores"),
            self._choice(),
            tuple(self._problems),
            self._image_folder(folder) if isinstance(folder, str) else None,
            frozenset(filter(_is_text, images)) if isinstance(images, list) else frozenset(),
            (self._path,) if self._folder.data is None else (self._path, self._folder.data),
        )

    def _file(self, name: str) -> Path | None:
        path = self._path / name
        found = self._folder.file(path)
        if found is None and path.is_symlink():
            self._problems.append(("outside", name))
        return found

    def _settings(self) -> dict[str, Any]:
        path = self._file(CONFIG_FILE)
        settings = None if path is None else _cached(_settings, path)
        if settings is None or "stage" not in settings:
            self._problems.append(("no_config" if path is None else "bad_config", CONFIG_FILE))
        return settings or {}

    def _rows(self, name: str, parse: Callable[[Any], _Row | None], problem: Problem) -> tuple[_Row, ...]:
        """The rows that are what they should be, in the order of their steps."""
        path = self._file(name)
        if path is None:
            return ()
        found: tuple[tuple[_Row, ...], bool] | None = _cached(_parsed, path, parse)
        rows, whole = found or ((), False)
        if not whole:
            self._problems.append((problem, name))
        return rows

    def _choice(self) -> Choice | None:
        path = self._file(SELECTION_FILE)
        if path is None:
            return None
        choice = Choice.from_json(_cached(_whole, path))
        if choice is None:
            self._problems.append(("bad_scores", SELECTION_FILE))
        return choice

    def _state(self, done: int, total: int | None) -> State:
        losses = self._folder.file(self._path / LOSS_FILE)
        if losses is not None and is_held(losses):
            return "running"
        if self._folder.file(self._path / STOP_FILE) is not None:
            return "stopped"
        if losses is None:
            return "waiting"
        return "finished" if total is not None and done >= total else "interrupted"

    def _image_folder(self, given: str) -> Path | None:
        """Relative to where the app runs, as for the training; else to where the folder of runs lies."""
        for base in (Path(), self._folder.folder.absolute().parent):
            try:
                if (base / given).is_dir():
                    return base / given
            except (OSError, ValueError):  # too long, or a zero byte
                return None
        return None


def _time_of(path: Path) -> int | None:
    """When a file was last written, in ns; None where it is gone."""
    try:
        return path.stat().st_mtime_ns
    except OSError:
        return None


def _cached(read: Callable[..., Any], path: Path, *how: Any) -> Any:
    """What `read` makes of a file, kept until the file changes; None where it cannot be read."""
    try:
        status = path.stat()
        return _kept(read, path.absolute(), how, status.st_ino, status.st_mtime_ns, status.st_size)
    except (OSError, ValueError, RecursionError):
        return None


@lru_cache(maxsize=6 * MAX_RUNS)  # a run has so many files
def _kept(read: Callable[..., Any], path: Path, how: tuple[Any, ...], *state: int) -> Any:
    return read(path, *how)


def _parsed(path: Path, parse: Callable[[Any], _Row | None]) -> tuple[tuple[_Row, ...], bool]:
    """The rows that are what they should be, and whether all are."""
    given = read_rows(path)
    rows = [row for row in map(parse, given) if row is not None]
    return tuple(sorted(rows, key=lambda row: row.step)), len(rows) == len(given)


def _settings(path: Path) -> dict[str, Any]:
    if path.stat().st_size > MAX_CONFIG_BYTES:
        raise ValueError(f"{path}: too large for a config")
    return read_settings(path.read_text(encoding="utf-8"))


def _whole(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))


def _is_text(value: Any) -> bool:
    return isinstance(value, str)
