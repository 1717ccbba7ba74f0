"""A file of questions to two models: answers in a table as they come, and as a CSV file."""

from __future__ import annotations

import csv
import html
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import gradio as gr
from gradio.utils import get_upload_folder

from app.comparison import ask_both
from app.conversation import receive_picture
from app.pages.compare_handlers import CompareHandlers, read_settings
from app.pages.words import Words, words_of
from app.status import note, problem
from llava_tuning.errors import UserError
from llava_tuning.inference.backend import ChatMessage, GenerationSettings
from llava_tuning.inference.questions import QuestionRow, read_question_file

MAX_QUESTIONS = 200
REDRAW_SECONDS = 0.25
SAME: Any = gr.skip()


class BatchUpdates(NamedTuple):
    """Of what the page shows; the order is that of the events' outputs.

    `table` is `{"table": HTML}`, or `{"rows": {"0": HTML}}` for the rows that have changed.
    """

    table: Any = SAME
    status: Any = SAME
    download: Any = SAME
    run: Any = SAME
    stop: Any = SAME


@dataclass
class Row:
    """A question with its answers; `errors` are what went wrong in place of them."""

    asked: QuestionRow
    answers: tuple[str, str] = ("", "")
    errors: tuple[str, str] = ("", "")


class BatchHandlers:
    """Behaviour of a file of questions. Every public method is an event listener."""

    def __init__(self, compare: CompareHandlers) -> None:
        self._compare = compare
        self._running: dict[str, threading.Event] = {}

    def run(
        self,
        file: dict[str, Any] | None,
        pictures: list[dict[str, Any]] | None,
        left: str,
        right: str,
        max_length: float,
        temperature: float,
        request: gr.Request,
    ) -> Iterator[BatchUpdates]:
        """Ask both models all questions; the table grows as answers come."""
        session, words = str(request.session_hash), words_of(request)
        try:
            if session in self._running:
                raise UserError(words.plain("lt_busy"))
            names = self._compare.chosen(left, right, words)
            rows = [Row(asked) for asked in _questions(file, words)]
            settings = read_settings(max_length, temperature, words)
        except UserError as error:
            yield BatchUpdates(status=problem(words.explain(error)))
            return
        files = {_name(picture): str(picture["path"]) for picture in pictures or []}
        cancel = self._running[session] = threading.Event()
        hidden, shown = gr.update(visible=False), gr.update(visible=True)
        try:
            yield BatchUpdates({"table": _table(words, names, rows)}, "", hidden, hidden, shown)
            for done, row in enumerate(rows):
                progress = note(words.plain("lt_batch_progress", done=done, total=len(rows)))
                for _ in self._answer(row, names, files, settings, cancel, words):
                    # The row before as well: its last words may not have been sent.
                    changed = {str(n): _cells(rows[n], n) for n in (done - 1, done) if n >= 0}
                    yield BatchUpdates({"rows": changed}, progress)
                if cancel.is_set():
                    break
        finally:
            cancel.set()
            self._running.pop(session, None)
        answered = sum(any(row.answers) or any(row.errors) for row in rows)
        said = note(words.plain("lt_batch_progress", done=answered, total=len(rows)))
        path = _write_csv(names, rows)
        yield BatchUpdates(
            {"table": _table(words, names, rows)}, said, gr.update(value=path, visible=True), shown, hidden
        )

    def stop(self, request: gr.Request) -> None:
        """End the run after what has been written so far."""
        if (cancel := self._running.get(str(request.session_hash))) is not None:
            cancel.set()

    def _answer(
        self,
        row: Row,
        names: tuple[str, str],
        files: Mapping[str, str],
        settings: GenerationSettings,
        cancel: threading.Event,
        words: Words,
    ) -> Iterator[None]:
        """Fill a row; yields now and then while it grows."""
        answers, errors = ["", ""], ["", ""]
        try:
            image = _picture(row.asked.image, files, words)
        except UserError as error:
            row.errors = (words.explain(error),) * 2
            return
        asked = [ChatMessage("user", row.asked.question, () if image is None else (image,))]
        drawn = 0.0
        one = threading.Event()  # ends with the question; `cancel` with the run
        for side, piece in ask_both(self._compare.shelf, names, (asked, asked), settings, one):
            if isinstance(piece, str):
                answers[side] += piece
            elif isinstance(piece, Exception):
                errors[side] = words.explain(piece)
            if cancel.is_set():
                one.set()
            row.answers, row.errors = (answers[0], answers[1]), (errors[0], errors[1])
            if time.monotonic() - drawn >= REDRAW_SECONDS:
                drawn = time.monotonic()
                yield
        row.answers = (answers[0].strip(), answers[1].strip())


