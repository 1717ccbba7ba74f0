"""What the chatbot component is given to render."""

from __future__ import annotations

from app.markdown import formatted, verbatim


def test_an_answers_html_and_pictures_become_text_but_its_code_stays():
    answer = "**a** <img src=x> ![p](http://example.com/p.png) `<b>` \n```html\n<i>&amp;</i>\n```"
    shown = formatted(answer)
    assert shown.startswith("**a** &lt;img src=x> !\\[p](http")
    assert "`<b>`" in shown and "<i>&amp;</i>" in shown


def test_an_unfinished_code_block_is_code_while_it_streams():
    assert formatted("```html\n<b>") == "```html\n<b>"


def test_a_question_keeps_its_lines_and_indentation():
    assert verbatim("if a:\n    b") == "if a\\:\n&nbsp;&nbsp;&nbsp;&nbsp;b"
