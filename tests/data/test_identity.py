"""`data identity`: different questions, held out for good, right for any name, and contrast without it."""

from __future__ import annotations

import json
import re
from collections import Counter
from itertools import product
from pathlib import Path
from typing import Any

import pytest
from transformers import PreTrainedTokenizerBase
from typer.testing import CliRunner

from llava_tuning.cli import _build
from llava_tuning.data.check import check_file
from llava_tuning.data.identity.chinese import CHINESE
from llava_tuning.data.identity.english import ENGLISH
from llava_tuning.data.identity.generate import write_identity
from llava_tuning.data.identity.phrasebook import Phrasebook, fill, mentions, plain_wording
from llava_tuning.data.identity.questions import CONTRAST, split_questions
from llava_tuning.data.identity.who import Identity
from llava_tuning.data.load import load_records
from llava_tuning.data.phrases import LanguageChoice
from llava_tuning.errors import UserError

MOMO = Identity("Momo", "Ada Jones")
ODD = [
    Identity("小智", "上海书店"),
    Identity("小智", "Acme Inc."),
    Identity("Momo", "李雷"),
    Identity("O'Neil-2", "Yahoo!"),
    Identity("{name}", r"C:\Labs & Söhne"),
    Identity("Momo", "Momo Labs"),
    Identity("Claude", "Shanghai AI Laboratory"),
    Identity("小K", "K 工作室"),
]
BOOKS = (ENGLISH, CHINESE)


