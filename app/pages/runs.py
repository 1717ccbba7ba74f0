"""The page of runs: which of them are listed and drawn, refreshed while it is in view."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import gradio as gr

from app.pages.events import IN_ORDER, QUIET
from app.pages.runs_html import Writer
from app.pages.words import words_of
from app.status import problem
from llava_tuning.errors import UserError
from llava_tuning.runs.folder import RunFolder

STYLE = Path(__file__).with_name("runs.css")
MAX_OVERLAYS = 5
_REFRESH_MS = 2000
# Clicks on what the server wrote; and a tick while the page is in view, so that nobody else is served.
_SCRIPT = f"""
element.addEventListener('click', (event) => {{
  const pick = event.target.closest('[data-run]'), overlay = event.target.closest('[data-overlay]');
  if (pick) trigger('select', {{run: pick.dataset.run}});
  if (overlay) trigger('input', {{run: overlay.dataset.overlay}});
}});
const seen = () => element.offsetParent !== null && !document.hidden;
const timer = setInterval(() => {{
  if (!element.isConnected) clearInterval(timer);
  else if (seen()) trigger('tick');
}}, {_REFRESH_MS});
new IntersectionObserver(() => {{ if (seen()) trigger('tick'); }}).observe(element.parentElement);
"""


@dataclass(frozen=True)
class View:
    """What a visitor looks at.

    Args:
        run: the run's name; None for the one that was written last.
        over: names of runs whose losses are drawn with it.
        drawn: a fingerprint of what the browser has.
    """

    run: str | None = None
    over: tuple[str, ...] = ()
    drawn: str = ""


Updates = tuple[Any, Any, Any]  # of the view, the list and the run


class RunsPage:
    """Behaviour of the page. Every public method is an event listener."""

    def __init__(self, folder: RunFolder) -> None:
        self.folder = folder

    def refresh(self, view: View, smoothing: float, request: gr.Request) -> Updates:
        """Show what the folder holds now."""
        return self._show(view, smoothing, request)

    def select(self, event: gr.EventData, view: View, smoothing: float, request: gr.Request) -> Updates:
        """Look at another run."""
        name = str(event.run)
        over = tuple(other for other in view.over if other != name)
        return self._show(replace(view, run=name, over=over), smoothing, request)

    def overlay(self, event: gr.EventData, view: View, smoothing: float, request: gr.Request) -> Updates:
        """Draw another run's loss too, or no longer."""
        name = str(event.run)
        others = tuple(other for other in view.over if other != name)
        over = others if name in view.over else (*others[-MAX_OVERLAYS + 1 :], name)
        return self._show(replace(view, over=over), smoothing, request)

    def _show(self, view: View, smoothing: float, request: gr.Request) -> Updates:
        words = words_of(request)
        writer = Writer(words)
        try:
            runs = {run.name: run for run in self.folder.read_all()}
        except UserError as error:
            if self.folder.folder.exists():
                return self._changed(view, problem(words.explain(error)), "")
            runs = {}
        if not runs:
            return self._changed(view, "", writer.empty(self.folder.folder))
        run = runs.get(view.run or "") or next(iter(runs.values()))
        others = [runs[name] for name in view.over if name in runs and name != run.name]
        detail = writer.detail(run, others, smoothing, self.folder.folder / run.name)
        shown = [run.name, *(other.name for other in others)]
        return self._changed(replace(view, run=run.name), writer.list(list(runs.values()), shown), detail)

    @staticmethod
    def _changed(view: View, runs: str, detail: str) -> Updates:
        """Only what the browser does not have yet is sent."""
        # Half a character (a lone surrogate), which JSON can hold, cannot be sent.
        runs, detail = (text.encode(errors="replace").decode() for text in (runs, detail))
        drawn = hashlib.sha256(f"{runs}\0{detail}".encode()).hexdigest()
        if drawn == view.drawn:
            return view, gr.skip(), gr.skip()
        return replace(view, drawn=drawn), runs, detail


def build(folder: RunFolder, text: gr.I18n) -> None:
    """The page's layout."""
    page = RunsPage(folder)
    with gr.Row(elem_classes="lt-runs-page"):
        with gr.Column(scale=1, min_width=280, elem_classes="lt-runs-side"):
            runs = gr.HTML("", elem_id="lt-runs-list", js_on_load=_SCRIPT)
            smoothing = gr.Slider(
                0,
                0.99,
                0.9,
                step=0.01,
                label=text("lt_runs_smoothing"),
                elem_id="lt-smoothing",
                buttons=[],
            )
        with gr.Column(scale=3, min_width=300):
            detail = gr.HTML("", elem_id="lt-run")
    view = gr.State(View())
    inputs, outputs = [view, smoothing], [view, runs, detail]
    # All of them change the view, so that each has to see what the one before it made of it.
    for event in (runs.tick, smoothing.change):
        event(page.refresh, inputs, outputs, **QUIET, concurrency_limit=1, concurrency_id="runs")
    runs.select(page.select, inputs, outputs, **IN_ORDER, concurrency_id="runs")
    runs.input(page.overlay, inputs, outputs, **IN_ORDER, concurrency_id="runs")
