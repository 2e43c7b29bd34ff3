"""Text to token ids with the place of each token in the text, without control tokens out of what people wrote."""

from __future__ import annotations

import json
import re
import unicodedata
import weakref
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from prefine.data.messages import Dropped


@dataclass
class Tokens:
    """Token ids, and for each the character where it starts and the one after its end."""

    ids: list[int]
    starts: list[int]
    ends: list[int]


class Codec:
    """A tokenizer as the encode function needs it: no tokens added, places of tokens, control strings as plain text."""

    def __init__(self, tokenizer: Any) -> None:
        self.tokenizer = weakref.proxy(tokenizer)
        self.size = len(tokenizer)
        self.template = getattr(tokenizer, "chat_template", None)
        self.control = _control_tokens(tokenizer)
        """Control strings and their ids: what is flagged special, and other added tokens that the template writes."""
        # Ordinary text gives the unknown token too.
        self.control_ids = frozenset(self.control.values()) - {tokenizer.unk_token_id}
        self._looks_like = _matcher(self.control)
        self._marks = re.compile("|".join(map(re.escape, sorted(self.control, key=len, reverse=True))) or r"(?!)")
        self._filler = next(c for c in "xkzqjw0" if not any(c * len(t) == t for t in self.control))
        self._fast = _without_post_processor(tokenizer)
        self._rest: Any = None
        self._plain: dict[bool, Callable[[str], Tokens]] = {}

    def fits(self, tokenizer: Any) -> bool:
        """False after tokens were added to the tokenizer or its template was changed."""
        return self.size == len(tokenizer) and self.template == getattr(tokenizer, "chat_template", None)

    def encode(self, text: str) -> Tokens:
        """Tokens of `text`, in which control strings are control tokens."""
        if self._fast is not None:
            return _fast_tokens(self._fast, text)
        return self._slow_tokens(self.tokenizer.encode(text, add_special_tokens=False), text)

    def encode_like(self, text: str, other: str, tokens: Tokens) -> Tokens:
        """Tokens of `text`, which begins as `other` does, whose tokens are known.

        What stands before the last control token of `other` is not tokenized again: tokenizers treat the text
        between two control tokens by itself.
        """
        last = next((i for i in range(len(tokens.ids) - 1, -1, -1) if tokens.ids[i] in self.control_ids), None)
        if self._fast is None or last is None or not text.startswith(other[: tokens.ends[last]]):
            return self.encode(text)
        if self._rest is None:
            self._rest = _for_later_pieces(self._fast)
        at = tokens.ends[last]
        piece = _fast_tokens(self._rest, text[at:])
        return Tokens(
            tokens.ids[: last + 1] + piece.ids,
            tokens.starts[: last + 1] + [s + at for s in piece.starts],
            tokens.ends[: last + 1] + [e + at for e in piece.ends],
        )

    def injects(self, text: str) -> bool:
        """True when `text` by itself would give a control token."""
        if not self._looks_like(text):
            return False
        return not frozenset(self.control.values()).isdisjoint(self.encode(text).ids)

    def first_control(self, text: str) -> tuple[int, int] | None:
        """Where the first control string of `text` starts and ends, and None without one."""
        found = self._marks.search(text)
        return found.span() if found else None

    def neutral(self, text: str) -> str:
        """`text` with all but its white space replaced, so that it holds no control string."""
        return re.sub(r"\S", self._filler, text)

    def encode_guarded(self, text: str, neutral: str) -> Tokens:
        """Tokens of `text` whose control tokens are those of `neutral` only; other control strings stay characters.

        `neutral` is `text` with every character that a person wrote replaced by a harmless one, so both have the
        same length and a control token of `neutral` is one of the template. Between two of these, a tokenizer
        treats text by itself; that is what makes the pieces below the same as the whole.
        """
        out, at = Tokens([], [], []), 0
        for token, start, end in self._control_places(neutral):
            if self._fast is None:
                start = max(start, at)
            self._append(out, text, at, start)
            out.ids.append(token)
            out.starts.append(start)
            out.ends.append(end)
            at = end
        self._append(out, text, at, len(text))
        return out

    def _control_places(self, neutral: str) -> list[tuple[int, int, int]]:
        if self._fast is None:
            return [(self.control[m[0]], m.start(), m.end()) for m in self._marks.finditer(neutral)]
        tokens = self.encode(neutral)
        places = zip(tokens.ids, tokens.starts, tokens.ends, strict=True)
        return [place for place in places if place[0] in self.control_ids]

    def _append(self, out: Tokens, text: str, start: int, end: int) -> None:
        if start >= end:
            return
        piece = self._plain_encoder(first=start == 0)(text[start:end])
        if not self.control_ids.isdisjoint(piece.ids):
            raise Dropped("control_tokens_in_text", "the tokenizer has no other way to write them")
        out.ids += piece.ids
        out.starts += [s + start for s in piece.starts]
        out.ends += [e + start for e in piece.ends]

    def _plain_encoder(self, first: bool) -> Callable[[str], Tokens]:
        """Encodes text in which no control string counts; `first` where the text begins the whole."""
        if first not in self._plain:
            if self._fast is None:
                self._plain[first] = lambda text: self._slow_tokens(
                    self.tokenizer.encode(text, add_special_tokens=False, split_special_tokens=True), text
                )
            else:
                self._plain[first] = _plain_backend(self._fast, set(self.control), first)
        return self._plain[first]

    def _slow_tokens(self, ids: list[int], text: str) -> Tokens:
        """Places for a tokenizer that reports none: from the lengths of decoded prefixes, a few tokens at a time."""
        ends, done = [], 0
        for i in range(len(ids)):
            back = max(0, i - 4)
            known = ends[back - 1] if back else 0
            length = len(self._decode(ids[back : i + 1], text[known:]))
            done = max(done, min(len(text), known + length))
            ends.append(done)
        return Tokens(ids, [0, *ends[:-1]], ends)

    def _decode(self, ids: list[int], text: str) -> str:
        decoded = self.tokenizer.decode(ids, skip_special_tokens=False, clean_up_tokenization_spaces=False)
        # Sentencepiece-like decoders drop the space in front of the first word.
        if text[:1] == " " and decoded[:1] != " ":
            return " " + decoded
        return decoded.rstrip("�")


