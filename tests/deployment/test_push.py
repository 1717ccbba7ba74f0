"""Uploading a Space: what the hub is asked, by a stand-in that has the signatures of its library."""

from __future__ import annotations

import sys
from unittest.mock import call, create_autospec

import httpx
import huggingface_hub
import pytest
from huggingface_hub.errors import RepositoryNotFoundError
from huggingface_hub.hf_api import RepoSibling

from llava_tuning.cli import main


@pytest.fixture
def hub(monkeypatch):
    """Stands in for `HfApi`, and refuses what it would not take."""
    api = create_autospec(huggingface_hub.HfApi, instance=True)
    api.create_repo.return_value = "https://huggingface.co/spaces/ada/momo"
    monkeypatch.setattr(huggingface_hub, "HfApi", lambda: api)
    return api


def deploy(monkeypatch, momo, out, *options: str) -> int:
    words = ["llava-tuning", "deploy", "space", str(momo), "--out", str(out), "--push", "ada/momo", *options]
    monkeypatch.setattr(sys, "argv", words)
    with pytest.raises(SystemExit) as stop:
        main()
    return int(stop.value.code or 0)


def test_a_space_is_made_for_its_owner_alone_and_uploaded_once(hub, momo, tmp_path, monkeypatch, capsys):
    out = tmp_path / "out"
    assert deploy(monkeypatch, momo, out) == 0
    assert "uploaded to https://huggingface.co/spaces/ada/momo" in capsys.readouterr().out
    assert hub.mock_calls == [
        call.create_repo("ada/momo", repo_type="space", space_sdk="gradio", private=True, exist_ok=True),
        call.upload_folder(
            repo_id="ada/momo",
            repo_type="space",
            folder_path=out,
            commit_message="Deploy with LLaVA Tuning",
            delete_patterns=["src/**", "model/**"],
        ),
    ]


def test_hardware_is_asked_for_where_it_is_named(hub, momo, tmp_path, monkeypatch):
    assert deploy(monkeypatch, momo, tmp_path / "out", "--hardware", "zerogpu", "--public") == 0
    hub.request_space_hardware.assert_called_once_with("ada/momo", huggingface_hub.SpaceHardware.ZERO_A10G)
    assert hub.create_repo.call_args.kwargs["private"] is False
    assert [name for name, *_ in hub.mock_calls][-1] == "upload_folder"  # built once, for that hardware


def test_what_the_hub_refuses_is_said_and_the_folder_stays(hub, momo, tmp_path, monkeypatch, capsys):
    hub.upload_folder.side_effect = OSError("403 Forbidden: you have no write access\n")
    assert deploy(monkeypatch, momo, tmp_path / "out") == 2
    said = capsys.readouterr().err
    assert "the hub did not take it (403 Forbidden: you have no write access)" in said and "--replace" in said
    assert (tmp_path / "out" / "app.py").is_file()


def test_without_a_network_it_is_one_sentence(momo, tmp_path, monkeypatch, capsys):
    """With the hub's own library, which refuses to go online here."""
    assert deploy(monkeypatch, momo, tmp_path / "out") == 2
    said = capsys.readouterr().err
    assert (
        said.startswith("llava-tuning: --push ada/momo: the hub did not take it (") and said.count("\n") == 1
    )


def test_a_mistyped_model_of_the_hub_is_told_before_anything_is_written(hub, tmp_path, monkeypatch, capsys):
    missing = httpx.Response(404, request=httpx.Request("GET", "https://huggingface.co"))
    hub.model_info.side_effect = RepositoryNotFoundError("404", response=missing)
    assert deploy(monkeypatch, "ada/llava-mommo", tmp_path / "out") == 2
    assert "ada/llava-mommo: no such model on the hub" in capsys.readouterr().err
    assert not (tmp_path / "out").exists() and [name for name, *_ in hub.mock_calls] == ["model_info"]


def test_a_model_of_the_hub_is_asked_for_at_push_alone(hub, tmp_path, monkeypatch, capsys):
    words = ["llava-tuning", "deploy", "space", "ada/llava-momo", "--out", str(tmp_path / "out")]
    monkeypatch.setattr(sys, "argv", words)
    with pytest.raises(SystemExit) as stop:
        main()
    assert not stop.value.code and not hub.mock_calls
    assert "(not checked; --push asks the hub whether it has it)" in capsys.readouterr().out
    hub.model_info.return_value.siblings = [RepoSibling("config.json")]
    assert deploy(monkeypatch, "ada/llava-momo", tmp_path / "out", "--replace") == 0
    assert "(the hub has it)" in capsys.readouterr().out


def test_nobody_who_is_not_logged_in_waits_for_a_copy(hub, momo, tmp_path, monkeypatch, capsys):
    monkeypatch.delenv("HF_TOKEN")
    assert deploy(monkeypatch, momo, tmp_path / "out") == 2
    assert "nobody is logged in; run `hf auth login`, or set HF_TOKEN" in capsys.readouterr().err
    assert not (tmp_path / "out").exists() and not hub.mock_calls
