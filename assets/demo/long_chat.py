"""Long answers of the language model itself, as the first and as later ones of a conversation.

`general.jsonl` asks for a sentence each time; a model that is taught by it alone learns to be brief, and answers in a
line where a story was wanted. Answers are greedy, of 60 to 384 tokens; one that is cut there is for a mix that learns
it `--like-base`, where nothing says that it ends. What `general_chat.py` holds out is not asked about.

    python assets/demo/long_chat.py     # writes long.jsonl; an interrupted run goes on where it was
"""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from pathlib import Path

from general_chat import OUT as GENERAL
from general_chat import TASKS, listed, questions
from text_chat import TOPICS, speaks_of_itself

from llava_tuning.data.load import load_records
from llava_tuning.data.records import Record, make_record, write_json
from llava_tuning.inference.backend import ChatBackend, ChatMessage, GenerationSettings, load_backend
from llava_tuning.models.cache import cache_root
from llava_tuning.models.smollm2 import smollm2_directory

OUT = Path(__file__).with_name("long.jsonl")
LEAST, MOST = 60, 384  # tokens
SETTINGS = GenerationSettings(max_new_tokens=MOST, temperature=0.0)
BATCH = 32
ASKED = 832  # of the 1,257 questions that there are
TOPIC_QUESTIONS = (
    "Write a story about {x}.",
    "Write a long story about {x}.",
    "Write a poem about {x}.",
    "Write an essay about {x}.",
    "Tell me all that you know about {x}.",
    "Explain {x} in detail.",
    "Describe {x} in several paragraphs.",
    "Write a letter to a friend about {x}.",
    "Give me ten facts about {x}.",
)
TASK_QUESTIONS = (
    "How do I {x}? Explain it step by step.",
    "Explain in detail how to {x}.",
    "Write a guide: how to {x}.",
)

Turns = tuple[tuple[str, str], ...]  # question and answer
Asked = tuple[Turns, str]  # what came before, and the question


def conversations() -> list[Asked]:
    """Every question after none, one or two short exchanges; shuffled, seeded."""
    _, held_out = questions()
    topics = [x for x in listed(TOPICS) if f"Tell me about {x} in one sentence." not in held_out]
    tasks = [x for x in listed(TASKS) if f"Give me one tip: how can I {x}?" not in held_out]
    asked = [text.format(x=x) for x in topics for text in TOPIC_QUESTIONS]
    asked += [text.format(x=x) for x in tasks for text in TASK_QUESTIONS]
    short = [(r.conversations[0].value, r.conversations[1].value) for r in load_records(GENERAL)]
    rng = random.Random(0)
    rng.shuffle(asked)
    return [
        (tuple(rng.sample(short, number % 4 // 2 + number % 4 // 3)), q)
        for number, q in enumerate(asked[:ASKED])
    ]


def answers(backend: ChatBackend, asked: Sequence[Asked], known: Path) -> list[str]:
    """The greedy answer of each; what was answered before comes from the file `known`."""
    found: dict[str, str] = {}
    if known.is_file():
        found = dict(json.loads(line) for line in known.read_text(encoding="utf-8").splitlines() if line)
    left = [one for one in asked if json.dumps(one) not in found]
    with known.open("a", encoding="utf-8") as file:
        for start in range(0, len(left), BATCH):
            batch = left[start : start + BATCH]
            replies = backend.answer_batch([_messages(*one) for one in batch], SETTINGS)
            for one, reply in zip(batch, replies, strict=True):
                found[json.dumps(one)] = reply
                file.write(json.dumps([json.dumps(one), reply]) + "\n")
            file.flush()
            print(f"{min(start + BATCH, len(left)):,} of {len(left):,} questions answered", flush=True)
    return [found[json.dumps(one)] for one in asked]


def _messages(before: Turns, question: str) -> list[ChatMessage]:
    said = [
        ChatMessage(role, text)
        for turn in before
        for role, text in zip(("user", "assistant"), turn, strict=True)
    ]
    return [*said, ChatMessage("user", question)]


def main() -> None:
    """Ask the embedded language model and write the file."""
    from llava_tuning.models.tokenizer import load_tokenizer

    directory = smollm2_directory()
    tokenizer = load_tokenizer(directory, name=directory, remedy="delete it")
    asked = conversations()
    kept: list[Record] = []
    replies = answers(load_backend(str(directory)), asked, cache_root() / "long_chat_answers.jsonl")
    for number, ((before, question), answer) in enumerate(zip(asked, replies, strict=True)):
        if len(tokenizer.encode(answer)) >= LEAST and not speaks_of_itself(answer):
            kept.append(make_record(f"long-{number}", None, [*before, (question, answer)]))
    print(f"{OUT}: {write_json(OUT, kept):,} records of {len(asked):,} questions")


if __name__ == "__main__":
    main()
