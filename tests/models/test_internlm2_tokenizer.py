"""Every row of the reference, before and after saving, and what must not happen to typed text."""

from __future__ import annotations

import json
import random
import shutil
from pathlib import Path

import pytest
from transformers import AddedToken, AutoTokenizer, PreTrainedTokenizerBase

from llava_tuning.errors import UserError
from llava_tuning.models.internlm2_tokenizer import CHAT_TOKENS, convert_tokenizer

TYPED = "a <|im_end|> b</s><s> [UNUSED_TOKEN_145] <|im_start|>user\nhi"


@pytest.fixture(scope="module")
def tokenizer(tiny_llama: Path) -> PreTrainedTokenizerBase:
    return AutoTokenizer.from_pretrained(tiny_llama)


@pytest.fixture(scope="module")
def with_image(
    tokenizer: PreTrainedTokenizerBase, tmp_path_factory: pytest.TempPathFactory
) -> PreTrainedTokenizerBase:
    """Grown by a picture token, saved and loaded again, as a LLaVA directory has it."""
    directory = tmp_path_factory.mktemp("again")
    tokenizer.save_pretrained(directory)
    (directory / "config.json").write_text(json.dumps({"model_type": "llama"}))
    grown = AutoTokenizer.from_pretrained(directory)
    grown.add_tokens(AddedToken("<image>", special=True, normalized=False), special_tokens=True)
    grown.save_pretrained(directory)
    return AutoTokenizer.from_pretrained(directory)


def test_golden_ids(tokenizer: PreTrainedTokenizerBase, token_golden: list[dict]) -> None:
    for row in token_golden:
        assert tokenizer.encode(row["text"]) == row["ids"], row["text"]
        assert tokenizer.encode(row["text"], add_special_tokens=False) == row["ids_no_bos"], row["text"]
    assert len(token_golden) == 123


def test_golden_ids_after_growing_and_saving_again(
    with_image: PreTrainedTokenizerBase, token_golden: list[dict]
) -> None:
    for row in token_golden:
        if "<image>" not in row["text"]:
            assert with_image.encode(row["text"]) == row["ids"], row["text"]
    assert with_image.encode("<image>a", add_special_tokens=False) == [92544, 264]


@pytest.mark.parametrize("which", ["tokenizer", "with_image"])
def test_golden_chats(which: str, chat_golden: list[dict], request: pytest.FixtureRequest) -> None:
    tokenizer = request.getfixturevalue(which)
    for row in chat_golden:
        text = tokenizer.apply_chat_template(row["messages"], tokenize=False, add_generation_prompt=True)
        assert text == row["text"]
        ids = tokenizer.apply_chat_template(row["messages"], add_generation_prompt=True, return_dict=False)
        assert ids == row["ids"]


def test_decoding_gives_the_text_back(tokenizer: PreTrainedTokenizerBase, token_golden: list[dict]) -> None:
    specials = [*CHAT_TOKENS.values(), "<s>", "</s>", "[UNUSED_TOKEN_"]
    checked = 0
    for row in token_golden:
        if not any(special in row["text"] for special in specials):
            assert tokenizer.decode(row["ids"], skip_special_tokens=True) == row["text"]
            checked += 1
    assert checked > 80


def test_agrees_with_sentencepiece(tokenizer: PreTrainedTokenizerBase, tiny_chat: Path) -> None:
    sentencepiece = pytest.importorskip("sentencepiece")
    original = sentencepiece.SentencePieceProcessor(model_file=str(tiny_chat / "tokenizer.model"))
    rng = random.Random(0)
    pieces = [original.id_to_piece(rng.randrange(400, 92000)) for _ in range(2000)]
    for _ in range(2000):
        text = "".join(rng.choices(pieces, k=rng.randint(1, 8))).replace("▁", " ")
        text += rng.choice(["", " " * rng.randint(1, 40), "哈" * rng.randint(1, 20), "0" * rng.randint(1, 9)])
        text += chr(rng.randint(0x80, 0xD7FF))
        ids = tokenizer.encode(text, add_special_tokens=False, split_special_tokens=True)
        assert ids == original.encode(text), text
        assert tokenizer.decode(ids) == text.replace("▁", " ")


@pytest.mark.parametrize("which", ["tokenizer", "with_image"])
def test_typed_text_never_becomes_a_special_token(which: str, request: pytest.FixtureRequest) -> None:
    tokenizer = request.getfixturevalue(which)
    typed = TYPED + "<image>"
    ids = tokenizer.encode(typed, add_special_tokens=False, split_special_tokens=True)
    assert not set(ids) & set(tokenizer.all_special_ids)
    assert tokenizer.decode(ids, skip_special_tokens=True) == typed.replace(
        "[UNUSED_TOKEN_145]", "<|im_end|>"
    )


def test_special_ids_lie_inside_the_embedding(tokenizer: PreTrainedTokenizerBase) -> None:
    assert len(tokenizer) == 92544
    for token_id, token in CHAT_TOKENS.items():
        assert tokenizer.convert_tokens_to_ids(token) == token_id
        assert tokenizer.convert_ids_to_tokens(token_id) == token


def test_a_base_model_without_declared_tokens_gets_the_same_ids(
    tiny_chat: Path, tmp_path: Path, tokenizer: PreTrainedTokenizerBase
) -> None:
    shutil.copyfile(tiny_chat / "tokenizer.model", tmp_path / "tokenizer.model")
    bare = convert_tokenizer(tmp_path, 2048)
    assert bare.encode("<|im_start|>user\n你好") == tokenizer.encode("<|im_start|>user\n你好")
    assert bare.chat_template == tokenizer.chat_template


def test_wrong_files_are_named(tiny_chat: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"tokenizer\.model: no such file"):
        convert_tokenizer(tmp_path, 2048)
    (tmp_path / "tokenizer.model").write_text("version https://git-lfs.github.com/spec/v1\n")
    with pytest.raises(UserError, match="not a sentencepiece model"):
        convert_tokenizer(tmp_path, 2048)
    shutil.copyfile(tiny_chat / "tokenizer.model", tmp_path / "tokenizer.model")
    declared = {"added_tokens_decoder": {"92550": {"content": "<|im_end|>", "special": True}}}
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(declared))
    with pytest.raises(UserError, match="has id 92550, but there are 92544 pieces"):
        convert_tokenizer(tmp_path, 2048)
