"""Ask a teacher all questions and keep its answers as records, each as soon as it comes."""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from llava_tuning.data.records import Record
from llava_tuning.data.structure import row_problems
from llava_tuning.distillation.questions import TeacherQuestion
from llava_tuning.distillation.teacher import Teacher, Unanswered
from llava_tuning.distillation.templates import Template, Unparsable
from llava_tuning.errors import UserError
from llava_tuning.inference.answer_file import AnswerFile
from llava_tuning.models.pictures import picture_to_data_url


@dataclass(frozen=True)
class Failure:
    """A question without an answer, why, and what the teacher wrote, if anything."""

    question: TeacherQuestion
    error: str
    reply: str | None = None

    def __str__(self) -> str:
        return f"{self.question}: {self.error}"


@dataclass
class Summary:
    """The records that the file has now, those that this run added, and what was not asked or answered."""

    records: int = 0
    added: int = 0
    repeated: int = 0  # questions that are another one's in words, picture and system text
    failures: list[Failure] = field(default_factory=list)


def failure_file(out: Path) -> Path:
    """Beside the records: one JSON line for each question that got none, with the teacher's words."""
    return out.with_name(f"{out.name}.failed.jsonl")


async def distill(
    teacher: Teacher,
    template: Template,
    questions: Sequence[TeacherQuestion],
    out: AnswerFile,
    failed: Path,
    *,
    concurrency: int = 4,
    limit: int | None = None,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Summary:
    """Append a record to `out` for each question that has none yet; questions alike are asked once.

    A question that gets no answer, or none that makes a record, becomes a line of `failed` and is asked again
    by the next run. Lines there are only added.

    Args:
        questions: all of the run's questions, also those answered before.
        concurrency: requests under way at a time.
        limit: ask only the first so many of them.
        progress: called with (questions done, questions in all) at the start and after each.

    Raises:
        UserError: `out` holds a record of none of `questions`, or no further question can be answered; what
            was answered before is kept.
    """
    answered = _answered(out, questions)
    summary = Summary(len(out.rows))
    chosen: dict[tuple[str, ...], TeacherQuestion] = {}
    done_keys: set[tuple[str, ...]] = set()
    for question in questions[:limit]:
        try:
            key = await asyncio.to_thread(_content, question)
        except (OSError, ValueError) as error:  # ValueError: a zero byte in the name
            if question.id not in answered:
                said = f"{question.path}: cannot be read ({error}); check the path"
                summary.failures.append(Failure(question, said))
            continue
        if question.id in answered:
            done_keys.add(key)
        summary.repeated += key in chosen
        chosen.setdefault(key, question)
    waiting = deque(question for key, question in chosen.items() if key not in done_keys)
    done, total = len(chosen) - len(waiting), len(chosen)
    progress(done, total)

    async def work() -> None:
        nonlocal done
        while waiting:
            question = waiting.popleft()
            try:
                out.append((await _record(teacher, template, question)).to_dict())
                summary.added += 1
            except Unanswered as error:
                summary.failures.append(Failure(question, str(error), error.reply))
                _note(failed, summary.failures[-1])
            done += 1
            progress(done, total)

    for failure in summary.failures:
        _note(failed, failure)
    tasks = [asyncio.create_task(work()) for _ in range(concurrency)]
    try:
        await asyncio.gather(*tasks)
    finally:  # one that raised, or Ctrl-C, ends the others too
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    summary.records = len(out.rows)
    return summary


async def _record(teacher: Teacher, template: Template, question: TeacherQuestion) -> Record:
    picture = None
    if question.path is not None:
        try:
            picture = await asyncio.to_thread(picture_to_data_url, question.path)
        except UserError as error:
            raise Unanswered(str(error)) from None
    reply = await teacher.ask(template.prompt(question.text), picture, question.system)
    try:
        record = question.record(template.turns(question.text, reply))
    except Unparsable as error:
        raise Unanswered(str(error), reply) from None
    if problems := row_problems(record.to_dict()):  # e.g. a reply that writes <image>
        raise Unanswered(f"the reply makes a record that {problems[0].text}", reply)
    return record


def _answered(out: AnswerFile, questions: Sequence[TeacherQuestion]) -> set[str]:
    """The ids of the records that `out` has."""
    by_id = {question.id: question for question in questions}
    for row in out.rows:
        question = by_id.get(str(row.get("id")))
        if question is None or row_problems(row) or not question.fits(Record.model_validate(row)):
            raise UserError(
                f"the file has a record that is none of these questions' (id {row.get('id')!r}); "
                "choose another --out or move it away"
            )
    return {str(row["id"]) for row in out.rows}


def _content(question: TeacherQuestion) -> tuple[str, ...]:
    """What makes two questions the same: words, system text and the picture's bytes, whatever its name."""
    picture = hashlib.sha256(question.path.read_bytes()).hexdigest() if question.path else ""
    return question.text, question.system or "", picture


def _note(failed: Path, failure: Failure) -> None:
    question = failure.question
    row = {"id": question.id, "image": question.image, "question": question.text or None}
    # Half a surrogate pair, which a reply may hold, is written as JSON's own escape.
    with failed.open("a", encoding="utf-8", errors="backslashreplace", newline="\n") as file:
        line = {**row, "error": failure.error, "reply": failure.reply}
        file.write(json.dumps(line, ensure_ascii=False) + "\n")
