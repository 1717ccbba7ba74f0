"""Text conversations for the demo model: questions from templates, answered by the language model itself.

Finetuning on one-word answers about pictures would make a small model answer everything with one word. Its own
answers, mixed in, keep its way of talking. Questions about a picture that is not there are answered by saying so.
What it says of itself and to greetings is written by hand: `small_talk.jsonl`.

    python assets/demo/text_chat.py        # writes assets/demo/text.json; some minutes on two CPU cores
"""

from __future__ import annotations

import random
import re
from collections.abc import Iterator
from pathlib import Path

from llava_tuning.data.phrases import DESCRIBE_PROMPTS
from llava_tuning.data.records import Record, make_record, write_json
from llava_tuning.inference.backend import ChatBackend, ChatMessage, GenerationSettings, load_backend
from llava_tuning.models.smollm2 import smollm2_directory

OUT = Path(__file__).with_name("text.json")
COUNT = 480  # general questions asked
SETTINGS = GenerationSettings(max_new_tokens=160, temperature=0.0, repetition_penalty=1.1)
BATCH = 120

TOPICS = """
apples|baking bread|bananas|bees|bicycles|birds|black holes|books|bridges|butterflies|cameras|carrots|cats|cells|
cheese|chess|chocolate|cities|clocks|clouds|coffee|computers|coral reefs|cows|dancing|deserts|dinosaurs|dogs|
dolphins|dreams|earthquakes|electricity|elephants|energy|exercise|families|farming|fire|fish|flowers|football|
forests|friendship|gardens|geography|glass|gold|gravity|happiness|health|history|honey|horses|hospitals|houses|ice|
insects|islands|jazz|kindness|lakes|languages|leaves|libraries|light|lighthouses|lions|magnets|maps|mathematics|
medicine|memory|metals|milk|money|mountains|museums|music|numbers|oceans|oranges|owls|painting|paper|parks|penguins|
photography|pianos|planets|plants|plastic|poetry|pollution|potatoes|rabbits|rain|rainbows|reading|recycling|rice|
rivers|robots|rockets|roses|sailing|salt|sand|schools|science|seasons|sharks|sheep|ships|shoes|sleep|snow|soap|soil|
solar power|sound|soup|space|spiders|sports|stars|steel|storms|sugar|summer|sunlight|swimming|tea|teachers|
telephones|the human heart|the internet|the moon|the sun|theatre|tigers|time|tomatoes|tourism|trains|travel|trees|
vegetables|vitamins|volcanoes|walking|water|weather|whales|wheat|wind|windows|winter|wolves|wood|writing
"""
PLACES = """
Argentina|Australia|Austria|Brazil|Canada|Chile|China|Denmark|Egypt|England|Finland|France|Germany|Greece|India|
Ireland|Italy|Japan|Kenya|Mexico|Morocco|Norway|Peru|Poland|Portugal|Spain|Sweden|Thailand|Turkey|Vietnam
"""
TOPIC_QUESTIONS = (
    "Tell me about {x}.",
    "Tell me something interesting about {x}.",
    "Explain {x} to a child.",
    "Explain {x} in two sentences.",
    "Why are people interested in {x}?",
    "Write a short poem about {x}.",
    "Write a short story about {x}.",
    "Write one sentence about {x}.",
    "Give me three facts about {x}.",
    "What should everybody know about {x}?",
    "What is the best way to learn about {x}?",
    "Name three words that go with {x}.",
    "Suggest a title for an essay about {x}.",
    "How have {x} changed the world?",
    "What do {x} mean to you?",
    "Write a short email to a friend about {x}.",
    "List five questions a pupil may ask about {x}.",
    "Can you help me with a talk about {x}?",
    "What is a common mistake people make about {x}?",
    "Summarize what is known about {x}.",
)
PLACE_QUESTIONS = (
    "What is the capital of {x}?",
    "Which continent is {x} in?",
    "What language is spoken in {x}?",
    "Tell me about the food of {x}.",
    "What is {x} famous for?",
    "Plan a day in {x}.",
    "Which countries are neighbors of {x}?",
    "Describe the weather in {x}.",
)
OTHERS = (
    "Who are you?|What can you do?|I am bored.|I feel sad today.|I had a great day.|"
    "What is your name?|Are you a robot?|What is 7 times 8?|Count to ten.|"
    "Translate 'good morning' into French.|How do I make tea?|How do I boil an egg?|How can I sleep better?|"
    "How can I save money?|Name three vegetables.|Name three fruits.|Name three colors.|Name three animals.|"
    "Write a birthday wish for my mother.|Write a thank-you note to a teacher.|Give me a healthy recipe.|"
    "What should I cook tonight?|Recommend a hobby.|How do I learn a language?|What is photosynthesis?|"
    "What is machine learning?|Who wrote Hamlet?|Who painted the Mona Lisa?|When did World War II end?|"
    "How many days are in a year?|How many legs does a spider have?|What do cows drink?|Is the earth round?|"
    "Is fire hot or cold?|What shape is a ball?|"
    "Which is larger, the moon or the sun?|Write a short story about a lighthouse.|Give me a motivational quote."
)
NO_PICTURE = (
    "I don't see a picture yet. Please add one, then ask again.",
    "There is no picture in our conversation. Add one and I will look at it.",
    "I can't see an image here. Please upload a picture first.",
)
PICTURE_QUESTIONS = (
    *DESCRIBE_PROMPTS,
    "What shape is in the image?",
    "What color is the shape?",
    "what color is the object?",
    "what is the blue shape?",
    "is there a circle in the image?",
    "is there not a red shape?",
    "does the image contain a triangle?",
    "How many objects are in the picture?",
    "How many shapes are there?",
    "What is left of the red circle?",
    "Which object is the largest?",
    "Is this photo nice?",
    "Who is in the photo?",
    "What can you see in my picture?",
    "Look at this image. What is it?",
)


