"""The prepared model: what the model step leaves for the engines, and the JSON that describes it."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from dataclasses import dataclass
from pathlib import Path

from zipcrop.errors import ModelError


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
    """OpenVINO IR with dynamic shapes, for the OpenVINO engine."""
    quantized: str = ""
    """Of an int8 model, hexadecimal SHA-256 of its IR, which depends on the photos that it was calibrated on."""

    @property
    def identity(self) -> str:
        """What results are keyed by: the weights and, of an int8 model, their quantised form."""
        return self.sha256 + self.quantized

    def write(self, path: Path) -> None:
        """Writes the JSON."""
        path.write_text(json.dumps(dataclasses.asdict(self), indent=2) + "\n", encoding="utf-8")

    @classmethod
    def read(cls, path: Path) -> Model:
        """Reads the JSON at `path`; the paths of its files come out joined to its folder."""
        model = cls(**json.loads(path.read_text(encoding="utf-8")))
        return dataclasses.replace(
            model, weights=str(path.parent / model.weights), openvino=str(path.parent / model.openvino)
        )


def sha256(path: str | Path) -> str:
    """Hexadecimal SHA-256 of a file's content."""
    with Path(path).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def weights_path(model: str) -> Path:
    """Where the weights that the `model` setting names are, or will be once they are fetched: the file itself if there
    is one, else, for a bare name, its place in `models/`. Raises ModelError for a path to nothing."""
    path = Path(model)
    if path.exists():
        return path
    if path.name != model:
        raise ModelError(f"there are no weights at {model}; correct model, or put the file there")
    return Path("models") / model


def quantized(path: Path) -> str:
    """The `quantized` of the int8 model whose JSON is at `path`; empty where there is none."""
    try:
        return str(json.loads(path.read_text(encoding="utf-8"))["quantized"])
    except (OSError, ValueError, KeyError, TypeError):
        return ""
