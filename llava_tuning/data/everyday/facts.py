"""Which fact of a picture, or of several, is asked about: so that yes and no, and numbers, come evenly."""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Sequence

from llava_tuning.data.everyday.concepts import CONCEPTS, Concept
from llava_tuning.data.everyday.table import EverydayPicture


class Facts:
    """Draws facts of `known` pictures."""

    def __init__(self, known: Sequence[EverydayPicture]) -> None:
        held = [{c.key: c.holds(picture) for c in CONCEPTS} for picture in known]
        some = sum(True in facts.values() for facts in held)
        self._share_of_yes = some / max(1, sum(False in facts.values() for facts in held))
        # How often a fact that does not hold is asked about, so that its yes and no are equally frequent.
        self._weight_of_no: dict[str, float] = {}
        self._holders: dict[str, list[EverydayPicture]] = {}
        for concept in CONCEPTS:
            yes = sum(1 / list(facts.values()).count(True) for facts in held if facts[concept.key])
            no = sum(facts[concept.key] is False for facts in held)
            self._weight_of_no[concept.key] = yes / max(1, no)
            holders = [picture for picture, facts in zip(known, held, strict=True) if facts[concept.key]]
            if concept.plural and holders:
                self._holders[concept.key] = holders

    def of_one(self, picture: EverydayPicture, rng: random.Random) -> tuple[Concept, bool] | None:
        """A fact and whether it holds, as often as not over all pictures; None where nothing comes up."""
        if rng.random() < 0.5:
            concepts = [c for c in CONCEPTS if c.holds(picture)]
            weights = [1.0] * len(concepts)
        elif rng.random() < self._share_of_yes:
            concepts = [c for c in CONCEPTS if c.holds(picture) is False]
            weights = [self._weight_of_no[c.key] for c in concepts]
        else:
            return None
        if not any(weights):
            return None
        concept = rng.choices(concepts, weights)[0]
        return concept, bool(concept.holds(picture))

    @staticmethod
    def count(row: Sequence[EverydayPicture], rng: random.Random) -> tuple[Concept, int] | None:
        """A kind and how many of the pictures are of it; None where some picture is unclear about every kind.

        The number is drawn before the kind, so that it is not 0 in most cases.
        """
        found: dict[int, list[Concept]] = defaultdict(list)
        for concept in CONCEPTS:
            held = [concept.holds(picture) for picture in row]
            if concept.plural and None not in held:
                found[sum(map(bool, held))].append(concept)
        if not found:
            return None
        number = rng.choice(sorted(found))
        return rng.choice(found[number]), number

    def some_kind(self, rng: random.Random) -> list[EverydayPicture]:
        """All pictures of one kind that can be counted; none where there is no such kind."""
        return self._holders[rng.choice(sorted(self._holders))] if self._holders else []