_OF_ITSELF = re.compile(
    r"\bmy (?:name|passion|career|book)\b|\bI(?:'m| am) (?:an? (?!bit)|(?-i:[A-Z]))|I've been working"
    r"|language model|(?:AI|virtual|digital) assistant|chatbot",
    re.IGNORECASE,
)


def speaks_of_itself(answer: str) -> bool:
    """Whether the model says in it who it is: it has no name yet, and makes one up."""
    return _OF_ITSELF.search(answer.replace("’", "'")) is not None


def questions() -> list[str]:
    """Every general question once, in a fixed order."""
    topics, places = (
        [word.strip() for word in text.replace("\n", "").split("|") if word.strip()]
        for text in (TOPICS, PLACES)
    )
    out = [template.format(x=topic) for topic in topics for template in TOPIC_QUESTIONS]
    out += [template.format(x=place) for place in places for template in PLACE_QUESTIONS]
    return [*out, *OTHERS.split("|")]


def text_records(backend: ChatBackend, count: int, seed: int = 0) -> Iterator[Record]:
    """`count` general questions with the backend's own greedy answers; an answer that did not end is left out.

    So is one in which the model speaks of itself. Those from no template are always among them.
    """
    others = OTHERS.split("|")
    chosen = [text for text in questions() if text not in others]
    random.Random(seed).shuffle(chosen)
    chosen = sorted([*others, *chosen[: count - len(others)]], key=len)
    for start in range(0, len(chosen), BATCH):
        batch = chosen[start : start + BATCH]
        answers = backend.answer_batch([[ChatMessage("user", text)] for text in batch], SETTINGS)
        for number, (text, answer) in enumerate(zip(batch, answers, strict=True), start):
            ended = answer.rstrip().endswith((".", "!", "?", '"', ")"))
            if ended and not speaks_of_itself(answer):
                yield make_record(f"text-{number}", None, [(text, answer)])


def no_picture_records(seed: int = 0) -> list[Record]:
    """Questions about a picture where there is none."""
    rng = random.Random(seed)
    return [
        make_record(f"no-picture-{number}", None, [(text, rng.choice(NO_PICTURE))])
        for number, text in enumerate(PICTURE_QUESTIONS)
    ]


def main() -> None:
    """Ask the embedded language model and write `text.json`."""
    backend = load_backend(str(smollm2_directory()))
    records = [*text_records(backend, COUNT), *no_picture_records()]
    print(f"{OUT}: {write_json(OUT, records):,} records")


if __name__ == "__main__":
    main()
