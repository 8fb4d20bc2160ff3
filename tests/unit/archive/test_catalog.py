from __future__ import annotations

import errno
import os
import shutil
from pathlib import Path
from typing import Any

import pytest

from helpers.files import make_zip
from zipcrop.archive import catalog, ids
from zipcrop.archive.source import RefusedZip
from zipcrop.errors import CatalogError, MachineError


def archive(folder: Path, name: str, content: bytes = b"x") -> Path:
    return make_zip(folder / name, [("a.jpg", content)])


def locations(folder: Path) -> dict[str, str]:
    return {archive: found.location for archive, found in catalog.find_archives(str(folder)).items()}


def test_finds_archives_in_any_case_and_in_subfolders_in_natural_order(tmp_path: Path) -> None:
    for name in ("images(10).zip", "images(2).ZIP", "sub dir/ümlaut [x].Zip"):
        archive(tmp_path, name)
    (tmp_path / "readme.txt").write_text("")
    (tmp_path / "folder.zip").mkdir()
    assert locations(tmp_path) == {
        "images(2)": str(tmp_path / "images(2).ZIP"),
        "images(10)": str(tmp_path / "images(10).zip"),
        "sub dir/ümlaut [x]": str(tmp_path / "sub dir/ümlaut [x].Zip"),
    }


def test_follows_links_but_not_in_circles(tmp_path: Path) -> None:
    archive(tmp_path / "elsewhere", "a.zip")
    raw = tmp_path / "raw"
    raw.mkdir()
    (raw / "linked").symlink_to(tmp_path / "elsewhere")
    (raw / "circle").symlink_to(raw)
    assert list(catalog.find_archives(str(raw))) == ["linked/a"]


def test_a_folder_called_like_an_archive_is_a_folder(tmp_path: Path) -> None:
    archive(tmp_path / "folder.zip", "a.zip")
    assert locations(tmp_path) == {"folder.zip/a": str(tmp_path / "folder.zip" / "a.zip")}


def test_what_is_no_file_is_found_so_that_its_failure_is_told(tmp_path: Path) -> None:
    (tmp_path / "dangling.zip").symlink_to(tmp_path / "gone.zip")
    os.mkfifo(tmp_path / "pipe.zip")
    assert list(catalog.find_archives(str(tmp_path))) == ["dangling", "pipe"]


def test_a_folder_that_cannot_be_read_is_the_machines_fault(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    archive(tmp_path, "a.zip")
    archive(tmp_path / "closed", "b.zip")
    really_scan = os.scandir

    def scandir(folder: Any) -> Any:
        if os.fspath(folder).endswith("closed"):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), os.fspath(folder))
        return really_scan(folder)

    monkeypatch.setattr(os, "scandir", scandir)  # tests may run as root, whom no permission stops
    with pytest.raises(MachineError, match=r"Permission denied while searching .*closed.*; give yourself access"):
        catalog.find_archives(str(tmp_path))


BAD_NAMES = [
    (".zip", "no name before .zip"),
    ("x/.zip", "no name before .zip"),
    ("..zip", "no folder could have"),
    ("...zip", "no folder could have"),
    ("x/...ZIP", "no folder could have"),
    ("a{b}.zip", "brace"),
    ("a\nb.zip", "control character"),
    ("a\x7fb.zip", "control character"),
    ("a\x9b2Jb.zip", "control character"),
    ("a\u202egpj.zip", "control character"),
    ("a\u2028b.zip", "control character"),
    ("2024/a <b>.zip", "<b> in its name"),
    ("a<results_2>.zip", "<results_2> in its name"),
    ("scan --------------------.zip", "20 times over"),
    ("abab" * 20 + "/" + "ab" * 20 + ".ZIP", "20 times over"),
    ("x" * 247 + ".zip", "more than 250 bytes"),
]


def refused(folder: Path) -> dict[str, str]:
    """The archives in the folder `folder` that are not done for their names: id and reason."""
    found = catalog.find_archives(str(folder))
    return {archive: at.refusal for archive, at in found.items() if isinstance(at, RefusedZip)}


@pytest.mark.parametrize(("name", "said"), BAD_NAMES)
def test_an_archive_with_a_bad_name_is_refused_and_stops_no_other(tmp_path: Path, name: str, said: str) -> None:
    archive(tmp_path, name)
    archive(tmp_path, "good.zip")
    ((made_up, reason),) = refused(tmp_path).items()
    assert said in reason
    assert reason.endswith("; rename it")
    assert set(locations(tmp_path)) == {"good", made_up}
    assert catalog._refusal(f"{made_up}.zip") == ""
    assert ids.safe_archive_id(name[:-4]) == made_up
    shown = locations(tmp_path)[made_up]
    assert shown.isprintable()
    assert shown.lower().endswith(".zip")


def test_all_bad_names_are_told_at_once(tmp_path: Path) -> None:
    for name, _ in BAD_NAMES:
        archive(tmp_path, name)
    shutil.copy(archive(tmp_path, "good.zip"), tmp_path / os.fsdecode(b"caf\xe9.zip"))
    reasons = refused(tmp_path)
    assert len(reasons) == len(BAD_NAMES) + 1
    (shown,) = (location for location in locations(tmp_path).values() if "caf" in location)
    assert shown.endswith(r"caf\xe9.zip")
    assert "has a name that is not UTF-8; rename it" in reasons.values()


def test_a_made_up_id_takes_nobodys(tmp_path: Path) -> None:
    archive(tmp_path, "a{b}.zip")
    (made_up,) = refused(tmp_path)
    archive(tmp_path, f"{made_up}.zip")
    assert locations(tmp_path)[made_up] == str(tmp_path / f"{made_up}.zip")
    assert len(locations(tmp_path)) == 2


def test_names_that_a_file_system_may_take_for_one_get_different_ids(tmp_path: Path) -> None:
    for name in ("a.zip", "a.ZIP", "A.zip", "f\u00fcr/x.zip", "fu\u0308r/X.zip"):
        archive(tmp_path, name)
    assert sorted(locations(tmp_path)) == sorted(["A", "a~2", "a~3", "fu\u0308r/X", "f\u00fcr/x~2"])


@pytest.mark.parametrize(
    ("names", "said"),
    [
        ([], "no ZIP archive"),
        (["a.zip", "a/b.zip"], "inside those of"),
        (["a.zip", "a.csv/b.zip"], "inside those of"),
        (["a.zip", "a.sha256/b.zip"], "inside those of"),
    ],
)
def test_what_cannot_be_run_is_refused_in_one_sentence(tmp_path: Path, names: list[str], said: str) -> None:
    for name in names:
        archive(tmp_path, name)
    with pytest.raises(CatalogError, match=said) as refused:
        catalog.find_archives(str(tmp_path))
    assert "\n" not in str(refused.value)


def test_what_only_looks_like_it_is_not_refused(tmp_path: Path) -> None:
    names = ["I <3 you>", "a <B> c", "<>", "x" * 19, "-" * 20 + " scan", "abc" * 19]
    for name in names:
        archive(tmp_path, f"{name}.zip")
    assert set(catalog.find_archives(str(tmp_path))) == set(names)
    assert refused(tmp_path) == {}


@pytest.mark.parametrize("url", ["gs://bucket/photos", "https://example.org/photos"])
def test_a_url_that_cannot_be_read_is_refused(url: str) -> None:
    with pytest.raises(CatalogError, match=rf"raw_zips is '{url}', but must be a folder or s3://bucket/folder"):
        catalog.find_archives(url)


def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(CatalogError, match=r"there is no folder .*nowhere"):
        catalog.find_archives(str(tmp_path / "nowhere"))
