"""The language model's own conversations: what is kept of what it writes, and going on."""

from __future__ import annotations

import importlib.util
import json
import sys
from pathlib import Path
from types import ModuleType

import pytest

SCRIPT = Path(__file__).resolve().parents[1] / "assets" / "demo" / "base_chat.py"


MOON = ("How far is the moon?", "About How far is the moon?")
BEES = ("Bees make honey.", "About Bees make honey.")


@pytest.fixture
def base_chat(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The script; what the language model writes is given. The Makefile's slow test has it write itself."""
    spec = importlib.util.spec_from_file_location("base_chat", SCRIPT)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)

    def written(model: object, tokenizer: object, prompts: list[str], *_: object) -> list[str]:
        if prompts[0].endswith("user\n"):
            return [
                "How far is the moon?<|im_end|>\n",
                "Bees make honey. Which of them do and which",  # cut
                "no sentence here",
                "Hm?<|im_end|>",
                "Say <|im_start|> twice.<|im_end|>",
                "Give me one fact about teachers.<|im_end|>",  # held out
            ][: len(prompts)]
        return [
            f"About {prompt.split(chr(10))[1].removesuffix('<|im_end|>')}<|im_end|>" for prompt in prompts
        ]

    monkeypatch.setattr(module, "written", written)
    monkeypatch.setattr(module.AutoModelForCausalLM, "from_pretrained", lambda *given, **more: _Model())
    return module


class _Model:
    def to(self, device: str) -> _Model:
        return self

    def eval(self) -> _Model:
        return self


def test_questions_are_whole_and_new_and_an_interrupted_file_goes_on(
    base_chat: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "chat.jsonl"
    out.touch()  # stopped before the first batch

    def written(count: int) -> list[tuple[str, str]]:
        monkeypatch.setattr(
            sys, "argv", ["base_chat.py", "--count", str(count), "--out", str(out), "--batch", "6"]
        )
        base_chat.main()
        rows = [json.loads(line) for line in out.read_text().splitlines()]
        return [tuple(turn["value"] for turn in row["conversations"]) for row in rows]

    first = written(1)
    assert first[0] in (MOON, BEES) and len(first) == 1
    assert sorted(written(2)) == sorted([BEES, MOON]) and written(2)[0] == first[0]


def test_only_whole_questions_are_kept_and_none_that_is_held_out(base_chat: ModuleType) -> None:
    teachers = "Give me one fact about teachers."
    every = [BEES, (teachers, f"About {teachers}"), MOON]
    assert base_chat.conversations(None, None, 6, set()) == every
    assert base_chat.conversations(None, None, 6, {base_chat.plain_wording(teachers)}) == [BEES, MOON]


def test_one_who_finds_nothing_new_stops_and_keeps_what_there_is(
    base_chat: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "not_there_yet" / "chat.jsonl"
    monkeypatch.setattr(sys, "argv", ["base_chat.py", "--count", "3", "--out", str(out), "--batch", "6"])
    with pytest.raises(SystemExit, match="2 conversations, and 20 batches brought no other"):
        base_chat.main()
    assert len(out.read_text().splitlines()) == 2
