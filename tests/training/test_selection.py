"""What checkpoints are asked, how their answers count, and which one is chosen."""

from __future__ import annotations

import json
import logging
import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch.nn import functional
from xtuner.registry import BUILDER
from xtuner.utils import IGNORE_INDEX

from llava_tuning.data.identity.generate import write_identity
from llava_tuning.data.identity.who import Identity
from llava_tuning.data.load import load_records
from llava_tuning.data.mix import mix_files, warnings
from llava_tuning.data.records import make_record, write_json
from llava_tuning.errors import UserError
from llava_tuning.models.conversation import Message, render_conversation
from llava_tuning.models.tokenizer import load_tokenizer
from llava_tuning.runs.scores import Goals, Scores
from llava_tuning.training.config import config_path, load_settings, parse_settings
from llava_tuning.training.float8 import convert_frozen
from llava_tuning.training.preflight import _is_zero3
from llava_tuning.training.selection.answering import greedy_answers, log_likelihoods
from llava_tuning.training.selection.book import ANSWERS_FILE, Book, weights_of, write_scores
from llava_tuning.training.selection.hook import SelectionHook
from llava_tuning.training.selection.questions import GENERAL, Question, read_questions, sample_questions
from llava_tuning.training.selection.scores import Answered, choose, summarise

MOMO = Identity("Momo", "Ada Jones")
GENERAL_TRAIN = GENERAL.with_name("general.jsonl")


def answered(part: Any, right: bool, likelihood: float = 0.0, tokens: int = 0, id: str = "q") -> Answered:
    return Answered(id, part, "…", right, likelihood, tokens)


def scores(step: int, recalled: int, leaked: int, loss: float) -> Scores:
    return Scores(step, recalled, 100, leaked, 100, 0, 0, -1.0, 10, loss, (loss, loss))