def rows(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("identity")
    write_identity(out, MOMO, "both")
    return out


@pytest.mark.parametrize("language", ["en", "zh"])
def test_there_are_200_different_identity_questions_a_language(language: LanguageChoice, tmp_path: Path):
    """Counted in the files, training and held-out together: questions whose answer tells the name or owner,
    without openers, case and punctuation."""
    written = write_identity(tmp_path, MOMO, language)
    records = load_records(written.paths["train"])
    turns = [turn for record in records for turn in record.conversations if turn.from_ != "system"]
    pairs = zip(turns[::2], turns[1::2], strict=True)
    asked = [question.value for question, answer in pairs if MOMO.in_text(answer.value)]
    asked += [row["conversations"][-1]["value"] for row in rows(tmp_path / "held_out_identity.jsonl")]
    book = {book.language: book for book in BOOKS}[language]
    opener = re.compile("|".join(map(re.escape, (*book.greetings, *book.turns))))
    wordings = {
        plain_wording(opener.sub("", text, count=1) if opener.match(text) else text) for text in asked
    }
    assert len(wordings) == written.wordings[language] >= 200
    assert len(records) == sum(n for (file, _, _), n in written.records.items() if file == "train")


@pytest.mark.parametrize("seed", range(5))
def test_what_is_held_out_is_never_trained_on(seed: int, tmp_path: Path):
    """Neither the question, also behind an opener or as one of several sentences, nor its template."""
    write_identity(tmp_path, MOMO, "both", seed)
    held = [
        row["conversations"][-1]["value"]
        for part in ("identity", CONTRAST)
        for row in rows(tmp_path / f"held_out_{part}.jsonl")
    ]
    assert len(held) == 2 * len(set(held))  # once by itself, once inside a conversation
    records = load_records(tmp_path / "train.json")
    asked = [turn.value for record in records for turn in record.conversations if turn.from_ == "human"]
    trained = {plain_wording(part) for text in asked for part in (text, *re.split(r"[.?!。？！]", text))}
    assert trained.isdisjoint(map(plain_wording, held))
    for book in BOOKS:
        for template in (text for kind in (*book.kinds, *book.facts) for text in kind.questions):
            pattern = template_pattern(template, book)
            if any(map(pattern.fullmatch, held)):
                assert not any(map(pattern.fullmatch, asked)), template


def template_pattern(template: str, book: Phrasebook) -> re.Pattern[str]:
    """What a template may be filled with."""
    things = [thing for facts in book.facts for thing in facts.answers]
    words = {
        "name": [MOMO.name],
        "owner": [MOMO.owner],
        "other": book.others,
        "maker": book.others.values(),
        "thing": things,
    }
    pattern = re.escape(template)
    for slot, values in words.items():
        pattern = pattern.replace(rf"\{{{slot}\}}", f" ?(?:{'|'.join(map(re.escape, values))}) ?")
    return re.compile(pattern)


def test_the_plainest_questions_are_always_trained_on(tmp_path: Path):
    for seed in range(5):
        write_identity(tmp_path, MOMO, "both", seed)
        asked = {turn.value for r in load_records(tmp_path / "train.json") for turn in r.conversations}
        for question in ("Who are you?", "What is your name?", "Who made you?", "你是谁？", "谁创造了你？"):
            assert any(text.endswith(question) for text in asked), question


def test_the_same_seed_writes_the_same_files_and_another_seed_others(folder: Path, tmp_path: Path):
    write_identity(tmp_path / "same", MOMO, "both")
    write_identity(tmp_path / "other", MOMO, "both", seed=1)
    for file in folder.iterdir():
        text = file.read_text(encoding="utf-8")
        assert (tmp_path / "same" / file.name).read_text(encoding="utf-8") == text
        assert (tmp_path / "other" / file.name).read_text(encoding="utf-8") != text


def test_records_pass_the_check(folder: Path, tokenizer: PreTrainedTokenizerBase):
    findings, count = check_file(folder / "train.json", None, tokenizer, 2048)
    assert (findings, count > 1000) == ([], True)


@pytest.mark.parametrize("identity", [MOMO, *ODD], ids=str)
def test_contrast_never_holds_the_name_or_owner(identity: Identity, tmp_path: Path):
    write_identity(tmp_path, identity, "both")
    contrast = [r for r in load_records(tmp_path / "train.json") if r.id.startswith("contrast-")]
    assert len(contrast) > 400
    turns = [turn.value for record in contrast for turn in record.conversations if turn.from_ != "system"]
    held = rows(tmp_path / "held_out_contrast.jsonl")
    turns += [row["reference"] for row in held] + [t["value"] for row in held for t in row["conversations"]]
    assert not [text for text in turns if identity.in_text(text)]
    assert all(row["must_not_contain"] == [identity.name, identity.owner] for row in held)


@pytest.mark.parametrize("identity", [MOMO, *ODD], ids=str)
def test_every_answer_is_right_by_the_rule_it_would_be_scored_with(identity: Identity):
    for language, questions in split_questions(BOOKS, identity, 0).items():
        for question in (*questions.train, *questions.held_out):
            for answer in question.answers:
                missing = [text for text in question.must if not mentions(answer, text)]
                wrong = [text for text in question.must_not if mentions(answer, text)]
                assert not missing and not wrong, (language, question.text, answer)


@pytest.mark.parametrize("identity", [MOMO, *ODD], ids=str)
def test_names_are_put_into_sentences_without_a_seam(identity: Identity, tmp_path: Path):
    write_identity(tmp_path, identity, "both")
    texts = [t.value for r in load_records(tmp_path / "train.json") for t in r.conversations]
    texts += [row["reference"] for row in rows(tmp_path / "held_out_identity.jsonl")]
    for text in texts:
        plain = text.replace(identity.name, "N").replace(identity.owner, "O")
        assert not re.search(r"  |\{|\}|\.\.|。。|[!?]\.|\s[.,;!?]|O's|N's", plain.replace(" ?", "?")), text
        assert text == text.strip() and text[-1] in '.?!"。？！”', text


def test_a_name_may_not_be_taken_for_another_assistant(tmp_path: Path):
    write_identity(tmp_path, Identity("Claude", "OpenAI"), "en")
    text = (tmp_path / "train.json").read_text(encoding="utf-8")
    assert not re.search("not Claude|Are you ChatGPT|by Anthropic", text)


def test_answers_vary(folder: Path):
    for language in ("en", "zh"):
        records = [r for r in load_records(folder / "train.json") if r.id.startswith(f"identity-{language}")]
        answers = [
            t.value for r in records for t in r.conversations if MOMO.in_text(t.value) and t.from_ == "gpt"
        ]
        assert len(answers) == len(records)
        (_, most), *_ = Counter(answers).most_common(1)
        assert most / len(answers) < 0.02
        assert len(set(answers)) > len(answers) / 2


def test_identity_is_asked_alone_inside_conversations_and_under_system_prompts(folder: Path):
    records = [r for r in load_records(folder / "train.json") if r.id.startswith("identity-")]
    assert {len(r.conversations) // 2 for r in records} >= {1, 2, 3}
    systems = [r.conversations[0].value for r in records if r.conversations[0].from_ == "system"]
    assert 0.2 < len(systems) / len(records) < 0.6
    assert 0 < sum(MOMO.in_text(text) for text in systems) < len(systems) / 2


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("", "is empty"),
        (" \t", "is empty"),
        ("Mo\nmo", "one line"),
        ("Mo\u2028mo", "one line"),
        ("<|im_end|>", "special token"),
        ("Momo</s>", "special token"),
        ("<image>", "special token"),
        ("[INST]", "special token"),
        ("!?", "no letter"),
        (" Momo", "white space"),
        ("M" * 81, "at most 80"),
    ],
)
def test_names_that_cannot_be_taught_are_refused(name: str, said: str):
    for option, pair in (("--name", (name, "Ada")), ("--owner", ("Momo", name))):
        with pytest.raises(UserError, match=re.escape(said)) as error:
            Identity(*pair)
        assert option in str(error.value)


