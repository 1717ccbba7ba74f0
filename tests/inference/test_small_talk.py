"""What the embedded model says to people who talk to it before they show it anything."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from llava_tuning.inference.backend import GREEDY, ChatMessage, load_backend

# What is said to it, and what its answer must hold, none of which an echo has. The last was not taught.
SAID = {
    "hi": "add a picture",
    "Thank you!": "welcome",
    "Bye": "goodbye",
    "你好": "添加一张图片",
    "谢谢": "不客气",
    "再见": "再见！",
    "你是谁？": "小模型",
    "写一篇关于夏天的作文。": "只能回答关于图片的简短问题",
}


def test_it_answers_in_the_language_that_is_spoken_and_says_what_it_is_for(default_model: Path) -> None:
    backend = load_backend(str(default_model), device="cpu")
    turns = [[ChatMessage("user", text)] for text in SAID]
    answers = backend.answer_batch(turns, replace(GREEDY, max_new_tokens=64))
    wrong = {
        text: answer for text, answer in zip(SAID, answers, strict=True) if SAID[text] not in answer.lower()
    }
    assert not wrong
