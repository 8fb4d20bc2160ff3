from __future__ import annotations

import hashlib
import subprocess
from pathlib import Path

import pytest

from zipcrop.results import digests

NAMES = ["a.jpg", "Größe 日本/it's (1).jpg", r"back\slash\\n.jpg", " ", "*star", r"\first"]


def test_sha256sum_reads_what_is_written_and_so_do_we(tmp_path: Path) -> None:
    lines = []
    for name in NAMES:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(name)
        lines.append(digests.line(hashlib.sha256(name.encode()).hexdigest(), name))
    (tmp_path / "list").write_text("".join(lines))
    subprocess.run(["sha256sum", "--check", "--strict", "--quiet", "list"], cwd=tmp_path, check=True)
    assert [file for file, _ in digests.read(tmp_path / "list")] == NAMES


@pytest.mark.parametrize("text", ["x", "ab" * 32 + "  a.jpg", "ab" * 32 + " a.jpg\n", "\n", "AB" * 32 + "  a.jpg\n"])
def test_what_is_no_list_is_refused(text: str, tmp_path: Path) -> None:
    (tmp_path / "list").write_text(text)
    with pytest.raises(ValueError, match="is damaged"):
        list(digests.read(tmp_path / "list"))
