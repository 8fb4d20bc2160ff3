"""Paths that are told apart, or not, by a file system."""

from __future__ import annotations

import unicodedata

from hypothesis import strategies as st


def folded(path: str) -> str:
    """Equal for paths that differ in letter case and normalisation alone."""
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", path).casefold())


def folders_of(paths: list[str]) -> set[str]:
    return {"/".join(path.split("/")[:depth]) for path in paths for depth in range(1, path.count("/") + 1)}


# Few different parts, so that they meet.
PARTS = st.sampled_from(["a", "A", "a~2", "A~3", "\u00e9", "e\u0301", "É", "ß", "SS", "\u0345", "K", "b"])
PATHS = st.lists(st.lists(PARTS | st.text("aA\u0301", min_size=1), min_size=1, max_size=3), max_size=9)
