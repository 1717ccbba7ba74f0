from __future__ import annotations

import json

import pytest

from llava_tuning.distillation.templates import FiveQuestions, Plain, Unparsable

PAIRS = [(f"Question {n}?", f"Answer [{n}].") for n in range(1, 6)]
LIST = json.dumps([{"question": question, "answer": answer} for question, answer in PAIRS])


def test_plain_asks_and_keeps_the_question_as_it_is() -> None:
    assert Plain().prompt("What is {this}?") == "What is {this}?"
    assert Plain().turns("What is {this}?", " A brace.\n") == [("What is {this}?", "A brace.")]


def test_the_prompt_asks_for_five_in_the_language() -> None:
    prompt = FiveQuestions("Chinese").prompt("")
    assert (
        "5 questions" in prompt and "Chinese" in prompt and '[{"question": "...", "answer": "..."}' in prompt
    )
    assert FiveQuestions("Chinese").settings() != FiveQuestions().settings() != Plain().settings()


@pytest.mark.parametrize(
    "reply",
    [
        LIST,
        json.dumps(json.loads(LIST), indent=2),
        f"```json\n{LIST}\n```",
        f"Here are five [as asked] about [1, 2]:\n{LIST}\nDo you want more [y/n]?",
        f'{{"questions": {LIST}}}',
        LIST.replace('"Question 1?"', '" Question 1? "'),
    ],
)
def test_five_pairs_are_found_however_they_are_wrapped(reply: str) -> None:
    assert FiveQuestions().turns("", reply) == PAIRS


@pytest.mark.parametrize(
    ("reply", "said"),
    [
        ("I cannot see a picture.", "no JSON list"),
        (LIST[:-20], "no JSON list"),  # cut off
        ("[" * 100_000, "no JSON list"),
        ("[]", "no JSON list"),
        (json.dumps(json.loads(LIST)[:4]), "4 questions in place of 5"),
        (json.dumps(json.loads(LIST) * 2), "10 questions in place of 5"),
        (LIST.replace('"Answer [3]."', '" "'), "pair 3 of the reply has no text as 'answer'"),
        (LIST.replace('"Answer [3]."', "3"), "pair 3 of the reply has no text as 'answer'"),
        (LIST.replace('"question": "Question 2?"', '"q": "Question 2?"'), "pair 2 .* 'question'"),
    ],
)
def test_what_is_not_five_pairs_is_refused(reply: str, said: str) -> None:
    with pytest.raises(Unparsable, match=said):
        FiveQuestions().turns("", reply)
