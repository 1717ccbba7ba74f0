"""General conversations to mix with a name of one's own: short questions, answered by the language model itself.

A model that is taught a name forgets least where the rest of what it is taught are its own answers. They are
greedy, at most 96 tokens long, and only those that came to an end are kept, and none in which the model speaks of
itself. A sixth of the topics, places and words is held out, to measure what is forgotten: `general_held_out.jsonl`.

    python assets/demo/general_chat.py     # both files; an interrupted run goes on where it was
"""

from __future__ import annotations

import json
import random
from collections.abc import Iterator, Sequence
from pathlib import Path

from text_chat import PLACES, TOPICS, speaks_of_itself

from llava_tuning.data.identity.english import ENGLISH
from llava_tuning.data.identity.phrasebook import plain_wording
from llava_tuning.data.records import Record, make_record, write_json
from llava_tuning.inference.backend import ChatBackend, ChatMessage, GenerationSettings, load_backend
from llava_tuning.models.cache import cache_root
from llava_tuning.models.smollm2 import smollm2_directory

OUT = Path(__file__).with_name("general.jsonl")
HELD_OUT = Path(__file__).with_name("general_held_out.jsonl")
MAX_TOKENS = 96
SETTINGS = GenerationSettings(max_new_tokens=MAX_TOKENS, temperature=0.0)
BATCH = 48
EVERY = 6  # one in so many topics, places and words is held out

TOPIC_QUESTIONS = (
    "Tell me about {x} in one sentence.",
    "Give me one fact about {x}.",
    "Write one sentence about {x}.",
    "Explain {x} to a child in one sentence.",
    "Why are people interested in {x}? One sentence, please.",
    "Suggest a title for an essay about {x}.",
    "Name three words that go with {x}.",
)
PLACE_QUESTIONS = (
    "What is the capital of {x}?",
    "Which continent is {x} in?",
    "What language is spoken in {x}?",
    "What is {x} famous for? One sentence, please.",
    "Name a dish from {x}.",
    "Name a river in {x}.",
)
WORDS = """
hot|big|fast|early|happy|light|strong|rich|young|clean|dry|empty|loud|soft|tall|wide|easy|deep|cheap|sweet|brave|calm|
kind|quiet|sharp|thin|old|bright|slow|cold|good|high|new|near|open|safe|long|dark|full|hard
"""
WORD_QUESTIONS = (
    'What is the opposite of "{x}"?',
    'Give me a synonym for "{x}".',
    'Use the word "{x}" in a sentence.',
)
THINGS = """
fruits|vegetables|colors|animals|birds|sports|musical instruments|planets|oceans|flowers|trees|insects|tools|
countries in Europe|cities in Asia|board games|languages|metals|drinks|desserts|months|shapes|kinds of weather|holidays
"""
THING_QUESTIONS = ("Name three {x}.", "Name one of the {x}.")
TASKS = """
boil an egg|make tea|save money|sleep better|learn a language|write a letter|stay healthy|plant a tree|clean a window|
pack a suitcase|train a dog|wash a sweater|prepare for an exam|make new friends|reduce waste|read faster|cook rice|
remember names|grow tomatoes|stop worrying|plan a trip|ride a bicycle|bake bread|fix a leaking tap
"""
TASK_QUESTIONS = ("How do I {x}? Two sentences, please.", "Give me one tip: how can I {x}?")
# Questions in the words of identity questions, about something else.
INVENTIONS = """
the light bulb|the airplane|the printing press|the steam engine|the bicycle|the camera|penicillin|the microscope|
the piano|the radio|the battery|the elevator|the thermometer|the compass|paper money|chewing gum|the zipper|basketball|
the parachute|the submarine
"""
INVENTION_QUESTIONS = (
    "Who invented {x}?",
    "Who made {x} first?",
    "Tell me who invented {x}.",
    "By whom was {x} invented?",
)
WORKS = """
Romeo and Juliet|Don Quixote|Pride and Prejudice|The Odyssey|Moby Dick|War and Peace|The Little Prince|Frankenstein|
Dracula|Oliver Twist|The Hobbit|Faust
"""
WORK_QUESTIONS = ("Who wrote {x}?", "Who is the author of {x}?", "Whose work is {x}?")
PEOPLE = """
Albert Einstein|Cleopatra|Charles Darwin|Mozart|Napoleon|Galileo|Gandhi|Shakespeare|Beethoven|Amelia Earhart|Aristotle|
Florence Nightingale|Nelson Mandela|Confucius
"""
PEOPLE_QUESTIONS = ("Who was {x}?", "Introduce {x} in one sentence.", "Where did {x} come from?")
BELONGINGS = """
garden|bicycle|dog|cat|car|phone|kitchen|library|camera|piano|shop|boat|hotel|farm|key|raincoat|ticket|watch
"""
BELONGING_QUESTIONS = (
    "Do you have a {x}?",
    "Who owns the {x} next door?",
    "Who is responsible for a {x}?",
    "What should I call my {x}?",
    "What is a good name for a {x}?",
    "Whose {x} is this?",
    "Who made this {x}?",
    "Who takes care of a {x}?",
)
FAVORITES = "color|book|song|city|food|animal|movie|sport|fruit|flower|drink|game|season|holiday"
FAVORITE_QUESTIONS = ("What is your favorite {x}?", "Can you recommend a {x}?", "Who chose this {x}?")
STATES = "tired|busy|ready|happy|hungry|free today|good at chess|sure about that|angry|alone|awake|cold"
STATE_QUESTIONS = ("Are you {x}?", "Who is {x}?")
JOBS = """
teacher|nurse|pilot|baker|judge|farmer|painter|librarian|plumber|chef|doctor|writer|photographer|gardener
"""
JOB_QUESTIONS = (
    "What does a {x} do?",
    "Who trains a {x}?",
    "What do you call the helper of a {x}?",
    "Describe a {x} in one sentence.",
)
PRODUCTS = """
Coca-Cola|Lego bricks|the Walkman|Nutella|the Boeing 747|Windows|Android|Barbie dolls|the PlayStation|Post-it notes
"""
PRODUCT_QUESTIONS = ("Which company makes {x}?", "Who makes {x}?")
SUMS = tuple((a, b) for a in (2, 3, 5, 8, 12, 20) for b in (1, 4, 7, 9, 10, 15))
SUM_QUESTIONS = ("What is {a} plus {b}?", "What is {a} times {b}?")


