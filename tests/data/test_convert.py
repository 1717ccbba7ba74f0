"""Other record shapes become LLaVA records, with what was said intact."""

from __future__ import annotations

import base64
import io
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from llava_tuning.data.check import check_file
from llava_tuning.data.convert import convert_file, convert_row
from llava_tuning.data.embedded_pictures import save_data_url
from llava_tuning.data.load import load_records
from llava_tuning.data.records import Record, Turn, write_json
from llava_tuning.errors import UserError

words = st.text(min_size=1, max_size=30).filter(lambda t: t.strip() and "<image>" not in t)
dialogues = st.lists(st.tuples(words, words), min_size=1, max_size=3)


def _convert(tmp_path: Path, rows: list[Any], **options: Any) -> list[Record]:
    source = tmp_path / "source.json"
    source.write_text(json.dumps(rows), encoding="utf-8")
    convert_file(source, tmp_path / "out.json", **options)
    return load_records(tmp_path / "out.json")


def _said(record: Record) -> list[tuple[str, str]]:
    return [(turn.from_, turn.value) for turn in record.conversations]


def _png(colour: str = "red") -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (8, 8), colour).save(buffer, "PNG")
    return buffer.getvalue()


def _data_url(data: bytes) -> str:
    return f"data:image/png;base64,{base64.b64encode(data).decode()}"


@given(dialogues, st.one_of(st.none(), words))
@settings(max_examples=60, deadline=None)
def test_every_shape_of_the_same_dialogue_gives_the_same_turns(
    pairs: list[tuple[str, str]], system: str | None
):
    expected = [("system", system)] if system else []
    for question, answer in pairs:
        expected += [("human", question), ("gpt", answer)]
    lead = {"system": system} if system else {}
    openai = [{"role": "system", "content": system}] if system else []
    for question, answer in pairs:
        openai.append({"role": "user", "content": [{"type": "text", "text": question}]})
        openai.append({"role": "assistant", "content": answer})
    turns = [{"input": question, "output": answer} for question, answer in pairs]
    turns[0] |= lead
    llava = [{"from": speaker, "value": value} for speaker, value in expected]
    shapes: list[dict[str, Any]] = [
        {"messages": openai},
        {"conversation": turns},
        {"conversation": llava},
        {"conversations": llava},
        {"conversations": llava[1:] if system else llava} | lead,
        {
            "instruction": pairs[-1][0],
            "input": "",
            "output": pairs[-1][1],
            "history": [*map(list, pairs[:-1])],
        }
        | lead,
    ]
    for row in shapes:
        record = convert_row(row, "x", Path("out.json"))
        assert _said(record) == expected
        assert (record.id, record.image) == ("x", None)


@given(
    st.lists(st.tuples(dialogues, st.booleans()), min_size=1, max_size=4), st.sampled_from(["json", "jsonl"])
)
@settings(max_examples=60, deadline=None)
def test_records_survive_writing_reading_and_converting(
    tmp_path_factory: pytest.TempPathFactory, sets: list[tuple[list[tuple[str, str]], bool]], suffix: str
):
    tmp_path = tmp_path_factory.mktemp("round")
    records = []
    for number, (pairs, picture) in enumerate(sets):
        turns = []
        for place, (question, answer) in enumerate(pairs):
            marker = "<image>\n" if picture and not place else ""
            turns.append(Turn.model_validate({"from": "human", "value": marker + question}))
            turns.append(Turn.model_validate({"from": "gpt", "value": answer}))
        records.append(Record(id=f"r{number}", image="a b/ü.png" if picture else None, conversations=turns))
    write_json(tmp_path / f"a.{suffix}", records)
    assert load_records(tmp_path / f"a.{suffix}") == records
    convert_file(tmp_path / f"a.{suffix}", tmp_path / "b.json")
    assert load_records(tmp_path / "b.json") == records


def test_a_line_separator_inside_a_text_does_not_break_a_jsonl_file(tmp_path: Path):
    turns = [{"from": "human", "value": "one\u2028two\x85three"}, {"from": "gpt", "value": "yes"}]
    record = Record.model_validate({"id": "1", "image": None, "conversations": turns})
    write_json(tmp_path / "a.jsonl", [record, record])
    assert load_records(tmp_path / "a.jsonl") == [record, record]


def test_a_data_address_becomes_a_file_beside_the_result(tmp_path: Path):
    content = [
        {"type": "text", "text": "what?"},
        {"type": "image_url", "image_url": {"url": _data_url(_png())}},
    ]
    messages = [{"role": "user", "content": content}, {"role": "assistant", "content": "red"}]
    (record,) = _convert(tmp_path, [{"id": 7, "messages": messages}])
    assert record.id == "7"
    assert _said(record) == [("human", "<image>\nwhat?"), ("gpt", "red")]
    assert record.image is not None
    assert record.image.startswith("out_images/")
    assert (tmp_path / record.image).read_bytes() == _png()
    assert check_file(tmp_path / "out.json", None)[0] == []


