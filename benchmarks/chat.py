"""Time to the first token in a conversation about a picture, against `generate` called anew in each turn.

    python benchmarks/chat.py [MODEL] [--picture FILE] [--rounds N]
    python benchmarks/chat.py --large-pictures

Both answer the same five questions greedily in one process. Also: how soon a stopped answer ends, and the
next question is answered. Prints a table and writes
benchmarks/results/chat.json, or chat_large_pictures.json.

A picture takes 64 tokens with the embedded model's encoder, 576 with LLaVA's own (CLIP ViT-L/14, 336 pixels).
`--large-pictures` puts one of that shape before the embedded language model, untrained: what it answers means
nothing, how long it takes does.
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime, timezone
from pathlib import Path

import torch
from transformers import AutoTokenizer, CLIPVisionConfig, CLIPVisionModel, LlamaForCausalLM
from transformers.generation.streamers import BaseStreamer
from transformers.models.llava.image_processing_pil_llava import LlavaImageProcessorPil

from llava_tuning.inference.backend import ChatMessage, GenerationSettings
from llava_tuning.inference.transformers_backend import TransformersBackend
from llava_tuning.models.default import resolve_model
from llava_tuning.models.llava import assemble, new_projector, save_llava
from llava_tuning.models.pictures import open_picture
from llava_tuning.models.shapes import CLIP_L
from llava_tuning.models.smollm2 import smollm2_directory

ROOT = Path(__file__).resolve().parents[1]
QUESTIONS = (
    "What shape is in the image?",
    "What color is the shape?",
    "Is there a circle in the image?",
    "Is there a blue shape in the image?",
    "Write a sentence about the picture.",
)
SETTINGS = GenerationSettings(max_new_tokens=32, temperature=0)


@dataclass
class Turn:
    """Seconds from the question to the first token and to the end, and the answer's tokens."""

    first: float
    total: float
    tokens: int


class FirstToken(BaseStreamer):
    """Notes when `generate` has written its first token; it is told of the prompt before."""

    def __init__(self) -> None:
        self.calls = 0
        self.at = 0.0

    def put(self, value: torch.Tensor) -> None:
        self.calls += 1
        if self.calls == 2:
            self.at = time.perf_counter()

    def end(self) -> None:
        pass


def ours(backend: TransformersBackend, messages: list[ChatMessage]) -> tuple[Turn, str]:
    """A turn by this project's backend."""
    start = time.perf_counter()
    first = 0.0
    pieces = []
    for piece in backend.stream(messages, SETTINGS):
        first = first or time.perf_counter() - start
        pieces.append(piece)
    total = time.perf_counter() - start
    answer = "".join(pieces)
    tokens = len(backend._tokenizer.encode(answer, add_special_tokens=False))
    return Turn(first or total, total, tokens), answer  # an answer of nothing ends with its first token


@torch.inference_mode()
def anew(backend: TransformersBackend, messages: list[ChatMessage]) -> tuple[Turn, str]:
    """A turn by `generate`: picture encoded, whole conversation read."""
    model = backend._forward.model
    start = time.perf_counter()
    prompt = torch.tensor([backend._render(messages)], device=model.device)
    images = [image for message in messages for image in message.images]
    assert backend._forward.image_processor is not None
    pixels = backend._forward.image_processor(images=images, return_tensors="pt")["pixel_values"]
    streamer = FirstToken()
    ids = model.generate(
        input_ids=prompt,
        attention_mask=torch.ones_like(prompt),
        pixel_values=pixels.to(model.device, model.dtype),
        do_sample=False,
        max_new_tokens=SETTINGS.max_new_tokens,
        streamer=streamer,
    )[0, prompt.shape[1] :]
    total = time.perf_counter() - start
    answer = backend._tokenizer.decode(ids, skip_special_tokens=True).strip()
    tokens = len(backend._tokenizer.encode(answer, add_special_tokens=False))
    return Turn(streamer.at - start, total, tokens), answer


def converse(
    backend: TransformersBackend, picture: Path, answer: Callable[..., tuple[Turn, str]]
) -> tuple[list[Turn], list[str]]:
    """Five turns about a picture, which is opened anew for each as a web request brings it."""
    turns, answers, messages = [], [], list[ChatMessage]()
    for question in QUESTIONS:
        messages.append(ChatMessage("user", question))
        messages[0] = ChatMessage("user", QUESTIONS[0], (open_picture(picture),))
        turn, text = answer(backend, messages)
        messages.append(ChatMessage("assistant", text))
        turns.append(turn)
        answers.append(text)
    return turns, answers


