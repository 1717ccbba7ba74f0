"""Mix data sets by ratio into one file, so that a new skill does not push out the old ones."""

from __future__ import annotations

import os
import random
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import combinations
from pathlib import Path

from llava_tuning.data.convert import Unconvertible, convert_row
from llava_tuning.data.feedback import liked_conversations
from llava_tuning.data.load import record_label
from llava_tuning.data.records import Record, read_json_rows, write_json
from llava_tuning.data.structure import row_problems
from llava_tuning.errors import UserError

LARGE_SHARE = 0.01  # one record taking more of a set than this is learnt by heart


@dataclass(frozen=True)
class Source:
    """A data file and its share of the mix, as a weight relative to the other sources'."""

    path: Path
    weight: float


@dataclass(frozen=True)
class Part:
    """What one source gave: `taken` records of the mix, `distinct` of them with different content.

    Attributes:
        converted: records of the source that were in another shape (OpenAI, Alpaca, ShareGPT, XTuner).
        like_base: its records are learnt like the base model answers, so none is learnt by heart.
        answers: first question → its answers, of taken records without picture and system prompt.
    """

    path: Path
    taken: int
    distinct: int
    converted: int = 0
    like_base: bool = False
    answers: Mapping[str, set[str]] = field(default_factory=dict, repr=False)


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
    sources: Sequence[Source | Path],
    out: Path,
    size: int | None = None,
    seed: int = 0,
    like_base: Sequence[Path] = (),
) -> list[Part]:
    """Write a shuffled mix of data files to `out`; pictures are then named relative to `out`'s folder.

    Args:
        sources: files of LLaVA records, or of another shape that `data convert` recognises; all with weights,
            which need a `size`, or all without, which takes every record once.
        size: records of the mix. A source too small for its share repeats its records evenly.
        seed: chooses the records and their order.
        like_base: those of the sources whose records are marked so (see `Record`).

    Raises:
        UserError: weights and size do not go together, a file cannot be read or written, or one to be marked
            is no source or has pictures.
    """
    weighted = [source for source in sources if isinstance(source, Source)]
    if weighted and len(weighted) < len(sources):
        raise UserError("some files have a weight and some have none; give FILE:WEIGHT for all or for none")
    if bool(weighted) != (size is not None):
        raise UserError("weights and --size belong together; give both, or neither to take every record once")
    paths = [source.path if isinstance(source, Source) else source for source in sources]
    read = [_read(path) for path in paths]
    for path in like_base:
        same = [number for number, one in enumerate(paths) if one.resolve() == path.resolve()]
        if not same:
            raise UserError(
                f"--like-base {path}: is not among the files to mix; name one of them, without its weight"
            )
        for number in same:
            _mark(read[number][0], path)
    sets = [records for records, _ in read]
    counts = [len(records) for records in sets]
    if size is not None:
        counts = _shares([source.weight for source in weighted], size)
    rng = random.Random(seed)
    mixed: list[Record] = []
    parts: list[Part] = []
    for number, (path, (records, converted), count) in enumerate(zip(paths, read, counts, strict=True)):
        taken = _take(records, count, rng)
        mixed += [_moved(record, path, out, f"{number}-{i}") for i, record in enumerate(taken)]
        distinct, marked = len({_content(r) for r in taken}), all(r.like_base for r in taken)
        parts.append(Part(path, count, distinct, converted, marked, _first_answers(taken)))
    rng.shuffle(mixed)
    write_json(out, mixed)
    return parts


def warnings(parts: Sequence[Part]) -> list[str]:
    """What spoils a mix, a sentence each.

    A source whose single records take so large a share that they are learnt by heart, and two sources that
    answer the same questions differently.
    """
    total = sum(part.taken for part in parts)
    found = [
        f"{part.path}: each of its {part.distinct:,} records makes up "
        f"{part.taken / part.distinct / total:.1%} of the mix, so the model will "
        "learn it by heart; give more different records or a smaller weight"
        for part in parts
        if part.distinct and not part.like_base and part.taken / part.distinct / total > LARGE_SHARE
    ]
    for one, other in combinations(parts, 2):
        both = [question for question in one.answers if question in other.answers]
        if clashes := [q for q in both if one.answers[q].isdisjoint(other.answers[q])]:
            found.append(
                f"{one.path} and {other.path} answer {len(clashes):,} of the same questions differently, "
                f"e.g. {clashes[0]!r}, so the model will mix the two up; remove those of one file"
            )
    return found


def _read(path: Path) -> tuple[list[Record], int]:
    """The records of a file, and how many of them were in another shape."""
    records, converted = [], 0
    for index, row in liked_conversations(read_json_rows(path)):
        if not row_problems(row):
            records.append(Record.model_validate(row))
            continue
        try:
            records.append(convert_row(row, f"{path.stem}-{index}", None))
        except Unconvertible as error:
            raise UserError(f"{path}: {record_label(index, row)} {error}") from None
        converted += 1
    return records, converted


def _mark(records: list[Record], path: Path) -> None:
    """Mark records to be learnt like the base model answers."""
    for index, record in enumerate(records):
        if record.image is not None:
            raise UserError(
                f"--like-base {path}: record {index} ({record.id}) has a picture, about which the language "
                "model alone cannot answer; name a file of text"
            )
        record.like_base = True


def _content(record: Record) -> tuple[object, ...]:
    return (record.image, *((turn.from_, turn.value) for turn in record.conversations))


def _first_answers(records: Iterable[Record]) -> dict[str, set[str]]:
    found: dict[str, set[str]] = {}
    for record in records:
        if record.image is None and record.conversations[0].from_ == "human":
            question, answer = record.conversations[:2]
            found.setdefault(question.value.strip(), set()).add(answer.value.strip())
    return found


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
