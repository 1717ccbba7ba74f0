"""How a deployed app finds its place: from the platform's environment."""

from __future__ import annotations

from pathlib import Path

import pytest

from app import hosted, models
from app.engine import Engine
from app.models import Shelf


class Model:
    name, sees, max_length, at_once = "momo", True, 512, 1


@pytest.fixture
def served(monkeypatch):
    """What the server was asked to serve."""
    asked: list[tuple] = []
    monkeypatch.setattr(hosted, "serve", lambda *arguments: asked.append(arguments))
    for name in ("SERVER_NAME", "SERVER_PORT", "ROOT_PATH"):
        monkeypatch.delenv(f"GRADIO_{name}", raising=False)
    return asked


def test_a_platform_gets_every_address_and_its_port(served, monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    monkeypatch.setattr(hosted, "STORAGE", tmp_path / "none")
    hosted.main(Path("/app/model/momo"))
    model, host, port, remote, folders, root_path, name = served[0]
    assert (model, host, port, remote) == ("/app/model/momo", "0.0.0.0", 7860, None)
    assert (root_path, name) == ("", "momo") and folders.runs is None and folders.models is None
    assert folders.feedback == tmp_path / "llava-tuning" / "feedback"


def test_its_environment_says_otherwise(served, monkeypatch, tmp_path):
    monkeypatch.setattr(hosted, "STORAGE", tmp_path)
    monkeypatch.setattr(
        "llava_tuning.models.hub.download", lambda repository: (tmp_path / repository, "c0ffee")
    )
    for name, value in (("SERVER_NAME", "127.0.0.1"), ("SERVER_PORT", "48000"), ("ROOT_PATH", "/llava/")):
        monkeypatch.setenv(f"GRADIO_{name}", value)
    hosted.main("ada/momo", "hub")
    model, host, port, _, folders, root_path, name = served[0]
    assert (model, host, port, root_path) == (str(tmp_path / "ada/momo"), "127.0.0.1", 48000, "/llava")
    assert name == "momo" and folders.feedback == tmp_path / "feedback"  # the platform's storage is there


def test_votes_are_taken_where_nothing_can_be_kept(served, monkeypatch, tmp_path):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "file"))
    monkeypatch.setattr(hosted, "STORAGE", tmp_path / "none")
    hosted.main(Path("/app/model/momo"))
    assert served[0][4].feedback.is_dir()


def test_a_port_that_is_none_is_one_sentence(served, monkeypatch, capsys):
    monkeypatch.setenv("GRADIO_SERVER_PORT", "tcp")
    with pytest.raises(SystemExit) as stop:
        hosted.main(Path("/app/model/momo"))
    assert stop.value.code == 2 and not served
    assert "GRADIO_SERVER_PORT is 'tcp'; set it to a number such as 7860" in capsys.readouterr().err


def test_a_path_that_is_none_names_its_variable(served, monkeypatch, capsys):
    monkeypatch.setenv("GRADIO_ROOT_PATH", "https://example.org/llava")
    with pytest.raises(SystemExit) as stop:
        hosted.main(Path("/app/model/momo"))
    assert stop.value.code == 2 and not served
    assert "GRADIO_ROOT_PATH https://example.org/llava: not such a path" in capsys.readouterr().err


@pytest.mark.parametrize(("there", "names"), [(True, ["momo", "default"]), (False, ["momo"])])
def test_the_embedded_model_is_offered_where_its_parts_are(there, names, monkeypatch):
    monkeypatch.setattr(models, "has_default", lambda: there)
    engine = Engine(Model())
    shelf = Shelf(engine)
    engine.close()
    assert shelf.names() == names
    assert shelf.attentive() == frozenset(names) - {"momo"}
