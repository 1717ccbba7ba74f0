"""Read and write sharded checkpoints without ever holding more than one shard of either."""

from __future__ import annotations

import json
import pickle
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file

from llava_tuning.errors import UserError

GIGABYTE = 10**9
MAKE_AGAIN = "export, prepare or download the model again"  # whichever it came from
_NAMES = ("model.safetensors", "pytorch_model.bin")


@dataclass(frozen=True)
class TensorInfo:
    """Shape and dtype of one tensor, known without reading it."""

    shape: tuple[int, ...]
    dtype: torch.dtype


class Checkpoint:
    """The weights of a directory: one file or shards with an index, safetensors or `.bin`.

    `.bin` files are read with `weights_only=True` and mapped into memory, not loaded.

    Raises:
        UserError: no weights, a shard of the index is missing, or a file is unreadable.
    """

    def __init__(self, directory: str | Path) -> None:
        self.directory = Path(directory)
        self.shards = _find_shards(self.directory)
        self.tensors: dict[str, TensorInfo] = {}
        for shard in self.shards:
            for name, info in file_tensors(shard).items():
                if name in self.tensors:
                    raise UserError(f"{shard}: {name} is in two shards; {MAKE_AGAIN}")
                self.tensors[name] = info

    def __iter__(self) -> Iterator[tuple[str, torch.Tensor]]:
        """(name, tensor) of every shard in turn; one shard is open at a time."""
        for shard in self.shards:
            if shard.suffix == ".safetensors":
                with safe_open(shard, framework="pt") as file:
                    for name in file.keys():  # noqa: SIM118 (not a mapping)
                        yield name, file.get_tensor(name)
            else:
                yield from _load_bin(shard).items()

    @property
    def bytes(self) -> int:
        """Size of the weight files on disk."""
        return sum(shard.stat().st_size for shard in self.shards)

    @property
    def dtype(self) -> torch.dtype:
        """The dtype of most tensors."""
        kinds = [info.dtype for info in self.tensors.values()]
        return max(set(kinds), key=kinds.count)


class ShardWriter:
    """Collects tensors, writes a safetensors file whenever `max_bytes` are full, and at last the index."""

    def __init__(self, directory: str | Path, max_bytes: int) -> None:
        self.directory = Path(directory)
        self.max_bytes = max_bytes
        self._pending: dict[str, torch.Tensor] = {}
        self._pending_bytes = 0
        self._total_bytes = 0
        self._written: list[list[str]] = []  # the tensors' names of each shard

    def add(self, name: str, tensor: torch.Tensor) -> None:
        """Take one tensor; it is copied when it shares its memory, which safetensors refuses to write."""
        size = tensor.numel() * tensor.element_size()
        if self._pending and self._pending_bytes + size > self.max_bytes:
            self._flush()
        tensor = tensor.contiguous()
        shares = any(tensor.data_ptr() == other.data_ptr() for other in self._pending.values())
        if shares or tensor.untyped_storage().nbytes() != size:
            tensor = tensor.clone()
        self._pending[name] = tensor
        self._pending_bytes += size
        self._total_bytes += size

    def close(self) -> None:
        """Write what is left and, for more than one shard, `model.safetensors.index.json`."""
        self._flush()
        count = len(self._written)
        if count == 1:
            self._temporary(0).rename(self.directory / "model.safetensors")
            return
        weight_map = {}
        for number, names in enumerate(self._written):
            file = f"model-{number + 1:05d}-of-{count:05d}.safetensors"
            self._temporary(number).rename(self.directory / file)
            weight_map.update(dict.fromkeys(names, file))
        index = {
            "metadata": {"total_size": self._total_bytes},
            "weight_map": dict(sorted(weight_map.items())),
        }
        (self.directory / "model.safetensors.index.json").write_text(json.dumps(index, indent=2) + "\n")

    def _flush(self) -> None:
        if self._pending:
            save_file(self._pending, self._temporary(len(self._written)), metadata={"format": "pt"})
            self._written.append(list(self._pending))
            self._pending, self._pending_bytes = {}, 0

    def _temporary(self, number: int) -> Path:
        return self.directory / f".shard-{number}.safetensors"  # the final name holds the number of shards


