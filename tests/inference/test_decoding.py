"""Sampling and piecewise decoding."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from llava_tuning.errors import UserError
from llava_tuning.inference.backend import GenerationSettings
from llava_tuning.inference.decoding import Sampler, StopTexts, TextStream
from llava_tuning.inference.transformers_backend import TransformersBackend

NONE_YET = torch.empty((1, 0), dtype=torch.long)


@pytest.fixture(scope="module")
def tokenizer(llama: TransformersBackend):
    return llama._tokenizer


@settings(max_examples=150, deadline=None)
@given(text=st.text(st.characters(exclude_characters="\ufffd", exclude_categories=("Cs",)), max_size=40))
def test_pieces_are_whole_characters_and_add_up(tokenizer, text: str) -> None:
    ids = tokenizer.encode(text, add_special_tokens=False, split_special_tokens=True)
    assume(
        tokenizer.decode(ids, clean_up_tokenization_spaces=False) == text
    )  # the vocabulary lacks a few bytes
    stream = TextStream(tokenizer)
    pieces = [*(stream.push(token) for token in ids), stream.finish()]
    assert "".join(pieces) == text
    assert not any("\ufffd" in piece for piece in pieces)


def test_half_a_character_at_the_end_is_left_out(tokenizer) -> None:
    ids = tokenizer.encode("ok 🦙", add_special_tokens=False)
    assert len(ids) > 3  # the emoji takes several tokens
    stream = TextStream(tokenizer)
    assert "".join([*(stream.push(token) for token in ids[:-1]), stream.finish()]).strip() == "ok"


def test_the_likeliest_allowed_token_is_taken() -> None:
    logits = torch.tensor([[1.0, 9.0, 5.0, 3.0]])
    assert (
        Sampler(GenerationSettings(temperature=0), [], torch.device("cpu")).next(logits, NONE_YET).item() == 1
    )
    assert (
        Sampler(GenerationSettings(temperature=0), [1], torch.device("cpu")).next(logits, NONE_YET).item()
        == 2
    )


def test_forbidden_tokens_are_never_sampled() -> None:
    sampler = Sampler(GenerationSettings(temperature=2, top_p=1, seed=0), [1], torch.device("cpu"))
    logits = torch.tensor([[1.0, 50.0, 1.0, 1.0]])
    drawn = {sampler.next(logits, NONE_YET).item() for _ in range(100)}
    assert drawn == {0, 2, 3}


def test_top_p_leaves_out_the_unlikely() -> None:
    logits = torch.tensor([[0.6, 0.3, 0.1]]).log()

    def drawn(top_p: float) -> set[float]:
        sampler = Sampler(GenerationSettings(temperature=1, top_p=top_p, seed=0), [], torch.device("cpu"))
        return {sampler.next(logits, NONE_YET).item() for _ in range(200)}

    assert drawn(1.0) == {0, 1, 2}
    assert drawn(0.85) == {0, 1}
    assert drawn(0.0) == {0}


@pytest.mark.parametrize(
    "values",
    [
        {"max_new_tokens": 0},
        {"temperature": -0.1},
        {"temperature": math.nan},
        {"top_p": 1.1},
        {"repetition_penalty": 0},
        {"repetition_penalty": math.inf},
        {"seed": 10**20},
    ],
)
def test_settings_out_of_range_are_named(values: dict) -> None:
    with pytest.raises(UserError, match=next(iter(values))):
        GenerationSettings(**values)


@settings(max_examples=300, deadline=None)
@given(
    pieces=st.lists(st.text("ab\n", min_size=1, max_size=4), max_size=8),
    stops=st.lists(st.text("ab\n", min_size=1, max_size=3), max_size=3),
)
def test_a_text_ends_before_its_first_stop_text_however_it_is_cut(
    pieces: list[str], stops: list[str]
) -> None:
    whole = "".join(pieces)
    ends = [whole.find(stop) for stop in stops if stop in whole]
    until, out, at = StopTexts(stops), [], 0
    for piece in pieces:
        out.append(until.push(piece))
        at += len(piece)
        if until.found:
            break
    found = "".join(out) if until.found else "".join(out) + until.finish()
    assert until.found == bool(ends)
    if not ends:
        assert found == whole
    else:  # of stop texts that overlap, the one that is whole first ends the text
        assert any(found == whole[: whole.find(stop)] for stop in stops if stop in whole)
        assert all(stop not in found for stop in stops)


def test_text_is_kept_back_no_longer_than_it_may_begin_a_stop_text() -> None:
    until = StopTexts(["###"])
    assert [until.push(piece) for piece in ("a#", "#", "b", "c")] == ["a", "", "##b", "c"]
