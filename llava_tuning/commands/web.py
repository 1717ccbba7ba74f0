"""`llava-tuning web`: the web app."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from llava_tuning.commands.options import LoadInOption


def register(app: typer.Typer) -> None:
    """Add `web` to the command line."""

    @app.command()
    def web(
        model: Annotated[
            str | None,
            typer.Argument(
                help="A model directory, or 'default'; with --backend openai the model's name there, "
                "or nothing for the only one.",
                show_default="default",
            ),
        ] = None,
        host: Annotated[
            str, typer.Option(help="Address to listen at; 0.0.0.0 opens it to the network.")
        ] = "127.0.0.1",
        port: Annotated[int, typer.Option(help="Port to listen at.")] = 7860,
        backend: Annotated[
            Literal["transformers", "openai"],
            typer.Option(help="Who runs the model: this process, or a server such as vLLM at --base-url."),
        ] = "transformers",
        base_url: Annotated[
            str | None, typer.Option(help="That server's address, e.g. http://127.0.0.1:8000/v1.")
        ] = None,
        api_key_variable: Annotated[
            str, typer.Option(help="Environment variable that holds that server's API key, if it wants one.")
        ] = "OPENAI_API_KEY",
        load_in: LoadInOption = "auto",
        runs: Annotated[
            Path | None, typer.Option(help="Folder of training runs to watch.", show_default="work_dirs")
        ] = None,
        data: Annotated[
            Path | None,
            typer.Option(
                help="Folder of training pictures that the page of runs may show.",
                show_default="data, where it exists",
            ),
        ] = None,
        models: Annotated[
            Path | None,
            typer.Option(help="Folder of model directories to choose from.", show_default="models"),
        ] = None,
        loaded_models: Annotated[
            int, typer.Option(help="Models kept in memory at once, besides the app's own.")
        ] = 2,
        feedback: Annotated[
            Path | None,
            typer.Option(
                help="Directory for the votes on answers.",
                show_default="~/.local/share/llava-tuning/feedback",
            ),
        ] = None,
        root_path: Annotated[
            str,
            typer.Option(help="Path below which a proxy serves the app, e.g. /llava.", show_default=False),
        ] = "",
    ) -> None:
        """Chat with a model in the browser, about text and pictures, and serve it to programs at /v1.

        LLAVA_TUNING_AUTH=user:password and LLAVA_TUNING_API_KEY in the environment protect it.
        """
        from app.folders import chosen_folders
        from app.server import chosen_remote, serve

        remote = chosen_remote(backend, base_url, model, api_key_variable)
        folders = chosen_folders(runs, models, feedback, loaded_models, data)
        serve(model or "default", host, port, remote, folders, root_path, load_in=load_in)
