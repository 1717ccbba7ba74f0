"""Everything at one address: the page, `/v1` for OpenAI's clients, `/health` and `/live` for supervisors."""

from __future__ import annotations

from typing import Any

import gradio as gr
from fastapi import FastAPI
from starlette.concurrency import run_in_threadpool
from starlette.responses import JSONResponse

from app.comparison import Votes
from app.feedback import Feedback
from app.folders import Folders
from app.handlers import Handlers
from app.models import Shelf
from app.openai_api import openai_api
from app.pages import compare, runs
from app.pages.chat import MAX_UPLOAD_MB
from app.protection import Credentials, Guard
from app.strings import translations
from app.ui import STYLE, build, theme


def build_site(
    shelf: Shelf,
    credentials: Credentials,
    feedback: Feedback,
    chats_in_chinese: bool,
    folders: Folders,
    root_path: str = "",
) -> FastAPI:
    """The app as ASGI serves it.

    Args:
        shelf: the models; Gradio's clients are answered by its own.
        credentials: what each request but `/live` must show.
        feedback: where votes on answers go.
        chats_in_chinese: whether the model can be asked anything in Chinese.
        folders: where runs, models and votes are.
        root_path: the path below which a proxy serves it, such as /llava; the proxy takes it off.
    """
    engine = shelf.own
    site = FastAPI(docs_url=None, redoc_url=None, openapi_url=None)
    site.add_middleware(Guard, credentials=credentials)

    @site.api_route("/live", methods=["GET", "HEAD"])
    def live() -> dict[str, str]:
        """The process runs."""
        return {"status": "ok"}

    @site.api_route("/health", methods=["GET", "HEAD"])
    async def health() -> JSONResponse:
        """The model answers; 503 where the server that runs it cannot be reached."""
        backend = engine.backend
        ready = await run_in_threadpool(backend.ready)
        report = {
            "model": backend.name,
            "sees": backend.sees,
            "ready": ready,
            "questions": engine.questions(),
        }
        return JSONResponse(report, 200 if ready else 503)

    site.mount("/v1", openai_api(shelf))
    text = gr.I18n(**translations(chats_in_chinese))
    votes = Votes(feedback.directory / "comparisons.jsonl")
    page = build(shelf, Handlers(shelf, feedback), votes, text, folders)
    gr.mount_gradio_app(
        site,
        page,
        "/",
        root_path=root_path or None,
        ssr_mode=False,
        footer_links=["settings"],
        run_history=False,
        show_error=False,
        max_file_size=MAX_UPLOAD_MB * gr.FileSize.MB,
        i18n=text,
        theme=theme(),
        css_paths=[STYLE, compare.STYLE, runs.STYLE],
    )
    page.has_launched = True  # Gradio checks the files of events only then, and mounting leaves it False
    return site


def end_streams(site: FastAPI) -> None:
    """Let open pages' connections end, for which a server that stops would wait."""
    for route in site.routes:
        gradio_app: Any = getattr(route, "app", None)
        if isinstance(gradio_app, gr.routes.App):
            gradio_app.stop_event.set()
