"""What is wrong with one row of a data file, before any picture or token is looked at."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from llava_tuning.models.conversation import IMAGE_MARKER

_SURROGATE = re.compile("[\ud800-\udfff]")  # half a pair, which JSON can carry and UTF-8 cannot
_CONVERT = "run `llava-tuning data convert` on the file"


@dataclass(frozen=True)
class Problem:
    """One fault of a row: its kind (record, turns or marker), what it is, and how to mend it."""

    kind: str
    text: str
    remedy: str


def row_problems(row: Any) -> list[Problem]:
    """All structural faults of a parsed row; an empty list means that `Record` takes it."""
    if not isinstance(row, dict):
        return [Problem("record", f"is {_kind(row)}, not an object", "write {id, image, conversations}")]
    problems = []
    record_id, image, turns = row.get("id"), row.get("image"), row.get("conversations")
    if type(record_id) is not int and (not isinstance(record_id, str) or not record_id):
        found = "has no id" if record_id in (None, "") else f"has the id {record_id!r}, {_kind(record_id)}"
        problems.append(Problem("record", found, f"give a text that no other record has, or {_CONVERT}"))
    if image is not None and (not isinstance(image, str) or not image.strip()):
        found = "has an empty image" if image == "" else f"has {_kind(image)} as image"
        problems.append(Problem("record", found, "give one path as text, or null where there is no picture"))
    elif image is not None and not _is_unicode(image):
        problems.append(Problem("record", "has an image path that is not Unicode text", "rename the file"))
    like_base = row.get("like_base", False)
    if not isinstance(like_base, bool):
        problems.append(
            Problem("record", f"has {_kind(like_base)} as like_base", "write true or leave it out")
        )
    elif like_base and image:
        found = "has a picture and like_base: the language model alone cannot answer about a picture"
        problems.append(Problem("record", found, "leave like_base out of records with pictures"))
    if "conversations" not in row:
        other = next((key for key in ("conversation", "messages", "instruction") if key in row), None)
        found = f"has `{other}` in place of `conversations`" if other else "has no conversations"
        problems.append(
            Problem("record", found, _CONVERT if other else "add the turns, or remove the record")
        )
    elif not isinstance(turns, list) or not turns:
        found = "has no turns" if turns in ([], None) else f"has {_kind(turns)} as conversations"
        problems.append(Problem("turns", found, "give a list of {from, value}, or remove the record"))
    else:
        shape = _turn_problems(turns)
        # Order and markers of turns that cannot be read would only repeat the same complaint.
        problems += shape or (_order_problems(turns) + _marker_problems(turns, bool(image)))
    return problems


def _turn_problems(turns: list[Any]) -> list[Problem]:
    problems = []
    for number, turn in enumerate(turns, 1):
        if not isinstance(turn, dict) or set(turn) != {"from", "value"}:
            keys = (
                f"has the keys {', '.join(map(str, turn))}" if isinstance(turn, dict) else f"is {_kind(turn)}"
            )
            problems.append(Problem("turns", f"turn {number} {keys}", f"write from and value, or {_CONVERT}"))
        elif turn["from"] not in ("system", "human", "gpt"):
            text = f"turn {number} is from {turn['from']!r}"
            problems.append(Problem("turns", text, f"write human or gpt, or {_CONVERT}"))
        elif not isinstance(turn["value"], str):
            text = f"turn {number} has {_kind(turn['value'])} as value"
            problems.append(Problem("turns", text, f"give text, or {_CONVERT}"))
        elif not _is_unicode(turn["value"]):
            text = f"turn {number} holds half a surrogate pair, which is not Unicode text"
            problems.append(Problem("turns", text, "write the character itself"))
        elif not turn["value"].strip():
            problems.append(Problem("turns", f"turn {number} ({turn['from']}) is empty", "fill or remove it"))
    return problems


def _order_problems(turns: list[dict[str, str]]) -> list[Problem]:
    speakers = [turn["from"] for turn in turns]
    body = speakers[1:] if speakers[0] == "system" else speakers
    first = len(speakers) - len(body) + 1
    for offset, speaker in enumerate(body):
        expected = ("human", "gpt")[offset % 2]
        if speaker != expected:
            text = f"turn {first + offset} is from {speaker} where {expected} should speak"
            return [
                Problem("turns", text, "let human and gpt take turns, human first, after at most one system")
            ]
    if not body or body[-1] == "human":
        return [Problem("turns", "ends without an answer from gpt", "add the answer or remove the last turn")]
    return []


def _marker_problems(turns: list[dict[str, str]], has_image: bool) -> list[Problem]:
    problems = []
    asked = 0  # markers in human turns
    for number, turn in enumerate(turns, 1):
        count = turn["value"].count(IMAGE_MARKER)
        asked += count if turn["from"] == "human" else 0
        if count and turn["from"] != "human":
            text = f"turn {number} ({turn['from']}) holds {IMAGE_MARKER}"
            problems.append(Problem("marker", text, "pictures belong to human turns; remove it there"))
        elif count > 1:
            text = f"turn {number} holds {IMAGE_MARKER} {count} times"
            problems.append(Problem("marker", text, "keep one; a record has one picture"))
    if asked and not has_image:
        text = f"has {IMAGE_MARKER} but no picture"
        problems.append(Problem("marker", text, f"name the picture in `image`, or remove {IMAGE_MARKER}"))
    elif has_image and not asked:
        text = f"has a picture but no {IMAGE_MARKER} in a human turn"
        problems.append(Problem("marker", text, f"put {IMAGE_MARKER} into the turn that asks about it"))
    elif asked > 1 and not any(p.text.endswith("times") for p in problems):
        text = f"has {IMAGE_MARKER} in {asked} turns"
        problems.append(Problem("marker", text, "keep the first; the picture stays in view for later turns"))
    return problems


def _is_unicode(text: str) -> bool:
    return _SURROGATE.search(text) is None


def _kind(value: Any) -> str:
    names = {dict: "an object", list: "a list", str: "text", bool: "true or false", type(None): "null"}
    return names.get(type(value), "a number")
