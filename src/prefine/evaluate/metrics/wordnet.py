"""WordNet for nltk: its own data where it is there, or else made from the files of Debian's package wordnet-base."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

from prefine.durable import publishing
from prefine.errors import PrefineError
from prefine.evaluate.places import cache_folder

DEBIAN = Path("/usr/share/wordnet")

_LEXICOGRAPHER_FILES = (
    ("adj", "all pert"),
    ("adv", "all"),
    (
        "noun",
        "Tops act animal artifact attribute body cognition communication event feeling food group location motive "
        "object person phenomenon plant possession process quantity relation shape state substance time",
    ),
    (
        "verb",
        "body change cognition communication competition consumption contact creation emotion motion perception "
        "possession social stative weather",
    ),
    ("adj", "ppl"),
)
"""Parts of speech and subjects in the order of WordNet's file numbers (lexnames(5WN)); the package lacks that list."""
_PART_OF_SPEECH = {"noun": 1, "verb": 2, "adj": 3, "adv": 4}


class NoSynonyms:
    """A WordNet without entries: METEOR then matches words and their stems."""

    def synsets(self, *_: Any, **__: Any) -> list[Any]:
        """No meanings of any word."""
        return []


def has_data(name: str) -> bool:
    """Whether nltk finds a resource such as `corpora/wordnet`, packed or not."""
    import nltk

    for path in (name, f"{name}.zip"):
        try:
            nltk.data.find(path)
        except LookupError:
            continue
        return True
    return False


def find_wordnet(*, required: bool = False, source: Path = DEBIAN) -> Any:
    """nltk's reader of WordNet, or None where there is none.

    Files of Debian's package at `source` are made into nltk's layout once, in the user's cache.
    """
    import nltk

    if not has_data("corpora/wordnet"):
        made = make_nltk_data(source, cache_folder("nltk_data")) if (source / "data.noun").is_file() else None
        if made is None:
            if required:
                raise PrefineError(
                    f"meteor: synonyms need WordNet: install Debian's wordnet-base (files in {source}), or "
                    "python -m nltk.downloader wordnet; `synonyms: false` does without"
                )
            return None
        nltk.data.path.append(str(made))
    from nltk.corpus import wordnet

    wordnet.ensure_loaded()
    return wordnet


def make_nltk_data(source: Path, folder: Path) -> Path:
    """Put WordNet's files into `folder/corpora/wordnet` unless they are there, and return `folder`.

    nltk refuses symbolic links, so they are copied (about 30 MB). It also opens index.sense, which METEOR never reads.
    """
    target = folder / "corpora" / "wordnet"
    if target.is_dir():
        return folder
    with publishing(target) as place:
        for file in sorted(p for p in source.iterdir() if p.is_file()):
            shutil.copyfile(file, place / file.name)
        (place / "lexnames").write_text(lexnames())
        (place / "index.sense").touch()
    return folder


def lexnames() -> str:
    """WordNet's list of lexicographer files: number, name, part of speech; 45 lines."""
    names = [(part, name) for part, subjects in _LEXICOGRAPHER_FILES for name in subjects.split()]
    return "".join(f"{i:02d}\t{part}.{name}\t{_PART_OF_SPEECH[part]}\n" for i, (part, name) in enumerate(names))
