"""An app on OpenXLab: `app.py` on port 7860, `requirements.txt`, `packages.txt`, weights by Git LFS."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

from llava_tuning.deployment.folder import new_folder, requirements, write_app
from llava_tuning.deployment.source import ModelSource, find_source, introduction
from llava_tuning.errors import UserError
from llava_tuning.inference.memory_modes import BITSANDBYTES

HOST = "https://code.openxlab.org.cn"
USER_VARIABLE, TOKEN_VARIABLE = "OPENXLAB_USER", "OPENXLAB_TOKEN"
# Read by git when it wants them, so that they stand in no address, file or list of processes.
_HELPER = f'!f() {{ echo "username=${USER_VARIABLE}"; echo "password=${TOKEN_VARIABLE}"; }}; f'
_TEXT = """# {title}

{what}: {name}, trained with LLaVA Tuning. OpenXLab starts `app.py`, which listens at port 7860.

{what_zh}，用 LLaVA Tuning 训练。OpenXLab 会运行 `app.py`，端口为 7860。

| variable 环境变量 | what it does 作用 |
|---|---|
| `LLAVA_TUNING_AUTH` | `user:password` that the page asks for 页面的用户名和密码 |
| `LLAVA_TUNING_API_KEY` | key that programs send 程序使用的密钥 |
| `OPENXLAB_USER`, `OPENXLAB_TOKEN` | to fetch a private model repository 下载私有模型仓库 |
"""


def write_openxlab(model: str, out: Path, title: str | None = None, replace: bool = False) -> ModelSource:
    """Write an OpenXLab app into the new folder `out`.

    Args:
        model: a model directory, "default", or a model repository (owner/name) of OpenXLab, which the app
            clones when it first starts.
        out: the folder; must not exist, or be empty, or see `replace`.
        title: heading of its README; None says the model's name.
        replace: whether `out` may hold an earlier app, which goes; its `.git` stays.

    Returns:
        the model that it runs.

    Raises:
        UserError: no such model, or `out` holds something.
    """
    source = find_source(model)
    with new_folder(out, replace) as folder:
        write_app(folder, source, "openxlab")
        title = title or f"LLaVA Tuning · {source.name}"
        text = _TEXT.format(title=title, name=source.name, **introduction(source))
        (folder / "README.md").write_text(text, encoding="utf-8")
        needs = requirements(cpu=False, replaced=(BITSANDBYTES,))  # for whatever card it gives
        (folder / "requirements.txt").write_text(needs, encoding="utf-8")
        (folder / "packages.txt").write_text("git\ngit-lfs\n", encoding="utf-8")
    return source


def fetch_model(repository: str) -> Path:
    """Clone a model repository of OpenXLab into the cache, once.

    A private one is read with OPENXLAB_USER and OPENXLAB_TOKEN from the environment. Git is used, not the
    `openxlab` package, whose old requirements (requests 2.28, rich 13.4, setuptools 60) exclude current ones.

    Raises:
        UserError: git or git-lfs is missing, or the repository cannot be read or holds no model.
    """
    from llava_tuning.models.cache import build_once
    from llava_tuning.models.kind import check_model_directory

    def clone(folder: Path) -> None:
        command = ["git", "-c", "credential.helper="]
        if os.environ.get(TOKEN_VARIABLE):
            command += ["-c", f"credential.helper={_HELPER}"]
        address = f"{HOST}/{repository}.git"
        _run([*command, "clone", "--depth", "1", address, str(folder)], repository)
        _run([*command, "-C", str(folder), "lfs", "pull"], repository)
        check_model_directory(folder)

    return build_once(f"openxlab-{repository.replace('/', '--')}", clone)


def _run(command: list[str], repository: str) -> None:
    # Without a terminal git must not wait for a password, and LFS files come with the pull alone.
    environment = os.environ | {"GIT_TERMINAL_PROMPT": "0", "GIT_LFS_SKIP_SMUDGE": "1"}
    try:
        done = subprocess.run(command, env=environment, capture_output=True, text=True)
    except FileNotFoundError:
        raise UserError(f"{repository}: git is not installed; add git and git-lfs to packages.txt") from None
    if done.returncode:
        said = " ".join((done.stderr or done.stdout).split())[-300:]
        raise UserError(
            f"{repository}: cannot be fetched from OpenXLab ({said}); check the name, and for a private "
            f"repository {USER_VARIABLE} and {TOKEN_VARIABLE}"
        )
