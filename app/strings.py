"""Everything the app says, in English and Chinese; keys start with `lt_`, apart from Gradio's own."""

from __future__ import annotations

from typing import Literal

from app.pages import texts_compare, texts_runs

Language = Literal["en", "zh"]

# The questions that the first screen offers.
TEXT_QUESTIONS = ("lt_ask_france", "lt_ask_vegetables", "lt_ask_story")
PICTURE_QUESTIONS = ("lt_ask_shape", "lt_ask_colour", "lt_ask_circle")

ENGLISH = {
    "lt_tagline": "Chat with an assistant of your own that can see",
    "lt_chat": "Chat",
    "lt_text_chat": "Text chat",
    "lt_picture_chat": "Picture chat",
    "lt_text_welcome": "## What would you like to know?\nAsk in words; add, drop or paste pictures.",
    "lt_text_welcome_blind": "## What would you like to know?\nAsk in words. This model reads text only.",
    "lt_picture_welcome": "## Ask about a picture\nChoose a sample or add your own, then ask.",
    "lt_text_placeholder": "Ask anything",
    "lt_picture_placeholder": "Ask about the picture",
    "lt_conversation": "Conversation",
    "lt_question": "Your question",
    "lt_picture": "Picture",
    "lt_samples": "Sample pictures",
    "lt_clear": "Clear",
    "lt_settings": "Settings",
    "lt_max_length": "Maximum length",
    "lt_max_length_info": "Longest answer, in tokens (about ¾ of a word each)",
    "lt_temperature": "Temperature",
    "lt_temperature_info": "0 is repeatable; higher varies more",
    "lt_top_p": "Top-p",
    "lt_top_p_info": "Share of the likeliest words to pick from",
    "lt_ask_france": "What is the capital of France?",
    "lt_ask_vegetables": "Name three vegetables.",
    "lt_ask_story": "Write a short story about a lighthouse.",
    "lt_ask_shape": "What shape is in the image?",
    "lt_ask_colour": "What color is the shape?",
    "lt_ask_circle": "Is there a circle?",
    # Said by the server while it works.
    "lt_in_line": "The model is busy; questions before yours: {ahead}",
    "lt_stopped": "Stopped.",
    "lt_need_question": "Type a question first.",
    "lt_need_picture": "Choose a sample or add a picture first, then ask.",
    "lt_busy": "An answer is being written; wait for it or stop it.",
    "lt_blind": "This model reads text only: remove the picture, or start the app with a model that can see.",
    "lt_empty": "The model had nothing to say. Ask in other words, or raise the temperature.",
    "lt_failed": "The answer failed ({error}). The terminal that runs the app has the details.",
}

CHINESE = {
    "lt_tagline": "与你自己训练的、看得见的助手对话",
    "lt_chat": "对话",
    "lt_text_chat": "文字对话",
    "lt_picture_chat": "图片对话",
    "lt_text_welcome": "## 想聊点什么？\n直接输入问题；也可以添加、拖放或粘贴图片。",
    "lt_text_welcome_blind": "## 想聊点什么？\n直接输入问题。此模型只能阅读文字。",
    "lt_picture_welcome": "## 针对图片提问\n选择示例图片或添加自己的图片，然后提问。",
    "lt_text_placeholder": "输入问题",
    "lt_picture_placeholder": "针对图片提问",
    "lt_conversation": "对话",
    "lt_question": "你的问题",
    "lt_picture": "图片",
    "lt_samples": "示例图片",
    "lt_clear": "清空",
    "lt_settings": "设置",
    "lt_max_length": "最大长度",
    "lt_max_length_info": "回答最多包含的 token 数（一个 token 约为一个多汉字）",
    "lt_temperature": "温度",
    "lt_temperature_info": "0 最确定、可重复；越高变化越多",
    "lt_top_p": "Top-p",
    "lt_top_p_info": "只在累计概率达到此值的候选词中选取",
    "lt_ask_france": "法国的首都是哪里？",
    "lt_ask_vegetables": "说出三种蔬菜。",
    "lt_ask_story": "写一个关于灯塔的小故事。",
    "lt_ask_shape": "图中是什么形状？",
    "lt_ask_colour": "这个形状是什么颜色？",
    "lt_ask_circle": "图中有圆形吗？",
    "lt_in_line": "模型正忙；你前面还有 {ahead} 个问题",
    "lt_stopped": "已停止。",
    "lt_need_question": "请先输入问题。",
    "lt_need_picture": "请先选择示例或添加图片，再提问。",
    "lt_busy": "正在回答；请等待完成或先停止。",
    "lt_blind": "此模型只能阅读文字：请移除图片，或用能看图的模型启动应用。",
    "lt_empty": "模型没有给出内容。请换个问法，或提高温度。",
    "lt_failed": "回答失败（{error}）。详情请看运行本应用的终端。",
}

ENGLISH |= texts_compare.ENGLISH | texts_runs.ENGLISH
CHINESE |= texts_compare.CHINESE | texts_runs.CHINESE
_TEXTS: dict[Language, dict[str, str]] = {"en": ENGLISH, "zh": CHINESE}


def translations(model_speaks_chinese: bool) -> dict[str, dict[str, str]]:
    """All texts by locale, for the browser. Questions are offered only in a language that the model knows."""
    chinese = dict(CHINESE)
    if not model_speaks_chinese:
        chinese |= {key: ENGLISH[key] for key in TEXT_QUESTIONS + PICTURE_QUESTIONS}
    return {"en": ENGLISH, "zh-CN": chinese, "zh-TW": chinese, "zh": chinese}


def browser_language(accept_language: str | None) -> Language:
    """The language of what the server says, from the browser's `Accept-Language` header."""
    return "zh" if (accept_language or "").strip().lower().startswith("zh") else "en"


def say(key: str, language: Language, **values: object) -> str:
    """One text, with its `{names}` filled in."""
    return _TEXTS[language][key].format(**values)
