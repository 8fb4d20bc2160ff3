"""The prepared model: files that the model step leaves for the engines, and the JSON that describes them."""

from __future__ import annotations

import contextlib
import dataclasses
import errno
import hashlib
import io
import json
import os
import re
import stat
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from zipcrop.detect import network_cache
from zipcrop.errors import ModelError
from zipcrop.files import flush

if TYPE_CHECKING:
    from zipcrop.detect.device import EngineName

_SHA256 = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True)
class Model:
    """A prepared detector. Its folder also holds the files that `weights` and `openvino` name."""

    sha256: str
    """Hexadecimal SHA-256 of the weights file."""
    name: str
    """The weights' file name when they were prepared, for people to read."""
    task: str
    classes: list[str]
    person: int
    """Index of the class `person`."""
    stride: int
    """Largest stride, pixels: letterbox sides are multiples of it."""
    weights: str
    """PyTorch weights, for the torch engine."""
    openvino: str
    """OpenVINO IR with dynamic shapes, for the OpenVINO engine: the XML, with a file `.bin` beside it."""
    quantized: str = ""
    """Hexadecimal SHA-256 of an int8 model's IR, which depends on the photos of its calibration; else empty."""
    files: dict[str, str] = field(default_factory=dict)
    """Hexadecimal SHA-256 of each file that the engines read, by its path in the spelling of `weights`."""
    path: Path | None = field(default=None, compare=False)
    """The JSON from which it was read. Not written there."""

    @property
    def identity(self) -> str:
        """The key of its results: the weights' hash and, for an int8 model, that of the quantised form."""
        return self.sha256 + self.quantized

    def engine_files(self, engine: EngineName) -> list[str]:
        """The files that the engine called `engine` reads."""
        if engine == "torch":
            return [self.weights]
        return [self.openvino, str(Path(self.openvino).with_suffix(".bin"))]

    def write(self, path: Path) -> Model:
        """Writes the JSON to `path`, with the hashes of the files, which are beside it already. Gives the model with
        these hashes. The JSON appears whole or not at all, once all else is on the disk."""
        files = {self.weights: self.sha256}
        for name in self.engine_files("openvino"):
            flush(path.parent / name)
            files[name] = sha256(path.parent / name)
        flush(path.parent / self.weights)
        written = dataclasses.replace(self, files=files, path=None)
        values = dataclasses.asdict(written)
        del values["path"]
        unfinished = path.with_name(f"{path.name}.{os.getpid()}")
        try:
            unfinished.write_text(json.dumps(values, indent=2) + "\n", encoding="utf-8")
            flush(unfinished)
            unfinished.replace(path)
        finally:
            unfinished.unlink(missing_ok=True)
        flush(path.parent)
        return written

    @classmethod
    def read(cls, path: Path) -> Model:
        """Reads the JSON at `path`; the paths of the files get its folder before them.

        Raises ModelError if there is none, or if it is damaged or an older version has written it.
        """
        try:
            with _open(path) as file:
                values = json.load(file)
            model = cls(**values, path=path)
            model._check_types()
        except OSError as error:
            raise ModelError(f"{path} cannot be read ({error.strerror}); run again") from None
        except (ValueError, TypeError, RecursionError):
            raise ModelError(
                f"{path} is damaged, or of another version of zipcrop; delete it and run again, and it is made anew"
            ) from None
        joined: dict[str, Any] = {
            "weights": str(path.parent / model.weights),
            "openvino": str(path.parent / model.openvino),
            "files": {str(path.parent / name): digest for name, digest in model.files.items()},
        }
        return dataclasses.replace(model, **joined)

    def _check_types(self) -> None:
        """Raises TypeError or ValueError if `write` cannot have written this."""
        texts = [self.name, self.task, self.weights, self.openvino, *self.classes]
        if not all(isinstance(text, str) and text for text in texts):
            raise TypeError
        if not (type(self.person) is type(self.stride) is int and self.stride > 0):
            raise TypeError
        if not (isinstance(self.classes, list) and 0 <= self.person < len(self.classes)):
            raise ValueError
        if set(self.files) != {*self.engine_files("openvino"), *self.engine_files("torch")}:
            raise ValueError
        digests = [self.sha256, *self.files.values(), *([self.quantized] if self.quantized != "" else [])]
        if not all(_SHA256.fullmatch(digest) for digest in digests):
            raise ValueError

    def check_files(self, engine: EngineName) -> None:
        """Raises ModelError if a file that the engine called `engine` reads has changed, and removes the JSON that
        `read` has read, so that the next run prepares the model anew."""
        for path in self.engine_files(engine):
            if not _has_sha256(path, self.files[path]):
                if self.path:
                    with contextlib.suppress(OSError):
                        self.path.unlink()
                raise ModelError(f"{path} is damaged; run again, and it is prepared anew")


