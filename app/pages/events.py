"""How the pages' events are run by Gradio."""

from __future__ import annotations

from typing import Any

QUIET: dict[str, Any] = {"show_progress": "hidden", "api_visibility": "private"}
AT_ONCE: dict[str, Any] = QUIET | {"queue": False}
# The engine queues; were Gradio to do it, nobody could say how many are before you, or stop in line.
STREAMED: dict[str, Any] = QUIET | {"concurrency_limit": None}
# Gradio would drop a question without a word while the answer before it, stopped already, still ends; the
# handlers say so where one is being written.
ASKED: dict[str, Any] = STREAMED | {"trigger_mode": "multiple"}
# Gradio would drop a click while the one before it is on its way: a changed mind, another conversation. One
# handler's clicks run one at a time, everybody's, in the order in which they came; those that share a
# `concurrency_id` too. (`always_last` would not drop a click, but repeats the first one's data.)
IN_ORDER: dict[str, Any] = QUIET | {"trigger_mode": "multiple", "concurrency_limit": 1}
