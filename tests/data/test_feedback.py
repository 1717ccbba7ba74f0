"""Votes of the web app become records: what was liked, and nothing else."""

from __future__ import annotations

import json

import pytest

from llava_tuning.data.convert import convert_file
from llava_tuning.data.feedback import answer_id, liked_conversations
from llava_tuning.data.load import load_records
from llava_tuning.data.mix import mix_files
from llava_tuning.errors import UserError

PICTURE = {"type": "image_url", "image_url": {"url": "pictures/a.png"}}
SAID = [
    {"role": "user", "content": [PICTURE, {"type": "text", "text": "Shape?"}]},
    {"role": "assistant", "content": "circle", "usage": {"prompt_tokens": 1}},
    {"role": "user", "content": "Colour?"},
    {"role": "assistant", "content": "red"},
    {"role": "user", "content": "Size?"},
    {"role": "assistant", "content": "large"},
]


def vote(answers: int, value: str | None, messages=SAID, conversation="c"):
    """A vote on the answer of that number, counted from 1."""
    upto = messages[: 2 * answers]
    name = answer_id(conversation, upto)
    return {
        "id": name,
        "conversation": conversation,
        "vote": value,
        "model": "m",
        "time": "t",
        "messages": upto,
    }


def taught(*votes) -> list[list[str]]:
    """The texts of each conversation that the votes teach."""
    rows = liked_conversations(enumerate(votes))
    return [[_text(message) for message in row["messages"]] for _, row in rows]


def _text(message) -> str:
    content = message["content"]
    return content if isinstance(content, str) else " ".join(part.get("text", "picture") for part in content)


def test_only_liked_answers_are_taught():
    assert taught(vote(1, "up")) == [["picture Shape?", "circle"]]
    assert taught(vote(1, "down"), vote(2, None)) == []


def test_an_answer_that_was_not_liked_goes_and_its_picture_stays():
    assert taught(vote(2, "up")) == [["picture Colour?", "red"]]
    assert taught(vote(3, "up"), vote(1, "up"), vote(2, "down")) == [
        ["picture Shape?", "circle", "Size?", "large"]
    ]


def test_several_votes_on_a_conversation_are_one_record():
    assert taught(vote(1, "up"), vote(2, "up")) == [["picture Shape?", "circle", "Colour?", "red"]]


def test_a_changed_vote_counts_as_it_was_last():
    assert taught(vote(1, "up"), vote(1, "down")) == []
    assert taught(vote(1, "down"), vote(1, "up")) == [["picture Shape?", "circle"]]
    assert taught(vote(1, "up"), vote(1, None)) == []


def test_another_answer_at_the_same_place_is_another_answer():
    retried = [SAID[0], {"role": "assistant", "content": "a round one"}]
    assert taught(vote(1, "down"), vote(1, "up", retried)) == [["picture Shape?", "a round one"]]
    assert taught(vote(1, "down"), vote(1, "up", conversation="d")) == [["picture Shape?", "circle"]]


def test_rows_that_are_no_votes_stay():
    other = {"messages": SAID[:2], "vote": "down"}
    assert [row for _, row in liked_conversations([(0, other), (1, vote(1, "down"))])] == [other]


def test_a_file_of_votes_is_converted_and_mixed(tmp_path):
    system = {"role": "system", "content": "Be brief."}
    votes = [vote(2, "up"), vote(2, "up", [system, *SAID[2:]], "d"), vote(1, "down")]
    votes[1] = vote(1, "down", SAID[2:], "d")
    path = tmp_path / "feedback.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in votes), encoding="utf-8")
    assert convert_file(path, tmp_path / "out.json").written == 1
    (record,) = load_records(tmp_path / "out.json")
    assert record.image == "pictures/a.png"
    assert [turn.value for turn in record.conversations] == ["<image>\nColour?", "red"]
    mix_files([path], tmp_path / "mix.json")
    assert [record.conversations[1].value for record in load_records(tmp_path / "mix.json")] == ["red"]


def test_a_file_without_a_thumb_up_is_told(tmp_path):
    path = tmp_path / "feedback.jsonl"
    path.write_text(json.dumps(vote(1, "down")), encoding="utf-8")
    with pytest.raises(UserError, match="no vote in it is a thumb up"):
        convert_file(path, tmp_path / "out.json")
