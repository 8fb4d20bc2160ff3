"""The plan: which archives are to be done, by the records that lie beside their results.

Whoever has made the results, and when, and in which copy of this program, does not count.
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from zipcrop import RESULTS_VERSION, files, manifest, soundness, staging
from zipcrop.errors import MachineError
from zipcrop.source import UNREADABLE, Source

_FEW_FILES = 50_000
"""So many are looked at one by one in each run, which takes a fifth of a second. Of more, only those that have not been
looked at since the system was started: a power cut is what leaves files empty."""
_LOOKED = ".looked"
"""What says, below the output folder, since which start of the system all sizes have been looked at."""
_MOST_NAMED = 3


@dataclass(frozen=True)
class Wanted:
    """What results are to be made with."""

    model_name: str
    """Of the weights' file."""
    sha256: str
    """Of the weights; empty while they are not there, which counts as the same for weights of the same name."""
    quantized: str
    """As `model.Model` has it; empty while it is not known."""
    settings: Mapping[str, Any]
    """Those that change results, flat."""
    defaults: Mapping[str, Any] = field(default_factory=dict)
    """Of all such settings: what a record of before there was a setting stands for."""

    def differs(self, record: Mapping[str, Any], fingerprint: str) -> str:
        """Why an archive of that `fingerprint` with that `record` is to be done again; empty if it is not."""
        try:
            made_with, settings = record["model"], record["settings"]
            if record["fingerprint"] != fingerprint:
                return "other content"
            if record["versions"]["results"] != str(RESULTS_VERSION):
                return "another version of zipcrop"
            same_weights = made_with["sha256"] == self.sha256 if self.sha256 else made_with["name"] == self.model_name
            if not same_weights or (self.quantized and made_with["quantized"] != self.quantized):
                return "other weights"
            changed = [
                key for key, value in self.settings.items() if settings.get(key, self.defaults.get(key)) != value
            ]
            return f"another {', '.join(changed)}" if changed else ""
        except (KeyError, TypeError, AttributeError):
            return "damaged results (its record)"


@dataclass
class Plan:
    """What a run has to do."""

    pending: dict[str, str] = field(default_factory=dict)
    """Archives to be done, each with the reason."""
    unreadable: dict[str, str] = field(default_factory=dict)
    """Archives that cannot be read at the moment, but have been: their results stay. Each with the reason."""
    fingerprints: dict[str, str] = field(default_factory=dict)
    """Of all archives; of the unreadable ones the last one known."""

    def in_words(self) -> str:
        """Why archives are done again that have been done, in one line; empty where none is."""
        again = [reason for reason in self.pending.values() if reason != NEW]
        if not again:
            return ""
        counts = sorted(((again.count(reason), reason) for reason in set(again)), reverse=True)
        named = [f"{count} for {reason}" for count, reason in counts[:_MOST_NAMED]]
        if rest := sum(count for count, _ in counts[_MOST_NAMED:]):
            named.append(f"{rest} for other reasons")
        return f"done again: {', '.join(named)}"


NEW = "new"


def make(output: Path, archives: Mapping[str, Source], wanted: Wanted, threads: int = 8) -> Plan:
    """The plan for `archives`, whose results lie below the folder `output`. Raises MachineError where a store does not
    say what an archive is."""
    plan = Plan()
    records = {archive: _read(output, archive) for archive in archives}
    with ThreadPoolExecutor(threads) as pool:  # network file systems answer one by one
        found = pool.map(lambda source: source.fingerprint(), archives.values())
        plan.fingerprints = dict(zip(archives, found, strict=True))
    few = sum(map(_number_of_files, records.values())) <= _FEW_FILES
    now = soundness.boot()
    first_look = not few and _read_text(output / _LOOKED) != now
    first_look_is_good = True
    forced = staging.forced(output, archives)
    for archive, record in records.items():
        if record is None:
            plan.pending[archive] = NEW
            continue
        if plan.fingerprints[archive] == UNREADABLE and isinstance(record.get("fingerprint"), str):
            plan.fingerprints[archive] = record["fingerprint"]
            if record["fingerprint"] != UNREADABLE:
                plan.unreadable[archive] = archives[archive].why_unreadable()
        said = record.get("results")
        sizes = few or (first_look and isinstance(said, dict) and said.get("boot") != now)
        reason = wanted.differs(record, plan.fingerprints[archive])
        if not reason and (wrong := soundness.problem(output, archive, said, sizes)):
            reason, first_look_is_good = f"damaged results ({wrong})", False
        if not reason and archive in forced:
            reason = "being forced"
        if reason:
            plan.pending[archive] = reason
    if first_look and first_look_is_good:
        with contextlib.suppress(OSError):  # then the next run looks again
            files.create(output / _LOOKED, now.encode())
    return plan


def is_done(output: Path, archive: str, fingerprint: str, wanted: Wanted) -> bool:
    """Whether `archive` has sound results of that `fingerprint`."""
    record = _read(output, archive)
    return (
        record is not None
        and not wanted.differs(record, fingerprint)
        and not soundness.problem(output, archive, record.get("results"), sizes=True)
    )


def _read(output: Path, archive: str) -> dict[str, Any] | None:
    """The record of `archive`; None where there is none, an empty one where it is damaged."""
    try:
        return manifest.read_record(output, archive)
    except FileNotFoundError:
        return None
    except (OSError, ValueError, MachineError, RecursionError):
        return {}


def _number_of_files(record: dict[str, Any] | None) -> int:
    try:
        return int(record["results"]["files"]) if record else 0
    except (KeyError, TypeError, ValueError):
        return 0


def _read_text(path: Path) -> str:
    try:
        with files.open_regular(path, "r") as file:
            return file.read(100)
    except (OSError, ValueError):
        return ""
