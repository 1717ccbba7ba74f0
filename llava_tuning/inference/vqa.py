"""Ask a model about many pictures; answers are kept as they come, so that a run can be continued."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from PIL import Image

from llava_tuning.errors import UserError
from llava_tuning.inference.answer_file import AnswerFile
from llava_tuning.inference.backend import ChatBackend, ChatMessage, GenerationSettings
from llava_tuning.inference.questions import PictureQuestion
from llava_tuning.models.pictures import open_picture


@dataclass(frozen=True)
class VqaSummary:
    """How many rows the file has now, how many of them this run added, and how many say `error`."""

    rows: int
    added: int
    errors: int


def answer_questions(
    backend: ChatBackend,
    questions: Sequence[PictureQuestion],
    out: AnswerFile,
    settings: GenerationSettings,
    *,
    batch_size: int = 8,
    limit: int | None = None,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> VqaSummary:
    """Append a row to `out` for each question that has none yet: {"id", "image", "question", "answer"}.

    A picture that cannot be read, or a question that cannot be answered, gets "error" instead of "answer".

    Args:
        questions: all of the run's questions, also those answered before.
        limit: ask only the first `limit` of them.
        progress: called with (rows done, rows in all) at the start and after each batch.

    Raises:
        UserError: `out` holds a row that is none of `questions`.
    """
    wanted = {question.key for question in questions}
    done = {(str(row.get("id")), str(row.get("image")), str(row.get("question"))) for row in out.rows}
    if strangers := done - wanted:
        row_id, image, text = min(strangers)
        raise UserError(
            f"{out.path}: has a row that is not among these questions ({row_id}, {image}, {text!r}); "
            "choose another --out or move it away"
        )
    chosen = questions[:limit]
    open_rows = [question for question in chosen if question.key not in done]
    already = len(chosen) - len(open_rows)
    progress(already, len(chosen))
    for number, (batch, pictures) in enumerate(_with_pictures(open_rows, batch_size)):
        for question, (answer, error) in zip(batch, _answer(backend, batch, pictures, settings), strict=True):
            row = {"id": question.id, "image": question.image, "question": question.question}
            out.append({**row, "error": error} if error else {**row, "answer": answer})
        progress(already + number * batch_size + len(batch), len(chosen))
    return VqaSummary(len(out.rows), len(open_rows), sum("error" in row for row in out.rows))


_Picture = Image.Image | str  # or what is wrong with it


def _with_pictures(
    questions: Sequence[PictureQuestion], batch_size: int
) -> Iterator[tuple[Sequence[PictureQuestion], list[_Picture]]]:
    """Batches with their pictures; the next batch's pictures are decoded while the model works."""

    def load(batch: Sequence[PictureQuestion]) -> list[_Picture]:
        opened: dict[str, _Picture] = {}  # one object for one file, so that it is encoded once
        for question in batch:
            if str(question.path) not in opened:
                try:
                    opened[str(question.path)] = open_picture(question.path)
                except UserError as error:
                    opened[str(question.path)] = str(error)
        return [opened[str(question.path)] for question in batch]

    batches = [questions[i : i + batch_size] for i in range(0, len(questions), batch_size)]
    with ThreadPoolExecutor(1) as pool:
        following = pool.submit(load, batches[0]) if batches else None
        for number, batch in enumerate(batches):
            assert following is not None
            pictures = following.result()
            if number + 1 < len(batches):
                following = pool.submit(load, batches[number + 1])
            yield batch, pictures


def _answer(
    backend: ChatBackend,
    batch: Sequence[PictureQuestion],
    pictures: Sequence[_Picture],
    settings: GenerationSettings,
) -> list[tuple[str, str]]:
    """(answer, error) of each question; one of the two is empty, except for an empty answer."""
    results = [("", picture if isinstance(picture, str) else "") for picture in pictures]
    conversations = {
        i: [ChatMessage("user", question.question, (picture,))]
        for i, (question, picture) in enumerate(zip(batch, pictures, strict=True))
        if not isinstance(picture, str)
    }
    try:
        answers = backend.answer_batch(list(conversations.values()), settings)
        for i, answer in zip(conversations, answers, strict=True):
            results[i] = (answer, "")
    except UserError:  # one of them is too long, say: ask one by one, so that only that one fails
        for i, conversation in conversations.items():
            try:
                results[i] = (backend.answer_batch([conversation], settings)[0], "")
            except UserError as error:
                results[i] = ("", str(error))
    return results
