"""The container's files: linted, and their steps done by hand in a clean folder, without an engine."""

from __future__ import annotations

import base64
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from fnmatch import fnmatch
from pathlib import Path

import pytest
import yaml

from app.protection import Credentials

ROOT = Path(__file__).resolve().parents[2]
DOCKERFILE, COMPOSE = ROOT / "deploy" / "Dockerfile", ROOT / "deploy" / "compose.yaml"
PICTURE = ROOT / "assets" / "samples" / "red_circle.png"
Step = tuple[str, str]  # instruction and what follows it


def steps() -> list[Step]:
    """The Dockerfile's instructions, those that go on joined, without comments."""
    lines = [line for line in DOCKERFILE.read_text().splitlines() if not line.lstrip().startswith("#")]
    joined = re.sub(r"\\\n", " ", "\n".join(lines))
    return [
        (word, rest.strip())
        for word, _, rest in (line.partition(" ") for line in joined.splitlines() if line)
    ]


def ignored(path: str) -> bool:
    """Whether .dockerignore keeps a path out: the last pattern counts that names it or a folder above."""
    kept_out = False
    parts = path.split("/")
    above = ["/".join(parts[: i + 1]) for i in range(len(parts))]
    for line in (ROOT / ".dockerignore").read_text().splitlines():
        if not line or line.startswith("#"):
            continue
        pattern = line.removeprefix("!").removeprefix("**/")
        names = parts if "**/" in line else above
        if any(fnmatch(name, pattern) for name in names):
            kept_out = not line.startswith("!")
    return kept_out


@pytest.fixture
def compose() -> dict:
    """compose.yaml with MODEL=my and nothing else in the environment."""
    return interpolated(yaml.safe_load(COMPOSE.read_text()))


def interpolated(value):
    """As Compose does it, after parsing: what is not set becomes an empty string, not null."""
    if isinstance(value, dict):
        return {name: interpolated(one) for name, one in value.items()}
    if isinstance(value, list):
        return [interpolated(one) for one in value]
    return re.sub(r"\$\{(\w+)(?::([-?])([^}]*))?\}", filled, value) if isinstance(value, str) else value


def filled(match: re.Match[str]) -> str:
    return "my" if match[1] == "MODEL" else match[3] if match[2] == "-" else ""


