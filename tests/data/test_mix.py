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
