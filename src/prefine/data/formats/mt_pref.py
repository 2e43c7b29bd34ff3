"""MT-pref: pairs of translations whose prompts are ready-made texts."""

from __future__ import annotations

import re
from typing import Any

from prefine.data.build import Source
from prefine.data.detect import Columns
from prefine.data.messages import text_of
from prefine.data.tasks import translation, translation_key
from prefine.registry import formats
from prefine.schema import Group, Message

_PROMPT = re.compile(
    r"(?P<head>.*?)(?:^|\n)(?P<src>[^\n:]{2,40}):[ \t]*(?P<text>.+?)\s*\n(?P<tgt>[^\n:]{2,40}):\s*", re.DOTALL
)


@formats.register("mt_pref")
class MTPref:
    """MT-pref (only by name, its columns are those of any pairs): languages and source text are read off the prompt.

    Columns: prompt (an instruction, `Source language: text`, `Target language:`), chosen, rejected. A prompt that
    reads otherwise stays as it is; so do all prompts with plain_text.
    """

    rank = 176
    tells = "preferences"
    columns = ("prompt", "chosen", "rejected")
    license = "cc-by-nc-4.0"
    url = "https://huggingface.co/datasets/sardinelab/MT-pref"

    def matches(self, table: Columns) -> bool:
        return False

    def __call__(self, row: dict[str, Any], source: Source) -> Group:
        raw = text_of(row.get("prompt"), "prompt")
        prompt: list[Message] = [{"role": "user", "content": raw}]
        meta, key = {}, translation_key(raw)
        if found := _parsed(raw):
            src, tgt, text = found
            meta, key = {"src_lang": src, "tgt_lang": tgt, "source_text": text}, translation_key(text)
            if not source.plain_text:
                prompt = translation(text, src, tgt)
        else:
            source.notes["prompts_kept_as_they_are"] += 1
        group = source.group(source.context(prompt), row, self.columns, task="translation", split_key=key)
        group.task_meta |= meta
        source.prefer(
            group, source.response(row.get("chosen"), "chosen"), source.response(row.get("rejected"), "rejected")
        )
        return group


def _parsed(prompt: str) -> tuple[str, str, str] | None:
    """Source language, target language and source text of a prompt; None where its parts cannot be told apart.

    Both names must stand in the instruction before them, if there is one: a colon in the text is no language.
    """
    found = _PROMPT.fullmatch(prompt)
    if found is None:
        return None
    src, tgt, head = found["src"].strip(), found["tgt"].strip(), found["head"]
    if head.strip() and not (src in head and tgt in head):
        return None
    return src, tgt, found["text"].strip()
