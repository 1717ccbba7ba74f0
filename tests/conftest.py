"""For all tests: a home of their own, no hub, and models to ask."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TextIO

import forked
import pytest

# Set before anything of the project, or huggingface_hub, is imported: both read their folders early.
# The project's own cache is shared between runs, because preparing SmolLM2 anew takes half a minute.
ROOT = Path(__file__).resolve().parents[1]
os.environ.setdefault("LLAVA_TUNING_CACHE", str(ROOT / "build" / "test-cache"))
_home = tempfile.TemporaryDirectory(prefix="llava-tuning-test-home-", ignore_cleanup_errors=True)
os.environ["HOME"] = _home.name
os.environ["HF_HOME"] = str(Path(_home.name) / "huggingface")
os.environ["HF_HUB_OFFLINE"] = "1"
if WORKERS := int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", 0)):
    # Read when torch is imported, here and by what the tests start.
    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, (os.cpu_count() or 1) // WORKERS)))


def pytest_configure(config: pytest.Config) -> None:
    """Once, whatever the number of workers: no test reads tokens that an earlier run of the tests made."""
    # A background job ignores Ctrl-C, and so would all that the tests start and interrupt.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    if not hasattr(config, "workerinput"):
        for directory in Path(os.environ["LLAVA_TUNING_CACHE"]).glob("tokens-*"):
            shutil.rmtree(directory)


@pytest.fixture(scope="session")
def default_model() -> Path:
    """The embedded default's directory."""
    from llava_tuning.errors import UserError
    from llava_tuning.models.default import resolve_model

    try:
        return resolve_model("default")
    except UserError as error:
        pytest.skip(f"the embedded default is not there: {error}")


@pytest.fixture(scope="session")
def text_model() -> Path:
    """A plain Llama directory: the prepared SmolLM2."""
    from llava_tuning.models.smollm2 import smollm2_directory

    return smollm2_directory()


@pytest.fixture(scope="session")
def blind_llava(text_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """SmolLM2 behind a random vision tower and projector: answers sensibly in text, and takes pictures."""
    import torch
    from transformers import AutoTokenizer, CLIPVisionConfig, CLIPVisionModel, LlamaForCausalLM
    from transformers.models.llava.image_processing_pil_llava import LlavaImageProcessorPil

    from llava_tuning.models.llava import assemble, new_projector, save_llava

    torch.manual_seed(0)
    llm = LlamaForCausalLM.from_pretrained(text_model, dtype=torch.float32)
    vision = CLIPVisionModel(
        CLIPVisionConfig(
            hidden_size=32,
            intermediate_size=64,
            num_hidden_layers=2,
            num_attention_heads=2,
            image_size=32,
            patch_size=8,
            projection_dim=16,
        )
    )
    processor = LlavaImageProcessorPil(
        do_pad=True, size={"shortest_edge": 32}, crop_size={"height": 32, "width": 32}
    )
    projector = new_projector(32, llm.config.hidden_size).state_dict()
    model, llava_processor = assemble(
        llm, vision, projector, AutoTokenizer.from_pretrained(text_model), processor
    )
    out = tmp_path_factory.mktemp("models") / "blind"
    save_llava(model.to(torch.bfloat16), llava_processor, out)
    return out


@pytest.fixture
def free_port() -> int:
    return find_port()


@pytest.fixture(scope="session")
def find_free_port() -> Callable[[], int]:
    return find_port


def find_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@dataclass
class RunningApp:
    """`python -m app`, forked unless it was asked for as a user starts it."""

    url: str
    port: int
    process: forked.Forked | subprocess.Popen[str]
    printed: TextIO
    lines: list[str] = field(default_factory=list)

    def follow(self) -> None:
        self.lines.extend(iter(self.printed.readline, ""))

    @property
    def output(self) -> str:
        return "".join(self.lines)

    def health(self) -> dict[str, Any]:
        """What /health says, with the `status` of an answer other than 200."""
        try:
            report: dict[str, Any] = json.load(urllib.request.urlopen(f"{self.url}/health"))
        except urllib.error.HTTPError as error:
            return {"status": error.code, **json.load(error)}
        return report

    def wait_for_questions(self, count: int) -> None:
        """Until the model is busy with so many."""
        deadline = time.monotonic() + 20
        while self.health()["questions"] != count:
            assert time.monotonic() < deadline, self.health()
            time.sleep(0.05)


def _starts_apps(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., RunningApp]]:
    """Starts the app with options and further environment variables, and waits until it can be used."""
    started = []

    def start(*options: str, as_a_user: bool = False, **environment: str) -> RunningApp:
        port = find_port()
        env = os.environ | {
            "HF_HUB_OFFLINE": "1",
            "PYTHONPATH": str(ROOT),
            "TMPDIR": str(tmp_path_factory.mktemp("app")),
            "NO_PROXY": "127.0.0.1",
        }
        # Started elsewhere than in the project, as an installed command may be.
        command = [sys.executable, "-m", "app", "--port", str(port), *options]
        where = {"cwd": tmp_path_factory.mktemp("elsewhere"), "env": env | environment}
        if as_a_user:
            pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
            process = subprocess.Popen(command, text=True, **where, **pipes)
            printed = process.stdout
        else:
            process, printed = forked.start(command, **where)
        started.append(process)
        running = RunningApp(f"http://127.0.0.1:{port}", port, process, printed)
        threading.Thread(target=running.follow, daemon=True).start()
        deadline = time.monotonic() + 180
        while not re.search(r"ready: open", running.output):
            assert process.poll() is None and time.monotonic() < deadline, running.output
            time.sleep(0.1)
        return running

    yield start
    for process in started:
        process.terminate()
    try:
        for process in started:
            process.wait(20)
    finally:
        for process in started:
            process.kill()


@pytest.fixture(scope="module")
def start_app(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., RunningApp]]:
    """See `_starts_apps`; they end with the file's tests, because each holds more than a gigabyte."""
    yield from _starts_apps(tmp_path_factory)


@pytest.fixture(scope="session")
def start_lasting_app(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., RunningApp]]:
    """See `_starts_apps`; for those that several files use."""
    yield from _starts_apps(tmp_path_factory)


@pytest.fixture(scope="session")
def app(start_lasting_app: Callable[..., RunningApp], request: pytest.FixtureRequest) -> RunningApp:
    """The app on the embedded model."""
    # LLAVA_TUNING_TEST_MODEL lets a developer try another model directory on the same page.
    model = os.environ.get("LLAVA_TUNING_TEST_MODEL", "default")
    if model == "default":
        request.getfixturevalue("default_model")  # assembled once, before the start is watched
    return start_lasting_app("--model", model, SSH_CONNECTION="10.0.0.2 50000 10.0.0.1 22")


@pytest.fixture(scope="session")
def text_app(start_lasting_app: Callable[..., RunningApp], text_model: Path) -> RunningApp:
    """The app on a model without eyes."""
    return start_lasting_app("--model", str(text_model))
