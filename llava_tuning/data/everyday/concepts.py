"""Yes/no facts about a thing that follow from its group: is it an animal, can you eat it, is it a vehicle."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from fnmatch import fnmatch
from functools import cache

from llava_tuning.data.everyday.table import EverydayPicture
from llava_tuning.data.phrases import Language

_BE = ("是", "不是")
_CAN = ("能", "不能")


@dataclass(frozen=True, eq=False)
class Concept:
    """A fact that some groups of things have and others lack.

    Attributes:
        yes, unclear: patterns of "group/subgroup"; a thing of neither kind lacks the fact.
        unclear_names: a thing whose name has one of these words is not asked about.
        questions: language → wordings. chinese: its yes and no.
        plural: English plural and Chinese name, where such things are counted.
    """

    key: str
    yes: tuple[str, ...]
    unclear: tuple[str, ...]
    unclear_names: str
    questions: Mapping[Language, tuple[str, ...]]
    chinese: tuple[str, str] = _BE
    plural: tuple[str, str] | None = None

    def holds(self, picture: EverydayPicture) -> bool | None:
        """Whether the thing has the fact; None where people would disagree, or its group does not tell."""
        if re.search(rf"\b({self.unclear_names})", picture.name, re.IGNORECASE):
            return None
        place = f"{picture.group}/{picture.subgroup}"
        if _matches(place, self.unclear) or _matches(place, _UNSURE):
            return None
        return _matches(place, self.yes)


@cache
def _matches(place: str, patterns: tuple[str, ...]) -> bool:
    return any(fnmatch(place, pattern) for pattern in patterns)


# Faces are of people, cats and moons at once, and these folders hold a bit of everything.
_UNSURE = ("smileys-emotion/*", "seasonal/*", "people/*", "education/*", "geography/*", "*/toys")
_LIVING = ("animals-nature/*", "animals/*", "plants/*")

CONCEPTS = (
    Concept(
        "animal",
        ("animals-nature/animal-*", "animals/*"),
        ("food-drink/food-marine",),
        "paw|spider web|feather|microbe|shell|coral|dragon|unicorn|phoenix|wing|bone|nest|egg|teddy|rubber|"
        "carousel|horse|fish|snowman|duck|animal|chess",
        {
            "en": ("is it an animal?", "is this an animal?", "does the picture show an animal?"),
            "zh": ("这是动物吗？", "它是动物吗？", "图上画的是动物吗？"),
        },
        plural=("animals", "动物"),
    ),
    Concept(
        "bird",
        ("animals-nature/animal-bird", "animals/birds"),
        ("animals/animals", "animals/cartoon"),
        "feather|wing|phoenix|nest|egg|rubber|duck|bird|chick|bat\\b",
        {"en": ("is it a bird?", "is this a bird?"), "zh": ("这是鸟吗？", "它是鸟吗？")},
        plural=("birds", "鸟"),
    ),
    Concept(
        "food",
        ("food-drink/food-*", "food/*"),
        (*_LIVING, "food-drink/food-marine", "food-drink/drink"),
        "pot\\b|takeout|cooking|tea|coffee|bottle|glass|cup|drink|juice|jack-o|candy|ice$|bowl|bone|bag|menu",
        {
            "en": ("can you eat it?", "is it something to eat?", "does the picture show food?"),
            "zh": ("这个能吃吗？", "它能吃吗？"),
        },
        _CAN,
    ),
    Concept(
        "drink",
        ("food-drink/drink",),
        ("food-drink/food-prepared", "food-drink/food-asian", "food/*", "household/*", "containers/*"),
        "ice$|clinking|pouring|bottle|cup|glass|drop|cork|baby|milk|honey|coconut",
        {
            "en": ("can you drink it?", "is it something to drink?"),
            "zh": ("这个能喝吗？", "它能喝吗？"),
        },
        _CAN,
    ),
    Concept(
        "vehicle",
        ("travel-places/transport-*", "vehicles/*"),
        ("travel-places/place-other", "space/*", "military/*", "activities/*", "*/transportation"),
        "bus stop|railway track|motorway|oil drum|fuel|wheel|tyre|tire|light|stop|construction|anchor|buoy|"
        "seat|parachute|rocket|saucer|satellite|skateboard|roller|sled|canoe|station|chair|carriage|skate|litter",
        {
            "en": ("is it a vehicle?", "is this a vehicle?", "does the picture show a vehicle?"),
            "zh": ("这是交通工具吗？", "它是交通工具吗？"),
        },
        plural=("vehicles", "交通工具"),
    ),
    Concept(
        "plant",
        ("animals-nature/plant-*", "plants/*"),
        ("food-drink/food-fruit", "food-drink/food-vegetable", "food/*", "natural*/*", "activities/event"),
        "mushroom|toadstool|nest|leaf|leaves|rock|wood|bouquet|rosette|basket|tree",
        {
            "en": ("is it a plant?", "is this a plant?"),
            "zh": ("这是植物吗？", "它是植物吗？"),
        },
        plural=("plants", "植物"),
    ),
    Concept(
        "fruit",
        ("food-drink/food-fruit", "food/fruit"),
        ("food-drink/food-vegetable", "food/[!f]*", "plants/*", "animals-nature/plant-*"),
        "tomato|olive|avocado|coconut|eggplant|pumpkin|jack-o|cake|pie",
        {"en": ("is it a fruit?", "is this a fruit?"), "zh": ("这是水果吗？", "它是水果吗？")},
        plural=("fruits", "水果"),
    ),
    Concept(
        "musical instrument",
        (
            "objects/musical-instrument",
            "hobbies/brass",
            "hobbies/percussion",
            "hobbies/string",
            "hobbies/wind",
        ),
        ("objects/music", "objects/sound", "activities/*", "symbols/music"),
        "bell|radio|whistle|horn|note|music|microphone",
        {
            "en": ("is it a musical instrument?", "can you make music with it?"),
            "zh": ("这是乐器吗？", "它是乐器吗？"),
        },
        plural=("musical instruments", "乐器"),
    ),
    Concept(
        "clothing",
        ("objects/clothing", "clothes/*"),
        ("military/*", "objects/medical", "sports/*", "activities/sport"),
        "gem|lipstick|bag|purse|backpack|umbrella|fan|pick|crutch|hanger|pin|mask|helmet|button|watch|mirror|"
        "headphone|medal|ribbon|razor|martial|shirt|skate|ski",
        {
            "en": ("can you wear it?", "is it something to wear?"),
            "zh": ("这个能穿戴吗？", "它能穿戴在身上吗？"),
        },
        _CAN,
    ),
    Concept(
        "building",
        ("travel-places/place-building", "travel-places/place-religious"),
        ("travel-places/place-[!br]*", "travel-places/hotel", "town/*", "symbols/*"),
        "construction|brick|rock|wood|wedding|statue|kaaba|hut|tent|sign|bridge|room|door",
        {
            "en": ("is it a building?", "does the picture show a building?"),
            "zh": ("这是建筑物吗？", "它是建筑物吗？"),
        },
        plural=("buildings", "建筑物"),
    ),
)
