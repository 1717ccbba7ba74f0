"""Everything the app says, in English and Chinese; keys start with `lt_`, apart from Gradio's own."""

from __future__ import annotations

from typing import Literal

from app.models import LoadError
from app.pages import texts_compare, texts_runs
from llava_tuning.errors import UserError
from llava_tuning.inference.backend import (
    BlindModelError,
    BusyError,
    MemoryFullError,
    NoGPUError,
    RemoteError,
)
from llava_tuning.models.pictures import PictureError, PictureTooLargeError

Language = Literal["en", "zh"]

# The questions that the first screen offers; those about a picture with a file of assets/samples.
TEXT_QUESTIONS = ("lt_ask_france", "lt_ask_vegetables", "lt_ask_story")
PICTURE_QUESTIONS = {
    "lt_ask_shape": "red_circle.png",
    "lt_ask_colour": "blue_triangle.png",
    "lt_ask_circle": "yellow_rectangle.png",
}

ENGLISH = {
    "lt_tagline": "Chat with an assistant of your own that can see",
    "lt_chat": "Chat",
    "lt_welcome": "## What would you like to know?\nAsk in words; add, drop, paste or take pictures.",
    "lt_welcome_blind": "## What would you like to know?\nAsk in words. This model reads text only.",
    "lt_placeholder": "Ask anything",
    "lt_conversation": "Conversation",
    "lt_question": "Your question",
    "lt_picture": "Picture",
    "lt_you": "You",
    "lt_photo": "Take a photo",
    "lt_camera": "Camera",
    "lt_open_camera": "Open the camera",
    "lt_capture": "Capture",
    # The list of conversations.
    "lt_conversations": "Conversations",
    "lt_new": "New conversation",
    "lt_delete": "Delete “{title}”",
    "lt_none_kept": "Conversations are kept in this browser.",
    "lt_not_kept": "This browser keeps nothing; conversations end with the page.",
    "lt_deleted": "Deleted “{title}”",
    "lt_undo": "Undo",
    "lt_forked": "Another window went on with this conversation; what is said here is kept apart.",
    "lt_gone": "This conversation was deleted in another window; here begins a new one.",
    "lt_nothing_to_save": "There is nothing to save yet; ask something first.",
    "lt_close": "Close",
    "lt_markdown": "Markdown",
    "lt_json": "JSON",
    # Said by the browser itself.
    "lt_offline": "The app cannot be reached; check that it runs. What was said is kept in this browser.",
    "lt_file_too_large": "{name} is larger than {limit} MB; make the picture smaller and add it again.",
    # Settings.
    "lt_settings": "Settings",
    "lt_system": "System prompt",
    "lt_system_info": "Told to the model first",
    "lt_max_length": "Maximum new tokens",
    "lt_max_length_info": "¾ of a word each",
    "lt_temperature": "Temperature",
    "lt_temperature_info": "0 is repeatable",
    "lt_top_p": "Top-p",
    "lt_top_p_info": "Share of likely words",
    "lt_penalty": "Repetition penalty",
    "lt_penalty_info": "1 is off",
    "lt_seed": "Seed",
    "lt_seed_info": "Empty is random",
    "lt_course": "Course preset",
    "lt_reset": "Reset",
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
    "lt_many_pictures": "A conversation takes {most} pictures at most. Start a new one for more.",
    "lt_busy": "An answer is being written; wait for it or stop it.",
    "lt_blind": "{model} reads text only: remove the picture, or choose a model that can see.",
    "lt_not_loaded": "This model cannot be loaded; choose another one. {error}",
    "lt_blind_model": "This model reads text only: {error}",
    "lt_blind_conversation": "This conversation has pictures, and {model} reads text only: choose a "
    "model that can see, or begin a new conversation.",
    "lt_model": "Model",
    "lt_loading": "Loading {model} …",
    # Where an answer looked.
    "lt_look": "Where it looked",
    "lt_look_hide": "Hide where it looked",
    "lt_looking": "Reading the answer’s attention …",
    "lt_look_picture": "The picture under a heat map of attention",
    "lt_look_caption": "How much the model attended to each part of the picture while it wrote this answer, "
    "from violet to yellow; {share} of its attention went here, the rest to words. "
    "It shows what was weighed, not why.",
    "lt_look_gone": "The picture is no longer within what the model remembers of this conversation.",
    "lt_look_not_here": "{model} does not run in this app, so its attention is unknown; ask one that does.",
    "lt_empty": "The model had nothing to say. Ask in other words, or raise the temperature.",
    "lt_failed": "The answer failed ({error}). The terminal that runs the app has the details.",
    "lt_usage": "Tokens: {answer} written, {prompt} read",
    "lt_speed": "{speed} tokens/s",
    "lt_unfinished": "Not finished: the page was left meanwhile.",
    "lt_unfinished_last": "Not finished: the page was left meanwhile. Retry writes it anew.",
    "lt_no_number": "A setting is empty or no number; fill it in, or reset the settings.",
    "lt_thanks": "Thank you; your vote is stored.",
    "lt_vote_later": "This answer is still being written; vote on it once it is whole.",
    "lt_vote_taken_back": "Your vote is taken back.",
    # What went wrong; `{error}` is the sentence that programs and the terminal get.
    "lt_error": "{error}",
    "lt_queue_full": "Too many questions are in line; try again in a minute.",
    "lt_unreachable": "The model’s server did not answer: {error}",
    "lt_no_gpu": "No GPU is free, or your GPU time for today is used up; try again later, or log in to "
    "Hugging Face.",
    "lt_memory_full": "The memory for the model is full; start a new conversation, shorten the question "
    "or choose fewer new tokens.",
    "lt_picture_too_large": "{error}",
    "lt_picture_unreadable": "{error}",
}

