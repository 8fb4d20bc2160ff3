"""Settings as the crop job and its workers take them, checked already (see `configuration`)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

SettingValue: TypeAlias = int | float | str
Precision: TypeAlias = Literal["f32", "int8"]
Decode: TypeAlias = Literal["exact", "fast"]
CropFormat: TypeAlias = Literal["jpg", "png", "webp"]
DeviceSetting: TypeAlias = Literal["auto", "cpu", "cuda"]
EngineSetting: TypeAlias = Literal["auto", "openvino", "torch"]

SCORE_FLOOR = 0.05
"""The least score at which a candidate below the threshold is reported: the best one of a photo filed under No_Person
tells how near it came."""


@dataclass(frozen=True)
class Thresholds:
    """The thresholds that make a candidate a person."""

    confidence: float
    iou: float
    max_detections: int

    @property
    def floor(self) -> float:
        """The least score that the engine looks at."""
        return min(SCORE_FLOOR, self.confidence)


@dataclass(frozen=True)
class CropSettings:
    """How crops are cut and written."""

    padding: float
    """Fraction of the box's width and height that is added on each side."""
    min_size: int
    """Least width and height, pixels."""
    format: CropFormat
    quality: int


@dataclass(frozen=True)
class Limits:
    """The limits beyond which archives and members are refused as bombs."""

    member_mb: float
    megapixels: float
    members: int
    seconds: float
    """The longest that a member may be decoded, or encoded."""


@dataclass(frozen=True)
class Settings:
    """The settings that change results. Weights, which do so by their content, are not among them."""

    image_size: int
    """Letterbox size, pixels."""
    precision: Precision
    decode: Decode
    thresholds: Thresholds
    crop: CropSettings
    limits: Limits

    def flat(self) -> dict[str, SettingValue]:
        """The values by their names in the configuration (`crop.padding`), sorted: the form that records and staging
        folders are keyed by. 1.0 and 1 are the same setting."""
        values: dict[str, SettingValue] = {
            "image_size": self.image_size,
            "precision": self.precision,
            "decode": self.decode,
            **vars(self.thresholds),
            **{f"crop.{name}": value for name, value in vars(self.crop).items()},
            **{f"limits.{name}": value for name, value in vars(self.limits).items()},
        }
        return {name: canonical(values[name]) for name in sorted(values)}

    @classmethod
    def from_flat(cls, values: Mapping[str, Any]) -> Settings:
        """The inverse of `flat`. Raises KeyError where a value is missing."""
        return cls(
            image_size=values["image_size"],
            precision=values["precision"],
            decode=values["decode"],
            thresholds=Thresholds(values["confidence"], values["iou"], values["max_detections"]),
            crop=CropSettings(
                padding=values["crop.padding"],
                min_size=values["crop.min_size"],
                format=values["crop.format"],
                quality=values["crop.quality"],
            ),
            limits=Limits(
                member_mb=values["limits.member_mb"],
                megapixels=values["limits.megapixels"],
                members=values["limits.members"],
                seconds=values["limits.seconds"],
            ),
        )


@dataclass(frozen=True)
class Speed:
    """The settings that change speed alone."""

    device: DeviceSetting
    engine: EngineSetting
    batch: int
    """Most images per inference call on a GPU."""
    workers: int | Literal["auto"]
    """Processes per archive."""
    gpus_per_archive: int


def canonical(value: SettingValue) -> SettingValue:
    """`value`, as a whole number if it is one."""
    return int(value) if isinstance(value, float) and value.is_integer() else value
