"""Chat templates: the ones that come with prefine, and how a conversation is rendered by any template."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jinja2

from prefine.data.messages import Dropped
from prefine.errors import PrefineError, nearest
from prefine.schema import Message

_FOLDER = Path(__file__).parent / "templates"
_PROBE = "qzjxk"
"""Text that no template writes by itself."""


def built_in() -> list[str]:
    """Names of the templates that come with prefine."""
    return sorted(p.stem for p in _FOLDER.glob("*.jinja"))


def apply_template(tokenizer: Any, name_or_path: str) -> None:
    """Give a tokenizer a chat template: `chatml`, `plain`, or a file that holds a Jinja template.

    Where the tokenizer does not have ChatML's markers as tokens, they are written as text and a turn ends with the
    EOS token: what ends a response must be one token.
    """
    if name_or_path in built_in():
        text = (_FOLDER / f"{name_or_path}.jinja").read_text()
    elif Path(name_or_path).is_file():
        text = Path(name_or_path).read_text()
    else:
        raise PrefineError(
            f"model.chat_template: '{name_or_path}' is neither a file nor one of {', '.join(built_in())}"
            f"{nearest(name_or_path, built_in())}"
        )
    if name_or_path in built_in() and tokenizer.eos_token is None and "<|im_end|>" not in tokenizer.get_vocab():
        raise PrefineError(f"chat template '{name_or_path}' needs a tokenizer with an EOS token; this one has none")
    if name_or_path == "chatml" and "<|im_end|>" not in tokenizer.get_vocab():
        text = text.replace("'<|im_end|>'", "eos_token")
    try:
        jinja2.Environment(extensions=["jinja2.ext.loopcontrols"]).parse(_without_generation_marks(text))
    except jinja2.TemplateSyntaxError as error:
        raise PrefineError(f"{name_or_path}, line {error.lineno}: not a Jinja template: {error.message}") from error
    tokenizer.chat_template = text


def _without_generation_marks(text: str) -> str:
    for mark in ("generation", "endgeneration"):
        for left in ("{%- ", "{% ", "{%-", "{%"):
            for right in (" -%}", " %}", "-%}", "%}"):
                text = text.replace(left + mark + right, "")
    return text


def render(tokenizer: Any, messages: Sequence[Message], generation_prompt: bool) -> str:
    """The conversation as text, in transformers' sandbox. Raises `Dropped` where the template refuses it."""
    if not getattr(tokenizer, "chat_template", None):
        raise PrefineError(
            f"the tokenizer of '{getattr(tokenizer, 'name_or_path', '') or 'this model'}' has no chat template; set "
            f"model.chat_template to {' or '.join(built_in())} or to a file, or data.plain_text: true for plain text"
        )
    try:
        return tokenizer.apply_chat_template(
            [dict(m) for m in messages], tokenize=False, add_generation_prompt=generation_prompt
        )
    except jinja2.TemplateError as error:
        raise Dropped("refused_by_chat_template", str(error)) from error


def supports_system(tokenizer: Any) -> bool:
    """False for templates that raise on a system turn, as Gemma's does."""
    turns: list[Message] = [{"role": "system", "content": _PROBE}, {"role": "user", "content": "x"}]
    try:
        render(tokenizer, turns, True)
    except Dropped:
        return False
    return True


def fold_system(messages: Sequence[Message]) -> list[Message]:
    """The system text in front of the first user turn."""
    if len(messages) < 2 or messages[0]["role"] != "system" or messages[1]["role"] != "user":
        return list(messages)
    text = f"{messages[0]['content']}\n\n{messages[1]['content']}"
    return [{"role": "user", "content": text}, *messages[2:]]


def after_response(tokenizer: Any) -> str:
    """What the template writes after a final response: its end-of-turn marker and perhaps white space."""
    turns: list[Message] = [{"role": "user", "content": "x"}, {"role": "assistant", "content": _PROBE}]
    return render(tokenizer, turns, False).rpartition(_PROBE)[2]


def after_prompt(tokenizer: Any) -> str:
    """What the template writes between the user's last words and the response."""
    return render(tokenizer, [{"role": "user", "content": _PROBE}], True).rpartition(_PROBE)[2]


def generation_spans(tokenizer: Any, messages: Sequence[Message]) -> list[tuple[int, int]]:
    """The characters that a template marks as written by the assistant; empty without `{% generation %}` marks."""
    template = tokenizer.get_chat_template()
    if "endgeneration" not in template:
        return []
    from transformers.utils.chat_template_utils import render_jinja_template

    _, spans = render_jinja_template(
        conversations=[[dict(m) for m in messages]],
        chat_template=template,
        return_assistant_tokens_mask=True,
        **tokenizer.special_tokens_map,
    )
    return [(int(s), int(e)) for s, e in spans[0]]
