"""The models that a visitor can choose: loaded when they are asked for, a few at a time."""

from __future__ import annotations

import gc
import sys
import threading
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from app.engine import Engine, Waiting
from llava_tuning.errors import UserError
from llava_tuning.inference.backend import (
    AttentiveBackend,
    BusyError,
    ChatBackend,
    ChatMessage,
    Finished,
    GenerationSettings,
    load_backend,
)
from llava_tuning.models.default import DEFAULT_NAME, has_default
from llava_tuning.models.kind import check_model_directory

Load = Callable[[], ChatBackend]


class Loading:
    """Yielded when a model has to be loaded first."""


class NoSuchModelError(UserError):
    """The name is not on the shelf."""


class LoadError(UserError):
    """The model is on the shelf, but could not be loaded."""


@dataclass(eq=False)
class _Slot:
    """A model that is loaded, or being loaded."""

    local: bool
    users: int = 0
    used: int = 0  # grows with each use on the shelf
    engine: Engine | None = None
    error: UserError | None = None
    ready: threading.Event = field(default_factory=threading.Event)


class Shelf:
    """Names of models, and an engine for each that is in use.

    Names come from here alone, so no request can name a path. The app's own model stays loaded; of those
    loaded from `folder` (or the embedded default) the least recently used idle one goes when another is
    asked for. Models behind an address take no memory here and are not counted.

    Args:
        own: the model that the app was started on.
        folder: holds model directories; looked at anew each time. It need not exist.
        most: so many local models are loaded at once, besides the app's own.
        remote: further models by name, and how to reach them.
        load: loads a local model by its directory, or "default".
        own_directory: where the app's own lies, so that the folder does not offer it again.
    """

    def __init__(
        self,
        own: Engine,
        folder: Path | None = None,
        most: int = 2,
        remote: Mapping[str, Load] | None = None,
        load: Callable[[str], ChatBackend] = load_backend,
        own_directory: Path | None = None,
    ) -> None:
        self.own = own
        self._own_directory = own_directory
        self.folder = folder
        self._most = most
        self._remote = dict(remote or {})
        self._load = load
        self._embedded = [DEFAULT_NAME] if has_default() else []
        self._slots: dict[str, _Slot] = {}
        self._uses = 0
        self._lock = threading.Lock()

    def names(self) -> list[str]:
        """The app's own, the embedded default where it is there, those behind addresses, the folder's."""
        return [*self._fixed(), *self._directories()]

    def attentive(self) -> frozenset[str]:
        """Names of the models that run in this process and so can tell what their answers attended to."""
        own = self.own.backend
        here = {*self._embedded, *self._directories()} - {own.name, *self._remote}
        return frozenset(here | ({own.name} if isinstance(own, AttentiveBackend) else set()))

    def stream(
        self,
        name: str,
        messages: Sequence[ChatMessage],
        settings: GenerationSettings,
        cancel: threading.Event,
    ) -> Iterator[str | Waiting | Finished | Loading]:
        """Yield `Loading` where the model has to be loaded first, then what its `Engine.stream` yields.

        Raises:
            UserError: what `use` and `Engine.stream` raise.
        """
        if not self.is_loaded(name):
            yield Loading()
        with self.use(name) as engine:
            yield from engine.stream(messages, settings, cancel)

    def is_loaded(self, name: str) -> bool:
        """Whether it answers without being loaded first."""
        if name == self.own.backend.name:
            return True
        with self._lock:
            slot = self._slots.get(name)
            return slot is not None and slot.ready.is_set()

    @contextmanager
    def use(self, name: str) -> Iterator[Engine]:
        """A model's engine, loaded if need be; it stays loaded at least until this is left.

        Raises:
            NoSuchModelError: no such name.
            BusyError: as many models as may be are in use by others.
            LoadError: it cannot be loaded; says why.
        """
        if name == self.own.backend.name:
            yield self.own
            return
        slot, mine = self._take(name)
        try:
            if mine:
                self._fill(name, slot)
            slot.ready.wait()
            if slot.error is not None:
                raise slot.error
            assert slot.engine is not None
            yield slot.engine
        finally:
            with self._lock:
                slot.users -= 1

    def stop(self) -> None:
        """End all answers of all models; nothing may be asked any more."""
        with self._lock:
            loaded = [slot.engine for slot in self._slots.values() if slot.engine is not None]
        for engine in (self.own, *loaded):
            engine.stop()

    def _take(self, name: str) -> tuple[_Slot, bool]:
        """The model's slot, and whether the caller has to load it."""
        known = self.names()
        unloaded: Engine | None = None
        with self._lock:
            self._uses += 1
            slot = self._slots.get(name)
            mine = slot is None
            if slot is None:
                if name not in known:
                    raise NoSuchModelError(f"there is no model {name!r}; choose one of {', '.join(known)}")
                slot = _Slot(local=name not in self._remote)
                if slot.local:
                    unloaded = self._make_room()
                self._slots[name] = slot
            slot.users += 1
            slot.used = self._uses
        if unloaded is not None:
            unloaded.close()
            del unloaded
            _free_memory()
        return slot, mine

    def _make_room(self) -> Engine | None:
        """Take the least recently used idle model off, where one has to go."""
        local = {name: slot for name, slot in self._slots.items() if slot.local}
        if len(local) < self._most:
            return None
        idle = {name: slot for name, slot in local.items() if not slot.users}
        if not idle:
            raise BusyError(
                f"{self._most} other models are in use, and no more are loaded at once; try again in a "
                "minute, or start the app with a larger --loaded-models"
            )
        oldest = min(idle, key=lambda name: idle[name].used)
        return self._slots.pop(oldest).engine

    def _fill(self, name: str, slot: _Slot) -> None:
        """Load a model into its slot; one that fails leaves the slot free."""
        try:
            load = self._remote.get(name) or (lambda: self._load(self._path(name)))
            slot.engine = Engine(load())
        except Exception as error:
            slot.error = _load_error(name, error)
            with self._lock:
                self._slots.pop(name, None)
            _free_memory()
        finally:
            slot.ready.set()

    def _path(self, name: str) -> str:
        return DEFAULT_NAME if name == DEFAULT_NAME else str(self._directories()[name])

    def _fixed(self) -> list[str]:
        """Names of models that are not the folder's."""
        return list(dict.fromkeys([self.own.backend.name, *self._embedded, *self._remote]))

    def _directories(self) -> dict[str, Path]:
        """The folder's models by name: the directory's, after the folder's where another model has that."""
        if self.folder is None or not self.folder.is_dir():
            return {}
        found: dict[str, Path] = {}
        fixed = set(self._fixed())
        own = self._own_directory and self._own_directory.resolve()
        for directory in sorted(self.folder.iterdir()):
            if not directory.name.isprintable():  # no page can hold it
                continue
            try:
                check_model_directory(directory)
                if own and directory.resolve() == own:
                    continue
            except (UserError, OSError):
                continue
            name = directory.name
            while name in fixed:
                name = f"{self.folder.resolve().name or 'models'}/{name}"
            found[name] = directory
        return dict(sorted(found.items()))


def _load_error(name: str, error: Exception) -> UserError:
    kind = type(error).__name__
    if isinstance(error, MemoryError) or kind == "OutOfMemoryError":
        return LoadError(
            f"{name}: does not fit into the memory beside the models that are loaded; start the app with a "
            "smaller --loaded-models"
        )
    if isinstance(error, UserError):
        return LoadError(str(error))
    traceback.print_exception(error)
    return LoadError(f"{name}: cannot be loaded ({kind}: {error}); see the terminal that runs the app")


def _free_memory() -> None:
    gc.collect()
    torch: Any = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_available():
        torch.cuda.empty_cache()
