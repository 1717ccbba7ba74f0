"""Show a record as the model will see it: the template's text, pictures, and what is trained on."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING

from rich.text import Text

from llava_tuning.data.load import record_label
from llava_tuning.data.records import Record, read_json_rows
from llava_tuning.data.structure import row_problems
from llava_tuning.errors import UserError
from llava_tuning.models.conversation import IGNORE_INDEX, render_conversation

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

# Stands for a picture among the ids; no tokenizer has it.
_PICTURE_ID = -200
# What a picture takes at CLIP ViT-L/14-336, for a language model that has no vision tower yet.
_USUAL_TOKENS_PER_IMAGE = 576


@dataclass(frozen=True)
class Segment:
    """A stretch of a rendered record; `tokens` is its length in tokens."""

    text: str
    tokens: int
    trained: bool = False
    picture: bool = False


def find_record(path: str | Path, index: int | None = None, record_id: str | None = None) -> Record:
    """The record at a 0-based index, or with an id; the first where neither is given.

    Raises:
        UserError: there is none, or it is not a LLaVA record.
    """
    rows = list(read_json_rows(path))
    if record_id is not None:
        rows = [(i, row) for i, row in rows if isinstance(row, dict) and str(row.get("id")) == record_id]
        if not rows:
            raise UserError(f"{path}: no record has the id {record_id!r}; try --index")
        position, row = rows[0]
    else:
        if not 0 <= (index or 0) < len(rows):
            raise UserError(f"{path}: no record {index}; it holds records 0 to {len(rows) - 1}")
        position, row = rows[index or 0]
    if problems := row_problems(row):
        raise UserError(f"{path}: {record_label(position, row)} {problems[0].text}; {problems[0].remedy}")
    return Record.model_validate(row)


def segments(
    record: Record,
    tokenizer: PreTrainedTokenizerBase,
    tokens_per_image: int,
    max_length: int | None = None,
) -> list[Segment]:
    """The record's tokens, neighbours of a kind joined; `max_length` cuts as training does."""
    rendered = render_conversation(
        tokenizer,
        record.messages(),
        image_token_id=_PICTURE_ID,
        tokens_per_image=tokens_per_image,
        max_length=max_length,
    )
    both = zip(rendered.input_ids, rendered.labels, strict=True)
    kinds = [(token == _PICTURE_ID, label != IGNORE_INDEX) for token, label in both]
    found: list[Segment] = []
    start = 0
    for (picture, trained), group in groupby(kinds):
        end = start + len(list(group))
        ids = rendered.input_ids[start:end]
        text = f"<image ×{len(ids)}>" if picture else _decode(tokenizer, rendered.input_ids[:start], ids)
        found.append(Segment(text, len(ids), trained, picture))
        start = end
    return found


def as_text(parts: Sequence[Segment], brackets: bool) -> Text:
    """One text for the terminal: trained on is green, pictures cyan; or, without colours, ⟦trained on⟧."""
    text = Text()
    for part in parts:
        style = "bold green" if part.trained else "cyan" if part.picture else "dim"
        text.append(f"⟦{part.text}⟧" if brackets and part.trained else part.text, "" if brackets else style)
    return text


def tokens_per_image(model: Path) -> int:
    """Positions that a picture takes in a model directory, from its `config.json`."""
    config = json.loads((model / "config.json").read_text(encoding="utf-8"))
    return int(config.get("image_seq_length") or _USUAL_TOKENS_PER_IMAGE)


def _decode(tokenizer: PreTrainedTokenizerBase, before: list[int], ids: list[int]) -> str:
    """Text of `ids` in their place: some tokenizers drop a space in front of the first token of all."""
    context = [i for i in before if i != _PICTURE_ID]
    head = str(tokenizer.decode(context, clean_up_tokenization_spaces=False))
    whole = str(tokenizer.decode([*context, *ids], clean_up_tokenization_spaces=False))
    if whole.startswith(head):
        return whole[len(head) :]
    return str(tokenizer.decode(ids, clean_up_tokenization_spaces=False))
