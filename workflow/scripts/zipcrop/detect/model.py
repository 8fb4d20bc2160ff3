"""The prepared model: what the model step leaves for the engines, and the JSON that describes it."""

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
    """Of the weights file."""
    name: str
    """The weights' file name when they were prepared, for people to read."""
    task: str
    classes: list[str]
    person: int
    """Index of the class that counts."""
    stride: int
    """Largest stride, pixels: letterbox sides are multiples of it."""
    weights: str
    """PyTorch weights, for the torch engine."""
    openvino: str
    """OpenVINO IR with dynamic shapes, for the OpenVINO engine: the XML, with a file `.bin` beside it."""
    quantized: str = ""
    """Of an int8 model, hexadecimal SHA-256 of its IR, which depends on the photos that it was calibrated on."""
    files: dict[str, str] = field(default_factory=dict)
    """Hexadecimal SHA-256 of each file that the engines read, by its path, which is spelt as in `weights`."""
    path: Path | None = field(default=None, compare=False)
    """The JSON that it was read from, in which this is not."""

    @property
    def identity(self) -> str:
        """What results are keyed by: the weights and, of an int8 model, their quantised form."""
        return self.sha256 + self.quantized

    def engine_files(self, engine: EngineName) -> list[str]:
        """What the engine called `engine` reads."""
        if engine == "torch":
            return [self.weights]
        return [self.openvino, str(Path(self.openvino).with_suffix(".bin"))]

    def write(self, path: Path) -> Model:
        """Writes the JSON to `path`, with the hashes of the files, which are beside it already, and gives the model
        with these. All is on the disk before the JSON is, and that is there whole or not at all."""
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
        """Reads the JSON at `path`; the paths of its files come out joined to its folder.

        Raises ModelError where there is none, or it is damaged, or an older version has written it.
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
        """Raises TypeError or ValueError where this is not what `write` writes."""
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
        """Raises ModelError where a file that the engine called `engine` reads is not what was prepared, and removes
        what `read` has read, so that the next run prepares it anew."""
        for path in self.engine_files(engine):
            if not _has_sha256(path, self.files[path]):
                if self.path:
                    with contextlib.suppress(OSError):
                        self.path.unlink()
                raise ModelError(f"{path} is damaged; run again, and it is prepared anew")


def is_whole(path: Path) -> bool:
    """Whether the JSON of a prepared model is at `path`, and each file that it names is as it was prepared. Reads all
    of them, which takes 0.1 s for yolov8s."""
    try:
        model = Model.read(path)
    except ModelError:
        return False
    return all(_has_sha256(file, digest) for file, digest in model.files.items())


def check(model: Model, engine: EngineName, threads: int) -> bool:
    """To be called while workers load the engine called `engine`, with `threads` cores each: whether what they load is
    whole. False: networks that had been compiled before were damaged, and are removed; workers have to be started anew.

    Raises ModelError, as `Model.check_files` does, where the weights are damaged. The OpenVINO engine itself checks
    what it compiles: that is read only where no compiled network is there.
    """
    if engine == "openvino":
        return network_cache.remove_damaged(network_cache.folder(Path(model.openvino), threads)) == 0
    model.check_files(engine)
    return True


def sha256(path: str | Path) -> str:
    """Hexadecimal SHA-256 of a file's content. Raises ModelError where it cannot be read, or is no file."""
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
    """The file at `path`, for reading. Raises OSError where it is no file: nothing waits for the other end of a FIFO,
    and no device is read without end."""
    if not stat.S_ISREG(Path(path).stat().st_mode):
        raise OSError(errno.EINVAL, "it is not a file", str(path))
    return open(path, "rb", opener=lambda name, flags: os.open(name, flags | os.O_NONBLOCK))


def quantized(path: Path) -> str:
    """The `quantized` of the int8 model whose JSON is at `path`; empty where there is none."""
    try:
        return Model.read(path).quantized
    except ModelError:
        return ""


def weights_path(model: str) -> Path:
    """Where the weights that the `model` setting names are, or will be once they are fetched: the file itself if there
    is one, else, for a bare name, its place in `models/`.

    Raises ModelError for a path to nothing, and for what is there but is no file with something in it.
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
    """Raises ModelError, at once, unless there is a file at `path` that can be read and is not empty."""
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
