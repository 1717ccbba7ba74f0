"""What the page says, it says in both languages."""

from __future__ import annotations

import re

from app.strings import CHINESE, ENGLISH


def test_each_text_is_there_in_both_languages_with_the_same_values():
    assert ENGLISH.keys() == CHINESE.keys()
    assert all(key.startswith("lt_") for key in ENGLISH)
    for key, text in ENGLISH.items():
        assert sorted(re.findall(r"{(\w+)}", text)) == sorted(re.findall(r"{(\w+)}", CHINESE[key])), key
