"""Photographs of packages: what is collected to train on, and what to test with."""

from __future__ import annotations

import io
import shutil
import struct
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from llava_tuning.cli import _build
from llava_tuning.data.everyday.photographs import ACTIVITIES, SIDE, TESTED, build_photographs
from llava_tuning.errors import UserError


def photograph(number: int, side: int = 300) -> Image.Image:
    noise = np.random.default_rng(number).integers(0, 256, (side // 10, side // 5, 3), dtype=np.uint8)
    return Image.fromarray(noise).resize((2 * side, side))


def resources(*pictures: Image.Image) -> bytes:
    """As Qt stores them: each behind the length of its bytes in big endian."""
    found = b"qres" + bytes(16)
    for picture in pictures:
        data = io.BytesIO()
        picture.save(data, "WEBP")
        found += struct.pack(">I", len(data.getvalue())) + data.getvalue()
    return found + b"RIFF\xff\xff\xff\x00WEBP no picture"


@pytest.fixture
def packages(tmp_path: Path) -> dict[str, Path]:
    folders = {key: tmp_path / "packages" / key for key in ("gcompris", *TESTED)}
    for folder in folders.values():
        (folder / "usr").mkdir(parents=True)
    on_white = Image.new("RGB", (300, 300), "white")
    on_white.paste("red", (50, 50, 250, 250))
    for activity in ACTIVITIES:
        pictures = (photograph(0), photograph(1), photograph(2, side=64), on_white)
        file = resources(*pictures) if activity == "erase" else resources(photograph(0))
        (folders["gcompris"] / "usr" / f"{activity}.rcc").write_bytes(file)
    for key, names in TESTED.items():
        for name in names.split():
            photograph(3).save(folders[key] / "usr" / f"{name}_by_somebody.jpg")
    return folders


def test_photographs_are_collected_once_each_and_kept_apart(packages, tmp_path):
    known = sum(len(names.split()) for names in TESTED.values())
    assert build_photographs(packages, tmp_path / "out") == {"train": 2, "test": known}
    found = sorted(path.name for path in (tmp_path / "out" / "train").iterdir())
    assert found == ["categorization-0.jpg", "erase-0.jpg"]  # no icon, nothing on white, nothing twice
    for path in (tmp_path / "out").rglob("*.jpg"):
        with Image.open(path) as picture:
            assert picture.size == (2 * SIDE, SIDE)
    train, test = ({p.read_bytes() for p in (tmp_path / "out" / s).iterdir()} for s in ("train", "test"))
    assert not train & test


def test_a_package_without_the_photographs_is_named(packages, tmp_path):
    (packages["mate"] / "usr" / "Dune_by_somebody.jpg").unlink()
    with pytest.raises(UserError, match=r"mate: holds no Dune.*Debian 12"):
        build_photographs(packages, tmp_path / "out")


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("apt-get") is None, reason="needs apt-get")
def test_the_packages_have_them(tmp_path):
    done = CliRunner().invoke(_build(), ["data", "photographs", "--out", str(tmp_path / "photographs")])
    assert done.exit_code == 0, done.output
    assert len(list((tmp_path / "photographs" / "train").iterdir())) == 250
    assert len(list((tmp_path / "photographs" / "test").iterdir())) == 29
