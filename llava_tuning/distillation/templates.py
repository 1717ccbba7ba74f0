"""What the teacher is asked about a question, and what of its reply becomes turns of a record."""

from __future__ import annotations

import hashlib
import json
from typing import Any, Protocol

FIVE = 5

# What XTuner's course asks GPT-4V for, in other words; ids and file names are not the teacher's business.
_FIVE_PROMPT = """\
Look at the picture and write {count} questions about it, each with its answer, to teach another model to see.
- The first asks for a description of the picture; each further one goes deeper than the one before.
- Questions and answers keep to what can be seen: objects, people, equipment, place, purpose, colours, mood.
- Answers are correct, and as detailed as the picture allows. Ask nothing that the picture does not answer.
- Write in {language}.
Reply with a JSON list of {count} objects and nothing else:
[{{"question": "...", "answer": "..."}}, ...]"""


class Unparsable(Exception):
    """What is wrong with a reply."""


class Template(Protocol):
    """A way to ask."""

    name: str
    asks_itself: bool
    """Whether it brings its own questions, so that rows name only pictures."""

    def settings(self) -> dict[str, Any]:
        """What a later run must agree with to continue this one."""
        ...

    def prompt(self, question: str) -> str:
        """What the teacher is asked."""
        ...

    def turns(self, question: str, reply: str) -> list[tuple[str, str]]:
        """(question, answer) pairs of the record.

        Raises:
            Unparsable: the reply does not have the form that was asked for.
        """
        ...


class Plain:
    """The question as it is; the reply is its answer."""

    name = "plain"
    asks_itself = False

    def settings(self) -> dict[str, Any]:
        """See `Template.settings`."""
        return {"name": self.name}

    def prompt(self, question: str) -> str:
        """See `Template.prompt`."""
        return question

    def turns(self, question: str, reply: str) -> list[tuple[str, str]]:
        """See `Template.turns`."""
        return [(question, reply.strip())]


class FiveQuestions:
    """The course's: one request a picture, for five questions and answers from shallow to deep."""

    name = "five-questions"
    asks_itself = True

    def __init__(self, language: str = "English") -> None:
        self._language = language

    def settings(self) -> dict[str, Any]:
        """See `Template.settings`."""
        wording = hashlib.sha256(self.prompt("").encode()).hexdigest()[:12]
        return {"name": self.name, "language": self._language, "prompt_sha256": wording}

    def prompt(self, question: str) -> str:
        """See `Template.prompt`."""
        return _FIVE_PROMPT.format(count=FIVE, language=self._language)

    def turns(self, question: str, reply: str) -> list[tuple[str, str]]:
        """See `Template.turns`. Words or a code fence around the list do not matter."""
        pairs = _first_list(reply)
        if pairs is None:
            raise Unparsable("the reply holds no JSON list of questions and answers")
        if len(pairs) != FIVE:
            raise Unparsable(f"the reply holds {len(pairs)} questions in place of {FIVE}")
        return [_pair(number, pair) for number, pair in enumerate(pairs, 1)]


def _first_list(reply: str) -> list[Any] | None:
    """The first JSON list of objects in a text, wherever it starts."""
    decoder = json.JSONDecoder()
    start = reply.find("[")
    while start >= 0:
        try:
            value = decoder.raw_decode(reply, start)[0]
        except RecursionError:  # brackets without end: each of them would take as long
            return None
        except ValueError:
            value = None
        if isinstance(value, list) and value and all(isinstance(item, dict) for item in value):
            return value
        start = reply.find("[", start + 1)
    return None


def _pair(number: int, pair: dict[str, Any]) -> tuple[str, str]:
    texts = []
    for key in ("question", "answer"):
        text = pair.get(key)
        if not isinstance(text, str) or not text.strip():
            raise Unparsable(f"pair {number} of the reply has no text as {key!r}")
        texts.append(text.strip())
    return texts[0], texts[1]
