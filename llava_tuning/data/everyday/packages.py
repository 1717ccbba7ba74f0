"""The packages that everyday pictures come from, each with a free licence, and how they are fetched."""

from __future__ import annotations

import shutil
import subprocess
import tarfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from llava_tuning.errors import UserError


@dataclass(frozen=True)
class Package:
    """A package of npm or Debian; `version` is the one that was used, None for the system's own."""

    key: str
    source: Literal["npm", "debian"]
    name: str
    version: str | None
    licence: str
    holds: str


PACKAGES = (
    Package("emojibase", "npm", "emojibase-data", "17.0.0", "MIT", "names and groups, English and Chinese"),
    Package("openmoji", "npm", "openmoji", "17.0.0", "CC-BY-SA-4.0", "emoji"),
    Package("fluent", "npm", "fluentui-emoji", "1.3.0", "MIT", "emoji in three styles"),
    Package("twemoji", "npm", "@iconify-json/twemoji", "1.2.5", "CC-BY-4.0", "emoji"),
    Package("emojione", "npm", "@iconify-json/emojione", "1.2.3", "CC-BY-4.0", "emoji"),
    Package("emojione-v1", "npm", "@iconify-json/emojione-v1", "1.2.3", "CC-BY-SA-4.0", "emoji"),
    Package("fxemoji", "npm", "@iconify-json/fxemoji", "1.2.2", "Apache-2.0", "emoji"),
    Package("streamline", "npm", "@iconify-json/streamline-emojis", "1.2.4", "CC-BY-4.0", "emoji"),
    Package(
        "emojione-monotone", "npm", "@iconify-json/emojione-monotone", "1.2.1", "CC-BY-4.0", "emoji, one tone"
    ),
    Package("fluent-3d", "npm", "@lobehub/fluent-emoji-3d", "1.1.0", "MIT", "Fluent emoji as solids"),
    Package("symbola", "debian", "fonts-symbola", None, "free for any use", "emoji, one tone"),
    Package("noto", "debian", "fonts-noto-color-emoji", None, "OFL-1.1 and Apache-2.0", "emoji"),
    Package(
        "tuxpaint", "debian", "tuxpaint-stamps-default", None, "GPL-2+", "captioned drawings and photographs"
    ),
    Package("openclipart", "debian", "openclipart-png", None, "public domain", "clip art"),
)

_TRAIN, _TEST = "photographs to train on", "photographs to test with"
PHOTOGRAPHS = (
    Package("gcompris", "debian", "gcompris-qt-data", None, "public domain, CC, GFDL, GPL", _TRAIN),
    Package("mate", "debian", "mate-backgrounds", None, "GPL-2+, CC-BY-SA-4.0", _TEST),
    Package("lomiri", "debian", "lomiri-wallpapers-16.04", None, "CC-BY, CC-BY-SA, CC0", _TEST),
    Package("skimage", "debian", "python3-skimage", None, "public domain, CC0", _TEST),
)


def fetch(
    folder: Path,
    said: Callable[[str], None] = lambda what: None,
    packages: Sequence[Package] | None = None,
) -> dict[str, Path]:
    """Download and unpack the packages that `folder` lacks; what is there is left alone.

    Args:
        folder: each package gets a folder of its key in it.
        packages: those of everyday pictures unless given.
        said: called with a package's name before it is downloaded.

    Returns:
        key → the unpacked package's folder.

    Raises:
        UserError: npm or apt-get is missing or cannot get a package.
    """
    folder.mkdir(parents=True, exist_ok=True)
    found = {}
    for package in PACKAGES if packages is None else packages:
        found[package.key] = place = folder / package.key
        if place.is_dir():
            continue
        said(f"{package.name} ({package.licence})")
        getting = folder / f".{package.key}.part"
        shutil.rmtree(getting, ignore_errors=True)
        getting.mkdir()
        (_from_npm if package.source == "npm" else _from_debian)(package, getting)
        getting.rename(place)
    return found


def _from_npm(package: Package, folder: Path) -> None:
    _run(package, "npm", ["npm", "pack", "--silent", f"{package.name}@{package.version}"], folder)
    archive = next(folder.glob("*.tgz"))
    with tarfile.open(archive) as tar:
        tar.extractall(folder, filter="data")
    archive.unlink()


def _from_debian(package: Package, folder: Path) -> None:
    _run(package, "apt-get (on Debian or Ubuntu)", ["apt-get", "download", package.name], folder)
    archive = next(folder.glob("*.deb"))
    _run(package, "dpkg-deb", ["dpkg-deb", "-x", archive.name, "."], folder)
    archive.unlink()


def _run(package: Package, tool: str, command: list[str], folder: Path) -> None:
    if shutil.which(command[0]) is None:
        raise UserError(f"{package.name} comes by {tool}, which is not installed; install it")
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    if done.returncode:
        reason = (done.stderr.strip() or done.stdout.strip()).splitlines()[-1:] or ["no reason given"]
        raise UserError(f"{' '.join(command)}: {reason[0]}; see to the connection to the package registry")
