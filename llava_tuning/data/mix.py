"""Mix data sets by ratio into one file, so that a new skill does not push out the old ones."""

from __future__ import annotations

import os
import random
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from llava_tuning.data.load import load_records
from llava_tuning.data.records import Record, write_json
from llava_tuning.errors import UserError

LARGE_SHARE = 0.01  # one record taking more of a set than this is learnt by heart


@dataclass(frozen=True)
class Source:
    """A data file and its share of the mix, as a weight relative to the other sources'."""

    path: Path
    weight: float


@dataclass(frozen=True)
class Part:
    """What one source gave: `taken` records of the mix, made of `distinct` different ones."""

    path: Path
    taken: int
    distinct: int


def parse_source(text: str) -> Source | Path:
    """`FILE:WEIGHT` as a Source, `FILE` alone as its path.

    Raises:
        UserError: the weight is no positive number.
    """
    file, colon, weight = text.rpartition(":")
    if not colon or Path(text).is_file():
        return Path(text)
    try:
        value = float(weight)
    except ValueError:
        raise UserError(f"{text}: write FILE:WEIGHT, e.g. {file}:0.2") from None
    if not 0 < value < float("inf"):
        raise UserError(f"{text}: a weight of {weight} takes nothing; give a positive number")
    return Source(Path(file), value)


def mix_files(
    sources: Sequence[Source | Path], out: Path, size: int | None = None, seed: int = 0
) -> list[Part]:
    """Write a shuffled mix of data files to `out`; pictures are then named relative to `out`'s folder.

    Args:
        sources: all with weights, which need a `size`; or all without, which takes every record once.
        size: records of the mix. A source too small for its share repeats its records evenly.
        seed: chooses the records and their order.

    Raises:
        UserError: weights and size do not go together, or a file cannot be read or written.
    """
    weighted = [source for source in sources if isinstance(source, Source)]
    if weighted and len(weighted) < len(sources):
        raise UserError("some files have a weight and some have none; give FILE:WEIGHT for all or for none")
    if bool(weighted) != (size is not None):
        raise UserError("weights and --size belong together; give both, or neither to take every record once")
    paths = [source.path if isinstance(source, Source) else source for source in sources]
    sets = [load_records(path) for path in paths]
    counts = [len(records) for records in sets]
    if size is not None:
        counts = _shares([source.weight for source in weighted], size)
    rng = random.Random(seed)
    mixed: list[Record] = []
    parts: list[Part] = []
    for number, (path, records, count) in enumerate(zip(paths, sets, counts, strict=True)):
        taken = _take(records, count, rng)
        mixed += [_moved(record, path, out, f"{number}-{i}") for i, record in enumerate(taken)]
        parts.append(Part(path, count, min(count, len(records))))
    rng.shuffle(mixed)
    write_json(out, mixed)
    return parts


def warnings(parts: Sequence[Part]) -> list[str]:
    """A sentence for each source whose single records take so large a share that they are learnt by heart."""
    total = sum(part.taken for part in parts)
    return [
        f"{part.path}: each of its {part.distinct:,} records makes up "
        f"{part.taken / part.distinct / total:.1%} of the mix, so the model will "
        "learn it by heart; give more different records or a smaller weight"
        for part in parts
        if part.distinct and part.taken / part.distinct / total > LARGE_SHARE
    ]


def _shares(weights: Sequence[float], size: int) -> list[int]:
    """Whole numbers in proportion to the weights that add up to `size` (largest remainders rounded up)."""
    exact = [weight / sum(weights) * size for weight in weights]
    counts = [int(value) for value in exact]
    by_remainder = sorted(range(len(exact)), key=lambda i: counts[i] - exact[i])
    for i in by_remainder[: size - sum(counts)]:
        counts[i] += 1
    return counts


def _take(records: Sequence[Record], count: int, rng: random.Random) -> list[Record]:
    taken: list[Record] = []
    while len(taken) < count:
        taken += rng.sample(list(records), min(len(records), count - len(taken)))
    return taken


def _moved(record: Record, path: Path, out: Path, record_id: str) -> Record:
    image = record.image
    if image is not None:
        image = Path(os.path.relpath(path.parent / image, out.parent)).as_posix()
    return record.model_copy(update={"id": f"{record_id}-{record.id}", "image": image})
