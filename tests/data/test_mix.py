"""`data mix`: shares, repetition, pictures from several folders, and what it warns of."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from llava_tuning.cli import _build
from llava_tuning.data.load import load_records
from llava_tuning.data.mix import Source, mix_files, parse_source, warnings
from llava_tuning.data.records import make_record, write_json
from llava_tuning.errors import UserError


@pytest.fixture
def sets(tmp_path: Path) -> tuple[Path, Path]:
    """Ten records with pictures in one folder, three text records in another; ids repeat between them."""
    seeing, text = tmp_path / "a" / "see.json", tmp_path / "b" / "text.jsonl"
    write_json(seeing, [make_record(str(i), f"images/{i}.png", [(f"q{i}", f"a{i}")]) for i in range(10)])
    write_json(text, [make_record(str(i), None, [(f"t{i}", f"u{i}")]) for i in range(3)])
    return seeing, text


def test_without_weights_every_record_comes_once(sets: tuple[Path, Path], tmp_path: Path) -> None:
    out = tmp_path / "mix" / "all.json"
    mix_files(sets, out)
    records = load_records(out)
    assert len(records) == 13 and len({record.id for record in records}) == 13
    images = [record.image for record in records if record.image]
    wanted = {(tmp_path / "a" / "images" / f"{i}.png").resolve() for i in range(10)}
    assert {(out.parent / image).resolve() for image in images} == wanted
    assert [record.image is None for record in records] != sorted(record.image is None for record in records)


def test_weights_share_the_size_exactly_and_small_sets_repeat_evenly(
    sets: tuple[Path, Path], tmp_path: Path
) -> None:
    out = tmp_path / "mix.jsonl"
    parts = mix_files([Source(sets[0], 0.2), Source(sets[1], 0.8)], out, size=41, seed=1)
    assert [part.taken for part in parts] == [8, 33]
    texts = [r.conversations[0].value for r in load_records(out) if r.image is None]
    assert sorted(texts.count(f"t{i}") for i in range(3)) == [11, 11, 11]
    assert len(warnings(parts)) == 2 and "learn it by heart" in warnings(parts)[1]


def test_records_of_a_file_are_marked_to_be_learnt_like_the_base_model(
    sets: tuple[Path, Path], tmp_path: Path
) -> None:
    out = tmp_path / "mix.json"
    files = [str(sets[0]), str(sets[1]), "--like-base", str(sets[1]), "--out", str(out)]
    assert CliRunner().invoke(_build(), ["data", "mix", *files]).exit_code == 0
    assert [record.like_base for record in load_records(out)] == [r.image is None for r in load_records(out)]
    again = tmp_path / "again.json"
    mix_files([out], again)
    assert sum(record.like_base for record in load_records(again)) == 3
    assert CliRunner().invoke(_build(), ["data", "convert", str(again), str(out)]).exit_code == 0
    assert sum(record.like_base for record in load_records(out)) == 3


def test_what_is_learnt_like_the_base_model_is_not_said_to_be_learnt_by_heart(
    sets: tuple[Path, Path], tmp_path: Path
) -> None:
    sources = [Source(sets[0], 0.2), Source(sets[1], 0.4), Source(sets[1].resolve(), 0.4)]
    parts = mix_files(sources, tmp_path / "mix.jsonl", size=41, like_base=[sets[1]])
    assert [part.like_base for part in parts] == [False, True, True]
    assert not any("text.jsonl: each" in warning for warning in warnings(parts))


def test_the_same_seed_makes_the_same_file_and_another_seed_another(
    sets: tuple[Path, Path], tmp_path: Path
) -> None:
    sources = [Source(sets[0], 1), Source(sets[1], 1)]
    texts = []
    for number, seed in enumerate((0, 0, 1)):
        mix_files(sources, tmp_path / f"{number}.json", size=6, seed=seed)
        texts.append((tmp_path / f"{number}.json").read_text())
    assert texts[0] == texts[1] != texts[2]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["{a}:0", "{b}:1", "--size", "4"], "takes nothing"),
        (["{a}:half", "{b}:1", "--size", "4"], "FILE:WEIGHT"),
        (["{a}:1", "{b}", "--size", "4"], "for all or for none"),
        (["{a}:1", "{b}:1"], "belong together"),
        (["{a}", "{b}", "--size", "4"], "belong together"),
        (["{a}", "nowhere.json"], "nowhere.json"),
        (["{a}", "{b}", "--like-base", "{a}"], "see.json: record 0 (0) has a picture"),
        (["{a}", "--like-base", "{b}"], "is not among the files to mix"),
    ],
)
def test_what_does_not_go_together_is_refused_and_nothing_written(
    arguments: list[str], said: str, sets: tuple[Path, Path], tmp_path: Path
) -> None:
    out = tmp_path / "out.json"
    filled = [argument.format(a=sets[0], b=sets[1]) for argument in arguments]
    result = CliRunner().invoke(_build(), ["data", "mix", *filled, "--out", str(out)])
    assert isinstance(result.exception, UserError) and said in str(result.exception)
    assert not out.exists()


def test_a_name_with_a_colon_is_a_file_when_it_exists(tmp_path: Path) -> None:
    odd = tmp_path / "set:1.json"
    odd.write_text(json.dumps([]))
    assert parse_source(str(odd)) == odd


def test_other_shapes_are_converted_on_the_way(tmp_path: Path) -> None:
    rows: dict[str, dict[str, object]] = {
        "alpaca": {"instruction": "Say hi.", "input": "", "output": "Hi."},
        "openai": {
            "messages": [{"role": "user", "content": "Who?"}, {"role": "assistant", "content": "Ada."}]
        },
        "sharegpt": {"conversations": [{"from": "human", "value": "Why?"}, {"from": "gpt", "value": "So."}]},
    }
    for name, row in rows.items():
        (tmp_path / f"{name}.json").write_text(json.dumps([row]))
    out = tmp_path / "mix" / "out.json"
    files = [str(tmp_path / f"{name}.json") for name in rows]
    result = CliRunner().invoke(_build(), ["data", "mix", *files, "--out", str(out)])
    assert result.exit_code == 0, result.output
    assert result.output.count("1 of the file converted") == 3
    assert {record.conversations[1].value for record in load_records(out)} == {"Hi.", "Ada.", "So."}


def test_a_picture_inside_a_file_sends_to_convert_and_nothing_is_written(tmp_path: Path) -> None:
    part = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}
    messages = [{"role": "user", "content": [part]}, {"role": "assistant", "content": "red"}]
    (tmp_path / "a.json").write_text(json.dumps([{"messages": messages}]))
    with pytest.raises(UserError, match="data convert"):
        mix_files([tmp_path / "a.json"], tmp_path / "out.json")
    assert [path.name for path in tmp_path.iterdir()] == ["a.json"]


def test_one_record_written_many_times_counts_once(tmp_path: Path) -> None:
    write_json(tmp_path / "a.json", [make_record(str(i), None, [("Who?", "Momo.")]) for i in range(50)])
    write_json(tmp_path / "b.json", [make_record(str(i), None, [(f"q{i}", f"a{i}")]) for i in range(200)])
    parts = mix_files([tmp_path / "a.json", tmp_path / "b.json"], tmp_path / "out.json")
    assert [part.distinct for part in parts] == [1, 200]
    assert len(warnings(parts)) == 1 and "each of its 1 records makes up 20.0%" in warnings(parts)[0]


def test_files_that_answer_a_question_differently_are_told_of(tmp_path: Path) -> None:
    same = [make_record(str(i), None, [(f"q{i}", f"a{i}")]) for i in range(200)]
    write_json(tmp_path / "a.json", [*same, make_record("x", None, [("Who are you?", "I'm Momo.")])])
    write_json(tmp_path / "b.json", [*same, make_record("x", None, [("Who are you?", "I'm Elena.")])])
    write_json(tmp_path / "c.json", same)
    parts = mix_files([tmp_path / f"{name}.json" for name in "abc"], tmp_path / "out.json")
    (warning,) = warnings(parts)
    assert "a.json" in warning and "b.json answer 1 of the same" in warning and "'Who are you?'" in warning
