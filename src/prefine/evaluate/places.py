"""Where prefine keeps what it makes once for a user: beside no project and in no repository."""

from __future__ import annotations

import os
from pathlib import Path


def cache_folder(*parts: str) -> Path:
    """A folder in the user's cache: below PREFINE_CACHE, or XDG_CACHE_HOME/prefine, or ~/.cache/prefine."""
    own = os.environ.get("PREFINE_CACHE")
    base = Path(own) if own else Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "prefine"
    return base.expanduser().joinpath(*parts)