def test_the_dockerfile_has_no_faults_that_hadolint_knows():
    beside = Path(sys.executable).with_name("hadolint")
    hadolint = str(beside) if beside.exists() else shutil.which("hadolint")
    if hadolint is None:
        pytest.skip("no hadolint here: pip install -r requirements-dev.txt")
    done = subprocess.run([hadolint, DOCKERFILE], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout


def test_compose_keeps_to_its_specification_and_to_what_is_safe(compose):
    specification = pytest.importorskip("compose_spec", reason="pip install -r requirements-dev.txt")
    specification.PyCompose.from_yaml(yaml.safe_dump(compose))
    pytest.importorskip("compose_lint", reason="pip install -r requirements-dev.txt")
    words = [sys.executable, "-m", "compose_lint", "check", COMPOSE]
    done = subprocess.run(words, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout


def test_every_service_of_ours_is_confined(compose):
    ours = {name: service for name, service in compose["services"].items() if name.startswith("app")}
    assert {tuple(service["profiles"]) for service in ours.values()} == {("cpu",), ("cuda",), ("vllm",)}
    for service in ours.values():
        assert service["read_only"] and service["cap_drop"] == ["ALL"]
        assert service["ports"] == ["127.0.0.1:7860:7860"]
        assert service["volumes"] == ["../models:/models:ro", "votes:/data"]
        limits = service["deploy"]["resources"]["limits"]
        assert limits["memory"] and float(limits["cpus"]) > 0
        assert "/live" in service["healthcheck"]["test"][-1]
    assert compose["networks"]["inside"]["internal"]
    assert "ports" not in compose["services"]["vllm"] and compose["services"]["vllm"]["networks"] == [
        "inside"
    ]


def test_compose_starts_the_app_with_a_password_or_without(compose, monkeypatch):
    for service in (one for name, one in compose["services"].items() if name.startswith("app")):
        environment = service["environment"]
        assert environment.keys() == {"LLAVA_TUNING_AUTH", "LLAVA_TUNING_API_KEY"}
        for name, value in environment.items():
            monkeypatch.delenv(name, raising=False)  # no value: passed on where it is set, else not there
            if value is not None:
                monkeypatch.setenv(name, value)
        assert not Credentials.from_environment()  # which refuses what is empty


@pytest.mark.parametrize("guide", ["deploy.md", "deploy_zh-CN.md"])
def test_a_container_has_a_place_for_votes_beside_its_read_only_files(guide):
    text = (ROOT / "docs" / guide).read_text(encoding="utf-8").replace("\\\n", " ")
    runs = [line for line in text.splitlines() if line.startswith("docker run")]
    assert len(runs) == 2
    for run in runs:
        assert "--read-only" in run and "--tmpfs /tmp" in run and "-v llava-votes:/data " in run
    said = steps()
    assert ("VOLUME", "/data") in said  # where nobody names one, an engine makes one
    assert "/data" in json.loads(dict(said)["ENTRYPOINT"])


def test_the_app_understands_what_compose_tells_it(compose, monkeypatch):
    from app import __main__ as app

    served = []
    monkeypatch.setattr(app, "serve", lambda *given, **named: served.append(given))
    monkeypatch.setattr(app, "chosen_folders", lambda *given: None)  # /models is not here
    entry = json.loads(dict(steps())["ENTRYPOINT"])
    assert entry[:3] == ["python", "-m", "app"]
    for name in ("app", "app-cuda", "app-vllm"):
        monkeypatch.setattr(sys, "argv", ["app", *entry[3:], *compose["services"][name]["command"]])
        app.main()
    assert [given[0] for given in served] == ["/models/my", "/models/my", "my"]
    assert [given[3] is not None for given in served] == [False, False, True]
    assert served[2][3].base_url == "http://vllm:8000/v1"


@pytest.mark.parametrize(
    ("path", "kept_out"),
    [
        ("app/server.py", False),
        ("assets/default/projector.safetensors", False),
        ("requirements.txt", False),
        ("models/my/model.safetensors", True),
        ("data/private.json", True),
        (".env", True),
        (".git/config", True),
        ("app/__pycache__/server.cpython-311.pyc", True),
        ("assets/screenshots/web_desk_light.png", True),
    ],
)
def test_no_weights_or_secrets_of_the_checkout_go_to_the_engine(path, kept_out):
    assert ignored(path) == kept_out


def run(command: str, place: Path, folder: Path, environment: dict[str, str]) -> None:
    words = ["bash", "-ec", command.replace("/opt/", f"{place}/opt/")]
    done = subprocess.run(words, cwd=folder, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, f"{command}\n{done.stdout[-2000:]}{done.stderr[-2000:]}"


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, dict[str, str]]]:
    """A folder in which the build stage's steps were done, and the environment that the image has."""
    place = tmp_path_factory.mktemp("image")
    kept = {name: os.environ[name] for name in ("PATH", "LANG", "NO_PROXY") if name in os.environ}
    # This machine's Python stands for the base image's; PyTorch's own index may be out of reach.
    kept |= {"PATH": f"{Path(sys.executable).parent}:{kept['PATH']}", "PIP_RETRIES": "0"}
    environment, folder, stage = dict(kept), place, -1
    tracked = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True)
    context = [name for name in tracked.stdout.splitlines() if not ignored(name)]
    for instruction, rest in steps():
        if instruction == "FROM":
            stage, environment = stage + 1, dict(kept)
        elif instruction == "ARG":
            name, _, value = rest.partition("=")
            environment[name] = value
        elif instruction == "ENV":
            for pair in shlex.split(rest):
                name, _, value = pair.partition("=")
                value = value.replace("/opt/", f"{place}/opt/")
                environment[name] = value.replace("$PATH", environment["PATH"])
        elif instruction == "WORKDIR":
            folder = place / rest.removeprefix("/")
            folder.mkdir(parents=True, exist_ok=True)
        elif instruction == "COPY" and not rest.startswith("--from"):
            *sources, target = rest.split()
            for name in context:
                source = next((s for s in sources if name == s or name.startswith(f"{s}/")), None)
                if source is None:
                    continue
                inside = name.removeprefix(f"{source}/") if "/" in name else name
                (folder / target / inside).parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(ROOT / name, folder / target / inside)
        elif instruction == "RUN" and stage == 0:
            run(rest, place, folder, environment)
        elif instruction == "RUN":  # needs root of its own; its paths are made here
            assert re.findall(r"(useradd|mkdir|chown) ", rest) == ["useradd", "mkdir", "chown"]
        else:
            assert instruction in (
                *("COPY", "USER", "VOLUME", "EXPOSE", "HEALTHCHECK", "ENTRYPOINT", "CMD"),
            ), instruction
    assert stage == 1
    yield place, environment
    shutil.rmtree(place)  # several GB