def stop(backend: TransformersBackend, picture: Path, pieces: int = 8) -> dict[str, float]:
    """How soon a long answer ends when it is stopped, and the next question's first token comes.

    Returns:
        milliseconds from the stop to the end of the answer, from there to the next answer's first token, and
        to the same question's first token where nothing had been stopped.
    """
    asked = [ChatMessage("user", "Write a long story about a cat.")]
    cancel = threading.Event()
    answer = backend.stream(asked, replace(SETTINGS, max_new_tokens=400), cancel)
    for _ in range(pieces):
        next(answer)
    cancel.set()
    start = time.perf_counter()
    for _ in answer:
        pass
    ended = time.perf_counter() - start
    question = [ChatMessage("user", QUESTIONS[0], (open_picture(picture),))]
    after, _ = ours(backend, question)
    forget(backend)
    alone, _ = ours(backend, question)
    found = {"ends_after": ended, "next_first_token": after.first, "first_token_alone": alone.first}
    return {f"{name}_ms": 1000 * seconds for name, seconds in found.items()}


def forget(backend: TransformersBackend) -> None:
    """The next conversation begins with nothing read."""
    backend._prefixes.__init__()  # type: ignore[misc]
    backend._forward.pictures.__init__()  # type: ignore[misc]


def large_pictures(folder: Path) -> Path:
    """The embedded language model behind an untrained encoder of CLIP ViT-L/14-336's shape."""
    torch.manual_seed(0)
    llm = LlamaForCausalLM.from_pretrained(smollm2_directory(), dtype=torch.bfloat16)
    shape = CLIPVisionConfig(**CLIP_L)
    processor = LlavaImageProcessorPil(
        do_pad=True, size={"shortest_edge": 336}, crop_size={"height": 336, "width": 336}
    )
    projector = new_projector(1024, llm.config.hidden_size).state_dict()
    tokenizer = AutoTokenizer.from_pretrained(smollm2_directory())
    model, llava_processor = assemble(llm, CLIPVisionModel(shape), projector, tokenizer, processor)
    save_llava(model.to(torch.bfloat16), llava_processor, folder / "model")
    return folder / "model"


def main() -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("model", nargs="?", default="default")
    parser.add_argument("--picture", type=Path, default=ROOT / "assets" / "samples" / "red_circle.png")
    parser.add_argument(
        "--rounds", type=int, default=5, help="conversations; the first is left out of the figures"
    )
    parser.add_argument("--large-pictures", action="store_true", help="see above")
    arguments = parser.parse_args()
    if arguments.rounds < 2:
        parser.error("--rounds: the first is left out, so give 2 or more")
    name = "large pictures, untrained" if arguments.large_pictures else arguments.model
    with tempfile.TemporaryDirectory() as folder:
        directory = large_pictures(Path(folder)) if arguments.large_pictures else resolve_model(name)
        backend = TransformersBackend.load(directory, name)
    runs: dict[str, list[list[Turn]]] = {"ours": [], "generate": []}
    stops: list[dict[str, float]] = []
    same = True
    for _ in range(arguments.rounds):
        mine, my_answers = converse(backend, arguments.picture, ours)
        theirs, their_answers = converse(backend, arguments.picture, anew)
        runs["ours"].append(mine)
        runs["generate"].append(theirs)
        same = same and my_answers == their_answers
        forget(backend)
        stops.append(stop(backend, arguments.picture))
        forget(backend)
    rows = []
    for turn in (0, len(QUESTIONS) - 1):
        row: dict[str, object] = {"turn": turn + 1}
        for way, conversations in runs.items():
            kept = [conversation[turn] for conversation in conversations[1:]]
            row[f"{way}_first_ms"] = round(1000 * statistics.median(t.first for t in kept), 1)
            row[f"{way}_tokens_per_s"] = round(statistics.median(t.tokens / t.total for t in kept), 1)
        row["first_token_ratio"] = round(row["generate_first_ms"] / row["ours_first_ms"], 2)  # type: ignore[operator]
        rows.append(row)
        print(row)
    stopped = {key: round(statistics.median(s[key] for s in stops[1:]), 1) for key in stops[0]}
    print("an answer that is stopped:", stopped)
    print(f"answers {'are the same' if same else 'differ'}")
    device = (
        torch.cuda.get_device_name()
        if torch.cuda.is_available()
        else f"{torch.get_num_threads()} CPU threads"
    )
    result = {
        "date": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "command": " ".join(["python", "benchmarks/chat.py", *sys.argv[1:]]),
        "hardware": f"{platform.processor() or platform.machine()}, {device}",
        "torch": torch.__version__,
        "model": name,
        "rounds": arguments.rounds,
        "answers_are_the_same": same,
        "turns": rows,
        "stop": stopped,
    }
    file = "chat_large_pictures.json" if arguments.large_pictures else "chat.json"
    out = ROOT / "benchmarks" / "results" / file
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    print(out)


if __name__ == "__main__":
    main()
