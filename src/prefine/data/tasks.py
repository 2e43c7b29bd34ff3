"""How the prompts of translation and summarization data are worded, so that equal tasks are equal prompts."""

from __future__ import annotations

import unicodedata

from prefine.schema import Message

LANGUAGES = {
    "ar": "Arabic",
    "cs": "Czech",
    "da": "Danish",
    "de": "German",
    "el": "Greek",
    "en": "English",
    "es": "Spanish",
    "fi": "Finnish",
    "fr": "French",
    "ha": "Hausa",
    "he": "Hebrew",
    "hi": "Hindi",
    "hu": "Hungarian",
    "is": "Icelandic",
    "it": "Italian",
    "ja": "Japanese",
    "ko": "Korean",
    "nl": "Dutch",
    "no": "Norwegian",
    "pl": "Polish",
    "pt": "Portuguese",
    "ro": "Romanian",
    "ru": "Russian",
    "sv": "Swedish",
    "tr": "Turkish",
    "uk": "Ukrainian",
    "vi": "Vietnamese",
    "zh": "Chinese",
}
"""English names of languages by their ISO 639-1 codes."""


def language(code: str) -> str:
    """The English name of a language code such as `de` or `de_DE`; other words stay as they are."""
    return LANGUAGES.get(code.strip().lower().replace("-", "_").split("_")[0], code.strip())


def translation(text: str, source: str = "", target: str = "", plain_text: bool = False) -> list[Message]:
    """The prompt for a translation of `text`; as plain text it ends with the name of the target language."""
    names = [language(source), language(target)]
    if plain_text:
        first = f"{names[0]}: " if names[0] else ""
        content = f"{first}{text}\n{names[1]}:" if names[1] else f"{first}{text}\n"
    else:
        ways = (f" from {names[0]}" if names[0] else "") + (f" to {names[1]}" if names[1] else "")
        content = f"Translate this text{ways}. Give only the translation.\n\n{text}"
    return [{"role": "user", "content": content}]


def translation_key(*texts: str) -> str:
    """What the split of a translation depends on: the smaller of its texts, so that both directions stay together."""
    return "translation:" + min(" ".join(unicodedata.normalize("NFKC", t).casefold().split()) for t in texts)


def summary_of_post(post: str, title: str, subreddit: str, plain_text: bool = False) -> list[Message]:
    """The prompt for a summary of a Reddit post; as plain text it ends with the mark that authors put before theirs."""
    if plain_text:
        content = f"SUBREDDIT: r/{subreddit}\nTITLE: {title}\nPOST: {post}\nTL;DR:"
    else:
        heads = [f"Subreddit: r/{subreddit}"] * bool(subreddit) + [f"Title: {title}"] * bool(title)
        content = "\n".join(["Summarize this post in a few sentences, as its author would.", "", *heads, "", post])
    return [{"role": "user", "content": content}]


def summary_of_article(article: str, plain_text: bool = False) -> list[Message]:
    """The prompt for a summary of a news article."""
    if plain_text:
        return [{"role": "user", "content": f"Article: {article}\nTL;DR:"}]
    return [{"role": "user", "content": f"Summarize this news article in a few sentences.\n\n{article}"}]
