"""What other engines are asked, and what this project computes for the same: ids, probabilities, answers."""

from __future__ import annotations

import base64
import os
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

from llava_tuning.inference.backend import ChatMessage, GenerationSettings, load_backend
from llava_tuning.models.conversation import Message, render_conversation
from llava_tuning.models.llava import load_llava
from llava_tuning.models.pictures import open_picture

ROOT = Path(__file__).resolve().parents[2]
SAMPLES = sorted((ROOT / "assets" / "samples").glob("*.png"))
MAX_NEW_TOKENS = 24


@dataclass(frozen=True)
class Turn:
    role: str
    text: str
    pictures: tuple[Path, ...] = ()


Case = tuple[Turn, ...]


@dataclass(frozen=True)
class Computed:
    """Of one case."""

    input_ids: list[int]
    log_probabilities: list[float]  # of each id but the first, by those before it
    answer: str


def write_cases(folder: Path) -> list[Case]:
    """Texts; three questions about each sample; pictures that are not square; two pictures; a second turn."""
    wide, tall = folder / "wide.png", folder / "tall.png"
    with Image.open(SAMPLES[0]) as picture:
        width, height = picture.size
        picture.crop((0, height // 4, width, height // 4 * 3)).save(wide)
        picture.crop((width // 3, 0, width // 3 * 2, height)).save(tall)
    texts = ["What is the capital of France?", "Name three animals.", "Write one sentence about the sea."]
    questions = ["What shape is in the image?", "What color is the shape?", "Is there a circle?"]
    cases: list[Case] = [(Turn("user", text),) for text in texts]
    cases += [(Turn("user", text, (sample,)),) for sample in SAMPLES for text in questions]
    cases += [(Turn("user", questions[0], (picture,)),) for picture in (wide, tall)]
    cases.append((Turn("user", questions[0], (SAMPLES[0], SAMPLES[1])),))
    first = (Turn("user", texts[0]), Turn("assistant", "The capital of France is Paris."))
    cases.append((*first, Turn("user", questions[1], (SAMPLES[1],))))
    return cases


def openai_messages(case: Case) -> list[dict[str, Any]]:
    messages = []
    for turn in case:
        parts: list[dict[str, Any]] = [
            {
                "type": "image_url",
                "image_url": {"url": "data:image/png;base64," + base64.b64encode(path.read_bytes()).decode()},
            }
            for path in turn.pictures
        ]
        content: Any = [*parts, {"type": "text", "text": turn.text}] if parts else turn.text
        messages.append({"role": turn.role, "content": content})
    return messages


def compute_here(directory: Path, cases: list[Case]) -> list[Computed]:
    """With transformers on the CPU, in float32, as `chat` and the web app do."""
    model, tokenizer, processor = load_llava(directory, torch.float32)
    backend = load_backend(str(directory), device="cpu", load_in="float32")
    settings = GenerationSettings(temperature=0, max_new_tokens=MAX_NEW_TOKENS)
    found = []
    for case in cases:
        ids = render_conversation(
            tokenizer,
            [Message(turn.role, turn.text, len(turn.pictures)) for turn in case],
            image_token_id=model.config.image_token_index,
            tokens_per_image=model.config.image_seq_length,
            generation_prompt=True,
        ).input_ids
        pictures = [open_picture(path) for turn in case for path in turn.pictures]
        pixels = processor(images=pictures, return_tensors="pt")["pixel_values"] if pictures else None
        row = torch.tensor([ids])
        with torch.inference_mode():
            logits = model(input_ids=row, pixel_values=pixels).logits[0, :-1]  # (tokens - 1, vocabulary)
        likely = logits.log_softmax(-1).gather(1, row[0, 1:, None])[:, 0]
        chat = [
            ChatMessage(turn.role, turn.text, tuple(open_picture(path) for path in turn.pictures))
            for turn in case
        ]
        found.append(Computed(ids, likely.tolist(), "".join(backend.stream(chat, settings))))
    return found


def guide_command(start: str) -> str:
    """The command of docs/serving.md that starts so, on one line."""
    text = (ROOT / "docs" / "serving.md").read_text(encoding="utf-8").replace("\\\n", "")
    return next(line for line in text.splitlines() if line.startswith(start))


def engine_python(engine: str) -> Path:
    """The Python that `make test-engines` installed an engine for; skips where it has not."""
    python = ROOT / "build" / engine / "bin" / "python"
    if not (python.parents[1] / ".ready").is_file():
        pytest.skip(f"build/{engine} is not there: `make test-engines` installs it, see docs/serving.md")
    return python


def engine_environment(**values: str) -> dict[str, str]:
    """This one's, less what is meant for this project's own Python."""
    return {**{name: value for name, value in os.environ.items() if name != "PYTHONPATH"}, **values}


def broken_copies(directory: Path, folder: Path) -> list[Path]:
    """A tensor renamed, one missing, and the tower's names of transformers 5.6: none is to load unnoticed."""
    weights = load_file(directory / "model.safetensors")
    changed = {
        "renamed": {name.replace("linear_2", "linear_3"): weight for name, weight in weights.items()},
        "missing": {name: weight for name, weight in weights.items() if ".3.mlp.up_proj." not in name},
        "newer": {name.replace(".vision_model.", "."): weight for name, weight in weights.items()},
    }
    for kind, broken in changed.items():
        (folder / kind).mkdir()
        for file in directory.iterdir():
            if file.name != "model.safetensors":
                (folder / kind / file.name).symlink_to(file)
        save_file(broken, folder / kind / "model.safetensors", metadata={"format": "pt"})
    return [folder / kind for kind in changed]


def output_of(command: list[str], environment: dict[str, str], given: str = "") -> str:
    done = subprocess.run(command, env=environment, input=given, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-4000:]
    return done.stdout
