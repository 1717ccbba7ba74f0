"""What `data show` prints is exactly what the model is given."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.console import Console

from llava_tuning.data.records import Record, make_record, write_json
from llava_tuning.data.show import Segment, as_text, find_record, segments
from llava_tuning.errors import UserError

RECORD = make_record("r", "a.png", [("what is it?", "a cat"), ("sure?", "yes")])


def test_pictures_collapse_and_answers_with_their_end_are_trained_on(tokenizer):
    assert segments(RECORD, tokenizer, 16) == [
        Segment("<|im_start|>user\n", 6),
        Segment("<image ×16>", 16, picture=True),
        Segment("\nwhat is it?<|im_end|>\n<|im_start|>assistant\n", 25),
        Segment("a cat<|im_end|>", 6, trained=True),
        Segment("\n<|im_start|>user\nsure?<|im_end|>\n<|im_start|>assistant\n", 25),
        Segment("yes<|im_end|>", 4, trained=True),
        Segment("\n", 1),
    ]


def test_a_cut_shows_what_is_left(tokenizer):
    parts = segments(RECORD, tokenizer, 16, max_length=10)
    assert [part.text for part in parts] == ["<|im_start|>user\n", "<image ×4>"]
    trained = [part for part in segments(RECORD, tokenizer, 16, max_length=50) if part.trained]
    assert [part.text for part in trained] == ["a ca"[: 50 - 47]]


@given(st.lists(st.tuples(st.text(min_size=1), st.text(min_size=1)), min_size=1, max_size=3))
@settings(max_examples=50, deadline=None)
def test_no_text_is_lost_or_changed(tokenizer, turns):
    record = make_record("r", None, turns)
    shown = "".join(part.text for part in segments(record, tokenizer, 16))
    expected = "".join(
        f"<|im_start|>{role}\n{text.strip()}<|im_end|>\n"
        for question, answer in turns
        for role, text in (("user", question), ("assistant", answer))
    )
    assert shown == expected


def test_colours_on_a_terminal_and_brackets_elsewhere():
    parts = [Segment("[bold]q", 7), Segment("a", 1, trained=True)]
    for terminal, expected in ((True, "\x1b[1;32ma\x1b[0m"), (False, "⟦a⟧")):
        out = io.StringIO()
        console = Console(file=out, force_terminal=terminal, color_system="standard" if terminal else None)
        console.print(as_text(parts, brackets=not terminal))
        assert expected in out.getvalue()
        assert "[bold]q" in out.getvalue(), "what a record says is never markup"


def test_a_record_is_found_by_place_or_id(tmp_path: Path):
    other = make_record("s", None, [("a", "b")])
    write_json(tmp_path / "d.json", [RECORD, other])
    assert find_record(tmp_path / "d.json") == RECORD
    assert find_record(tmp_path / "d.json", index=1) == other
    assert find_record(tmp_path / "d.json", record_id="s") == other
    for wrong in ({"index": 2}, {"index": -1}, {"record_id": "t"}):
        with pytest.raises(UserError):
            find_record(tmp_path / "d.json", **wrong)


def test_a_bad_record_is_named_in_place_of_shown(tmp_path: Path):
    rows = [Record.to_dict(RECORD), {"id": "bad", "conversations": []}]
    (tmp_path / "d.json").write_text(json.dumps(rows))
    with pytest.raises(UserError, match=r"record 1 \(id 'bad'\) has no turns; "):
        find_record(tmp_path / "d.json", index=1)
