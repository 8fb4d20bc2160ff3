"""The plan: which archives are to be done, by the records that lie beside their results.

It does not matter when the results were made, by whom, and by which copy of this program.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from zipcrop import RESULTS_VERSION, files
from zipcrop.archive.source import UNREADABLE, Source
from zipcrop.errors import MachineError
from zipcrop.job import staged
from zipcrop.results import layout, manifest, soundness

if TYPE_CHECKING:
    from zipcrop.settings import Settings

_FEW_FILES = 50_000
"""Up to this number, each run looks at the size of every file, which takes a fifth of a second. Beyond, it looks only
at files that have not been looked at since the system was started, since it is power cuts that leave files empty."""
_MOST_NAMED = 3


@dataclass(frozen=True)
class Wanted:
    """The model and the settings with which results are to be made."""

    model_name: str
    """File name of the weights."""
    sha256: str
    """Of the weights. Empty while they are not there; then weights of the same name count as the same."""
    quantized: str
    """See `model.Model`; empty while it is not known."""
    settings: Settings
    defaults: Settings | None = None
    """The values of settings that a record does not have, since it is older than they are."""

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
            defaults = self.defaults.flat() if self.defaults else {}
            changed = [
                key for key, value in self.settings.flat().items() if settings.get(key, defaults.get(key)) != value
            ]
            return f"another {', '.join(changed)}" if changed else ""
        except (LookupError, TypeError, AttributeError):
            return "damaged results (its record)"


@dataclass
class Plan:
    """What a run has to do."""

    pending: dict[str, str] = field(default_factory=dict)
    """Archives to be done, each with the reason."""
    unreadable: dict[str, str] = field(default_factory=dict)
    """Archives that could be read before and cannot be read now, each with the reason. Their results stay."""
    fingerprints: dict[str, str] = field(default_factory=dict)
    """The fingerprints of all archives; for unreadable ones, the last known."""

    def unreadable_in_words(self) -> str:
        """A sentence on the archives that cannot be read, and on their results."""
        archive, reason = next(iter(self.unreadable.items()))
        others = f" and {len(self.unreadable) - 1} others" if len(self.unreadable) > 1 else ""
        return f"{archive} ({reason}){others} cannot be read now; results stay as they are until they can"

    def in_words(self) -> str:
        """One line that says why archives are done again; empty if none is."""
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
    """The plan for `archives`, whose results lie below the folder `output`. Raises MachineError if a store does not
    tell an archive's state."""
    plan = Plan()
    records = {archive: _read(output, archive) for archive in archives}
    with ThreadPoolExecutor(threads) as pool:  # network file systems answer one by one
        found = pool.map(lambda source: source.fingerprint(), archives.values())
        plan.fingerprints = dict(zip(archives, found, strict=True))
    looks = _Looks(output, few=sum(map(_number_of_files, records.values())) <= _FEW_FILES)
    forced = staged.forced(output, archives)
    for archive, record in records.items():
        if record is None:
            plan.pending[archive] = NEW
            continue
        if plan.fingerprints[archive] == UNREADABLE and isinstance(record.get("fingerprint"), str):
            plan.fingerprints[archive] = record["fingerprint"]
            if record["fingerprint"] != UNREADABLE:
                plan.unreadable[archive] = archives[archive].why_unreadable() or "it can be again"
        reason = wanted.differs(record, plan.fingerprints[archive])
        if not reason and (wrong := looks.problem(archive, record.get("results"))):
            reason = f"damaged results ({wrong})"
        if not reason and archive in forced:
            reason = "being forced"
        if reason:
            plan.pending[archive] = reason
    looks.remember()
    return plan


class _Looks:
    """Looks at results. If there are many, it remembers between runs which ones have been looked at."""

    def __init__(self, output: Path, few: bool) -> None:
        self._output = output
        self._few = few
        self._boot = soundness.boot()
        before = {} if few else _read_json(layout.looked(output))
        # A start that is not known may be another one each time.
        self._first = not self._boot or before.get("boot") != self._boot
        times = before.get("folders")
        self._times: dict[str, Any] = times if isinstance(times, dict) else {}
        self._new_times: dict[str, Any] = {}
        self._good = True

    def problem(self, archive: str, said: Any) -> str:
        """See `soundness.problem`."""
        sizes = self._few or (self._first and (not isinstance(said, dict) or said.get("boot") != self._boot))
        if not sizes and self._is_as_it_was(archive):
            self._new_times[archive] = self._times[archive]
            # The manifest and the list of digests lie in another folder.
            said = {**said, "folders": self._times[archive]}
        wrong = soundness.problem(self._output, archive, said, sizes)
        self._good &= not wrong
        if not (wrong or self._few or archive in self._new_times):
            self._note_times(archive, said)
        return wrong

    def _is_as_it_was(self, archive: str) -> bool:
        with contextlib.suppress(OSError, AttributeError, TypeError):
            return archive in self._times and soundness.are_as_they_were(self._output, self._times[archive])
        return False

    def _note_times(self, archive: str, said: Any) -> None:
        """Remembers sound folders whose times have changed since the results were published, as copying an output
        does."""
        with contextlib.suppress(OSError, AttributeError, TypeError, KeyError):
            if said is not None and not soundness.are_as_they_were(self._output, said["folders"]):
                self._new_times[archive] = soundness.folder_times(self._output, archive)

    def remember(self) -> None:
        """Notes for the next run which results this one has looked at, unless it has found a problem."""
        if self._few or not self._good or not (self._first or self._new_times != self._times):
            return
        with contextlib.suppress(OSError):  # then the next run looks again
            text = json.dumps({"boot": self._boot, "folders": self._new_times})
            files.create(layout.looked(self._output), text.encode())


def is_done(output: Path, archive: str, fingerprint: str, wanted: Wanted) -> bool:
    """Whether `archive` has sound results of that `fingerprint`."""
    record = _read(output, archive)
    return (
        record is not None
        and not wanted.differs(record, fingerprint)
        and not soundness.problem(output, archive, record.get("results"), sizes=True)
    )


def _read(output: Path, archive: str) -> dict[str, Any] | None:
    """The record of `archive`; None if there is none, an empty one if it is damaged."""
    try:
        return manifest.read_record(output, archive)
    except FileNotFoundError:
        return None
    except (OSError, ValueError, MachineError, RecursionError):
        return {}


def _number_of_files(record: dict[str, Any] | None) -> int:
    try:
        return int(record["results"]["files"]) if record else 0
    except (KeyError, TypeError, ValueError, OverflowError):
        return 0


def _read_json(path: Path) -> dict[str, Any]:
    try:
        with files.open_regular(path, "r") as file:
            value = json.load(file)
    except (OSError, ValueError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}
