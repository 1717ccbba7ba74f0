"""`llava-tuning web`: the web app."""

from __future__ import annotations

from typing import Annotated

import typer


def register(app: typer.Typer) -> None:
    """Add `web` to the command line."""

    @app.command()
    def web(
        model: Annotated[str, typer.Argument(help="A model directory, or 'default'.")] = "default",
        host: Annotated[
            str, typer.Option(help="Address to listen at; 0.0.0.0 opens it to the network.")
        ] = "127.0.0.1",
        port: Annotated[int, typer.Option(help="Port to listen at.")] = 7860,
    ) -> None:
        """Chat with a model in the browser, about text and pictures."""
        from app.server import serve

        serve(model, host, port)
