"""Ask a model in training the held-out questions; what it has answered before is not asked again."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from typing import Any

from llava_tuning.training.language_model import LanguageModelStep
from llava_tuning.training.selection.answering import greedy_answers, log_likelihoods
from llava_tuning.training.selection.book import Book, weights_of
from llava_tuning.training.selection.questions import Question
from llava_tuning.training.selection.scores import Answered

MAX_NEW_TOKENS = 48  # an answer that has not said its name by then does not

Progress = Callable[[int, int], None]  # questions answered, questions to answer


def score(
    model: LanguageModelStep,
    tokenizer: Any,
    questions: Sequence[Question],
    book: Book,
    step: int,
    max_length: int,
    batch_size: int,
    base: bool = False,
    progress: Progress = lambda done, total: None,
) -> list[Answered]:
    """A model's answers to the questions, in their order.

    Args:
        book: holds what was answered before, and takes what is answered now.
        step: how far the model is trained.
        max_length: tokens of a general conversation whose likelihood counts.
        batch_size: questions at a time.
        base: leave the adapter out.
    """
    was_training = model.training
    model.eval()
    weights = weights_of(model, base)
    left = book.unanswered(weights, questions)
    with model.llm.disable_adapter() if base and model.use_llm_lora else nullcontext():
        measured = [question for question in left if question.whole]
        found = log_likelihoods(model, tokenizer, [question.whole for question in measured], max_length)
        likelihoods = {question: pair for question, pair in zip(measured, found, strict=True)}
        conversations = [question.asked for question in left]
        answers = greedy_answers(model, tokenizer, conversations, MAX_NEW_TOKENS, batch_size)
        for done, (index, answer) in enumerate(answers):
            progress(done, len(left))
            question = left[index]
            measures = likelihoods.get(question, (0.0, 0))
            right = question.is_right(answer)
            answered = Answered(question.id, question.part, answer, right, *measures)
            book.add(step, weights, question, answered)
    progress(len(left), len(left))
    model.train(was_training)
    return book.answers(weights, questions)
