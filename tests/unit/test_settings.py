from __future__ import annotations

import json
import re
from typing import Any

import pytest
import yaml

from helpers.project import ROOT
from zipcrop import settings
from zipcrop.errors import ConfigError

SCHEMA = settings.load_schema(ROOT / "workflow/schemas/config.schema.yaml")


def test_empty_config_is_completed_with_the_defaults() -> None:
    config = settings.complete({}, SCHEMA)
    assert (config["confidence"], config["crop"]["quality"], config["limits"]["members"]) == (0.25, 95, 1000000)


def test_numbers_and_truth_values_may_come_as_text() -> None:
    config = settings.complete({"strict": "true", "crop": {"padding": "0.1"}, "workers": "2", "model": "1.pt"}, SCHEMA)
    assert (config["strict"], config["crop"]["padding"], config["workers"], config["model"]) == (True, 0.1, 2, "1.pt")


def test_config_yaml_holds_every_default() -> None:
    shipped = yaml.safe_load((ROOT / "config.yaml").read_text())
    assert shipped == settings.complete({}, SCHEMA)


@pytest.mark.parametrize(
    ("config", "named", "helpful"),
    [
        ({"confidense": 0.4}, "confidense", "did you mean confidence?"),
        ({"crop": {"paddin": 0.1}}, "crop.paddin", "did you mean padding?"),
        ({"conf": 0.4}, "conf", "known keys are"),
        ({"confidence": "high"}, "confidence", "a number"),
        ({"confidence": 0}, "confidence", "above 0"),
        ({"confidence": True}, "confidence", "a number"),
        ({"image_size": 100}, "image_size", "multiple of 32"),
        ({"workers": "many"}, "workers", "auto or a whole number"),
        ({"device": "tpu"}, "device", "auto, cpu, cuda"),
        ({"crop": 5}, "crop", "mapping"),
        ({"crop": {"min_size": 0}}, "crop.min_size", "from 1"),
        ({"model": None}, "model", "text"),
        ({"model": "best.onnx"}, "model", ".pt"),
        ({"output": "out{put}"}, "output", "braces"),
        ({"output": "out/<results>"}, "output", "words in < >"),
        ({"model": "<a>.pt"}, "model", "words in < >"),
        ({"output": "s3://bucket/out"}, "output", "upload_to takes a URL"),
        ({"upload_to": "/mnt/results"}, "upload_to", "such as s3://bucket/folder, or none"),
        ({"gpus_per_archive": 0}, "gpus_per_archive", "from 1"),
        ({"strict": "maybe"}, "strict", "true or false"),
        ({"device": "cuda", "engine": "openvino"}, "engine", "set engine to auto"),
        ({"device": "cuda", "precision": "int8"}, "precision", "set device and engine to auto"),
        ({"engine": "torch", "precision": "int8"}, "precision", "set device and engine to auto"),
        ({"precision": "int4"}, "precision", "f32, int8"),
        ({"decode": "slow"}, "decode", "exact, fast"),
    ],
)
def test_bad_config_is_refused_in_one_sentence(config: dict[str, Any], named: str, helpful: str) -> None:
    with pytest.raises(ConfigError) as refused:
        settings.complete(config, SCHEMA)
    sentence = str(refused.value)
    assert re.search(rf"\b{re.escape(named)}\b", sentence)
    assert helpful in sentence
    assert "\n" not in sentence


def test_what_affects_results() -> None:
    base = settings.complete({}, SCHEMA)
    affecting = json.loads(settings.affecting_results(base, SCHEMA))
    no_effect = (
        "batch",
        "workers",
        "gpus_per_archive",
        "device",
        "engine",
        "strict",
        "raw_zips",
        "output",
        "upload_to",
    )
    for speed in (*no_effect, "model"):
        assert speed not in affecting
    assert {"image_size", "precision", "decode", "confidence", "crop.padding", "limits.megapixels"} <= set(affecting)


def test_equal_numbers_are_equal_settings() -> None:
    one, other = (settings.complete({"crop": {"padding": padding}}, SCHEMA) for padding in (1, 1.0))
    assert settings.affecting_results(one, SCHEMA) == settings.affecting_results(other, SCHEMA)


def test_readme_documents_every_key() -> None:
    rows = re.findall(r"^\| `([\w.]+)` \| `([^`]*)` \|.*\| ([^|]+) \|$", (ROOT / "README.md").read_text(), re.MULTILINE)
    documented = {key: (default, reruns) for key, default, reruns in rows}
    expected = {
        key: (
            json.dumps(subschema["default"]).strip('"'),
            "only what is new" if key == "raw_zips" else "yes" if subschema.get("x-results") else "no",
        )
        for key, subschema in settings.keys(SCHEMA)
    }
    assert documented == expected
    assert all(subschema["description"] for _, subschema in settings.keys(SCHEMA))


def test_whole_numbers_and_not_a_number() -> None:
    assert isinstance(settings.complete({"batch": 16.0}, SCHEMA)["batch"], int)
    with pytest.raises(ConfigError, match=r"confidence is nan, but must be a finite number"):
        settings.complete({"confidence": float("nan")}, SCHEMA)
