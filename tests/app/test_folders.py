"""Options that name folders are checked before anything is loaded."""

from __future__ import annotations

from pathlib import Path

import pytest

from app.folders import Folders, chosen_folders
from llava_tuning.errors import UserError


def test_what_is_not_named_is_where_the_commands_write():
    assert chosen_folders() == Folders(Path("work_dirs"), Path("models"), None, 2)


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("runs", "none"),
        ("models", "none"),
        ("data", "none"),
        ("loaded_models", 1),
    ],
)
def test_what_cannot_be_is_said_with_its_option(tmp_path, monkeypatch, option, value):
    monkeypatch.chdir(tmp_path)
    given = {option: value if option == "loaded_models" else Path(value)}
    with pytest.raises(UserError, match=rf"--{option.replace('_', '-')} .*(name|give)"):
        chosen_folders(**given)