CHINESE = {
    "lt_tagline": "与你自己训练的、看得见的助手对话",
    "lt_chat": "对话",
    "lt_welcome": "## 想聊点什么？\n直接输入问题；也可以添加、拖放、粘贴或拍摄图片。",
    "lt_welcome_blind": "## 想聊点什么？\n直接输入问题。此模型只能阅读文字。",
    "lt_placeholder": "输入问题",
    "lt_conversation": "对话",
    "lt_question": "你的问题",
    "lt_picture": "图片",
    "lt_you": "你",
    "lt_photo": "拍照",
    "lt_camera": "相机",
    "lt_open_camera": "打开相机",
    "lt_capture": "拍摄",
    "lt_conversations": "对话列表",
    "lt_new": "新对话",
    "lt_delete": "删除“{title}”",
    "lt_none_kept": "对话保存在此浏览器中。",
    "lt_not_kept": "此浏览器不保存内容；关闭页面后对话即消失。",
    "lt_deleted": "已删除“{title}”",
    "lt_undo": "撤销",
    "lt_forked": "另一个窗口已继续此对话；这里的内容将另存为一个新对话。",
    "lt_gone": "此对话已在另一个窗口中删除；这里开始新对话。",
    "lt_nothing_to_save": "还没有可保存的内容；请先提问。",
    "lt_close": "关闭",
    "lt_markdown": "Markdown",
    "lt_json": "JSON",
    "lt_offline": "无法连接应用。请确认它仍在运行；对话已保存在此浏览器中。",
    "lt_file_too_large": "{name} 超过 {limit} MB；请缩小图片后重新添加。",
    "lt_settings": "设置",
    "lt_system": "系统提示词",
    "lt_system_info": "在对话开始前告诉模型",
    "lt_max_length": "最大新 token 数",
    "lt_max_length_info": "一个 token 约为一个多汉字",
    "lt_temperature": "温度",
    "lt_temperature_info": "0 可重复；越高变化越多",
    "lt_top_p": "Top-p",
    "lt_top_p_info": "只取最可能的这部分词",
    "lt_penalty": "重复惩罚",
    "lt_penalty_info": "1 为关闭；越高重复越少",
    "lt_seed": "随机种子",
    "lt_seed_info": "留空为随机",
    "lt_course": "课程预设",
    "lt_reset": "重置",
    "lt_ask_france": "法国的首都是哪里？",
    "lt_ask_vegetables": "说出三种蔬菜。",
    "lt_ask_story": "写一个关于灯塔的小故事。",
    "lt_ask_shape": "图中是什么形状？",
    "lt_ask_colour": "这个形状是什么颜色？",
    "lt_ask_circle": "图中有圆形吗？",
    "lt_in_line": "模型正忙；你前面还有 {ahead} 个问题",
    "lt_stopped": "已停止。",
    "lt_need_question": "请先输入问题。",
    "lt_many_pictures": "一个对话最多 {most} 张图片。更多图片请新建对话。",
    "lt_busy": "正在回答；请等待完成或先停止。",
    "lt_blind": "{model} 只能阅读文字：请移除图片，或选择能看图的模型。",
    "lt_not_loaded": "无法加载此模型：文件损坏或不完整，请重新导出或下载，或选择其他模型。（{error}）",
    "lt_blind_model": "此模型只能阅读文字：请移除图片，或选择能看图的模型。（{error}）",
    "lt_blind_conversation": "此对话含有图片，而 {model} 只能阅读文字：请选择能看图的模型，或开始新对话。",
    "lt_model": "模型",
    "lt_loading": "正在加载 {model} …",
    "lt_look": "它看了哪里",
    "lt_look_hide": "隐藏它看了哪里",
    "lt_looking": "正在读取回答的注意力 …",
    "lt_look_picture": "叠加注意力热图的图片",
    "lt_look_caption": "模型写出此回答时对图片各处的注意力，由紫到黄递增；"
    "{share} 的注意力落在图片上，其余在文字上。它表示模型关注了什么，并不说明原因。",
    "lt_look_gone": "这张图片已超出模型对此对话的记忆范围。",
    "lt_look_not_here": "{model} 不在本应用内运行，无法得知其注意力；请选择在本应用内运行的模型。",
    "lt_empty": "模型没有给出内容。请换个问法，或提高温度。",
    "lt_failed": "回答失败（{error}）。详情请看运行本应用的终端。",
    "lt_usage": "token：写出 {answer}，读入 {prompt}",
    "lt_speed": "{speed} token/秒",
    "lt_unfinished": "未写完：其间离开了页面。",
    "lt_unfinished_last": "未写完：其间离开了页面。点“重试”可重新回答。",
    "lt_no_number": "有一项设置为空或不是数字；请填写，或重置设置。",
    "lt_thanks": "谢谢，你的评价已保存。",
    "lt_vote_later": "此回答还在书写；写完后再评价。",
    "lt_vote_taken_back": "已撤回评价。",
    "lt_error": "出错了：{error}",
    "lt_queue_full": "排队的问题太多；请一分钟后再试。",
    "lt_unreachable": "模型服务器没有回应：{error}",
    "lt_no_gpu": "没有空闲的 GPU，或今天的 GPU 时间已用完；请稍后再试，或登录 Hugging Face。",
    "lt_memory_full": "模型的内存（显存）已满；请开始新对话、缩短问题，或减少最大新 token 数。",
    "lt_picture_too_large": "图片太大；请缩小后再上传。（{error}）",
    "lt_picture_unreadable": "图片无法读取；请换成 PNG、JPEG、WebP、GIF 或 BMP 文件。（{error}）",
}

