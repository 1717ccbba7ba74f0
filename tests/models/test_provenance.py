from __future__ import annotations

import datetime
import hashlib
from pathlib import Path

import pytest
import torch

from llava_tuning.errors import UserError
from llava_tuning.models.provenance import (
    BaseModelSource,
    Provenance,
    hash_file,
    library_versions,
    read_provenance,
    write_provenance,
)


def test_what_is_written_is_read(tmp_path: Path) -> None:
    written = Provenance(
        stage="finetune",
        base_models=[BaseModelSource(role="language model", name="tiny", revision="abc", hashes={"a": "1"})],
        config_name="demo",
        data={"train.json": "00"},
        scores={"easy-vqa": 0.9},
    )
    write_provenance(tmp_path, written)
    assert read_provenance(tmp_path) == written
    assert written.libraries["torch"].split("+")[0] == torch.__version__.split("+")[0]
    age = datetime.datetime.now(datetime.timezone.utc) - datetime.datetime.fromisoformat(written.created)
    assert age < datetime.timedelta(minutes=10)


def test_none_where_there_is_no_file(tmp_path: Path) -> None:
    assert read_provenance(tmp_path) is None


@pytest.mark.parametrize("text", ["{", '{"stage": 3}', '{"stage": "x", "surprise": 1}'])
def test_another_file_is_named(tmp_path: Path, text: str) -> None:
    (tmp_path / "provenance.json").write_text(text)
    with pytest.raises(UserError, match=r"provenance\.json: not a provenance file"):
        read_provenance(tmp_path)


def test_versions_are_of_the_installed_libraries() -> None:
    assert {"python", "torch", "transformers", "safetensors"} <= set(library_versions())


def test_hash_is_sha256_of_the_whole_file(tmp_path: Path) -> None:
    content = bytes(range(256)) * 8192  # 2 MiB: more than one piece
    (tmp_path / "f").write_bytes(content)
    assert hash_file(tmp_path / "f") == hashlib.sha256(content).hexdigest()
