"""Write conversations that teach a model its name and maker, and where these do not belong."""

from __future__ import annotations

import json
import random
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Generic, TypeVar

from llava_tuning.data.identity.chinese import CHINESE
from llava_tuning.data.identity.english import ENGLISH
from llava_tuning.data.identity.phrasebook import Phrasebook, fill, plain_wording
from llava_tuning.data.identity.questions import CONTRAST, Question, split_questions
from llava_tuning.data.identity.who import Identity
from llava_tuning.data.phrases import LanguageChoice
from llava_tuning.data.records import Record, make_record, write_json

Pair = tuple[str, str]  # question, answer

_BOOKS = {"en": (ENGLISH,), "zh": (CHINESE,), "both": (ENGLISH, CHINESE)}
_OPENED = 0.35  # share of questions with a greeting or the like in front
_TAILED = 0.4  # share of identity answers with a friendly sentence behind
_FOLLOWED = 0.3  # share of records that go on with something else
# Most records have no system prompt: the model is to know its name without being told.
_NO_SYSTEM, _NEUTRAL_SYSTEM, _NAMING_SYSTEM = 6, 3, 1
_T = TypeVar("_T")


@dataclass
class Written:
    """What `write_identity` wrote.

    Attributes:
        paths: name → path; keys `train`, `held_out_identity`, `held_out_contrast`.
        records: how many, by (key of `paths`, language, kind of question).
        wordings: language → identity questions in all files together that differ in more than case,
            punctuation and what stands before them.
    """

    paths: dict[str, Path]
    records: Counter[tuple[str, str, str]] = field(default_factory=Counter)
    wordings: dict[str, int] = field(default_factory=dict)


def write_identity(out: Path, identity: Identity, language: LanguageChoice = "en", seed: int = 0) -> Written:
    """Write identity and contrast records to a folder; files of these names are replaced.

    `train.json` holds LLaVA records, their ids starting with `identity-` or `contrast-`. The rows of
    `held_out_identity.jsonl` and `held_out_contrast.jsonl` have the keys

    - `id`, `language`, `kind`
    - `conversations`: turns as in a record, up to the question to answer
    - `must_contain`, `must_not_contain`: an answer is right if it mentions (`phrasebook.mentions`) every text
      of the first and none of the second
    - `reference`: one right answer

    Args:
        seed: chooses what is held out, the answers and what stands around them.

    Raises:
        UserError: the name or owner is so common a word that contrast is impossible.
    """
    out.mkdir(parents=True, exist_ok=True)
    written = Written({"train": out / "train.json"})
    records: list[Record] = []
    held_out: dict[str, list[dict[str, Any]]] = {"identity": [], CONTRAST: []}
    books = {book.language: book for book in _BOOKS[language]}
    for code, questions in split_questions(list(books.values()), identity, seed).items():
        rng = random.Random(f"identity records {seed} {code}")
        for question, record in _training_records(books[code], identity, questions.train, rng):
            records.append(record)
            written.records["train", code, question.kind] += 1
        for question, row in _held_out_rows(books[code], identity, questions.held_out, rng):
            held_out[question.part].append(row)
            written.records[f"held_out_{question.part}", code, question.kind] += 1
        asked = [
            question for question in (*questions.train, *questions.held_out) if question.part != CONTRAST
        ]
        written.wordings[code] = len({plain_wording(question.text) for question in asked})
    random.Random(f"identity order {seed}").shuffle(records)
    write_json(written.paths["train"], records)
    for part, rows in held_out.items():
        path = written.paths[f"held_out_{part}"] = out / f"held_out_{part}.jsonl"
        path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    return written


def _training_records(
    book: Phrasebook, identity: Identity, questions: Sequence[Question], rng: random.Random
) -> Iterator[tuple[Question, Record]]:
    """Every question twice: as the first of a conversation, and in the middle of one."""
    contrast = [(q.text, q.answers[0]) for q in questions if q.part == CONTRAST]
    talk = _Deck([*_small_talk(book, identity), *contrast], rng)
    answers = {question.kind: _Deck(range(len(question.answers)), rng) for question in questions}
    space = "" if book.language == "zh" else " "
    for number, question in enumerate(questions):
        for place, before in (("first", 0), ("middle", rng.choice((1, 1, 2)))):
            text = question.text
            answer = question.answers[answers[question.kind].deal() if question.part != CONTRAST else 0]
            if not question.foreign and rng.random() < _OPENED:
                text = rng.choice(book.turns if before else book.greetings) + space + text
            if question.part != CONTRAST and not question.foreign and rng.random() < _TAILED:
                answer += space + rng.choice(book.tails)
            around = _other_turns(talk, before + (rng.random() < _FOLLOWED), question.text)
            turns = [*around[:before], (text, answer), *around[before:]]
            record_id = f"{question.part}-{book.language}-{number}-{place}"
            yield question, make_record(record_id, None, turns, _system(book, identity, rng))


def _held_out_rows(
    book: Phrasebook, identity: Identity, questions: Sequence[Question], rng: random.Random
) -> Iterator[tuple[Question, dict[str, Any]]]:
    """Every question twice, as in training."""
    talk = _Deck(_small_talk(book, identity), rng)
    for number, question in enumerate(questions):
        for place, before in (("first", 0), ("middle", 1)):
            turns = [
                *_other_turns(talk, before, question.text),
                (question.text, rng.choice(question.answers)),
            ]
            *asked, answer = make_record("", None, turns).to_dict()["conversations"]
            yield (
                question,
                {
                    "id": f"held-out-{question.part}-{book.language}-{number}-{place}",
                    "language": book.language,
                    "kind": question.kind,
                    "conversations": asked,
                    "must_contain": list(question.must),
                    "must_not_contain": list(question.must_not),
                    "reference": answer["value"],
                },
            )


class _Deck(Generic[_T]):
    """Deals its cards in a random order, and again once all are dealt, so that none comes far more often."""

    def __init__(self, cards: Iterable[_T], rng: random.Random) -> None:
        self._cards, self._rng = list(cards), rng
        self._left: list[_T] = []

    def deal(self) -> _T:
        if not self._left:
            self._left = self._rng.sample(self._cards, len(self._cards))
        return self._left.pop()


def _small_talk(book: Phrasebook, identity: Identity) -> list[Pair]:
    return [pair for pair in book.small_talk if not identity.in_text(*pair)]


def _other_turns(talk: _Deck[Pair], number: int, question: str) -> list[Pair]:
    """So many different exchanges about other things than the question."""
    found: dict[str, Pair] = {}
    while len(found) < number:
        pair = talk.deal()
        if pair[0] != question:
            found[pair[0]] = pair
    return list(found.values())


def _system(book: Phrasebook, identity: Identity, rng: random.Random) -> str | None:
    kinds: tuple[tuple[str, ...], ...] = ((), book.neutral_systems, book.naming_systems)
    prompts = rng.choices(kinds, (_NO_SYSTEM, _NEUTRAL_SYSTEM, _NAMING_SYSTEM))[0]
    return fill(rng.choice(prompts), identity.values) if prompts else None