ENGLISH |= texts_compare.ENGLISH | texts_runs.ENGLISH
CHINESE |= texts_compare.CHINESE | texts_runs.CHINESE
_TEXTS: dict[Language, dict[str, str]] = {"en": ENGLISH, "zh": CHINESE}


def translations(chats_in_chinese: bool) -> dict[str, dict[str, str]]:
    """All texts by locale, for the browser. Text questions are offered in a language that the model talks in.

    Those about pictures are closed ones, which the embedded model answers in Chinese as well.
    """
    chinese = dict(CHINESE)
    if not chats_in_chinese:
        chinese |= {key: ENGLISH[key] for key in TEXT_QUESTIONS}
    return {"en": ENGLISH, "zh-CN": chinese, "zh-TW": chinese, "zh": chinese}


def browser_language(accept_language: str | None) -> Language:
    """The language of what the server says, from the browser's `Accept-Language` header."""
    return "zh" if (accept_language or "").strip().lower().startswith("zh") else "en"


def say(key: str, language: Language, **values: object) -> str:
    """One text, with its `{names}` filled in."""
    return _TEXTS[language][key].format(**values)


def explain(error: UserError, language: Language) -> str:
    """What went wrong, and how to mend it, in the visitor's language."""
    key = next((key for kind, key in _REMEDIES if isinstance(error, kind)), "lt_error")
    return say(key, language, error=error)


_REMEDIES: tuple[tuple[type[UserError], str], ...] = (
    (NoGPUError, "lt_no_gpu"),
    (LoadError, "lt_not_loaded"),
    (BlindModelError, "lt_blind_model"),
    (BusyError, "lt_queue_full"),
    (MemoryFullError, "lt_memory_full"),
    (RemoteError, "lt_unreachable"),
    (PictureTooLargeError, "lt_picture_too_large"),
    (PictureError, "lt_picture_unreadable"),
)