_codecs: weakref.WeakKeyDictionary[Any, Codec] = weakref.WeakKeyDictionary()


def codec(tokenizer: Any) -> Codec:
    """The codec of a tokenizer, made once."""
    known = _codecs.get(tokenizer)
    if known is None or not known.fits(tokenizer):
        known = _codecs[tokenizer] = Codec(tokenizer)
    return known


def leading_ids(tokenizer: Any) -> list[int]:
    """What the tokenizer puts in front of plain text by itself: its BOS token, or nothing."""
    whole = list(tokenizer("x")["input_ids"])
    bare = list(tokenizer("x", add_special_tokens=False)["input_ids"])
    for i in range(len(whole) - len(bare) + 1):
        if whole[i : i + len(bare)] == bare:
            return whole[:i]
    return []


def shared_length(a: list[int] | str, b: list[int] | str) -> int:
    """Length of the longest common beginning."""
    n = min(len(a), len(b))
    if a[:n] == b[:n]:
        return n
    return next(i for i in range(n) if a[i] != b[i])


def _control_tokens(tokenizer: Any) -> dict[str, int]:
    template = getattr(tokenizer, "chat_template", None) or ""
    if isinstance(template, dict):
        template = "\n".join(template.values())
    control = {
        str(token.content): int(i)
        for i, token in tokenizer.added_tokens_decoder.items()
        # Some tokenizers add runs of white space, which are ordinary text.
        if token.special or (token.content in template and not token.content.isspace())
    }
    for text in tokenizer.all_special_tokens:
        control.setdefault(str(text), int(tokenizer.convert_tokens_to_ids(text)))
    return control


def _matcher(control: Iterable[str]) -> Callable[[str], bool]:
    """A quick test for text that may hold a control string, also one that only a normalizer would bring about."""
    folded = [_folded(c) for c in control]
    pattern = re.compile("|".join(map(re.escape, folded)) or r"(?!)")
    return lambda text: pattern.search(_folded(text)) is not None


class _Visible(dict[int, int | None]):
    """A translation that leaves out control, format and combining characters; filled as characters are met."""

    def __missing__(self, code: int) -> int | None:
        self[code] = kept = None if unicodedata.category(chr(code)) in ("Cc", "Cf", "Mn") else code
        return kept


_VISIBLE = _Visible()


def _folded(text: str) -> str:
    if not text.isascii():
        text = unicodedata.normalize("NFKC", text)
    return text.translate(_VISIBLE).casefold()


def _without_post_processor(tokenizer: Any) -> Any:
    """A copy of the fast backend whose offsets are not trimmed and whose settings nobody else changes; None if slow."""
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if backend is None or not getattr(tokenizer, "is_fast", False):
        return None
    spec = json.loads(backend.to_str())
    spec["post_processor"] = spec["truncation"] = spec["padding"] = None
    return _backend(spec)


def _backend(spec: dict[str, Any]) -> Any:
    from tokenizers import Tokenizer

    return Tokenizer.from_str(json.dumps(spec))


def _fast_tokens(backend: Any, text: str) -> Tokens:
    found = backend.encode(text, add_special_tokens=False)
    offsets = found.offsets
    return Tokens(list(found.ids), [s for s, _ in offsets], [e for _, e in offsets])


def _for_later_pieces(fast: Any) -> Any:
    spec = json.loads(fast.to_str())
    _no_first_space(spec.get("pre_tokenizer"))
    _no_first_space(spec.get("normalizer"))
    return _backend(spec)


def _plain_backend(fast: Any, control: set[str], first: bool) -> Callable[[str], Tokens]:
    spec = json.loads((fast if first else _for_later_pieces(fast)).to_str())
    kept = [t for t in spec["added_tokens"] if t["content"] not in control]
    spec["added_tokens"] = kept
    backend = _backend(spec)
    # Added tokens get new numbers when others before them are left out.
    ids = {backend.token_to_id(t["content"]): t["id"] for t in kept}

    def encode(text: str) -> Tokens:
        tokens = _fast_tokens(backend, text)
        tokens.ids = [ids.get(i, i) for i in tokens.ids]
        return tokens

    return encode


def _no_first_space(part: Any) -> None:
    """Keep a tokenizer that marks only the beginning of the whole text from marking the beginning of a piece."""
    if isinstance(part, dict):
        if part.get("prepend_scheme") == "first":
            part["prepend_scheme"] = "never"
        for value in part.values():
            _no_first_space(value)
    elif isinstance(part, list):
        for value in part:
            _no_first_space(value)
