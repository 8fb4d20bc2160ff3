from __future__ import annotations

import json
import re
from typing import Any

import pytest
import yaml

from helpers.project import ROOT
from zipcrop import configuration
from zipcrop.errors import ConfigError
from zipcrop.settings import Settings, Speed

SCHEMA = configuration.load_schema(ROOT / "workflow/schemas/config.schema.yaml")


def test_empty_config_is_completed_with_the_defaults() -> None:
    config = configuration.complete({}, SCHEMA)
    assert (config["confidence"], config["crop"]["quality"], config["limits"]["members"]) == (0.25, 95, 1000000)


def test_numbers_and_truth_values_may_come_as_text() -> None:
    config = configuration.complete(
        {"strict": "true", "crop": {"padding": "0.1"}, "workers": "2", "model": "1.pt"}, SCHEMA
    )
    assert (config["strict"], config["crop"]["padding"], config["workers"], config["model"]) == (True, 0.1, 2, "1.pt")


def test_config_yaml_holds_every_default() -> None:
    shipped = yaml.safe_load((ROOT / "config.yaml").read_text())
    assert shipped == configuration.complete({}, SCHEMA)


@pytest.mark.parametrize(
    ("config", "named", "helpful"),
    [
        ({"confidense": 0.4}, "confidense", "did you mean confidence?"),
        ({"crop": {"paddin": 0.1}}, "crop.paddin", "did you mean padding?"),
        ({"conf": 0.4}, "conf", "known keys are"),
        ({"confidence": "high"}, "confidence", "a number"),
        ({"confidence": 0}, "confidence", "above 0"),
        ({"confidence": 2}, "confidence", "up to 1"),
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
        configuration.complete(config, SCHEMA)
    sentence = str(refused.value)
    assert re.search(rf"\b{re.escape(named)}\b", sentence)
    assert helpful in sentence
    assert "\n" not in sentence


def test_what_affects_results() -> None:
    complete = configuration.complete({}, SCHEMA)
    typed = configuration.result_settings(complete)
    marked = {key for key, subschema in configuration.keys(SCHEMA) if subschema.get("x-results")}
    assert set(typed.flat()) == marked - {"model"}
    assert Settings.from_flat(typed.flat()) == typed


def test_what_affects_speed_alone() -> None:
    speed = configuration.speed_settings(configuration.complete({"batch": 4}, SCHEMA))
    assert speed == Speed("auto", "auto", batch=4, workers="auto", gpus_per_archive=1)
    results = configuration.result_settings(configuration.complete({}, SCHEMA))
    assert set(vars(speed)).isdisjoint(results.flat())


def test_equal_numbers_are_equal_settings() -> None:
    one, other = (configuration.complete({"crop": {"padding": padding}}, SCHEMA) for padding in (1, 1.0))
    assert configuration.result_settings(one).flat() == configuration.result_settings(other).flat()


def test_readme_documents_every_key() -> None:
    rows = re.findall(r"^\| `([\w.]+)` \| `([^`]*)` \|.*\| ([^|]+) \|$", (ROOT / "README.md").read_text(), re.MULTILINE)
    documented = {key: (default, reruns) for key, default, reruns in rows}
    expected = {
        key: (
            json.dumps(subschema["default"]).strip('"'),
            "only what is new" if key == "raw_zips" else "yes" if subschema.get("x-results") else "no",
        )
        for key, subschema in configuration.keys(SCHEMA)
    }
    assert documented == expected
    assert all(subschema["description"] for _, subschema in configuration.keys(SCHEMA))


def test_whole_numbers_and_not_a_number() -> None:
    assert isinstance(configuration.complete({"batch": 16.0}, SCHEMA)["batch"], int)
    with pytest.raises(ConfigError, match=r"confidence is nan, but must be a finite number"):
        configuration.complete({"confidence": float("nan")}, SCHEMA)
