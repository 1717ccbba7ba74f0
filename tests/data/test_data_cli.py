"""The commands under `llava-tuning data`: what they print, and their exit status."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import forked
import pytest
from PIL import Image


def run(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "llava_tuning", "data", *map(str, arguments)]
    return forked.run(command, capture_output=True, check=False)


@pytest.fixture(scope="module")
def scenes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("scenes")
    result = run("scenes", "--out", out, "--count", "6", "--seed", "1", "--size", "64")
    assert result.returncode == 0, result.stderr
    return out


def test_what_the_generators_write_passes_the_check(scenes: Path, tmp_path: Path):
    assert run("easy-vqa", "--out", tmp_path, "--limit", "5").returncode == 0
    names = ("pretrain.json", "finetune.json")
    result = run("check", *(scenes / name for name in names), *(tmp_path / name for name in names))
    assert result.returncode == 0, result.stdout
    assert "nothing found" in result.stdout


def test_scenes_whose_things_are_confused_can_be_asked_for(scenes: Path, tmp_path: Path):
    result = run(
        "scenes", "--out", tmp_path, "--count", "6", "--seed", "1", "--size", "64", "--confusable", "1"
    )
    assert result.returncode == 0, result.stderr
    plain, chosen = (sorted(path.name for path in (out / "images").iterdir()) for out in (scenes, tmp_path))
    assert len(chosen) == 6 and chosen != plain
    result = run("scenes", "--out", tmp_path, "--confusable", "2")
    assert result.returncode == 2 and "no share" in result.stderr


def test_check_names_file_record_and_remedy_and_exits_1(scenes: Path, model_directory: Path):
    rows = json.loads((scenes / "finetune.json").read_text())
    rows[2]["image"] = "images/gone.png"
    rows[4]["conversations"][1]["value"] = ""
    bad = scenes / "bad.json"
    bad.write_text(json.dumps(rows))
    result = run("check", bad)
    assert result.returncode == 1
    assert f"{bad}: record 2 (id 'scene-1-2') names {scenes / 'images/gone.png'}" in result.stdout
    assert "record 4 (id 'scene-1-4') turn 2 (gpt) is empty" in result.stdout
    assert "2 findings" in result.stdout
    short = run(
        "check", scenes / "finetune.json", "--model", model_directory, "--max-length", "20", "--limit", "1"
    )
    assert short.returncode == 1
    assert "no token left to train on" in short.stdout
    assert "and 5 more" in short.stdout


def test_show_marks_what_is_trained_on(scenes: Path, model_directory: Path):
    row = json.loads((scenes / "finetune.json").read_text())[3]
    result = run("show", scenes / "finetune.json", "--id", row["id"], "--model", model_directory)
    assert result.returncode == 0, result.stderr
    question = row["conversations"][0]["value"].removeprefix("<image>\n")
    expected = f"<|im_start|>user\n<image ×16>\n{question}<|im_end|>\n<|im_start|>assistant\n"
    assert result.stdout.startswith(f"{expected}⟦{row['conversations'][1]['value']}<|im_end|>⟧\n")
    answers = row["conversations"][1::2]
    assert result.stdout.count("⟦") == len(answers)
    trained = sum(len(turn["value"]) + 1 for turn in answers)  # one token a character, one for the end
    assert f"{trained} trained on" in result.stdout


def test_convert_then_check(tmp_path: Path):
    Image.new("RGB", (8, 8)).save(tmp_path / "a.png")
    rows = [
        {"instruction": "say hi", "input": "", "output": "hi"},
        {"id": 5, "image": "a.png", "conversation": [{"input": "<image>\nwhat?", "output": "black"}]},
    ]
    (tmp_path / "in.jsonl").write_text("\n".join(map(json.dumps, rows)))
    result = run("convert", tmp_path / "in.jsonl", tmp_path / "out.json")
    assert (result.returncode, "2 records" in result.stdout) == (0, True), result.stderr
    assert run("check", tmp_path / "out.json").returncode == 0
    wrong = run("convert", tmp_path / "in.jsonl", tmp_path / "out.json", "--from", "openai")
    assert wrong.returncode == 2
    assert "in.jsonl: record 0 has no `messages`" in wrong.stderr


def test_what_a_user_can_mend_is_one_sentence_and_status_2(
    scenes: Path, tmp_path: Path, model_directory: Path
):
    (tmp_path / "file").write_text("")
    (tmp_path / "damaged").mkdir()
    (tmp_path / "damaged" / "config.json").write_text("{")
    data = scenes / "finetune.json"
    for arguments, said in [
        (("check", tmp_path / "none.json"), "none.json: no such data file"),
        (("check", data, "--images", tmp_path / "none"), "no such image folder"),
        (("check", data, "--model", tmp_path / "none", "--max-length", "9"), "no such model directory"),
        (("show", data, "--index", "99", "--model", model_directory), "records 0 to 5"),
        (("show", data, "--id", "nobody", "--model", model_directory), "nobody"),
        (("show", data, "--id", "a", "--index", "1", "--model", model_directory), "one of them"),
        (("scenes", "--out", tmp_path, "--count", "0"), "0 scenes"),
        (("scenes", "--out", tmp_path / "file"), "is a file"),
        (("easy-vqa", "--out", tmp_path, "--limit", "0"), "limit of 0"),
        (("easy-vqa", "--out", tmp_path / "file" / "x"), "cannot be made"),
        (("convert", data, tmp_path / "file" / "out.json"), "choose another place"),
        (("show", data, "--model", tmp_path / "damaged"), "its tokenizer cannot be loaded"),
    ]:
        result = run(*arguments)
        assert result.returncode == 2, (arguments, result.stderr)
        assert result.stderr.startswith("llava-tuning: ")
        assert said in result.stderr
        assert "Traceback" not in result.stderr
        assert result.stderr.count("\n") == 1
