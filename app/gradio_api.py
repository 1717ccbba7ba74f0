"""What programs call through Gradio's API: the app's own model, with nothing kept between calls."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

import gradio as gr

from app.conversation import read_messages
from app.engine import Engine
from llava_tuning.errors import UserError
from llava_tuning.inference.backend import GenerationSettings
from llava_tuning.inference.context import check_messages


class GradioApi:
    """Every public method is an endpoint."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine

    def chat(
        self,
        question: str,
        pictures: list[dict[str, Any]] = [],  # noqa: B006  (Gradio shows the default; nothing changes it)
        history: list[dict[str, Any]] = [],  # noqa: B006
        system: str = "",
        max_new_tokens: int = GenerationSettings.max_new_tokens,
        temperature: float = GenerationSettings.temperature,
        top_p: float = GenerationSettings.top_p,
        seed: int | None = None,
    ) -> Iterator[str]:
        """Answer a question from a program, which sends what was said before; yields the growing answer."""
        try:
            told = [{"role": "system", "content": system}] if system else []
            asked = {"role": "user", "content": [question, *(pictures or [])]}
            messages = read_messages([*told, *(history or []), asked], uploads=True)
            check_messages(messages, sees=self.engine.backend.sees, name=self.engine.backend.name)
            settings = _api_settings(max_new_tokens, temperature, top_p, seed)
            answer = ""
            for piece in self.engine.stream(messages, settings, threading.Event()):
                if isinstance(piece, str):
                    answer += piece
                    yield answer
        except UserError as error:
            raise gr.Error(str(error), print_exception=False) from None

    def model(self) -> dict[str, Any]:
        """The model that answers: its name, and whether it takes pictures."""
        return {"name": self.engine.backend.name, "sees": self.engine.backend.sees}


def _api_settings(max_new_tokens: Any, temperature: Any, top_p: Any, seed: Any) -> GenerationSettings:
    """What a program set, which Gradio hands on as it came."""
    try:
        return GenerationSettings(
            int(max_new_tokens), float(temperature), float(top_p), seed=None if seed is None else int(seed)
        )
    except (TypeError, ValueError, OverflowError):
        raise UserError(
            "max_new_tokens, temperature, top_p and seed are numbers; leave out what you don't set"
        ) from None
