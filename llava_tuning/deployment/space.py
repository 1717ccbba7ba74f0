"""A Hugging Face Space.

What a Space needs: https://huggingface.co/docs/hub/spaces-config-reference, .../spaces-dependencies and
.../spaces-zerogpu. Its build installs `requirements.txt` before the other files are there, so the packages
lie beside `app.py` and are not installed.
"""

from __future__ import annotations

import re
from pathlib import Path

from llava_tuning.deployment.folder import new_folder, pinned_version, requirements, write_app
from llava_tuning.deployment.source import ModelSource, find_source, introduction
from llava_tuning.errors import UserError
from llava_tuning.inference.memory_modes import BITSANDBYTES
from llava_tuning.models.default import DEFAULT_NAME
from llava_tuning.models.hub import HUB_ID, check_hub_id, check_model_repository

ZERO_GPU = "zero-a10g"  # the hub's name for ZeroGPU, whatever cards it has now
PYTHON = "3.11"
# The newest that ZeroGPU's documentation lists.
ZERO_GPU_PYTHON, ZERO_GPU_REQUIREMENTS = "3.12.12", ("torch==2.11.0", "spaces")
START_TIMEOUT = "1h"  # the hub's own 30 minutes are little for a download of weights
_TEXT = """
# {title}

{what}: {name}, deployed with LLaVA Tuning. Programs are answered too, by OpenAI's API at `/v1`.

{what_zh}，用 LLaVA Tuning 部署；程序也可通过 `/v1`（OpenAI 接口）提问。

Settings → Variables and secrets:

| secret | what it does 作用 |
|---|---|
| `LLAVA_TUNING_AUTH` | `user:password` that the page asks for 页面的用户名和密码 |
| `LLAVA_TUNING_API_KEY` | key that programs send 程序使用的密钥 |

Votes on answers are kept in `/data` where the Space has storage there, else until it restarts.
"""


def write_space(
    model: str,
    out: Path,
    hardware: str = "cpu-basic",
    title: str | None = None,
    licence: str | None = None,
    replace: bool = False,
) -> ModelSource:
    """Write a Space into the new folder `out`.

    Args:
        model: a model directory, "default", or a model repository (owner/name) of the hub, which the Space
            downloads when it is built.
        out: the folder; must not exist, or be empty, or see `replace`.
        hardware: a flavour of the hub's, such as "cpu-basic" or "t4-small", or "zerogpu".
        title: of the page; None says the model's name.
        licence: the hub's identifier, such as "apache-2.0"; None is "other", but for the embedded default.
        replace: whether `out` may hold an earlier app, which goes.

    Returns:
        the model that it runs.

    Raises:
        UserError: no such model, hardware or licence, or `out` holds something.
    """
    hardware = check_hardware(hardware)
    licence = licence or ("apache-2.0" if model == DEFAULT_NAME else "other")
    if not re.fullmatch(r"[a-z0-9][a-z0-9.-]*", licence):
        raise UserError(f"--license {licence}: not an identifier of the hub's; give one such as apache-2.0")
    source = find_source(model)
    if source.repository is not None:
        check_hub_id(source.repository)
    title = title or f"LLaVA Tuning · {source.name}"
    zero = hardware == ZERO_GPU
    with new_folder(out, replace) as folder:
        write_app(folder, source, "hub")
        card = _card(source, hardware, title, licence)
        (folder / "README.md").write_text(card, encoding="utf-8")
        cpu = hardware.startswith("cpu")
        # On a card of its own, a model that is too large in half precision is loaded in 8 or 4 bits.
        others = ZERO_GPU_REQUIREMENTS if zero else () if cpu else (BITSANDBYTES,)
        needs = requirements(cpu, others)
        (folder / "requirements.txt").write_text(needs, encoding="utf-8")
        (folder / "packages.txt").write_text("", encoding="utf-8")  # Debian packages: none is needed
    return source


def check_hardware(hardware: str) -> str:
    """The hub's name of a hardware flavour.

    Raises:
        UserError: there is none of this name; names all.
    """
    from huggingface_hub import SpaceHardware

    known = [flavour.value for flavour in SpaceHardware]
    chosen = ZERO_GPU if hardware in ("zerogpu", "zero-gpu") else hardware
    if chosen not in known:
        raise UserError(f"--hardware {hardware}: unknown; choose zerogpu, {', '.join(known)}")
    return chosen


def check_push(repository: str, model: str) -> None:
    """Find out before anything is written whether it can be uploaded, and whether the hub has the model.

    Raises:
        UserError: not owner/name, nobody is logged in, or `model` is a repository that the hub has not.
    """
    from huggingface_hub import get_token

    if not HUB_ID.fullmatch(repository):
        raise UserError(f"--push {repository}: not the name of a Space; give owner/name")
    if get_token() is None:
        raise UserError("--push: nobody is logged in; run `hf auth login`, or set HF_TOKEN")
    if (repository_of_model := find_source(model).repository) is not None:
        check_model_repository(repository_of_model)


def push_space(folder: Path, repository: str, hardware: str | None = None, public: bool = False) -> str:
    """Make the Space where it is not there yet, and upload the folder, with the token of `hf auth login`.

    Args:
        folder: what `write_space` wrote.
        repository: owner/name.
        hardware: asked for where it is named; the Space's own stays where None.
        public: whether everybody sees a Space that is new; one that is there stays as it is.

    Returns:
        its address.

    Raises:
        UserError: the hub cannot be reached, or refuses; says what it said.
    """
    from huggingface_hub import HfApi, SpaceHardware

    api = HfApi()
    try:
        url = api.create_repo(
            repository, repo_type="space", space_sdk="gradio", private=not public, exist_ok=True
        )
        if hardware is not None:
            api.request_space_hardware(repository, SpaceHardware(check_hardware(hardware)))
        api.upload_folder(
            repo_id=repository,
            repo_type="space",
            folder_path=folder,
            commit_message="Deploy with LLaVA Tuning",
            delete_patterns=["src/**", "model/**"],  # what an earlier version left there
        )
    except UserError:
        raise
    except Exception as error:  # whatever the hub's library of this version raises
        reason = " ".join(str(error).split())[:300] or type(error).__name__
        raise UserError(
            f"--push {repository}: the hub did not take it ({reason}); {folder} is written; "
            "mend that and run the same command with --replace"
        ) from error
    return str(url)


def _card(source: ModelSource, hardware: str, title: str, licence: str) -> str:
    import yaml

    fields: dict[str, object] = {
        "title": title,
        "emoji": "👀",
        "colorFrom": "blue",
        "colorTo": "indigo",
        "sdk": "gradio",
        "sdk_version": pinned_version("gradio"),
        "python_version": ZERO_GPU_PYTHON if hardware == ZERO_GPU else PYTHON,
        "app_file": "app.py",
        "pinned": False,
        "license": licence,
        "short_description": "An assistant that can see" if source.sees else "An assistant",
        "suggested_hardware": hardware,
        "startup_duration_timeout": START_TIMEOUT,
    }
    if source.repository is not None:
        fields |= {"models": [source.repository], "preload_from_hub": [source.repository]}
    front = yaml.safe_dump(fields, sort_keys=False, allow_unicode=True)
    return f"---\n{front}---\n{_TEXT.format(title=title, name=source.name, **introduction(source))}"
