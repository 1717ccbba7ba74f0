"""How a model's weights are held in memory: `--load-in`, and what `auto` makes of a machine.

In 4, 8 or int8 bits only the matrices of the language model's layers are quantised, where nearly all
parameters are; embedding, head, projector and vision tower stay in the format that the machine computes in.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from typing import TYPE_CHECKING, Literal

from llava_tuning.errors import UserError
from llava_tuning.inference.machine import GIB, Gpu, Machine
from llava_tuning.load_in import LOAD_IN

if TYPE_CHECKING:
    from llava_tuning.models.sizes import Sizes

Mode = Literal["float32", "bfloat16", "float16", "8bit", "int8", "4bit"]
BYTES = {"float32": 4.0, "bfloat16": 2.0, "float16": 2.0, "8bit": 1.0, "int8": 1.0, "4bit": 0.5 + 4 / 64}
QUANTISED = ("8bit", "int8", "4bit")
KEPT_WHOLE = ("model.vision_tower", "model.multi_modal_projector", "lm_head")  # never quantised
WORK_BYTES = 1.5 * GIB  # libraries, a picture's activations, logits
BITSANDBYTES = "bitsandbytes==0.50.2"  # as in requirements-train.txt; 4bit, and 8bit on a card, need it
_INSTALL = f"run `pip install {BITSANDBYTES}`"


@dataclass(frozen=True)
class Choice:
    """A mode with what it computes in and where, and why: `line` says all of it."""

    mode: Mode
    dtype: Literal["float32", "bfloat16", "float16"]
    device: str
    line: str


def choose(load_in: str, device: str, sizes: Sizes, machine: Machine) -> Choice:
    """What a model is loaded in.

    Args:
        load_in: one of `LOAD_IN`.
        device: "auto" (the first GPU, else the CPU), "cpu", "cuda" or "cuda:N".
        sizes: the model's.
        machine: what there is.

    Raises:
        UserError: the machine has no such device, cannot compute in the mode, or has too little free memory
            for any; says what to do.
    """
    if load_in not in LOAD_IN:
        raise UserError(f"--load-in {load_in}: unknown; choose {', '.join(LOAD_IN)}")
    place = _place(device, machine)
    if load_in != "auto":
        mode: Mode = load_in  # type: ignore[assignment]
        if problem := cannot(mode, place, machine):
            raise UserError(f"--load-in {mode}: {problem}")
        return _choice(mode, place, sizes, machine, "as asked for")
    places = [place] if device != "auto" or place is None else [place, None]
    for where in places:
        fitting = (mode for mode in modes(where, machine) if _fits(mode, where, sizes, machine))
        if chosen := next(fitting, None):
            why = "the most exact that fits" if chosen != modes(where, machine)[0] else "the most exact"
            if place is not None and where is None:
                why += " on the CPU; too large for the GPU"
            return _choice(chosen, where, sizes, machine, why)
    raise UserError(_too_little(places, sizes, machine))


def modes(place: Gpu | None, machine: Machine) -> list[Mode]:
    """What a card (the CPU where None) can load in, the most exact that is fast first."""
    whole = _whole(place, machine)
    few: tuple[Mode, ...] = ("8bit", "4bit") if place else ("int8", "4bit")
    return [whole, *(mode for mode in few if not cannot(mode, place, machine))]


def offered(place: Gpu | None) -> list[Mode]:
    """What is meant for a card (the CPU where None), from the most memory to the least."""
    if place is None:
        return ["float32", "bfloat16", "int8", "4bit"]
    return ["float32", "bfloat16" if place.bfloat16 else "float16", "8bit", "4bit"]


def cannot(mode: Mode, place: Gpu | None, machine: Machine) -> str | None:
    """Why a card (the CPU where None) does not load in this mode, and what to choose; None where it does."""
    if place is None:
        if mode == "8bit":
            return "is for GPUs; on a CPU choose int8, which is as small"
        if mode == "float16":
            return "is for GPUs; on a CPU choose bfloat16 or float32"
        if mode == "int8" and not machine.int8:
            return f"this CPU ({machine.cpu}) does not multiply it (no VNNI); choose float32 or 4bit"
    else:
        if mode == "int8":
            return "is for CPUs; choose 8bit, or add --device cpu"
        if mode == "bfloat16" and not place.bfloat16:
            return f"{place.name} does not compute in it; choose float16"
    if mode in ("4bit", "8bit") and find_spec("bitsandbytes") is None:
        return f"needs bitsandbytes, which is not installed; {_INSTALL}"
    return None


def needed_bytes(mode: Mode, place: Gpu | None, sizes: Sizes, machine: Machine) -> float:
    """Memory that a model takes: weights, keys and values of what is kept of conversations, work."""
    from llava_tuning.inference.prefix_cache import KEPT_TOKENS

    whole = BYTES[mode if mode not in QUANTISED else _whole(place, machine)]
    values = sizes.values_per_token * KEPT_TOKENS
    return sizes.layers * BYTES[mode] + (sizes.rest + values) * whole + WORK_BYTES


def _place(device: str, machine: Machine) -> Gpu | None:
    """The card that a device names, or None for the CPU."""
    if device == "cpu" or (device == "auto" and not machine.gpus):
        return None
    named = re.fullmatch(r"cuda(?::(\d+))?|auto", device)
    if not named:
        raise UserError(f"device {device!r} is unknown; choose auto, cpu, cuda or cuda:N")
    index = int(named[1] or 0)
    if index >= len(machine.gpus):
        raise UserError(f"device {device!r}: this machine has {len(machine.gpus)} GPUs; choose cpu or auto")
    return machine.gpus[index]


def _whole(place: Gpu | None, machine: Machine) -> Literal["float32", "bfloat16", "float16"]:
    """What is not quantised is held in this."""
    if place is None:
        return "bfloat16" if machine.bfloat16 else "float32"
    return "bfloat16" if place.bfloat16 else "float16"


def _free(place: Gpu | None, machine: Machine) -> int:
    return machine.free if place is None else place.free


def _fits(mode: Mode, place: Gpu | None, sizes: Sizes, machine: Machine) -> bool:
    if place is not None and not place.total:  # nobody knows how much the card has
        return True
    return needed_bytes(mode, place, sizes, machine) <= _free(place, machine)


def _choice(mode: Mode, place: Gpu | None, sizes: Sizes, machine: Machine, why: str) -> Choice:
    needed, free = needed_bytes(mode, place, sizes, machine), _free(place, machine)
    where = "the CPU" if place is None else place.name
    line = f"loads in {mode} on {where} ({why}): needs about {needed / GIB:.1f} GiB"
    if place is None or place.total:
        line += f" of {free / GIB:.1f} GiB free"
        if needed > free:
            line += ", so it may not fit"
    if mode == "bfloat16" and place is None and not machine.bfloat16:
        line += "; this CPU emulates bfloat16, float32 or int8 is faster"
    dtype = _whole(place, machine) if mode in QUANTISED else mode
    device = "cpu" if place is None else f"cuda:{place.index}" if place.index else "cuda"
    return Choice(mode, dtype, device, line)  # type: ignore[arg-type]


def _too_little(places: list[Gpu | None], sizes: Sizes, machine: Machine) -> str:
    parts = list(_shortages(places, sizes, machine))
    missing = ""
    if find_spec("bitsandbytes") is None:
        missing = f"for 4bit {_INSTALL}; "
    return (
        f"the model does not fit into the free memory ({'; '.join(parts)}); {missing}close other programs, "
        "choose a smaller model, or name a mode with --load-in to try it all the same"
    )


def _shortages(places: list[Gpu | None], sizes: Sizes, machine: Machine) -> Iterator[str]:
    for place in places:
        mode = modes(place, machine)[-1]
        needed = needed_bytes(mode, place, sizes, machine) / GIB
        where = "the CPU" if place is None else place.name
        yield f"{where}: {needed:.1f} GiB in {mode}, {_free(place, machine) / GIB:.1f} GiB free"