def test_a_picture_file_of_several_pictures_is_kept_as_it_is(tmp_path: Path):
    buffer = io.BytesIO()
    first, second = (Image.new("RGB", (8, 8), colour) for colour in ("red", "blue"))
    first.save(buffer, "MPO", save_all=True, append_images=[second])
    url = f"data:image/jpeg;base64,{base64.b64encode(buffer.getvalue()).decode()}"
    name = save_data_url(url, tmp_path, "pictures")
    assert name.endswith(".jpg") and (tmp_path / name).read_bytes() == buffer.getvalue()


@pytest.mark.parametrize(
    ("part", "image"),
    [
        ({"type": "image_url", "image_url": {"url": "pics/a.png"}}, "pics/a.png"),
        ({"type": "image_url", "image_url": "file:///data/a.png"}, "/data/a.png"),
        ({"type": "image", "path": "a.png"}, "a.png"),
        ({"type": "image"}, "beside.png"),
    ],
)
def test_paths_of_pictures_are_kept(tmp_path: Path, part: dict[str, Any], image: str):
    content = [part, {"type": "text", "text": "what?"}]
    row = {"messages": [{"role": "user", "content": content}, {"role": "assistant", "content": "red"}]}
    if image == "beside.png":
        row["images"] = ["beside.png"]  # type: ignore[assignment]
    (record,) = _convert(tmp_path, [row])
    assert record.image == image
    assert record.conversations[0].value == "<image>\nwhat?"


def test_llava_files_as_people_have_them(tmp_path: Path):
    turns = [{"from": "human", "value": "hi"}, {"from": "gpt", "value": "hello"}]
    with_picture = [{"from": "human", "value": "look\n<image>"}, {"from": "gpt", "value": "seen"}]
    rows = [
        {"id": 12, "conversations": turns},
        {"conversation": turns, "image": ""},
        {"id": "c", "image": ["p.jpg"], "conversations": with_picture},
        {"id": "d", "image": "q.jpg", "instruction": "say", "input": "what", "output": "that"},
    ]
    records = _convert(tmp_path, rows)
    assert [(r.id, r.image) for r in records] == [
        ("12", None),
        ("source-1", None),
        ("c", "p.jpg"),
        ("d", "q.jpg"),
    ]
    assert records[2].conversations[0].value == "look\n<image>"
    assert records[3].conversations[0].value == "<image>\nsay\nwhat"
    assert all("image" in row for row in json.loads((tmp_path / "out.json").read_text()))


GOOD = {"id": "good", "conversations": [{"from": "human", "value": "a"}, {"from": "gpt", "value": "b"}]}


def _user(content: Any) -> dict[str, Any]:
    return {
        "id": "bad",
        "messages": [{"role": "user", "content": content}, {"role": "assistant", "content": "x"}],
    }


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ("text", "not an object"),
        ({"id": "bad", "q": 1}, "no known shape"),
        ({"vote": "left", "blind": False, "left": {}, "right": {}}, r"vote on a comparison.+feedback\.jsonl"),
        ({"id": "bad", "conversations": [{"from": "human", "value": "a"}]}, "without an answer"),
        ({"id": "bad", "conversations": [{"from": "gpt", "value": "a"}]}, "human should speak"),
        ({"id": "bad", "conversations": [{"from": "robot", "value": "a"}]}, "robot"),
        ({"id": "bad", "conversations": "hello"}, "keys|list of objects"),
        ({"id": ["x"], "messages": GOOD["conversations"]}, "id"),
        ({"id": "bad", "instruction": "a", "output": ""}, "empty"),
        ({"id": "bad", "instruction": "a", "output": None}, "output"),
        (_user([{"type": "image_url", "image_url": {"url": "https://x.org/a.png"}}]), "web address"),
        (_user([{"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}]), "picture"),
        (_user([{"type": "image_url", "image_url": {"url": "data:text/plain,hi"}}]), "data:image"),
        (_user([{"type": "image_url", "image_url": {}}]), "without an address"),
        (_user([{"type": "audio"}]), "audio"),
        (_user([{"type": "image", "path": "a.png"}, {"type": "image", "path": "b.png"}]), "2 pictures"),
        (_user("look <image>"), "no picture"),
        (_user(None), "turn 1"),
    ],
)
def test_what_cannot_be_converted_is_named_or_left_out(tmp_path: Path, row: Any, said: str):
    with pytest.raises(UserError, match=said) as error:
        _convert(tmp_path, [GOOD, row])
    assert "source.json: record 1" in str(error.value)
    assert ";" in str(error.value), "a remedy follows"
    assert not (tmp_path / "out.json").exists()
    (kept,) = _convert(tmp_path, [GOOD, row], skip_bad=True)
    assert kept.id == "good"


def test_files_that_cannot_be_converted(tmp_path: Path):
    source = tmp_path / "a.json"
    with pytest.raises(UserError, match="no such data file"):
        convert_file(source, tmp_path / "b.json")
    for content, said in [
        (b"", "no records"),
        (b"[]", "no records"),
        (b"[{]", "line 1"),
        (b"\xff\xfe", "UTF-8"),
    ]:
        source.write_bytes(content)
        with pytest.raises(UserError, match=said):
            convert_file(source, tmp_path / "b.json")
    source.write_text(json.dumps([GOOD]))
    with pytest.raises(UserError, match="same file"):
        convert_file(source, source)
    with pytest.raises(UserError, match=r"\.jsonl"):
        convert_file(source, tmp_path / "b.parquet")
