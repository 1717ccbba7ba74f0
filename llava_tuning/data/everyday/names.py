"""What things are called in a question, and which names cannot be told apart by a picture."""

from __future__ import annotations

import re
from functools import cache

from llava_tuning.data.everyday.table import EverydayPicture
from llava_tuning.data.phrases import Language, with_article

# Captions and titles that people wrote: they name what is drawn, but not always as others would.
# Of the latter many are authors' names and numbers ("ganson", "simple"): nothing to learn an answer from.
NOISY = ("openclipart",)
FREELY_NAMED = ("tuxpaint", *NOISY)
COLOURS_ZH = {
    **{"black": "黑色", "white": "白色", "gray": "灰色", "red": "红色", "orange": "橙色", "yellow": "黄色"},
    **{"green": "绿色", "blue": "蓝色", "purple": "紫色", "pink": "粉色", "brown": "棕色"},
}
_PLURAL = re.compile(r"(?<![sui])s$|\b(people|teeth|feet)$")
_NO_ARTICLE = re.compile(
    r"\b(rice|bread|spaghetti|sushi|milk|tea|sake|oden|dango|money|fog|rain|wood|wheat|fire|wind|"
    r"tofu|garlic|ginger|butter|salt|cheese|curry|water|clothing|paper|bacon|confetti)$",
    re.IGNORECASE,
)
# Their mirror images have other names, or none.
_SIDED = re.compile(
    r"\b(left|right|quarter|waxing|waning|crescent|increasing|decreasing|letter|number)\b", re.IGNORECASE
)
_COLOUR = re.compile(
    r"\b(red|orange|yellow|green|blue|purple|pink|brown|black|white|gr[ae]y|gold\w*|silver|tangerine|lemon|lime)\b",
    re.IGNORECASE,
)
_SMALL_WORDS = {"of", "with", "and", "the", "a", "an", "in", "on", "to", "no", "up", "over", "at", "for"}
_ALIKE = (
    {"car", "automobile", "taxi", "vehicle", "truck", "bus", "minibus", "trolleybus", "van"},
    {"ship", "boat", "ferry", "speedboat", "sailboat", "canoe"},
    {"train", "tram", "metro", "railway", "locomotive", "monorail", "station"},
    {"mouse", "rat", "hamster", "chipmunk"},
    {"rabbit", "bunny"},
    {"chicken", "rooster", "hen", "chick", "bird", "turkey"},
    {"cow", "ox", "buffalo", "bison", "goat", "ram", "ewe", "sheep"},
    {"dog", "poodle", "wolf", "fox", "cat", "raccoon"},
    {"monkey", "gorilla", "orangutan"},
    {"horse", "donkey", "zebra", "unicorn"},
    {"tiger", "leopard", "lion"},
    {"whale", "dolphin", "fish", "shark", "blowfish", "seal"},
    {"lizard", "crocodile", "dragon", "snake"},
    {"bug", "beetle", "insect", "ant", "cockroach", "cricket", "bee", "honeybee", "ladybug", "fly"},
    {"flower", "blossom", "rose", "hibiscus", "sunflower", "tulip", "bouquet", "hyacinth", "lotus"},
    {"tree", "evergreen", "palm", "leaf", "leaves", "herb", "seedling", "shamrock", "clover", "plant"},
    {"tangerine", "orange", "mango", "peach", "lemon", "lime"},
    {"house", "home", "building", "hut", "hotel", "office", "hospital", "school", "bank", "store", "castle"},
    {"mountain", "volcano", "fuji", "camping", "desert", "park"},
    {"sun", "star", "glowing", "sparkles", "dizzy", "comet", "shooting"},
    {"telephone", "phone", "pager", "fax"},
    {"tv", "television", "monitor", "computer", "laptop", "screen", "desktop"},
    {"book", "books", "notebook", "ledger"},
    {"page", "paper", "newspaper", "document", "memo", "scroll", "receipt", "clipboard", "tabs"},
    {"envelope", "e-mail", "mail", "letter", "mailbox"},
    {"clock", "watch", "timer", "stopwatch", "alarm", "hourglass"},
    {"knife", "dagger", "sword", "swords"},
    {"shoe", "boot", "sandal", "sneaker", "heeled", "flat"},
    {"hat", "cap", "helmet"},
    {"dress", "shirt", "sari", "kimono", "coat", "robe", "clothes", "blouse"},
    {"camera", "video", "movie", "projector"},
    {"sunrise", "sunset", "dusk", "cityscape", "night", "milky"},
    {"bowl", "pot", "soup", "stew", "curry", "noodles", "ramen", "rice", "salad", "spoon", "fondue"},
    {"cup", "glass", "mug", "mugs", "beer", "wine", "cocktail", "tumbler", "beverage", "teacup", "drink"},
    {"cake", "pie", "cupcake", "custard", "shortcake", "dessert"},
    {"football", "ball", "soccer", "basketball", "baseball", "softball", "volleyball", "rugby", "tennis"},
    {"airplane", "plane", "jet", "departure", "arrival"},
    {"bicycle", "bike", "scooter", "motorcycle", "motor"},
    {"cloud", "rain", "snow", "fog", "lightning", "tornado", "thunder"},
    {"moon", "globe", "earth", "planet", "world"},
    {"chart", "graph", "increasing", "decreasing", "bar"},
    {"pen", "pencil", "crayon", "paintbrush", "nib"},
    {"hammer", "pick", "axe", "wrench", "screwdriver", "tools"},
    {"pushpin", "pin", "paperclip", "paperclips"},
    {"calendar", "date"},
    {"lock", "locked", "unlocked", "key"},
    {"heart", "kiss", "love"},
    {"shrimp", "lobster", "crab", "squid", "octopus"},
    {"snowman", "snowflake", "ski", "skis"},
    {"medal", "trophy", "ribbon"},
    {"boy", "girl", "man", "woman", "person", "doll", "dolls"},
)


def has_a_side(name: str) -> bool:
    """Whether the thing in a mirror would be another, as a waxing moon is a waning one."""
    return _SIDED.search(name) is not None


def has_a_colour(name: str) -> bool:
    """Whether the thing in another colour would be another, as a red apple is no green one."""
    return _COLOUR.search(name) is not None


def noun(picture: EverydayPicture, language: Language) -> str | None:
    """The thing's name; None where it has none in this language."""
    return picture.name if language == "en" else picture.name_zh


def with_its_article(name: str) -> str:
    """The English name with its article; names of several things and of stuff have none."""
    return name if is_plural(name) or _NO_ARTICLE.search(name) else with_article(name)


def is_plural(name: str) -> bool:
    """Whether an English name is of several things."""
    return _PLURAL.search(re.split(r" (?:with|over|at|on|in) ", name)[0]) is not None


def may_be_mistaken(one: EverydayPicture, other: EverydayPicture) -> bool:
    """Whether a picture of one may well be said to show the other: names share a word or a look.

    Faces and signs look too much like one another to say that one is absent where another is drawn.
    """
    if one.group == other.group == "smileys-emotion" or (one.name_zh and one.name_zh == other.name_zh):
        return True
    first, second = _words(one.name), _words(other.name)
    return bool(first & second) or any(first & alike and second & alike for alike in _ALIKE)


@cache
def _words(name: str) -> frozenset[str]:
    words = re.findall(r"[a-z]+(?:-[a-z]+)*", name.lower())
    return frozenset(word.removesuffix("s") if len(word) > 3 else word for word in words) - _SMALL_WORDS | (
        frozenset(words) - _SMALL_WORDS
    )
