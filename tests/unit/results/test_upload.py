from __future__ import annotations

import json
import os
import subprocess
import sys
import urllib.parse
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from helpers.environment import patched_everywhere
from helpers.files import make_zip
from helpers.photos import encoded
from helpers.project import ROOT
from zipcrop.archive import store as object_store
from zipcrop.errors import MachineError
from zipcrop.results import layout, upload

if TYPE_CHECKING:
    from helpers.store import Store

Crop = Callable[..., list[dict[str, str]]]
URL = "s3://results/set 1"


def files_below(output: Path) -> dict[str, bytes]:
    return {
        f"set 1/{path.relative_to(output).as_posix()}": path.read_bytes()
        for folder in ("Person", "No_Person", "manifests")
        for path in (output / folder).rglob("*")
        if path.is_file()
    }


@pytest.fixture
def output(tmp_path: Path, crop: Crop, store: Store) -> Path:
    """Results of an archive, and a bucket for them."""
    members = [("bus.jpg", encoded("bus")), ("Bäume & Häuser/a #1.png", encoded("empty", ".png")), ("b.txt", b"")]
    crop(make_zip(tmp_path / "images(1).zip", members))
    store.create_bucket("results")
    return tmp_path / "output"


def test_results_are_laid_out_as_in_the_output_folder(output: Path, store: Store) -> None:
    wanted = files_below(output)
    assert upload.archive(output, "images(1)", URL) == (len(wanted), [])
    assert len(wanted) >= 5
    assert {key: store.get("results", key) for key in store.keys("results")} == wanted


MANIFEST = "set 1/manifests/images(1).csv"
RECORD = "set 1/manifests/images(1).json"
DIGESTS = RECORD.replace(".json", ".sha256")


def changes(store: Store) -> list[tuple[str, set[str]]]:
    """What is put into the store and deleted there from now on, in this order, each with what the store has just
    before it."""
    made = []

    def note(request: Any, **_: object) -> None:
        method, path = request.method, urllib.parse.unquote(urllib.parse.urlsplit(request.url).path)
        if method in ("PUT", "POST"):
            made.append((f"{method} {path.removeprefix('/results/')}", set(store.keys("results"))))

    object_store._client().meta.events.register("before-send.s3", note)
    return made


def test_whoever_sees_a_manifest_sees_all_its_files(output: Path, store: Store) -> None:
    upload.archive(output, "images(1)", URL)
    plant(output, "Person/images(1)/new_0.jpg")
    (output / "Person/images(1)/new_0.jpg").touch()
    store.put("results", "set 1/Person/images(1)/old_0.jpg", b"old")
    made = changes(store)
    upload.archive(output, "images(1)", URL)
    assert made[0][0] == "POST /results"  # what deletes objects
    assert [change for change, _ in made[-2:]] == [f"PUT {RECORD}", f"PUT {MANIFEST}"]
    assert not any({MANIFEST, RECORD} & there for _, there in made[1:-1])
    assert made[-1][1] | {MANIFEST} == set(files_below(output))


def test_the_manifest_is_removed_first(output: Path, store: Store) -> None:
    upload.archive(output, "images(1)", URL)
    made = changes(store)
    upload.remove(output, "images(1)", [], URL)
    assert [change for change, _ in made] == ["POST /results", "POST /results"]
    assert made[1][1] == set(files_below(output)) - {MANIFEST, RECORD, DIGESTS}


def test_an_upload_that_fails_leaves_no_manifest(output: Path, store: Store) -> None:
    upload.archive(output, "images(1)", URL)
    (output / "No_Person/images(1)/Bäume & Häuser/a #1.png").unlink()
    with pytest.raises(FileNotFoundError):
        upload.archive(output, "images(1)", URL)
    assert not {MANIFEST, RECORD, DIGESTS} & set(store.keys("results"))


def test_what_earlier_results_have_left_is_deleted(output: Path, store: Store) -> None:
    for key in ("Person/images(1)/old_0.jpg", "No_Person/images(1)/deep/old.jpg"):
        store.put("results", f"set 1/{key}", b"old")
    for key in ("Person/images(10)/other_0.jpg", "Person/other/a_0.jpg", "mine.txt"):
        store.put("results", f"set 1/{key}", b"another's")
    upload.archive(output, "images(1)", URL)
    others = {"set 1/Person/images(10)/other_0.jpg", "set 1/Person/other/a_0.jpg", "set 1/mine.txt"}
    assert set(store.keys("results")) == set(files_below(output)) | others


def test_a_removed_archive_is_removed_there(output: Path, store: Store) -> None:
    upload.archive(output, "images(1)", URL)
    store.put("results", "set 1/mine.txt", b"")
    upload.remove(output, "images(1)", [], URL)
    assert store.keys("results") == ["set 1/mine.txt"]


