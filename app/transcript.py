"""A conversation in its written forms: on the page, as OpenAI's messages, and as Markdown."""

from __future__ import annotations

import html
from collections.abc import Callable, Collection, Sequence
from typing import Any
from urllib.parse import quote

from app.chats import Chat, Exchange, Look, Question, Usage
from app.markdown import formatted, verbatim
from app.strings import Language, say
from app.uploads import KeptPicture

_THUMB = {"up": "Like", "down": "Dislike", None: None}  # Gradio's names
Shown = list[dict[str, str]]


def shown(
    exchanges: Sequence[Exchange],
    language: Language,
    attentive: Collection[str] = (),
    goes_on: bool = False,
) -> Shown:
    """Messages for the chatbot component: each exchange is two, so that their place tells the exchange.

    Args:
        attentive: models whose answers can be asked what they attended to.
        goes_on: whether another exchange follows.
    """
    messages, pictures = [], False
    several = len({exchange.model for exchange in exchanges}) > 1
    for number, exchange in enumerate(exchanges, 1):
        answer = formatted(exchange.answer)
        pictures = pictures or bool(exchange.question.pictures)
        facts = [f"<b>{_literal(exchange.model)}</b>"] if several and exchange.model else []
        facts += [describe_usage(exchange.usage, language)] if exchange.usage else []
        if exchange.unfinished:
            last = number == len(exchanges) and not goes_on  # the one that can be retried
            facts.append(say("lt_unfinished_last" if last else "lt_unfinished", language))
        below = f'<p class="lt-usage">{" · ".join(facts)}</p>' if facts else ""
        if pictures and exchange.model in attentive:
            below += _look_button(exchange.look, language)
        if below:
            answer += "\n```" if answer.count("```") % 2 else ""  # what follows is no code
            answer += f'\n\n<div class="lt-below">{below}</div>'
        if exchange.look:
            answer += f"\n\n{_shown_look(exchange.look, language)}"
        messages += [shown_question(exchange.question, language), shown_answer(answer)]
    return messages


def shown_question(question: Question, language: Language) -> dict[str, str]:
    """A question for the chatbot component, its pictures before its text."""
    # As part of the text: beside one, the component's own pictures would break its editing of the question.
    pictures = "".join(_shown_picture(picture, say("lt_picture", language)) for picture in question.pictures)
    return {"role": "user", "content": f"{pictures}\n\n{verbatim(question.text)}".strip()}


def shown_answer(answer: str) -> dict[str, str]:
    """An answer, already formatted, for the chatbot component."""
    return {"role": "assistant", "content": answer}


def thumbs(exchanges: Sequence[Exchange]) -> list[str | None]:
    """The votes as the chatbot component names them, one for each answer."""
    return [_THUMB[exchange.vote] for exchange in exchanges]


def _shown_picture(picture: KeptPicture, description: str) -> str:
    return (
        f'<img class="lt-picture" src="gradio_api/file={quote(str(picture.path))}" '
        f'alt="{html.escape(description)}">'
    )


def _look_button(look: Look | None, language: Language) -> str:
    """Its class tells `chat.js` what it is: the component takes all other attributes away."""
    return f'<button class="lt-look">{say("lt_look_hide" if look else "lt_look", language)}</button>'


def _shown_look(look: Look, language: Language) -> str:
    pictures = "".join(_shown_picture(picture, say("lt_look_picture", language)) for picture in look.pictures)
    caption = say("lt_look_caption", language, share=f"{look.share:.0%}")
    return f'<figure class="lt-attention">{pictures}<figcaption>{caption}</figcaption></figure>'


def _literal(text: str) -> str:
    """Text for HTML within Markdown, where a dollar would begin a formula."""
    return html.escape(text).replace("$", "&#36;")


def describe_usage(usage: Usage, language: Language) -> str:
    """Speed and token counts in words."""
    words = say("lt_usage", language, answer=usage.answer_tokens, prompt=f"{usage.prompt_tokens:,}")
    speed = usage.tokens_per_s
    return words if speed is None else f"{words} · {say('lt_speed', language, speed=f'{speed:.0f}')}"


def messages_of(
    system: str, exchanges: Sequence[Exchange], address: Callable[[KeptPicture], str] = KeptPicture.data_url
) -> list[dict[str, Any]]:
    """A conversation as OpenAI's messages, which `read_messages` and `llava-tuning data convert` read.

    Answers have four fields besides, where known: `model`, `usage`, `unfinished` and `vote`.

    Args:
        address: what to write for a picture.
    """
    messages: list[dict[str, Any]] = [{"role": "system", "content": system}] if system else []
    for exchange in exchanges:
        asked, usage = exchange.question, exchange.usage
        parts: list[dict[str, Any]] = [
            {"type": "image_url", "image_url": {"url": address(picture)}} for picture in asked.pictures
        ]
        content = [*parts, {"type": "text", "text": asked.text}] if parts else asked.text
        answer: dict[str, Any] = {"role": "assistant", "content": exchange.answer}
        if exchange.model:
            answer["model"] = exchange.model
        if usage:
            answer["usage"] = {
                "prompt_tokens": usage.prompt_tokens,
                "answer_tokens": usage.answer_tokens,
                "seconds": round(usage.seconds, 3),
            }
        if exchange.unfinished:
            answer["unfinished"] = True
        if exchange.vote:
            answer["vote"] = exchange.vote
        messages += [{"role": "user", "content": content}, answer]
    return messages


def markdown_of(chat: Chat, model: str, language: Language) -> str:
    """A conversation as Markdown to read, its pictures inside.

    Args:
        model: who wrote the answers that do not say.
    """
    parts = [f"# {chat.title}"]
    if chat.system:
        parts.append(f"> {chat.system}".replace("\n", "\n> "))
    for exchange in chat.exchanges:
        pictures = "\n\n".join(f"![]({picture.data_url()})" for picture in exchange.question.pictures)
        parts += [f"## {say('lt_you', language)}", pictures, exchange.question.text]
        answer = exchange.answer.replace("![", "!\\[")  # no picture from elsewhere
        parts += [f"## {exchange.model or model}", answer]
    return "\n\n".join(part for part in parts if part) + "\n"


def kept_by_browser(chat: Chat) -> dict[str, Any]:
    """The conversation for the browser's list, with the pictures that the browser has not got yet."""
    pictures = {
        picture.name: picture.data_url()
        for exchange in chat.exchanges
        for picture in exchange.question.pictures
        if picture.name not in chat.told
    }
    chat.told |= pictures.keys()
    messages = messages_of(chat.system, chat.exchanges, lambda picture: picture.name)
    named = {"id": chat.id, "number": chat.number, "title": chat.title}
    return named | {"messages": messages, "pictures": pictures}