def _questions(file: dict[str, Any] | None, words: Words) -> Sequence[QuestionRow]:
    """The rows of an uploaded file, by the name that the visitor knows it by."""
    if file is None:
        raise UserError(words.plain("lt_batch_need"))
    path = str(file["path"])
    try:
        rows = read_question_file(Path(path), ["question"])
    except UserError as error:
        raise UserError(str(error).replace(path, _name(file))) from None
    if len(rows) > MAX_QUESTIONS:
        raise UserError(words.plain("lt_batch_many", count=len(rows), most=MAX_QUESTIONS).replace("`", "'"))
    return rows


def _name(file: dict[str, Any]) -> str:
    return str(file.get("orig_name") or Path(str(file["path"])).name)


def _picture(image: str, files: Mapping[str, str], words: Words) -> Any:
    """A row's picture, from those that were uploaded alone; folders in its name do not count."""
    if not image:
        return None
    name = Path(image.replace("\\", "/")).name
    if name not in files:
        raise UserError(words.plain("lt_batch_missing", name=name))
    return receive_picture(files[name])


def _table(words: Words, names: tuple[str, str], rows: Sequence[Row]) -> str:
    head = "".join(f"<th>{html.escape(name)}</th>" for name in names)
    lines = "".join(f"<tr>{_cells(row, number)}</tr>" for number, row in enumerate(rows))
    return (
        f'<div class="lt-scroll" tabindex="0"><table class="lt-grid"><thead><tr><th>#</th>'
        f"<th>{words.html('lt_batch_question')}</th>{head}</tr></thead><tbody>{lines}</tbody></table></div>"
    )


def _cells(row: Row, number: int) -> str:
    return f"<th>{number + 1}</th><td>{_asked(row.asked)}</td>{_cell(row, 0)}{_cell(row, 1)}"


def _asked(asked: QuestionRow) -> str:
    image = f"<small>{html.escape(asked.image)}</small>" if asked.image else ""
    return html.escape(asked.question) + image


def _cell(row: Row, side: int) -> str:
    wrong = f'<small class="lt-wrong">{html.escape(row.errors[side])}</small>' if row.errors[side] else ""
    return f"<td>{html.escape(row.answers[side])}{wrong}</td>"


def _write_csv(names: tuple[str, str], rows: Sequence[Row]) -> str:
    """The answers as a file for download, in UTF-8 as spreadsheets expect it; returns its path."""
    uploads = Path(get_upload_folder())
    uploads.mkdir(parents=True, exist_ok=True)  # Gradio makes it with the first upload
    folder = Path(tempfile.mkdtemp(prefix="comparison-", dir=uploads))
    path = folder / "comparison.csv"
    with path.open("w", encoding="utf-8-sig", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["id", "image", "question", *names, *(f"error of {name}" for name in names)])
        for row in rows:
            asked = row.asked
            cells = [asked.id, asked.image, asked.question, *row.answers, *row.errors]
            writer.writerow([_no_formula(cell) for cell in cells])
    return str(path)


def _no_formula(cell: str) -> str:
    """With an apostrophe before what a spreadsheet would compute."""
    return f"'{cell}" if cell.startswith(("=", "+", "-", "@", "\t", "\r")) else cell
