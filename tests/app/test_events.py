"""How the pages' events reach the server."""

from __future__ import annotations

import httpx


def test_no_click_is_dropped_while_another_is_on_its_way(app):
    """Gradio's own default, "once", drops it; that of a slider's value may be, its last one is sent."""
    config = httpx.get(f"{app.url}/config").json()
    names = {component["id"]: component["props"].get("elem_id") for component in config["components"]}
    modes = {
        (names[component], event): dependency["trigger_mode"]
        for dependency in config["dependencies"]
        for component, event in dependency["targets"]
        if component in names  # the page itself has none
    }
    for clicked in (
        ("lt-chat", "like"),
        (None, "reopen"),
        (None, "fork"),
        ("lt-votes", "select"),
        ("lt-runs-list", "select"),
        ("lt-runs-list", "input"),
    ):
        assert modes[clicked] == "multiple", clicked
