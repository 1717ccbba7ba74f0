"""Ask a model every suite and its controls; what is answered is kept, so an interrupted run goes on."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field
from datetime import datetime, timezone
from itertools import zip_longest
from pathlib import Path
from typing import TYPE_CHECKING, Any

from llava_tuning.evaluation.asking import Picture, ask, blank_picture
from llava_tuning.evaluation.demo.plan import retention_conversations
from llava_tuning.evaluation.demo.result import BLANK, SHUFFLED, Result, Wrong, evaluate
from llava_tuning.evaluation.demo.suite import Item, LeftOut, Prior, Suite
from llava_tuning.evaluation.demo.text import Retention, retention
from llava_tuning.inference.answer_file import AnswerFile
from llava_tuning.inference.backend import ChatBackend, GenerationSettings
from llava_tuning.models.provenance import library_versions

if TYPE_CHECKING:
    from llava_tuning.inference.loading import LoadedModel

MODEL = "model"
CONTROL_SHARE, MOST_CONTROLS = 4, 100  # one of so many items is asked of a control, at most so many
SIDE = 224  # of the blank picture, in pixels
RETENTION = "text retention"

Progress = Callable[[str, int, int], None]  # suite, questions asked, questions to ask


@dataclass
class Report:
    """What `evaluate_demo` found, so far."""

    model: str
    seed: int
    limit: int | None
    left_out: list[LeftOut]
    results: list[Result] = field(default_factory=list)
    retention: Retention | None = None
    created: str = field(default_factory=lambda: datetime.now(timezone.utc).isoformat(timespec="seconds"))

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "benchmark": "the bundled model's claims",
            "model": self.model,
            "created": self.created,
            "libraries": library_versions(),
            "seed": self.seed,
            "limit": self.limit,
            "suites": [result.to_dict() for result in self.results],
            "text_retention": asdict(self.retention) if self.retention else None,
            "left_out": [asdict(suite) for suite in self.left_out],
        }


def failures(report: Report, count: int = 16) -> list[Wrong]:
    """Wrong English answers about pictures, of each suite in turn, for a contact sheet.

    Chinese ones are left out: Pillow's own font, which the sheet is written in, has no Chinese.
    """
    shown = [r.wrong for r in report.results if r.suite.language == "en" and r.suite.items[0].picture]
    in_turn = [wrong for some in zip_longest(*shown) for wrong in some if wrong]
    return in_turn[:count]


class _Answers:
    """Answers by suite, control and item; rows of a file where there is one."""

    def __init__(self, file: AnswerFile | None) -> None:
        self._file = file
        self._known: dict[tuple[str, ...], str] = {}
        for row in file.rows if file else []:
            self._known[tuple(row["asked"])] = row["answer"]

    def get(self, *asked: str) -> str | None:
        return self._known.get(asked)

    def add(self, answer: str, *asked: str) -> None:
        self._known[asked] = answer
        if self._file:
            self._file.append({"asked": asked, "answer": answer})


def evaluate_demo(
    loaded: LoadedModel,
    backend: ChatBackend,
    load_base: Callable[[], LoadedModel],
    suites: Sequence[Suite],
    left_out: Sequence[LeftOut],
    *,
    seed: int = 0,
    limit: int | None = None,
    batch_size: int = 32,
    out: Path | None = None,
    meta: Mapping[str, Any] | None = None,
    progress: Progress = lambda suite, done, total: None,
) -> Report:
    """Ask all suites.

    Args:
        loaded, backend: the model, and what answers with it.
        load_base: loads the language model that the text is compared with.
        suites, left_out: of `plan`, made with this `seed` and `limit`.
        batch_size: questions at a time.
        out: JSON file, written anew after each suite; answers go to `out`.answers.jsonl at once.
        meta: what must be the same for a run to be continued.
        progress: see `Progress`.

    Raises:
        UserError: the file holds answers of another run, or cannot be written.
    """
    with ExitStack() as stack:
        file = None
        if out is not None:
            answers_path = out.with_name(f"{out.name}.answers.jsonl")
            file = stack.enter_context(AnswerFile(answers_path, meta or {}))
        answers = _Answers(file)
        report = Report(backend.name, seed, limit, list(left_out))
        general = retention_conversations(limit)
        totals = [len(_to_ask(suite)) for suite in suites]
        total, before = sum(totals) + 2 * general, 0
        for suite, number in zip(suites, totals, strict=True):
            progress(_label(suite), before, total)
            report.results.append(_run(suite, backend, answers, batch_size, progress, before, total))
            before += number
            _write(out, report)
        progress(RETENTION, before, total)
        report.retention = _retention(
            loaded, load_base, general, seed, answers, lambda done: progress(RETENTION, before + done, total)
        )
        if report.retention is None:
            remedy = "measure a model made from SmolLM2, whose tokenizer it shares"
            report.left_out.append(LeftOut(RETENTION, remedy))
        progress(RETENTION, total, total)
        _write(out, report)
    return report


def _run(
    suite: Suite,
    backend: ChatBackend,
    answers: _Answers,
    batch_size: int,
    progress: Progress,
    before: int,
    total: int,
) -> Result:
    asked = _to_ask(suite)
    keys = [(suite.name, suite.language, who, item.id, item.text) for who, item, _ in asked]
    left = [number for number, key in enumerate(keys) if answers.get(*key) is None]
    ask(
        backend,
        [(asked[number][1].text, asked[number][2]) for number in left],
        GenerationSettings(max_new_tokens=suite.max_new_tokens, temperature=0.0),
        batch_size,
        lambda done: progress(_label(suite), before + len(asked) - len(left) + done, total),
        lambda index, answer: answers.add(answer, *keys[left[index]]),
    )
    found: dict[str, dict[str, str]] = {MODEL: {}, BLANK: {}, SHUFFLED: {}}
    blank_by_text: dict[str, str] = {}
    for (who, item, _), key in zip(asked, keys, strict=True):
        found[who][item.id] = answer = answers.get(*key) or ""
        if who == BLANK:
            blank_by_text[item.text] = answer
    blind = {BLANK: {}, SHUFFLED: found[SHUFFLED]}
    if suite.seen is not None:
        blind[BLANK] = {item.id: blank_by_text[item.text] for item in _control_items(suite)}
    prior = Prior(suite.seen()) if suite.seen is not None else None
    return evaluate(suite, [found[MODEL][item.id] for item in suite.items], blind, prior)


def _to_ask(suite: Suite) -> list[tuple[str, Item, Picture | None]]:
    """(who is asked, item, picture) of the model and of the controls that need it.

    Blank pictures are all alike and answers greedy, so each text needs asking only once.
    """
    out = [(MODEL, item, item.picture) for item in suite.items]
    if suite.seen is None:
        return out
    few = _control_items(suite)
    by_text = {item.text: item for item in reversed(few)}
    out += [(BLANK, item, blank_picture(SIDE)) for item in by_text.values()]
    for number, item in enumerate(few):
        others = (other.picture for other in (*few[number + 1 :], *few[:number]))
        other = next((p for p in others if p and item.picture and p.key != item.picture.key), None)
        if other is not None:
            out.append((SHUFFLED, item, other))
    return out


def _control_items(suite: Suite) -> Sequence[Item]:
    return suite.items[: min(MOST_CONTROLS, max(12, len(suite.items) // CONTROL_SHARE))]


def _retention(
    loaded: LoadedModel,
    load_base: Callable[[], LoadedModel],
    conversations: int,
    seed: int,
    answers: _Answers,
    progress: Callable[[int], None],
) -> Retention | None:
    """None where the two models do not share a tokenizer."""
    asked = (RETENTION, "en", MODEL, str(seed), str(conversations))
    if (known := answers.get(*asked)) is not None:
        row = json.loads(known)
        return Retention(**{**row, "interval": tuple(row["interval"])})
    base = load_base()
    mine = loaded.tokenizer.get_vocab()  # a LLaVA's has its picture token besides
    if any(mine.get(token) != number for token, number in base.tokenizer.get_vocab().items()):
        return None
    found = retention(loaded, base, conversations, seed, progress)
    if found is not None:
        answers.add(json.dumps(asdict(found)), *asked)
    return found


def _label(suite: Suite) -> str:
    return suite.name if suite.language == "en" else f"{suite.name}, Chinese"


def _write(out: Path | None, report: Report) -> None:
    if out is None:
        return
    unfinished = out.with_name(f"{out.name}.part")  # so that an interrupted run leaves no half file
    unfinished.write_text(json.dumps(report.to_dict(), ensure_ascii=False, indent=1) + "\n", encoding="utf-8")
    unfinished.replace(out)
