"""The line that brings an app on a remote machine to one's own browser."""

from __future__ import annotations

import getpass

import pytest

from app.announcement import announce, ssh_line

USER = getpass.getuser()


@pytest.mark.parametrize(
    ("connection", "host", "line"),
    [
        ("10.0.0.2 50000 10.0.0.1 22", "127.0.0.1", f"-L 7860:127.0.0.1:7860 {USER}@10.0.0.1 -p 22"),
        (
            "10.0.0.2 50000 203.0.113.7 2222",
            "127.0.0.1",
            f"-L 7860:127.0.0.1:7860 {USER}@203.0.113.7 -p 2222",
        ),
        ("fe80::2 50000 fe80::1 22", "::1", f"-L 7860:[::1]:7860 {USER}@fe80::1 -p 22"),
    ],
)
def test_the_line_has_the_address_and_port_that_one_has_logged_in_to(connection, host, line):
    assert ssh_line(connection, host, 7860) == f"ssh -CN {line}"


@pytest.mark.parametrize("connection", ["", "10.0.0.2 50000"])
def test_on_ones_own_machine_there_is_none(connection):
    assert ssh_line(connection, "127.0.0.1", 7860) is None


def test_below_a_proxy_its_path_is_named_and_no_ssh_line(monkeypatch, capsys):
    monkeypatch.setenv("SSH_CONNECTION", "10.0.0.2 50000 10.0.0.1 22")
    announce(print, "127.0.0.1", 7860, ())
    assert (
        "open http://127.0.0.1:7860 in a browser" in (said := capsys.readouterr().out) and "ssh -CN" in said
    )
    announce(print, "127.0.0.1", 7860, (), "/llava")
    assert "open /llava at your proxy" in (said := capsys.readouterr().out) and "ssh -CN" not in said
