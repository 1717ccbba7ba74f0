"""Reference data, and base models prepared once for all tests of this folder."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from engine_cases import Case, Computed

REFERENCE = Path(__file__).resolve().parents[2] / ".." / "shared" / "internlm2"


@pytest.fixture(scope="session")
def reference() -> Path:
    """The folder with InternLM2's reference data."""
    if not (REFERENCE / "tiny_chat" / "model.safetensors").is_file():
        pytest.skip("InternLM2's reference data (../shared/internlm2) is not there")
    return REFERENCE.resolve()


@pytest.fixture(scope="session")
def tiny_chat(reference: Path) -> Path:
    """A small InternLM2 checkpoint in the layout of the hub's."""
    return reference / "tiny_chat"


@pytest.fixture(scope="session")
def tiny_llama(tiny_chat: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`tiny_chat` prepared."""
    from llava_tuning.models.prepare import prepare

    return prepare(str(tiny_chat), tmp_path_factory.mktemp("prepared") / "tiny")


@pytest.fixture(scope="session")
def smollm2(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The embedded language model, in a cache of the tests' own where none is set."""
    from llava_tuning.models.smollm2 import smollm2_directory

    if "LLAVA_TUNING_CACHE" in os.environ:
        return smollm2_directory()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LLAVA_TUNING_CACHE", str(tmp_path_factory.mktemp("cache")))
        return smollm2_directory()


@pytest.fixture(scope="session")
def chat_golden(reference: Path) -> list[dict]:
    return json.loads((reference / "chat_template_golden.json").read_text(encoding="utf-8"))


@pytest.fixture(scope="session")
def token_golden(reference: Path) -> list[dict]:
    lines = (reference / "tokenizer_golden.jsonl").read_text(encoding="utf-8").splitlines()
    return [json.loads(line) for line in lines]


@pytest.fixture(scope="session")
def asked(tmp_path_factory: pytest.TempPathFactory) -> list[Case]:
    """What other engines are asked."""
    from engine_cases import write_cases

    return write_cases(tmp_path_factory.mktemp("pictures"))


@pytest.fixture(scope="session")
def computed(default_model: Path, asked: list[Case]) -> list[Computed]:
    """What this project computes for it."""
    from engine_cases import compute_here

    return compute_here(default_model, asked)
