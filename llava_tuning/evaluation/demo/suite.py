"""A suite of questions, how its answers are judged, and what an answer from the question alone would be."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from llava_tuning.data.phrases import Language, as_typed
from llava_tuning.evaluation.asking import Picture
from llava_tuning.evaluation.scoring import normalise_answer

# Answers that say the same: a model that answers 有的 where 有 is right has understood.
YES = frozenset({"yes", "是", "是的", "有", "有的", "对", "对的", "能", "可以"})
_SAME = (YES, frozenset({"no", "不是", "不", "否", "没有", "没", "不对", "不能", "不可以"}))


@dataclass(frozen=True)
class Item:
    """One question; `kind` is what its score is listed under."""

    id: str
    text: str
    right: str
    kind: str
    picture: Picture | None = None


def same_answer(item: Item, answer: str) -> bool:
    """Exactly the right answer, but for case, punctuation and ways to say yes and no."""
    given, right = normalise_answer(answer), normalise_answer(item.right)
    return given == right or any(given in same and right in same for same in _SAME)


class Prior:
    """The most frequent answer to a text elsewhere, in whatever letters; to its kind, where it is new."""

    def __init__(self, seen: Iterable[tuple[str, str, str]]) -> None:
        """`seen`: (kind, text, answer)."""
        self._by_text: dict[str, Counter[str]] = defaultdict(Counter)
        self._by_kind: dict[str, Counter[str]] = defaultdict(Counter)
        for kind, text, answer in seen:
            self._by_text[text.lower()][answer] += 1
            self._by_kind[kind][answer] += 1

    def answer(self, item: Item) -> str:
        """Without having seen the picture."""
        known = self._by_text.get(item.text.lower()) or self._by_kind.get(item.kind)
        return known.most_common(1)[0][0] if known else ""


@dataclass(frozen=True)
class Suite:
    """Questions in a random order, so that the first ones are a fair sample.

    Attributes:
        name: the same for both languages, whose scores stand side by side.
        seen: what the question-only control knows: (kind, text, answer) of pictures outside the suite; None
            where no control applies, because the answer does not depend on the picture.
        judge: whether an answer is right.
        also: further yes/no properties of an answer, whose shares are reported.
    """

    name: str
    language: Language
    items: Sequence[Item]
    seen: Callable[[], Iterable[tuple[str, str, str]]] | None
    judge: Callable[[Item, str], bool] = same_answer
    max_new_tokens: int = 8
    also: Mapping[str, Callable[[Item, str], bool]] = field(default_factory=dict)


def asked_as_typed(suite: Suite, seed: int) -> Suite:
    """The suite with about half of its questions beginning with a capital; see `as_typed`."""
    items = []
    for item in suite.items:
        ((text, _),) = as_typed([(item.text, item.right)], f"{seed} {item.id}")
        items.append(replace(item, text=text))
    return replace(suite, items=items)


@dataclass(frozen=True)
class LeftOut:
    """A suite that cannot be asked here, and what would mend it."""

    name: str
    remedy: str
