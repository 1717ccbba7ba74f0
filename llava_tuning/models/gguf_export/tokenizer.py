"""A fast tokenizer as GGUF's fields, for the two kinds that Llama models come with.

Byte-level BPE (SmolLM2, Llama 3) is llama.cpp's `gpt2`; BPE with byte fallback, which sentencepiece models
are converted to (InternLM2, Llama 2, Vicuna), is its `llama`. What
llama.cpp would split otherwise is refused.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from gguf import GGUFWriter, TokenType

from llava_tuning.errors import UserError
from llava_tuning.models.conversation import answer_end

_BYTE = re.compile(r"<0x[0-9A-F]{2}>")
_LLAMA_3 = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+"
)
_NO_SCORE = -1e6  # of tokens that no merge makes


def add_tokenizer(writer: GGUFWriter, tokenizer: Any, rows: int, directory: Path) -> None:
    """Write vocabulary, merges or scores, and special tokens.

    Args:
        rows: of the embedding; ids beyond the tokenizer's become unused tokens.
        directory: what messages call the model.

    Raises:
        UserError: llama.cpp has no tokenizer of this kind.
    """
    parts = json.loads(tokenizer.backend_tokenizer.to_str())
    model = parts["model"]
    if model["type"] != "BPE":
        raise UserError(
            f"{directory}: its tokenizer is {model['type']}; GGUF export knows BPE tokenizers only"
        )
    if len(tokenizer) > rows:
        raise UserError(f"{directory}: {len(tokenizer)} tokens do not fit an embedding of {rows} rows")
    tokens, kinds = _vocabulary(tokenizer, rows, byte_fallback=model["byte_fallback"])
    if model["byte_fallback"]:
        writer.add_tokenizer_model("llama")
        writer.add_tokenizer_pre("default")
        writer.add_token_scores(_scores(model["merges"], tokenizer.get_vocab(), rows))
        writer.add_add_space_prefix(_space_prefix(parts, directory))
    else:
        writer.add_tokenizer_model("gpt2")
        writer.add_tokenizer_pre(_pre_tokenizer(parts, directory))
        writer.add_token_merges([" ".join(pair) for pair in _pairs(model["merges"])])
    writer.add_token_list(tokens)
    writer.add_token_types(kinds)
    _add_special(writer, tokenizer)


def _vocabulary(tokenizer: Any, rows: int, *, byte_fallback: bool) -> tuple[list[str], list[int]]:
    names = {number: token for token, number in tokenizer.get_vocab().items()}
    added = tokenizer.added_tokens_decoder
    tokens, kinds = [], []
    for number in range(rows):
        token, kind = names.get(number, f"[PAD{number}]"), TokenType.NORMAL
        if number not in names:
            kind = TokenType.UNUSED
        elif number == tokenizer.unk_token_id and byte_fallback:
            kind = TokenType.UNKNOWN
        elif number in added:
            kind = TokenType.CONTROL if added[number].special else TokenType.USER_DEFINED
        elif byte_fallback and _BYTE.fullmatch(token):
            kind = TokenType.BYTE
        elif token == "\0":  # llama.cpp would read an empty string
            token, kind = f"[EMPTY_{number}]", TokenType.UNUSED
        if kind == TokenType.USER_DEFINED:
            token = token.replace("▁", " ")
        tokens.append(token)
        kinds.append(int(kind))
    return tokens, kinds


def _scores(merges: list[Any], vocabulary: dict[str, int], rows: int) -> list[float]:
    """llama.cpp merges the pair whose whole has the highest score: earlier merges score higher."""
    scores = [_NO_SCORE] * rows
    for rank, (left, right) in enumerate(_pairs(merges)):
        number = vocabulary[left + right]
        scores[number] = max(scores[number], -float(rank))
    return scores


def _pairs(merges: list[Any]) -> list[tuple[str, str]]:
    """Merges, which older files write as "left right"."""
    return [tuple(pair.split(" ", 1)) if isinstance(pair, str) else tuple(pair) for pair in merges]  # type: ignore[misc]


def _space_prefix(parts: dict[str, Any], directory: Path) -> bool:
    """Whether a text gets a space before its first word."""
    normalizer = parts["normalizer"] or {"type": "Sequence", "normalizers": []}
    steps = normalizer.get("normalizers", [normalizer])
    splits = parts["pre_tokenizer"]
    if any(step["type"] not in ("Replace", "Prepend") for step in steps) or (
        splits is not None and splits["type"] != "Metaspace"
    ):
        raise UserError(f"{directory}: its tokenizer changes texts in ways that llama.cpp does not know")
    if splits is not None:
        return bool(splits.get("prepend_scheme") != "never")
    return any(step["type"] == "Prepend" for step in steps)


def _pre_tokenizer(parts: dict[str, Any], directory: Path) -> str:
    """llama.cpp's name for how texts are split before they are merged."""
    splits = parts["pre_tokenizer"] or {"type": "none"}
    steps = splits.get("pretokenizers", [splits])
    kinds = [step["type"] for step in steps]
    if parts["normalizer"] is None and kinds[-1] == "ByteLevel" and not steps[-1]["add_prefix_space"]:
        regex = steps[-1]["use_regex"]
        if kinds == ["ByteLevel"] and regex:
            return "gpt-2"
        if kinds == ["Digits", "ByteLevel"] and regex and steps[0]["individual_digits"]:
            return "smollm"
        if kinds == ["Split", "ByteLevel"] and not regex and steps[0]["pattern"] == {"Regex": _LLAMA_3}:
            return "llama-bpe"
    raise UserError(
        f"{directory}: its tokenizer splits texts ({', '.join(kinds)}) in a way that GGUF export does not "
        "know; llama.cpp's own convert_hf_to_gguf.py knows more tokenizers"
    )


def _add_special(writer: GGUFWriter, tokenizer: Any) -> None:
    end = answer_end(tokenizer)
    if tokenizer.bos_token_id is not None:
        writer.add_bos_token_id(tokenizer.bos_token_id)
    if tokenizer.eos_token_id is not None:
        writer.add_eos_token_id(tokenizer.eos_token_id)
    if end is not None:
        writer.add_eot_token_id(end)
    if tokenizer.pad_token_id is not None:
        writer.add_pad_token_id(tokenizer.pad_token_id)
    if tokenizer.unk_token_id is not None:
        writer.add_unk_token_id(tokenizer.unk_token_id)
    # The chat template writes every special token itself; llama.cpp would add a second one.
    writer.add_add_bos_token(False)
    writer.add_add_eos_token(False)
