"""LMDeploy's LLaVA code on a model directory, on a CPU. `make test-engines` runs it."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
from engine_cases import (
    MAX_NEW_TOKENS,
    Case,
    Computed,
    broken_copies,
    engine_environment,
    engine_python,
    guide_command,
    openai_messages,
    output_of,
)
from safetensors import safe_open

pytestmark = pytest.mark.slow

HELPER = Path(__file__).resolve().parents[1] / "helpers" / "answer_in_lmdeploy.py"
LLAVA = "lmdeploy.pytorch.models.llava.LlavaForConditionalGeneration"


@pytest.fixture(scope="session", autouse=True)
def python() -> Path:
    """Before anything is computed, since all is skipped without it."""
    return engine_python("lmdeploy")


@pytest.fixture(scope="module")
def found(
    python: Path,
    default_model: Path,
    blind_llava: Path,
    asked: list[Case],
    tmp_path_factory: pytest.TempPathFactory,
) -> Any:
    copies = broken_copies(default_model, tmp_path_factory.mktemp("broken"))
    given = {
        "directory": str(default_model),
        "cases": [openai_messages(case) for case in asked],
        "max_new_tokens": MAX_NEW_TOKENS,
        "others": [str(directory) for directory in (blind_llava, *copies)],
        "command": guide_command("lmdeploy serve"),
    }
    command = [str(python), str(HELPER)]
    return json.loads(output_of(command, engine_environment(), json.dumps(given)).partition("found:\n")[2])


def test_its_loader_fills_its_llava_class_and_leaves_nothing_over(
    found: Any, default_model: Path, blind_llava: Path
) -> None:
    *whole, renamed, missing, newer = found["loaded"]
    assert whole == [
        {"class": LLAVA, "numbers": numbers(directory), "left_empty": []}
        for directory in (default_model, blind_llava)
    ]
    assert "multi_modal_projector.linear_3" in renamed["error"]
    assert missing["left_empty"] == ["language_model.model.layers.3.mlp.gate_up_proj.weight"]
    assert "vision_tower.embeddings.class_embedding" in newer["error"]


def test_its_prompts_are_ours_to_the_token(found: Any, computed: list[Computed]) -> None:
    assert [answer["input_ids"] for answer in found["answers"]] == [
        expected.input_ids for expected in computed
    ]


def test_its_probabilities_are_ours(found: Any, computed: list[Computed], asked: list[Case]) -> None:
    """Of every token of a prompt; pictures, shrunk by torchvision, are a grey level off here and there."""
    for case, answer, expected in zip(asked, found["answers"], computed, strict=True):
        tolerance = 0.02 if any(turn.pictures for turn in case) else 1e-4
        assert answer["log_probabilities"] == pytest.approx(expected.log_probabilities, abs=tolerance)


def test_its_answers_are_ours(found: Any, computed: list[Computed]) -> None:
    assert [answer["answer"].strip() for answer in found["answers"]] == [
        expected.answer.strip() for expected in computed
    ]


def test_it_understands_the_guides_command(found: Any) -> None:
    assert found["command"] == "models/my"


def numbers(directory: Path) -> int:
    """In the file, and the output layer, which it keeps apart from the embedding."""
    config = json.loads((directory / "config.json").read_text())["text_config"]
    assert config["tie_word_embeddings"]
    with safe_open(directory / "model.safetensors", framework="pt") as file:
        held = sum(math.prod(file.get_slice(name).get_shape()) for name in file.keys())  # noqa: SIM118
    return held + config["vocab_size"] * config["hidden_size"]
