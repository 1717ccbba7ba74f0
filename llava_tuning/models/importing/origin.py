"""Where a model to import comes from: a directory, or a repository of the hub."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from llava_tuning.errors import UserError
from llava_tuning.models import hub


@dataclass(frozen=True)
class Origin:
    """A directory, what provenance calls it, and the hub's commit where it came from there."""

    directory: Path
    name: str
    revision: str | None = None


def find_origin(name: str) -> Origin:
    """A directory, or what a hub id names, downloaded.

    Raises:
        UserError: neither of the two, or the hub does not give it.
    """
    path = Path(name).expanduser()
    if path.is_dir():
        return Origin(path, path.resolve().name)
    if hub.HUB_ID.fullmatch(name):
        directory, commit = hub.download(name)
        return Origin(directory, name, commit)
    raise UserError(f"{name}: neither a directory nor a hub id (owner/name); check the path")