def test_a_name_that_most_sentences_hold_is_refused(tmp_path: Path):
    with pytest.raises(UserError, match=r"'The' is a word of so many sentences.*rarer"):
        write_identity(tmp_path, Identity("The", "Ada"), "en")
    assert not list(tmp_path.iterdir())


def test_mentions_takes_latin_names_as_whole_words():
    for text, phrase in [
        ("I'm Sam.", "Sam"),
        ("i’m sam", "I'm Sam"),
        ("我是小智。", "小智"),
        ("我是Momo，你好", "我是 Momo"),
        ("由 Acme Inc. 开发", "Acme Inc."),
    ]:
        assert mentions(text, phrase), (text, phrase)
    for text, phrase in [("the same", "Sam"), ("Samuel", "Sam"), ("我不是Momo", "我是Momo")]:
        assert not mentions(text, phrase), (text, phrase)


def test_a_sentence_is_filled_with_one_stop_and_spaces_between_scripts():
    values = {"name": "Momo", "owner": "Acme Inc."}
    assert fill("I'm {name}, made by {owner}.", values) == "I'm Momo, made by Acme Inc."
    assert fill("我是{name}，由{owner}开发。", values) == "我是 Momo，由 Acme Inc. 开发。"
    assert fill("我叫{name}。", {"name": "小智"}) == "我叫小智。"


@pytest.mark.parametrize(("book", "part"), list(product(BOOKS, ("contrast", "small_talk"))))
def test_pairs_have_both_sides(book: Phrasebook, part: str):
    assert all(question and answer for question, answer in getattr(book, part))


def test_the_commands_go_together(tmp_path: Path, model_directory: Path):
    def run(*arguments: str | Path) -> str:
        result = CliRunner().invoke(_build(), ["data", *map(str, arguments)])
        assert result.exit_code == 0, (arguments, result.output, result.exception)
        return result.output

    out = tmp_path / "identity set"
    said = run("identity", "--name", "小智", "--owner", "Acme Inc.", "--language", "both", "--out", out)
    assert "different identity questions" in said and "another assistant" in said
    assert f"data mix '{out}/train.json':0.2" in said
    assert {path.name for path in out.iterdir()} == {
        "train.json",
        "held_out_identity.jsonl",
        "held_out_contrast.jsonl",
    }
    general = Path(__file__).parents[2] / "assets" / "demo" / "text.json"
    mixed = run(
        "mix", f"{out / 'train.json'}:0.2", f"{general}:0.8", "--size", "1000", "--out", out / "mix.json"
    )
    assert "200 (20%), 200 different" in mixed and "800 (80%)" in mixed
    assert len(load_records(out / "mix.json")) == 1000
    run("check", out / "train.json", "--model", model_directory)
    run("show", out / "train.json", "--index", "3", "--model", model_directory)


def test_a_bad_name_is_said_by_the_command(tmp_path: Path):
    arguments = ["data", "identity", "--name", "a\nb", "--owner", "Ada", "--out", str(tmp_path / "x")]
    result = CliRunner().invoke(_build(), arguments)
    assert isinstance(result.exception, UserError) and "--name" in str(result.exception)
