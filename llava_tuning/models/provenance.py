"""`provenance.json`: what a model directory was made of, so that a result can be traced and made again."""

from __future__ import annotations

import datetime
import hashlib
import platform
from importlib import metadata
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from llava_tuning.errors import UserError

FILE_NAME = "provenance.json"
LIBRARIES = (
    "llava-tuning",
    "torch",
    "transformers",
    "tokenizers",
    "safetensors",
    "peft",
    "xtuner",
    "mmengine",
)


class BaseModelSource(BaseModel):
    """One model that this one was made from: `role` is e.g. "language model" or "vision tower"."""

    model_config = ConfigDict(extra="forbid")
    role: str
    name: str
    revision: str | None = None
    hashes: dict[str, str] = Field(default_factory=dict)


class Provenance(BaseModel):
    """The contents of `provenance.json`.

    Hashes are SHA-256 in hex, `template` is the text of the chat template, `created` is UTC in ISO 8601.
    """

    model_config = ConfigDict(extra="forbid")
    stage: str
    base_models: list[BaseModelSource] = Field(default_factory=list)
    config_name: str | None = None
    config_hash: str | None = None
    data: dict[str, str] = Field(default_factory=dict)
    template: str | None = None
    libraries: dict[str, str] = Field(default_factory=lambda: library_versions())
    scores: dict[str, float] = Field(default_factory=dict)
    created: str = Field(
        default_factory=lambda: datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds")
    )


def write_provenance(directory: str | Path, provenance: Provenance) -> Path:
    """Write `provenance.json` into a model directory; returns its path."""
    path = Path(directory) / FILE_NAME
    path.write_text(provenance.model_dump_json(indent=2) + "\n", encoding="utf-8")
    return path


def read_provenance(directory: str | Path) -> Provenance | None:
    """The provenance of a model directory, or None where it has none.

    Raises:
        UserError: the file is there but is not a provenance file; names the first wrong field.
    """
    path = Path(directory) / FILE_NAME
    if not path.is_file():
        return None
    try:
        return Provenance.model_validate_json(path.read_text(encoding="utf-8"))
    except (ValidationError, UnicodeDecodeError) as error:
        detail = str(error)
        if isinstance(error, ValidationError):
            first = error.errors()[0]
            detail = f"{'.'.join(map(str, first['loc'])) or 'file'}: {first['msg']}"
        raise UserError(
            f"{path}: not a provenance file ({detail}); delete it or make the model again"
        ) from None


def library_versions() -> dict[str, str]:
    """Versions of Python and of the installed libraries that decide what a model computes."""
    versions = {"python": platform.python_version()}
    for name in LIBRARIES:
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return versions


def hash_file(path: str | Path) -> str:
    """SHA-256 of a file in hex, read in pieces of 1 MiB."""
    digest = hashlib.sha256()
    with Path(path).open("rb") as file:
        while piece := file.read(1 << 20):
            digest.update(piece)
    return digest.hexdigest()