def is_whole(path: Path) -> bool:
    """Whether the JSON of a prepared model is at `path`, and none of its files has changed. Reads all of them, which
    takes 0.1 s for yolov8s."""
    try:
        model = Model.read(path)
    except ModelError:
        return False
    return all(_has_sha256(file, digest) for file, digest in model.files.items())


def check(model: Model, engine: EngineName, threads: int) -> bool:
    """Checks the files that workers load, while they load the engine called `engine` with `threads` cores each.

    Gives False if there were damaged compiled networks: they are removed, and the workers have to be started anew.
    Raises ModelError, as `Model.check_files` does, if the weights are damaged. The OpenVINO engine itself checks the
    model's files, but reads them only if there is no compiled network.
    """
    if engine == "openvino":
        return network_cache.remove_damaged(network_cache.folder(Path(model.openvino), threads)) == 0
    model.check_files(engine)
    return True


def sha256(path: str | Path) -> str:
    """Hexadecimal SHA-256 of a file's content. Raises ModelError if it cannot be read, or is no regular file."""
    try:
        with _open(path) as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise ModelError(f"{path} cannot be read ({error.strerror}); give yourself access, or set model") from None


def _has_sha256(path: str, digest: str) -> bool:
    try:
        return sha256(path) == digest
    except ModelError:
        return False


def _open(path: str | Path) -> io.BufferedReader:
    """Opens the file at `path` for reading. Raises OSError if it is no regular file: a FIFO would wait for its other
    end, and a device could be read without end."""
    if not stat.S_ISREG(Path(path).stat().st_mode):
        raise OSError(errno.EINVAL, "it is not a file", str(path))
    return open(path, "rb", opener=lambda name, flags: os.open(name, flags | os.O_NONBLOCK))


def quantized(path: Path) -> str:
    """The `quantized` of the int8 model whose JSON is at `path`; empty if there is none."""
    try:
        return Model.read(path).quantized
    except ModelError:
        return ""


def weights_path(model: str) -> Path:
    """The path of the weights that the setting `model` names: that file if it exists, else, for a bare name, the path
    in `models/` to which they are fetched.

    Raises ModelError for a path to nothing, and for anything there that is not a file with some content.
    """
    path = Path(model)
    if not os.path.lexists(path):
        if path.name != model:
            raise ModelError(f"there are no weights at {model}; correct model, or put the file there")
        path = Path("models") / model
        if not os.path.lexists(path):
            return path
    check_weights_file(path)
    return path


def check_weights_file(path: Path) -> None:
    """Raises ModelError unless there is a file at `path` that can be read and is not empty. Never waits."""
    what = None
    try:
        with _open(path) as file:
            if os.fstat(file.fileno()).st_size == 0:
                what = "is empty"
    except FileNotFoundError:
        what = "is a link to nothing" if path.is_symlink() else "is not there"
    except OSError as error:
        if path.is_dir():
            what = "is a folder"
        elif error.errno == errno.EINVAL:
            what = "is not a file"
        else:
            what = f"cannot be read ({error.strerror})"
    if what:
        raise ModelError(f"model {path} {what}; set model to a weights file, such as best.pt")
