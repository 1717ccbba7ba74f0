"""The part of a deployed app that is the same on every platform."""

from __future__ import annotations

import json
import re
import shutil
import tempfile
from collections.abc import Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from llava_tuning.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from llava_tuning.deployment.source import ModelSource

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("app", "llava_tuning")
PICTURES = Path("assets", "samples")  # the page's examples
CPU_INDEX = "https://download.pytorch.org/whl/cpu"
LARGE_BYTES = 10_000_000  # a larger file goes through Git LFS, or the hub refuses it
_MODEL_FILES = ("*.safetensors", "*.json", "*.jinja", "tokenizer.model")
_LFS = "filter=lfs diff=lfs merge=lfs -text"
_MARK = '"""What the platform starts: `python app.py`. Written by `llava-tuning deploy`."""'
_START = (
    _MARK
    + """

import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE / "src"))

from app.hosted import main  # noqa: E402

main({arguments})
"""
)


@contextmanager
def new_folder(out: Path, replace: bool = False) -> Iterator[Path]:
    """A folder to fill, which becomes `out` once it is whole; nothing is changed where filling it fails.

    Args:
        out: does not exist, or is empty.
        replace: whether it may also be a folder that was made so; all but its `.git` goes.

    Raises:
        UserError: `out` is something else.
    """
    if out.is_file() or (out.is_dir() and any(out.iterdir())):
        ours = (out / "app.py").is_file() and (out / "app.py").read_text(encoding="utf-8").startswith(_MARK)
        if not ours:
            raise UserError(f"--out {out}: holds something else; remove it or choose another folder")
        if not replace:
            raise UserError(f"--out {out}: holds an earlier app; add --replace or choose another folder")
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        building = Path(tempfile.mkdtemp(prefix=f".{out.name}.", dir=out.parent))
    except OSError as error:
        raise UserError(
            f"--out {out}: cannot be made here ({error.strerror}); choose another folder"
        ) from None
    building.chmod(0o755)
    try:
        yield building
        _put(building, out)
    except BaseException:
        shutil.rmtree(building, ignore_errors=True)
        raise


def _put(building: Path, out: Path) -> None:
    earlier = building.with_name(f"{building.name}.earlier")
    if out.exists():
        out.rename(earlier)
        if (earlier / ".git").exists():
            (earlier / ".git").rename(building / ".git")
    building.rename(out)
    shutil.rmtree(earlier, ignore_errors=True)


def write_app(folder: Path, source: ModelSource, hub: str) -> None:
    """Write `app.py`, `src/` and LICENSE, the model below `model/` where it is a directory, `.gitattributes`.

    Args:
        folder: where to.
        source: the model.
        hub: which hub a repository is on, for `app.hosted.main`.

    Raises:
        UserError: this is no complete checkout of the project.
    """
    if not (ROOT / PICTURES).is_dir() or not (ROOT / "requirements.txt").is_file():
        raise UserError(f"{ROOT}: holds no requirements.txt or assets; deploy from a complete checkout")
    if source.directory is None:
        arguments = f'"{source.repository}", "{hub}"'
    else:
        arguments = f'HERE / "model" / {json.dumps(source.name, ensure_ascii=False)}'
        _copy_model(source.directory, folder / "model" / source.name)
    (folder / "app.py").write_text(_START.format(arguments=arguments), encoding="utf-8")
    ignored = shutil.ignore_patterns("__pycache__", ".*")
    for name in PACKAGES:
        shutil.copytree(ROOT / name, folder / "src" / name, ignore=ignored)
    shutil.copytree(ROOT / PICTURES, folder / "src" / PICTURES, ignore=ignored)
    shutil.copyfile(ROOT / "LICENSE", folder / "LICENSE")
    (folder / ".gitattributes").write_text(_attributes(folder), encoding="utf-8")


def requirements(cpu: bool, replaced: Sequence[str] = ()) -> str:
    """The project's requirements, as `requirements.txt` of a platform.

    Args:
        cpu: prefer PyTorch's CPU builds, which are a tenth as large.
        replaced: requirements that stand in for those of the same package, or come in addition.
    """
    names = {_package(line): line for line in replaced}
    lines = [f"--extra-index-url {CPU_INDEX}"] if cpu else []
    for line in (ROOT / "requirements.txt").read_text(encoding="utf-8").splitlines():
        requirement = line.partition("#")[0].strip()
        if requirement:
            lines.append(names.pop(_package(requirement), requirement))
    return "\n".join([*lines, *names.values(), ""])


def pinned_version(package: str) -> str:
    """The version that the project's requirements pin with `==`."""
    lines = (ROOT / "requirements.txt").read_text(encoding="utf-8").splitlines()
    return next(line.partition("==")[2].split()[0] for line in lines if line.startswith(f"{package}=="))


def _package(requirement: str) -> str:
    return re.split(r"[^\w.-]", requirement, maxsplit=1)[0].lower()


def _copy_model(directory: Path, target: Path) -> None:
    target.mkdir(parents=True)
    for pattern in _MODEL_FILES:
        for file in directory.glob(pattern):
            shutil.copyfile(file, target / file.name)


def _attributes(folder: Path) -> str:
    by_kind = ("*.safetensors", "*.png", "*.model")
    large = {file.name for file in folder.rglob("*") if file.is_file() and file.stat().st_size > LARGE_BYTES}
    names = sorted(name for name in large if not name.endswith(".safetensors"))
    return "".join(f"{pattern} {_LFS}\n" for pattern in (*by_kind, *names))