def test_summaries(output: Path, store: Store) -> None:
    (output / "summary" / "plots").mkdir(parents=True)
    (output / "summary" / "plots" / "a.svg").write_text("<svg>")
    (output / "summary" / ".snakemake_timestamp").write_text("")
    (output / "summary.csv").write_text("archive\n")
    store.put("results", "set 1/summary/sheets/old.jpg", b"")
    assert upload.summaries(output, URL) == 2
    assert store.keys("results") == ["set 1/summary.csv", "set 1/summary/plots/a.svg"]


def test_a_bucket_that_is_not_there_is_named(output: Path) -> None:
    with pytest.raises(MachineError, match=r"nothing there .* while .* s3://gone"):
        upload.archive(output, "images(1)", "s3://gone")


def plant(output: Path, *files: str) -> None:
    """Has the manifest of `images(1)` name `files` as crops, too."""
    path = output / "manifests/images(1).csv"
    lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
    row = next(line for line in lines if ",person,," in line)
    lines += [row.replace(row.rstrip().rpartition(",")[2], file) for file in files]
    path.write_text("".join(lines), encoding="utf-8", newline="")


def test_nothing_but_the_archives_results_is_put_there(output: Path, store: Store, tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("secret")
    (output / "Person/images(1)/link.jpg").symlink_to(tmp_path / "secret")
    (output / "Person/other").mkdir()
    (output / "Person/other/x.jpg").touch()
    results = set(files_below(output)) - {"set 1/Person/images(1)/link.jpg", "set 1/Person/other/x.jpg"}
    planted = ["../secret", str(tmp_path / "secret"), "Person/other/x.jpg", "Person/images(1)/link.jpg"]
    plant(output, *planted)
    assert upload.archive(output, "images(1)", URL) == (len(results), planted)
    assert set(store.keys("results")) == results


@pytest.mark.parametrize("file", ["manifests/images(1).json", "summary.csv", "summary/pages"])
def test_no_link_is_followed_to_what_is_put_there(file: str, output: Path, store: Store, tmp_path: Path) -> None:
    (tmp_path / "secret").mkdir()
    (tmp_path / "secret" / "x").write_text("secret")
    (output / "summary").mkdir()
    (output / "summary.csv").touch()
    (output / file).unlink(missing_ok=True)
    (output / file).symlink_to(tmp_path / "secret" / "x")
    if file == "summary/pages":
        assert upload.summaries(output, URL) == 1
    else:
        with pytest.raises(MachineError, match="by its name or by a link"):
            upload.summaries(output, URL) if file == "summary.csv" else upload.archive(output, "images(1)", URL)
    assert not [key for key in store.keys("results") if key.endswith(file)]


def test_summaries_in_a_folder_elsewhere_are_refused(output: Path, store: Store, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "x").write_text("secret")
    (output / "summary").symlink_to(tmp_path / "elsewhere")
    (output / "summary.csv").touch()
    store.put("results", "set 1/summary/survey.json", b"")
    with pytest.raises(MachineError, match="leads out of"):
        upload.summaries(output, URL)
    assert "set 1/summary/survey.json" in store.keys("results")


def test_nothing_but_the_archives_results_is_removed_there(output: Path, store: Store) -> None:
    store.put("results", "victim", b"")
    store.put("results", "set 1/Person/other/x.jpg", b"")
    plant(output, "../victim", "Person/other/x.jpg")
    upload.archive(output, "images(1)", URL)
    upload.remove(output, "images(1)", [], URL)
    assert store.keys("results") == ["set 1/Person/other/x.jpg", "victim"]


def run_script(output: Path, done: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """What uploads, as the workflow calls it."""
    command = [sys.executable, str(ROOT / "workflow/scripts/upload_results.py"), f"--output={output}", f"--done={done}"]
    command += ["--archive=images(1)", f"--url={URL}"]
    return subprocess.run(command, env={**os.environ, **environment}, capture_output=True, text=True)


def test_the_script_names_what_it_left_alone_and_notes_that_it_is_done(output: Path, store: Store) -> None:
    plant(output, "../secret\x1b")
    done = run_script(output, layout.uploaded(output, "images(1)"))
    count = len(store.keys("results"))
    assert (done.returncode, done.stdout.splitlines()) == (
        0,
        [
            "warning: the manifest of images(1) names what is no file of its results; it is left alone:"
            " '../secret\\x1b'",
            f"{count} files to {URL}",
        ],
    )
    assert json.loads(layout.uploaded(output, "images(1)").read_text()) == {"url": URL, "files": count}


def test_a_disk_that_is_full_leaves_no_note_that_looks_done(output: Path, store: Store, tmp_path: Path) -> None:
    patch = (
        "def patch(module):\n    def flush(path):\n        raise OSError(28, '', str(path))\n    module.flush = flush"
    )
    done = run_script(
        output, layout.uploaded(output, "images(1)"), **patched_everywhere(tmp_path / "patch", "zipcrop.files", patch)
    )
    assert done.returncode == 1
    assert "No space left on device while uploading" in done.stderr
    assert list(layout.uploaded(output, "images(1)").parent.iterdir()) == []
