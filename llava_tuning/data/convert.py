"""Turn other record shapes into LLaVA records, once, at the door."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, get_args

from llava_tuning.data.embedded_pictures import save_data_url
from llava_tuning.data.feedback import liked_conversations
from llava_tuning.data.load import record_label
from llava_tuning.data.records import Record, read_json_rows, write_json
from llava_tuning.data.structure import row_problems
from llava_tuning.errors import UserError
from llava_tuning.models.conversation import IMAGE_MARKER

Format = Literal["llava", "openai", "alpaca", "xtuner", "sharegpt"]
FORMATS: tuple[Format, ...] = get_args(Format)

_ADDRESS_KEYS = ("image_url", "image", "url", "path")
_SPEAKERS = {
    "human": "human",
    "user": "human",
    "gpt": "gpt",
    "assistant": "gpt",
    "chatgpt": "gpt",
    "bot": "gpt",
    "model": "gpt",
    "system": "system",
    "developer": "system",
}


class Unconvertible(Exception):
    """What is wrong with one row, and the remedy, without the file's and record's name."""


@dataclass
class _Parts:
    """A row taken apart: turns of (from, value), and the pictures named outside the turns."""

    turns: list[tuple[str, str]]
    images: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Conversion:
    """How many records were written, and a sentence for each that was left out."""

    written: int
    skipped: list[str]


def convert_file(
    source: str | Path, out: str | Path, format: Format | None = None, skip_bad: bool = False
) -> Conversion:
    """Convert a JSON or JSONL file to LLaVA records; `out` ending in .jsonl becomes JSON lines.

    Of the web app's votes only what got a thumb up is written (see `data/feedback.py`); their pictures are
    relative to the votes' directory.

    Pictures inside the file (`data:` addresses) are written, as they come, to the folder
    `<name of out>_images` beside `out` and named relative to it; paths of pictures are kept as they are.

    Args:
        source: file to read.
        out: file to write; written only once all records are read.
        format: shape of the source; None recognises each record by its keys.
        skip_bad: leave out what cannot be converted in place of stopping at it.

    Raises:
        UserError: a file cannot be read, or names the first record that cannot be converted and the remedy.
    """
    source, out = Path(source), Path(out)
    if source.resolve() == out.resolve():
        raise UserError(f"{out}: source and result are the same file; choose another name for the result")
    if out.suffix not in (".json", ".jsonl"):
        raise UserError(f"{out}: a result is JSON; let its name end in .json or .jsonl")
    records: list[Record] = []
    skipped: list[str] = []
    for index, row in liked_conversations(read_json_rows(source)):
        try:
            records.append(convert_row(row, f"{source.stem}-{index}", out, format))
        except Unconvertible as error:
            message = f"{source}: {record_label(index, row)} {error}"
            if not skip_bad:
                raise UserError(message) from None
            skipped.append(message)
    if not records and not skipped:
        raise UserError(f"{source}: no vote in it is a thumb up; collect some in the web app first")
    if not records:
        raise UserError(f"{source}: none of its {len(skipped)} records can be converted; first, {skipped[0]}")
    return Conversion(write_json(out, records), skipped)


def convert_row(row: Any, fallback_id: str, out: Path | None, format: Format | None = None) -> Record:
    """One LLaVA record from a row of any of FORMATS.

    Args:
        fallback_id: the id of a row that has none.
        out: pictures inside the row are written beside this file; None refuses them.

    Raises:
        Unconvertible: what is wrong with the row and the remedy.
    """
    if not isinstance(row, dict):
        raise Unconvertible("is not an object; write one object a record")
    parts = _READERS[format or detect_format(row)](row, out)
    record_id = row.get("id")
    if record_id is None or record_id == "":
        record_id = fallback_id
    elif isinstance(record_id, bool) or not isinstance(record_id, (str, int)):
        raise Unconvertible("has an id that is neither text nor a number; give a text")
    images = parts.images or _named_images(row)
    if len(images) > 1:
        raise Unconvertible(f"has {len(images)} pictures and a record takes one; split it")
    turns = [{"from": speaker, "value": value} for speaker, value in parts.turns]
    if images and not any(IMAGE_MARKER in turn["value"] for turn in turns):
        # The picture is named outside the turns (Alpaca, ms-swift): it belongs to the first question.
        first = next((turn for turn in turns if turn["from"] == "human"), None)
        if first:
            first["value"] = f"{IMAGE_MARKER}\n{first['value']}"
    converted: dict[str, Any] = {
        "id": str(record_id),
        "image": images[0] if images else None,
        "conversations": turns,
    }
    if "like_base" in row:
        converted["like_base"] = row["like_base"]
    if problems := row_problems(converted):
        raise Unconvertible(f"{problems[0].text}; {problems[0].remedy}")
    return Record.model_validate(converted)


def detect_format(row: dict[str, Any]) -> Format:
    """The shape of a row by its keys.

    Raises:
        Unconvertible: no known shape; names the keys.
    """
    if "messages" in row:
        return "openai"
    turns = row.get("conversations", row.get("conversation"))
    if isinstance(turns, list):
        keys: set[str] = set().union(*(turn for turn in turns if isinstance(turn, dict)))
        if "output" in keys:
            return "xtuner"
        if "role" in keys:
            return "openai"
        return "sharegpt" if "system" in row else "llava"
    if "instruction" in row:
        return "alpaca"
    if {"left", "right", "vote", "blind"} <= row.keys():
        raise Unconvertible(
            "is a vote on a comparison, which keeps no pictures; convert the chat's votes, feedback.jsonl"
        )
    keys_found = ", ".join(map(str, row)) or "none"
    raise Unconvertible(
        f"has no known shape (keys: {keys_found}); name the shape with --from {'|'.join(FORMATS)}"
    )


def _read_llava(row: dict[str, Any], out: Path | None) -> _Parts:
    turns = []
    if row.get("system"):
        turns.append(("system", _text(row["system"], "system")))
    for number, turn in enumerate(_turn_list(row, "conversations", "conversation"), 1):
        turns.append((_speaker(turn.get("from"), number), _text(turn.get("value"), f"turn {number}")))
    return _Parts(turns)


def _read_openai(row: dict[str, Any], out: Path | None) -> _Parts:
    parts = _Parts([])
    for number, message in enumerate(_turn_list(row, "messages", "conversations", "conversation"), 1):
        speaker = _speaker(message.get("role"), number)
        content = message.get("content")
        pieces = content if isinstance(content, list) else [{"type": "text", "text": content}]
        texts, pictures = [], 0
        for piece in pieces:
            kind = piece.get("type") if isinstance(piece, dict) else None
            if kind in ("text", "input_text", "output_text"):
                texts.append(_text(piece.get("text"), f"turn {number}"))
            elif kind in ("image_url", "image", "input_image"):
                pictures += 1
                if set(piece) != {"type"}:  # else a place for one of the pictures named beside the turns
                    address = next((piece[key] for key in _ADDRESS_KEYS if key in piece), None)
                    parts.images.append(_picture(address, number, out))
            else:
                raise Unconvertible(f"turn {number} has content of type {kind!r}; keep text and image_url")
        text = "\n".join(texts)
        if pictures and IMAGE_MARKER in text:
            raise Unconvertible(
                f"turn {number} has a picture and the text {IMAGE_MARKER}; remove it from the text"
            )
        parts.turns.append((speaker, f"{IMAGE_MARKER}\n" * pictures + text))
    return parts


def _read_alpaca(row: dict[str, Any], out: Path | None) -> _Parts:
    instruction = _text(row.get("instruction"), "instruction")
    extra = _text(row.get("input") or "", "input")
    turns = []
    if row.get("system"):
        turns.append(("system", _text(row["system"], "system")))
    for pair in row.get("history") or []:
        if not isinstance(pair, list) or len(pair) != 2:
            raise Unconvertible("has a history that is not a list of [question, answer]; mend it")
        turns += [("human", _text(pair[0], "history")), ("gpt", _text(pair[1], "history"))]
    question = f"{instruction}\n{extra}" if instruction and extra else instruction or extra
    turns += [("human", question), ("gpt", _text(row.get("output"), "output"))]
    return _Parts(turns)


def _read_xtuner(row: dict[str, Any], out: Path | None) -> _Parts:
    turns: list[tuple[str, str]] = []
    for number, turn in enumerate(_turn_list(row, "conversation", "conversations"), 1):
        if system := turn.get("system"):
            if turns:
                raise Unconvertible(f"turn {number} has a system text and only the first may; move it there")
            turns.append(("system", _text(system, f"turn {number}")))
        turns.append(("human", _text(turn.get("input"), f"input of turn {number}")))
        turns.append(("gpt", _text(turn.get("output"), f"output of turn {number}")))
    return _Parts(turns)


_READERS: dict[Format, Callable[[dict[str, Any], Path | None], _Parts]] = {
    "llava": _read_llava,
    "sharegpt": _read_llava,
    "openai": _read_openai,
    "alpaca": _read_alpaca,
    "xtuner": _read_xtuner,
}


def _turn_list(row: dict[str, Any], *keys: str) -> list[dict[str, Any]]:
    key = next((key for key in keys if key in row), None)
    if key is None:
        raise Unconvertible(f"has no `{keys[0]}`; check --from, or add it")
    turns = row[key]
    if not isinstance(turns, list) or not all(isinstance(turn, dict) for turn in turns):
        raise Unconvertible(f"has `{key}` that is not a list of objects; mend it")
    return turns


def _speaker(name: Any, number: int) -> str:
    if not isinstance(name, str) or name.lower() not in _SPEAKERS:
        known = ", ".join(_SPEAKERS)
        raise Unconvertible(
            f"turn {number} is from {name!r}; only {known} can be converted, so remove the record"
        )
    return _SPEAKERS[name.lower()]


def _text(value: Any, where: str) -> str:
    if not isinstance(value, str):
        raise Unconvertible(f"{where} is not text; write it as a text")
    return value


def _named_images(row: dict[str, Any]) -> list[str]:
    """Pictures named beside the turns: `image` or `images`, a path or a list of paths."""
    value = row.get("image") or row.get("images") or []
    images = value if isinstance(value, list) else [value]
    if not all(isinstance(image, str) for image in images):
        raise Unconvertible("has a picture that is not a path; give the path of a file")
    return images


def _picture(value: Any, number: int, out: Path | None) -> str:
    """The path of an image_url part; a `data:` address is written to a file."""
    url = value.get("url") if isinstance(value, dict) else value
    if not isinstance(url, str) or not url:
        raise Unconvertible(f"turn {number} has a picture without an address; give a path or a data: address")
    if url.startswith("data:"):
        if out is None:
            raise Unconvertible(
                f"turn {number} holds a picture itself; run `llava-tuning data convert` on the file first"
            )
        try:
            return save_data_url(url, out.parent, f"{out.stem}_images")
        except UserError as error:
            raise Unconvertible(f"turn {number}: {error}") from None
    if url.startswith("file://"):
        return url.removeprefix("file://")
    if "://" in url:
        raise Unconvertible(
            f"turn {number} has the web address {url[:80]}; download it and give the file's path"
        )
    return url