@pytest.fixture(scope="module")
def identity(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of `data identity`."""
    folder = tmp_path_factory.mktemp("identity")
    write_identity(folder, MOMO)
    return folder


@pytest.fixture(scope="module")
def smollm2(text_model: Path) -> Any:
    """The embedded language model as a run of text trains it, in float32."""
    config = load_settings(config_path("smollm2_135m_lora_assistant_e3_sft"), {"llm": str(text_model)})
    config.model.llm.dtype = "float32"
    return BUILDER.build(config.model).eval()


def test_answers_of_a_batch_are_those_given_one_at_a_time(smollm2: Any, text_model: Path) -> None:
    tokenizer = load_tokenizer(text_model, name=text_model, remedy="")
    asked = [
        [Message("user", "What is the capital of France?")],
        [Message("user", "Hi")],
        [
            Message("system", "Answer in one word."),
            Message("user", "What is 2 + 2?"),
            Message("assistant", "4."),
            Message("user", "And what is the capital of Italy?"),
        ],
    ]
    together = dict(greedy_answers(smollm2, tokenizer, asked, max_new_tokens=12, batch_size=3))
    apart = dict(greedy_answers(smollm2, tokenizer, asked, max_new_tokens=12, batch_size=1))
    assert together == apart and set(apart) == {0, 1, 2}
    assert "Paris" in apart[0] and "Rome" in apart[2]
    alone = smollm2.llm.generate(
        torch.tensor([render_conversation(tokenizer, asked[0], generation_prompt=True).input_ids]),
        max_new_tokens=12,
        do_sample=False,
    )
    assert tokenizer.decode(alone[0], skip_special_tokens=True).strip().endswith(apart[0])


def test_likelihood_is_that_of_all_answers_and_their_ends(
    build: Callable[..., Any], llm: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, tokenizer = build("text_lora").eval(), load_tokenizer(llm, name=llm, remedy="")
    talks = [
        [
            Message("user", "a?"),
            Message("assistant", "b."),
            Message("user", "c?"),
            Message("assistant", "de."),
        ],
        [Message("user", "Who, or what?"), Message("assistant", "Nobody.")],
        [Message("system", "Be brief."), Message("user", "f?"), Message("assistant", "Yes.")],
    ]
    expected = []
    for talk in talks:
        rendered = render_conversation(tokenizer, talk)
        labels = torch.tensor(rendered.labels[1:])
        with torch.no_grad():
            logits = model.llm(input_ids=torch.tensor([rendered.input_ids])).logits[0, :-1]
        loss = functional.cross_entropy(logits, labels, ignore_index=IGNORE_INDEX, reduction="sum")
        expected.append((-loss.item(), int((labels != IGNORE_INDEX).sum())))
    assert expected[0][1] == len("b.") + len("de.") + 2
    for tokens in (1024, 150):  # all in one row, and in two
        monkeypatch.setattr("llava_tuning.training.selection.answering.ROW_TOKENS", tokens)
        found = log_likelihoods(model, tokenizer, talks, max_length=500)
        assert [count for _, count in found] == [count for _, count in expected]
        assert [nats for nats, _ in found] == pytest.approx([nats for nats, _ in expected], rel=1e-4)
    assert log_likelihoods(model, tokenizer, talks[:1], max_length=3) == [(0.0, 0)]


def test_all_that_is_held_out_is_asked(identity: Path) -> None:
    questions = read_questions(identity / "train.json")
    parts = {part: [q for q in questions if q.part == part] for part in ("identity", "contrast", "general")}
    lines = {
        name: (identity / f"held_out_{name}.jsonl").read_text().splitlines()
        for name in ("identity", "contrast")
    }
    assert len(parts["identity"]) == len(lines["identity"]) and len(parts["contrast"]) == len(
        lines["contrast"]
    )
    assert len(parts["general"]) == len(load_records(GENERAL)) > 200
    first = json.loads(lines["identity"][0])
    assert parts["identity"][0].is_right(first["reference"])
    assert not parts["identity"][0].is_right("I am an assistant.")
    for part in ("contrast", "general"):
        assert parts[part][0].is_right("Paris.") and not parts[part][0].is_right("I'm Momo, and it's Paris.")
        assert not parts[part][0].is_right("Ask Ada Jones.")
    assert parts["general"][0].asked == parts["general"][0].whole[:-1]


def test_a_sample_has_so_many_of_each_part_and_stays_the_same(identity: Path) -> None:
    questions = read_questions(identity / "train.json")
    sample = sample_questions(questions, 5)
    assert [question.part for question in sample] == ["identity"] * 5 + ["contrast"] * 5 + ["general"] * 5
    assert sample == sample_questions(questions, 5) and set(sample) < set(questions)


def test_what_was_trained_on_is_not_held_out(identity: Path, tmp_path: Path) -> None:
    row = json.loads((identity / "held_out_identity.jsonl").read_text().splitlines()[0])
    asked = row["conversations"][-1]["value"]
    write_json(
        tmp_path / "mix.json", [make_record("mine", None, [("Hello.", "Hi."), (asked.upper(), "Momo.")])]
    )
    with pytest.raises(UserError, match=r"mix\.json: record 'mine' asks .*take it out of one of them"):
        read_questions(tmp_path / "mix.json", folder=identity)


@pytest.mark.parametrize(
    ("turns", "problem"),
    [
        ([("Who made tea?", "Ada Jones did.")], "mentions 'Ada Jones'"),
        ([("<image>\nWhat is it?", "Tea.")], "no conversation in text"),
    ],
)
def test_general_conversations_that_prove_nothing_are_refused(
    turns: list[tuple[str, str]], problem: str, identity: Path, tmp_path: Path
) -> None:
    picture = "a.png" if "<image>" in turns[0][0] else None
    turns = [(question.removeprefix("<image>\n"), answer) for question, answer in turns]
    write_json(tmp_path / "general.json", [make_record("g1", picture, turns)])
    with pytest.raises(UserError, match=rf"general\.json: record 'g1' .*{problem}.*; remove it|{problem}"):
        read_questions(identity / "train.json", general=tmp_path / "general.json")


def test_missing_and_broken_held_out_files_are_named(identity: Path, tmp_path: Path) -> None:
    write_json(tmp_path / "mix.json", [make_record("a", None, [("Hello.", "Hi.")])])
    with pytest.raises(UserError, match=r"held_out_identity\.jsonl: no such file; name the folder"):
        read_questions(tmp_path / "mix.json")
    letters = '{"id": "x", "conversations": [{"from": "human", "value": "Who?"}], "must_contain": "Momo", '
    for row in ('{"id": "x", "conversations": []}', letters + '"must_not_contain": []}'):
        (tmp_path / "held_out_identity.jsonl").write_text(f"{row}\n")
        with pytest.raises(UserError, match=r"identity\.jsonl: record 0 \(id 'x'\) lacks .*file again"):
            read_questions(tmp_path / "mix.json")


def test_scores_count_each_part_and_compare_likelihood_with_the_base_model() -> None:
    base = [answered("general", True, -8.0, 10, "g1"), answered("general", True, -2.0, 10, "g2")]
    rows = [
        answered("identity", True),
        answered("identity", False),
        answered("contrast", False),
        answered("contrast", True),
        answered("general", False, -9.0, 10, "g1"),
        answered("general", True, -2.0, 10, "g2"),
    ]
    found = summarise(7, rows, base)
    assert (found.recall, found.leakage) == (0.5, 0.5)
    assert (found.leaked_contrast, found.contrast, found.leaked_general, found.general) == (1, 2, 1, 2)
    assert found.retention_loss == pytest.approx(1 - math.exp(-1.0 / 20))
    assert found.retention_interval is not None
    low, high = found.retention_interval
    assert low < found.retention_loss < high
    assert found.balance == pytest.approx(0.5 * 0.5 * math.exp(-1.0 / 20))
    assert summarise(7, rows, base[:1]).retention_loss is None
    diverged = [replace(row, log_likelihood=math.nan) for row in rows]
    lost = summarise(7, diverged, base)
    assert lost.retention_loss is None and lost.log_likelihood is None
    assert "NaN" not in json.dumps(lost.to_dict()) and Scores.from_dict(lost.to_dict()) == lost
    alike = [replace(row, id="g") for row in base]  # files of several sources repeat ids
    assert summarise(0, alike, alike).retention_loss == 0
    assert Scores.from_dict(found.to_dict()).to_dict() == found.to_dict()


def test_the_least_forgetful_of_those_that_reach_the_goals_is_chosen() -> None:
    base = scores(0, 100, 0, 0.0)  # however good, it is not a checkpoint
    early, late, leaky = scores(10, 96, 1, 0.04), scores(20, 99, 2, 0.03), scores(30, 100, 3, 0.01)
    assert choose([base, early, late, leaky], Goals()) == (late, True)
    assert choose([base, early, replace(late, retention_loss=0.06), leaky], Goals()) == (early, True)
    assert choose([base, early, late], Goals(recall=0.97, leakage=0.0)) == (late, False)


def test_without_a_checkpoint_that_reaches_them_the_best_balanced_is_chosen() -> None:
    parrot, forgetful, mild = scores(10, 100, 90, 0.1), scores(20, 90, 0, 0.5), scores(30, 80, 5, 0.1)
    assert choose([parrot, forgetful, mild], Goals()) == (mild, False)


def test_an_answer_counts_for_its_question_and_its_weights(build: Callable[..., Any], tmp_path: Path) -> None:
    model = build("text_lora")
    question = Question("q", "identity", (Message("user", "Who?"),), ("Momo",))
    weights, base = weights_of(model), weights_of(model, base=True)
    Book(tmp_path).add(3, weights, question, answered("identity", True))
    with (tmp_path / ANSWERS_FILE).open("a") as file:
        file.write('{"step": 3, "wei')  # the run was killed here
    book = Book(tmp_path)
    assert book.answers(weights, [question]) == [answered("identity", True)]
    assert book.unanswered(weights, [question, replace(question, must=("Mimi",))]) == [
        replace(question, must=("Mimi",))
    ]
    assert book.unanswered(base, [question]) == [question]
    with torch.no_grad():
        next(weight for weight in model.parameters() if weight.requires_grad).mul_(1.01)
    assert book.unanswered(weights_of(model), [question]) == [question]
    assert weights_of(model, base=True) == base
    convert_frozen(model.llm, backward_only=True)  # the same values, so the same answers
    assert weights_of(model, base=True) == base
    book.add(4, base, question, answered("identity", False))
    assert len(Book(tmp_path).answers(base, [question])) == 1
    with (tmp_path / ANSWERS_FILE).open("a") as file:
        file.write('{"step": 3}\n')
    with pytest.raises(UserError, match=r"scored_answers\.jsonl: line 3 is no answer; remove it"):
        Book(tmp_path)


def test_a_resumed_run_remembers_the_checkpoints_before(identity: Path, tmp_path: Path) -> None:
    write_scores(tmp_path, [scores(0, 0, 0, 0.0), scores(10, 90, 0, 0.0), scores(20, 99, 40, 0.0)])
    data, model = str(identity / "train.json"), SimpleNamespace(use_llm_lora=False)  # the base is gone
    hook = SelectionHook(2, 0.1, data, None, None, max_length=500)
    runner: Any = SimpleNamespace(iter=20, work_dir=str(tmp_path), model=model, logger=logging.getLogger())
    hook.before_train(runner)
    hook._note(runner, scores(30, 100, 50, 0.0))
    assert [row.step for row in hook.scores] == [0, 10, 20, 30] and hook._leaks(runner)
    assert hook.base == []
    for question in hook.questions:
        hook.book.add(0, "base", question, answered(question.part, False, id=question.id))
    hook.before_train(runner)  # what the base model said is not gone
    assert [row.id for row in hook.base] == [question.id for question in hook.questions]
    runner.iter = 10  # from an earlier checkpoint
    hook.before_train(runner)
    assert [row.step for row in hook.scores] == [0, 10]


def test_settings_are_refused_where_no_language_model_trains_and_held_out_files_looked_for_first(
    start: Callable[..., int], tmp_path: Path
) -> None:
    with pytest.raises(UserError, match="selection_sample belong to runs that train the language model"):
        load_settings(
            config_path("llava_smollm2_135m_clip_small_p14_112_e1_pretrain"),
            parse_settings(["selection_sample=4"]),
        )
    with pytest.raises(UserError, match=r"leakage_limit = 0\.1 does nothing .*set selection_sample too"):
        load_settings(config_path("smollm2_135m_lora_assistant_e3_sft"), {"leakage_limit": 0.1})
    write_json(tmp_path / "talk.json", [make_record("a", None, [("Hello.", "Hi.")])])
    with pytest.raises(UserError, match=r"held_out_identity\.jsonl: no such file"):
        start("text_lora", tmp_path / "run", data_path=tmp_path / "talk.json", selection_sample=4)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("strategy", "spread"), [("zero2", False), ("zero3_offload", True), (2, False), (3, True), (None, False)]
)
def test_zero3_is_known_by_name_and_in_a_file(strategy: Any, spread: bool, tmp_path: Path) -> None:
    if not isinstance(strategy, str):
        file = tmp_path / "zero3.json"  # whatever its name
        file.write_text(json.dumps({} if strategy is None else {"zero_optimization": {"stage": strategy}}))
        strategy = str(file)
    assert _is_zero3(strategy) == spread


def test_general_conversations_of_the_project_fit_identity_data(identity: Path, tmp_path: Path) -> None:
    assert warnings(mix_files([identity / "train.json", GENERAL_TRAIN], tmp_path / "mix.json")) == []
    read_questions(tmp_path / "mix.json", folder=identity)  # raises where one of them is held out
    assert len({record.conversations[0].value for record in load_records(GENERAL_TRAIN)}) > 1_000
