"""The check finds every fault, names the record, and is silent about good files."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from transformers import PreTrainedTokenizerBase

from llava_tuning.data.check import Finding, check_file
from llava_tuning.data.load import load_records
from llava_tuning.data.records import make_record, write_json
from llava_tuning.data.structure import row_problems
from llava_tuning.errors import UserError
from llava_tuning.models.conversation import IGNORE_INDEX, render_conversation


def _row(record_id: str, question: str = "<image>\nwhat?", answer: str = "red", image: str | None = "a.png"):
    turns = [{"from": "human", "value": question}, {"from": "gpt", "value": answer}]
    return {"id": record_id, "image": image, "conversations": turns}


def _turns(*turns: tuple[str, Any], image: str | None = None) -> dict[str, Any]:
    return {"id": "x", "image": image, "conversations": [{"from": f, "value": v} for f, v in turns]}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    Image.new("RGB", (64, 64), "red").save(tmp_path / "a.png")
    return tmp_path


def _check(folder: Path, rows: list[Any], **options: Any) -> list[Finding]:
    path = folder / "data.json"
    path.write_text(json.dumps(rows), encoding="utf-8")
    return check_file(path, None, **options)[0]


def test_a_good_file_has_no_findings(folder: Path, tokenizer: PreTrainedTokenizerBase):
    rows = [
        _row("1"),
        _row("2", "hello", "hi", image=None),
        _turns(("system", "be kind"), ("human", "a"), ("gpt", "b"), ("human", "c"), ("gpt", "d")),
    ]
    assert _check(folder, rows, tokenizer=tokenizer, max_length=200, tokens_per_image=16) == []


def test_a_picture_is_a_fault_for_a_text_model(folder: Path):
    """Whether its file is there or not, once; records of text are fine beside it."""
    rows = [_row("1"), _row("2", "hello", "hi", image=None), _row("3", image="gone.png")]
    findings = _check(folder, rows, text_only=True)
    assert [(finding.index, finding.kind) for finding in findings] == [(0, "picture"), (2, "picture")]
    assert "has a picture (a.png)" in str(findings[0]) and "leave the record out" in str(findings[0])


def test_a_whole_number_as_id_is_read_as_text(folder: Path):
    """As XTuner does, and published sets need it."""
    assert _check(folder, [_row("x") | {"id": 3}, _row("y", "<image>\nwho?")]) == []
    assert [record.id for record in load_records(folder / "data.json")] == ["3", "y"]


@pytest.mark.parametrize(
    ("row", "kind", "said"),
    [
        (None, "record", "is null"),
        ([1], "record", "is a list"),
        ("x", "record", "is text"),
        ({"id": "x"}, "record", "no conversations"),
        ({"id": "x", "conversation": []}, "record", "`conversation` in place"),
        ({"id": "x", "messages": []}, "record", "`messages` in place"),
        ({"id": "x", "conversations": []}, "turns", "no turns"),
        ({"id": "x", "conversations": {}}, "turns", "an object"),
        (_row("x") | {"id": 3.5}, "record", "a number"),
        (_row("x") | {"id": None}, "record", "no id"),
        (_row("x") | {"like_base": "yes"}, "record", "text as like_base"),
        (_row("x") | {"image": "a.png", "like_base": True}, "record", "a picture and like_base"),
        (_row("x") | {"image": ["a.png"]}, "record", "a list as image"),
        (_turns(("human", "a"), ("gpt", "b"), image=""), "record", "empty image"),
        (_turns(("human", "a"), ("gpt", " \n")), "turns", "turn 2 (gpt) is empty"),
        (_turns(("human", ""), ("gpt", "a")), "turns", "turn 1 (human) is empty"),
        (_turns(("human", "a"), ("gpt", None)), "turns", "null as value"),
        (_turns(("human", "a"), ("assistant", "b")), "turns", "'assistant'"),
        (_turns(("human", "\ud83d"), ("gpt", "b")), "turns", "surrogate"),
        (_turns(("gpt", "a"), ("human", "b"), ("gpt", "c")), "turns", "turn 1 is from gpt"),
        (_turns(("human", "a"), ("human", "b"), ("gpt", "c")), "turns", "turn 2 is from human"),
        (_turns(("human", "a"), ("system", "b"), ("gpt", "c")), "turns", "turn 2 is from system"),
        (_turns(("human", "a"), ("gpt", "b"), ("human", "c")), "turns", "without an answer"),
        (_turns(("system", "a")), "turns", "without an answer"),
        (_turns(("human", "<image> a"), ("gpt", "b")), "marker", "but no picture"),
        (_turns(("human", "a"), ("gpt", "b"), image="a.png"), "marker", "picture but no <image>"),
        (_turns(("human", "<image><image>"), ("gpt", "b"), image="a.png"), "marker", "2 times"),
        (_turns(("human", "<image>"), ("gpt", "<image>"), image="a.png"), "marker", "turn 2 (gpt) holds"),
        (
            _turns(("human", "<image>"), ("gpt", "b"), ("human", "<image>"), ("gpt", "b"), image="a.png"),
            "marker",
            "in 2 turns",
        ),
        (_row("x", image="none.png"), "picture", "does not exist"),
        (_row("x", image="https://x.org/a.png"), "picture", "address"),
        (_row("x", image="text.png"), "picture", "not a picture"),
        (_row("x", image="cut.png"), "picture", "truncated"),
        (_row("x", image="n" * 5000), "picture", "does not exist"),
        (_row("x", image="zero\0byte"), "picture", "does not exist"),
    ],
)
def test_each_fault_is_found_named_and_does_not_stop_the_check(folder: Path, row: Any, kind: str, said: str):
    (folder / "text.png").write_text("hello")
    Image.effect_noise((64, 64), 90).save(folder / "cut.png")
    whole = (folder / "cut.png").read_bytes()
    (folder / "cut.png").write_bytes(whole[: len(whole) // 2])
    rows = [_row("first"), row, _row("last", image="gone.png")]
    findings = _check(folder, rows)
    assert [f.index for f in findings] == [1, 2]
    found = findings[0]
    assert found.kind == kind
    assert said in found.problem
    assert found.remedy
    assert str(found).startswith(f"{folder / 'data.json'}: record 1")
    if kind != "picture":
        with pytest.raises(UserError, match="record 1"):
            load_records(folder / "data.json")


def test_duplicates_name_the_record_that_they_repeat(folder: Path):
    rows = [_row("1"), _row("2", answer="blue"), _row("1", answer="green"), _row("3")]
    findings = _check(folder, rows)
    assert [(f.index, f.kind) for f in findings] == [(2, "duplicate"), (3, "duplicate")]
    assert "same id as record 0" in findings[0].problem
    assert "same picture and turns as record 0" in findings[1].problem


def test_a_first_record_without_the_image_key_is_found_only_where_pictures_would_be_lost(folder: Path):
    text_only = {"id": "t", "conversations": [{"from": "human", "value": "a"}, {"from": "gpt", "value": "b"}]}
    (finding,) = _check(folder, [text_only, _row("1")])
    assert (finding.index, finding.record_id) == (0, "t")
    assert "no key `image`" in finding.problem
    assert _check(folder, [_row("1"), text_only]) == []
    assert _check(folder, [text_only]) == []


def test_truncation_is_counted_with_the_picture_at_its_full_size(folder: Path, tokenizer):
    # <|im_start|> "user\n" picture "\n" "what?" <|im_end|> "\n" <|im_start|> "assistant\n", then the answer
    before = 1 + 5 + 16 + 1 + 5 + 1 + 1 + 1 + 10
    options = {"tokenizer": tokenizer, "tokens_per_image": 16}
    (finding,) = _check(folder, [_row("1")], max_length=before, **options)
    assert finding.kind == "tokens"
    assert f"after {before} tokens" in finding.problem
    assert _check(folder, [_row("1")], max_length=before + 1, **options) == []
    assert (
        len(_check(folder, [_row("1")], max_length=before + 1, tokenizer=tokenizer, tokens_per_image=17)) == 1
    )


def test_a_broken_line_is_one_finding_among_others(folder: Path):
    path = folder / "data.jsonl"
    lines = [json.dumps(_row("1")), '{"id": ', json.dumps(_row("1", answer="blue"))]
    path.write_text("\n".join(lines))
    findings = check_file(path, None)[0]
    assert [(f.index, f.kind) for f in findings] == [(1, "record"), (2, "duplicate")]
    assert "line 2 is not valid JSON" in findings[0].problem
    with pytest.raises(UserError, match="line 2"):
        load_records(path)


def test_only_so_many_pictures_are_decoded_but_all_must_exist(folder: Path):
    for number in range(20):
        (folder / f"{number}.png").write_text("no picture")
    rows = [_row(str(number), image=f"{number}.png") for number in range(20)] + [_row("z", image="gone.png")]
    assert len(_check(folder, rows)) == 21
    some = _check(folder, rows, max_pictures=5)
    assert len(some) in range(4, 8)
    assert "does not exist" in some[-1].problem
    assert len(_check(folder, rows, max_pictures=0)) == 1


def test_pictures_are_looked_for_in_the_image_folder(folder: Path, tmp_path_factory: pytest.TempPathFactory):
    other = tmp_path_factory.mktemp("other") / "data.json"
    other.write_text(json.dumps([_row("1")]))
    assert len(check_file(other, None)[0]) == 1
    assert check_file(other, folder)[0] == []
    with pytest.raises(UserError, match="no such image folder"):
        check_file(other, folder / "missing")[0]


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
rows_of_sorts = st.fixed_dictionaries(
    {},
    optional={
        "id": json_values | st.just("x"),
        "image": json_values | st.just("a.png"),
        "conversations": json_values
        | st.lists(
            st.fixed_dictionaries(
                {},
                optional={
                    "from": st.sampled_from(["human", "gpt", "system"]) | json_values,
                    "value": st.sampled_from(["<image>", "a"]) | json_values,
                },
            ),
            max_size=4,
        ),
    },
)


@given(json_values | rows_of_sorts)
@settings(max_examples=300, deadline=None)
def test_whatever_a_row_is_it_has_problems_or_is_a_record(tmp_path_factory: pytest.TempPathFactory, row: Any):
    path = tmp_path_factory.getbasetemp() / "row.json"
    path.write_text(json.dumps([row]))
    structural = [f for f in check_file(path, None)[0] if f.kind != "picture"]
    assert bool(structural) == bool(row_problems(row))
    if structural:
        with pytest.raises(UserError):
            load_records(path)
    else:
        assert load_records(path)[0].to_dict()["id"] == row["id"]


def test_the_bound_that_spares_the_tokenizer_never_lets_a_cut_answer_through(
    tokenizer: PreTrainedTokenizerBase, tmp_path: Path
) -> None:
    """At each maximum length around the answer's start, the check says what tokenising every record says."""
    Image.new("RGB", (8, 8)).save(tmp_path / "a.png")
    records = [
        make_record("picture", "a.png", [("图里有什么？", "yes")]),
        make_record("text", None, [("short", "a"), ("long " * 20, "b")]),
    ]
    write_json(tmp_path / "set.json", records)
    for record in records:
        labels = render_conversation(
            tokenizer, record.messages(), image_token_id=-200, tokens_per_image=16
        ).labels
        start = next(place for place, label in enumerate(labels) if label != IGNORE_INDEX)
        for length in range(1, start + 60):
            found = check_file(tmp_path / "set.json", None, tokenizer, length, 16)[0]
            cut = any(f.kind == "tokens" and f.record_id == record.id for f in found)
            assert cut == (start >= length), (record.id, start, length)