def file_tensors(path: Path) -> dict[str, TensorInfo]:
    """Shapes and dtypes in one weight file (safetensors or `.bin`), without reading the weights."""
    if path.suffix == ".safetensors":
        return _safetensors_infos(path)
    return {name: TensorInfo(tuple(t.shape), t.dtype) for name, t in _load_bin(path).items()}


def load_weights(path: Path) -> dict[str, torch.Tensor]:
    """All tensors of one weight file, safetensors or `.bin` (mapped into memory, `weights_only=True`).

    Raises:
        UserError: unreadable, or more than tensors.
    """
    if path.suffix != ".safetensors":
        return _load_bin(path)
    try:
        return load_file(path)
    except (SafetensorError, OSError) as error:
        raise UserError(f"{path}: not readable as safetensors ({error}); download it again") from None


def read_config(directory: str | Path) -> dict[str, Any]:
    """The contents of a directory's `config.json`.

    Raises:
        UserError: missing or not JSON.
    """
    path = Path(directory) / "config.json"
    if not path.is_file():
        raise UserError(f"{directory}: holds no config.json; give the directory of a Hugging Face checkpoint")
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise UserError(f"{path}: not valid JSON ({error}); {MAKE_AGAIN}") from None
    if not isinstance(config, dict):
        raise UserError(f"{path}: not a model configuration; {MAKE_AGAIN}")
    return config


def rewrite_json(path: Path, drop: tuple[str, ...] = (), **values: Any) -> None:
    """Remove and set top-level keys of a JSON file."""
    data = {k: v for k, v in json.loads(path.read_text(encoding="utf-8")).items() if k not in drop}
    data.update(values)
    path.write_text(json.dumps(data, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def some_names(names: set[str] | list[str], limit: int = 5) -> str:
    """The first names, sorted, and how many more there are."""
    ordered = sorted(names)
    more = f" and {len(ordered) - limit} more" if len(ordered) > limit else ""
    return ", ".join(ordered[:limit]) + more


def _find_shards(directory: Path) -> list[Path]:
    for name in _NAMES:
        index = directory / f"{name}.index.json"
        if index.is_file():
            try:
                files = sorted(set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values()))
            except (ValueError, KeyError, TypeError, AttributeError):
                raise UserError(f"{index}: not an index of shards; {MAKE_AGAIN}") from None
            missing = [file for file in files if not (directory / file).is_file()]
            if missing:
                raise UserError(f"{directory}: shards {some_names(missing)} are missing; {MAKE_AGAIN}")
            return [directory / file for file in files]
        if (directory / name).is_file():
            return [directory / name]
    raise UserError(f"{directory}: holds no weights ({' or '.join(_NAMES)}, with or without shards)")


def _safetensors_infos(path: Path) -> dict[str, TensorInfo]:
    infos = {}
    try:
        with safe_open(path, framework="pt") as file:
            for name in file.keys():  # noqa: SIM118 (not a mapping)
                part = file.get_slice(name)
                infos[name] = TensorInfo(tuple(part.get_shape()), _DTYPES[part.get_dtype()])
    except (SafetensorError, OSError) as error:
        raise UserError(f"{path}: not readable as safetensors ({error}); {MAKE_AGAIN}") from None
    except KeyError as error:
        raise UserError(f"{path}: holds {error} tensors; take an unquantised checkpoint") from None
    return infos


def _load_bin(path: Path) -> dict[str, torch.Tensor]:
    try:
        state = torch.load(path, map_location="cpu", mmap=True, weights_only=True)
    except (RuntimeError, pickle.UnpicklingError, OSError, EOFError, ValueError) as error:
        reason = str(error).splitlines()[0][:120] if str(error) else type(error).__name__
        raise UserError(
            f"{path}: not readable as weights alone ({reason}); take the safetensors files, or save it "
            "again with a current torch"
        ) from None
    if not isinstance(state, dict) or not all(isinstance(value, torch.Tensor) for value in state.values()):
        raise UserError(f"{path}: holds more than tensors; give a model checkpoint, not a training state")
    return state


_DTYPES = {
    "BF16": torch.bfloat16,
    "F16": torch.float16,
    "F32": torch.float32,
    "F64": torch.float64,
}