def listed(block: str) -> list[str]:
    """The words of a block."""
    return [word.strip() for word in block.replace("\n", "").split("|") if word.strip()]


def questions() -> tuple[list[str], list[str]]:
    """Questions to train on, and those held out, which are about other things; shuffled, seeded.

    What identity data asks in passing is left out.
    """
    asked = [question for question, _ in (*ENGLISH.small_talk, *ENGLISH.contrast)]
    asked += [
        text.format(thing=x) for facts in ENGLISH.facts for text in facts.questions for x in facts.answers
    ]
    asked_there = set(map(plain_wording, asked))
    parts: tuple[list[str], list[str]] = ([], [])
    rng = random.Random(0)
    sets: Sequence[tuple[Sequence[str], list[dict[str, object]]]] = (
        (TOPIC_QUESTIONS, [{"x": x} for x in listed(TOPICS)]),
        (PLACE_QUESTIONS, [{"x": x} for x in listed(PLACES)]),
        (WORD_QUESTIONS, [{"x": x} for x in listed(WORDS)]),
        (THING_QUESTIONS, [{"x": x} for x in listed(THINGS)]),
        (TASK_QUESTIONS, [{"x": x} for x in listed(TASKS)]),
        (SUM_QUESTIONS, [{"a": a, "b": b} for a, b in SUMS]),
        (INVENTION_QUESTIONS, [{"x": x} for x in listed(INVENTIONS)]),
        (WORK_QUESTIONS, [{"x": x} for x in listed(WORKS)]),
        (PEOPLE_QUESTIONS, [{"x": x} for x in listed(PEOPLE)]),
        (BELONGING_QUESTIONS, [{"x": x} for x in listed(BELONGINGS)]),
        (FAVORITE_QUESTIONS, [{"x": x} for x in listed(FAVORITES)]),
        (STATE_QUESTIONS, [{"x": x} for x in listed(STATES)]),
        (JOB_QUESTIONS, [{"x": x} for x in listed(JOBS)]),
        (PRODUCT_QUESTIONS, [{"x": x} for x in listed(PRODUCTS)]),
    )
    for templates, values in sets:
        for number, value in enumerate(rng.sample(values, len(values))):
            parts[number % EVERY == 0].extend(template.format(**value) for template in templates)
    for part in parts:
        rng.shuffle(part)
        part[:] = [question for question in part if plain_wording(question) not in asked_there]
    return parts


def answers(backend: ChatBackend, asked: Sequence[str], known: Path) -> Iterator[tuple[str, str]]:
    """Each question with its greedy answer; what was answered before comes from the file `known`."""
    found: dict[str, str] = {}
    if known.is_file():
        found = dict(json.loads(line) for line in known.read_text(encoding="utf-8").split("\n") if line)
    left = [text for text in asked if text not in found]
    with known.open("a", encoding="utf-8") as file:
        for start in range(0, len(left), BATCH):
            batch = left[start : start + BATCH]
            replies = backend.answer_batch([[ChatMessage("user", text)] for text in batch], SETTINGS)
            for pair in zip(batch, replies, strict=True):
                found[pair[0]] = pair[1]
                file.write(json.dumps(pair) + "\n")
            file.flush()
            print(f"{min(start + BATCH, len(left)):,} of {len(left):,} questions answered", flush=True)
    return ((text, found[text]) for text in asked)


def records(pairs: Iterator[tuple[str, str]], prefix: str, tokenizer: object) -> list[Record]:
    """What is worth keeping: answers that ended, and do not speak of the model itself."""
    kept = []
    for number, (question, answer) in enumerate(pairs):
        tokens = len(tokenizer.encode(answer))  # type: ignore[attr-defined]
        if answer and tokens < MAX_TOKENS - 1 and not speaks_of_itself(answer):
            kept.append(make_record(f"{prefix}-{number}", None, [(question, answer)]))
    return kept


def main() -> None:
    """Ask the embedded language model and write both files."""
    from llava_tuning.models.tokenizer import load_tokenizer

    directory = smollm2_directory()
    backend = load_backend(str(directory))
    tokenizer = load_tokenizer(directory, name=directory, remedy="delete it")
    known = cache_root() / "general_chat_answers.jsonl"
    for out, prefix, asked in zip((HELD_OUT, OUT), ("held-out", "general"), questions()[::-1], strict=True):
        kept = records(answers(backend, asked, known), prefix, tokenizer)
        print(f"{out}: {write_json(out, kept):,} records of {len(asked):,} questions")


if __name__ == "__main__":
    main()
