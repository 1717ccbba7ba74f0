"""InternLM2's sentencepiece tokenizer → a fast `tokenizer.json`, exact to the id and without remote code.

The sentencepiece model calls ids 92538 to 92543 `[UNUSED_TOKEN_141]` to `[UNUSED_TOKEN_146]`; the chat model
knows them as `<|im_start|>` and its siblings. They are renamed in place: adding them would put them past the
embedding.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tokenizers import AddedToken, Tokenizer, decoders, normalizers, processors
from tokenizers.models import BPE
from transformers import PreTrainedTokenizerFast

from llava_tuning.errors import UserError

CHAT_TOKENS = {
    92538: "<|plugin|>",
    92539: "<|interpreter|>",
    92540: "<|action_end|>",
    92541: "<|action_start|>",
    92542: "<|im_end|>",
    92543: "<|im_start|>",
}
FIRST_RENAMED = "[UNUSED_TOKEN_141]"
CHAT_TEMPLATE = (
    "{{ bos_token }}{% for message in messages %}{{'<|im_start|>' + message['role'] + '\n' + "
    "message['content'] + '<|im_end|>' + '\n'}}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
NORMAL, UNKNOWN, CONTROL, USER_DEFINED, UNUSED, BYTE = 1, 2, 3, 4, 5, 6  # sentencepiece's piece types


def convert_tokenizer(source: str | Path, max_length: int) -> PreTrainedTokenizerFast:
    """The fast tokenizer of an InternLM2 checkpoint directory.

    Args:
        source: directory with `tokenizer.model` and, normally, `tokenizer_config.json` (the chat template).
        max_length: the model's context in tokens.

    Raises:
        UserError: `tokenizer.model` is missing, unreadable, or not InternLM2's.
    """
    source = Path(source)
    proto = _read_model(source / "tokenizer.model")
    pieces = [piece.piece for piece in proto.pieces]
    types = [piece.type for piece in proto.pieces]
    special = {i: piece for i, piece in enumerate(pieces) if types[i] in (UNKNOWN, CONTROL)}
    special.update(_chat_tokens(source, pieces))
    renamed = {pieces[i]: content for i, content in special.items() if pieces[i] != content}
    for i, content in special.items():
        pieces[i] = content
    plain = {piece: i for i, piece in enumerate(pieces) if types[i] == NORMAL}

    tokenizer = Tokenizer(
        BPE(
            vocab={piece: i for i, piece in enumerate(pieces)},
            merges=_merges(plain),
            unk_token=pieces[proto.trainer_spec.unk_id],
            fuse_unk=True,
            byte_fallback=True,
        )
    )
    # The original reads a typed "[UNUSED_TOKEN_145]" as <|im_end|>. To agree, the normalizer replaces the old
    # names by the new, and the special tokens are looked for after it. Where special tokens are split
    # (everything that people type), the new name is plain text too.
    tokenizer.normalizer = normalizers.Sequence(
        [normalizers.Replace(old, new) for old, new in renamed.items()] + [normalizers.Replace(" ", "▁")]
    )
    tokenizer.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()]
    )
    tokenizer.add_special_tokens(
        [
            AddedToken(content, special=True, normalized=content in renamed.values())
            for _, content in sorted(special.items())
        ]
    )
    # sentencepiece matches user-defined pieces before it merges anything, as added tokens are matched here.
    tokenizer.add_tokens(
        [
            AddedToken(piece, special=False, normalized=False)
            for i, piece in enumerate(pieces)
            if types[i] == USER_DEFINED and i not in special
        ]
    )
    bos = pieces[proto.trainer_spec.bos_id]
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{bos} $A", pair=f"{bos} $A {bos}:1 $B:1", special_tokens=[(bos, proto.trainer_spec.bos_id)]
    )
    eos = pieces[proto.trainer_spec.eos_id]
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token=bos,
        eos_token=eos,
        unk_token=pieces[proto.trainer_spec.unk_id],
        pad_token=eos,
        additional_special_tokens=[special[i] for i in sorted(special) if types[i] == USER_DEFINED],
        chat_template=_config(source).get("chat_template") or CHAT_TEMPLATE,
        clean_up_tokenization_spaces=False,
        model_max_length=max_length,
    )


def _read_model(path: Path) -> Any:
    from sentencepiece import sentencepiece_model_pb2 as model_pb2

    if not path.is_file():
        raise UserError(f"{path}: no such file; an InternLM2 checkpoint needs its tokenizer.model")
    proto: Any = vars(model_pb2)["ModelProto"]()  # made at import time, which type checkers cannot see
    try:
        proto.ParseFromString(path.read_bytes())
    except Exception:  # protobuf's error class moved between versions
        raise UserError(f"{path}: not a sentencepiece model; download it again (Git LFS pointer?)") from None
    if not proto.pieces or proto.trainer_spec.model_type != 2:
        raise UserError(f"{path}: not a byte-pair (BPE) sentencepiece model, so it is not InternLM2's")
    spec = proto.normalizer_spec
    if spec.add_dummy_prefix or spec.remove_extra_whitespaces or spec.precompiled_charsmap:
        raise UserError(
            f"{path}: normalises text, which InternLM2's tokenizer does not; take the original file"
        )
    return proto


def _chat_tokens(source: Path, pieces: list[str]) -> dict[int, str]:
    """Which ids are the chat model's special tokens: as the checkpoint says, else as InternLM2 has them."""
    declared = {
        int(i): token["content"]
        for i, token in _config(source).get("added_tokens_decoder", {}).items()
        if token.get("special")
    }
    for i in declared:
        if i >= len(pieces):
            raise UserError(
                f"{source}: special token {declared[i]} has id {i}, but there are {len(pieces)} pieces; "
                "take InternLM2's original tokenizer files"
            )
    if declared:
        return declared
    first = min(CHAT_TOKENS)
    known = len(pieces) > max(CHAT_TOKENS) and pieces[first] == FIRST_RENAMED
    if not known:
        raise UserError(f"{source}: tokenizer.model is not InternLM2's: piece {first} is not {FIRST_RENAMED}")
    return CHAT_TOKENS


def _merges(plain: dict[str, int]) -> list[tuple[str, str]]:
    """Merge rules in sentencepiece's order: by the merged piece's rank, which is its id.

    Where one piece can be made in several ways, sentencepiece takes the leftmost place in the text; a shorter
    left part first comes closest to that.
    """
    return [
        (piece[:cut], piece[cut:])
        for piece in sorted(plain, key=plain.__getitem__)
        for cut in range(1, len(piece))
        if piece[:cut] in plain and piece[cut:] in plain
    ]


def _config(source: Path) -> dict[str, Any]:
    path = source / "tokenizer_config.json"
    if not path.is_file():
        return {}
    try:
        config: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise UserError(f"{path}: not valid JSON ({error}); download it again") from None
    return config