@pytest.mark.slow
def test_what_the_dockerfile_makes_answers_about_a_picture(
    image: tuple[Path, dict[str, str]],
    default_model: Path,
    as_user: Callable[..., list[str]],
    find_free_port: Callable[[], int],
    list_files: Callable[[Path], list[Path]],
    tmp_path: Path,
) -> None:
    place, environment = image
    app = place / "opt" / "llava-tuning"
    assert (app / "assets" / "samples").is_dir() and not list(app.rglob("*.safetensors"))
    said = dict(steps())
    assert said["USER"] == "1000:1000"
    port, writable = str(find_free_port()), tmp_path / "writable"
    writable.mkdir()
    shutil.copytree(default_model, place / "models" / "my")
    moved = {"/models": f"{place}/models", "/data": str(writable), "7860": port, "0.0.0.0": "127.0.0.1"}
    words = [moved.get(word, word) for word in json.loads(said["ENTRYPOINT"])]
    environment |= {"HOME": str(writable), "TMPDIR": str(writable)}
    before = {file: file.stat().st_mtime for file in list_files(place)}
    process = subprocess.Popen(
        as_user([*words, "--model", str(place / "models" / "my")], writable),
        cwd=place / said["WORKDIR"].removeprefix("/"),
        env=environment,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    lines: list[str] = []
    threading.Thread(target=lambda: lines.extend(process.stdout or []), daemon=True).start()
    try:
        deadline = time.monotonic() + 180
        while "ready: open" not in "".join(lines):
            assert process.poll() is None and time.monotonic() < deadline, "".join(lines)
            time.sleep(0.1)
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/health") as health:
            assert json.load(health)["model"] == "my"
        check = json.loads(said["HEALTHCHECK"].partition("CMD ")[2].replace("7860", port))
        assert subprocess.run(check, env=environment).returncode == 0
        assert answer(port).lower() == "red"
    finally:
        process.terminate()
        process.wait(60)
    assert {file: file.stat().st_mtime for file in list_files(place)} == before


def answer(port: str) -> str:
    """To a question about a picture, through OpenAI's interface."""
    picture = f"data:image/png;base64,{base64.b64encode(PICTURE.read_bytes()).decode()}"
    content = [
        {"type": "image_url", "image_url": {"url": picture}},
        {"type": "text", "text": "What color is the shape?"},
    ]
    body = {"model": "my", "temperature": 0, "messages": [{"role": "user", "content": content}]}
    request = urllib.request.Request(
        f"http://127.0.0.1:{port}/v1/chat/completions",
        json.dumps(body).encode(),
        {"Content-Type": "application/json"},
    )
    with urllib.request.urlopen(request) as reply:
        return str(json.load(reply)["choices"][0]["message"]["content"])
