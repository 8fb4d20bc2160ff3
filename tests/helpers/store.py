"""An S3 server for tests: moto's, in a process of its own on this machine."""

from __future__ import annotations

import os
import re
import socket
import subprocess
import sys
import time
import urllib.parse
from pathlib import Path
from typing import Any

import boto3

PAGE = 50
"""Objects that a listing gives at once; a thousand in the real S3."""


class Store:
    """A running server, empty at first."""

    def __init__(self, folder: Path) -> None:
        """Starts it; it logs its requests in `folder`."""
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        self._log = folder / "requests.log"
        with self._log.open("w") as log:
            command = [str(Path(sys.executable).parent / "moto_server"), "-H", "127.0.0.1", "-p", str(port)]
            environment = {**os.environ, "MOTO_S3_DEFAULT_MAX_KEYS": str(PAGE)}
            self._process = subprocess.Popen(command, env=environment, stdout=log, stderr=log)
        self.url = f"http://127.0.0.1:{port}"
        self.variables = {
            "AWS_ENDPOINT_URL": self.url,
            "AWS_ACCESS_KEY_ID": "a key",
            "AWS_SECRET_ACCESS_KEY": "a secret",
        }
        self._wait_until_it_answers(port)
        self.client: Any = boto3.client(
            "s3",
            endpoint_url=self.url,
            region_name="us-east-1",
            aws_access_key_id="a key",
            aws_secret_access_key="a secret",
        )

    def _wait_until_it_answers(self, port: int) -> None:
        for _ in range(300):
            assert self._process.poll() is None, self._log.read_text()
            try:
                socket.create_connection(("127.0.0.1", port)).close()
            except ConnectionRefusedError:
                time.sleep(0.1)
            else:
                return
        raise AssertionError("the S3 server has not started")

    def stop(self) -> None:
        """Ends the server; all that it holds is lost."""
        self._process.kill()
        self._process.wait()

    def create_bucket(self, name: str) -> None:
        self.client.create_bucket(Bucket=name)

    def remove_buckets(self) -> None:
        for bucket in self.client.list_buckets()["Buckets"]:
            for key in self.keys(bucket["Name"]):
                self.client.delete_object(Bucket=bucket["Name"], Key=key)
            self.client.delete_bucket(Bucket=bucket["Name"])

    def put(self, bucket: str, key: str, data: bytes) -> None:
        self.client.put_object(Bucket=bucket, Key=key, Body=data)

    def get(self, bucket: str, key: str) -> bytes:
        data: bytes = self.client.get_object(Bucket=bucket, Key=key)["Body"].read()
        return data

    def keys(self, bucket: str) -> list[str]:
        """All keys in `bucket`, sorted."""
        pages = self.client.get_paginator("list_objects_v2").paginate(Bucket=bucket)
        return sorted(each["Key"] for page in pages for each in page.get("Contents", ()))

    def requests(self) -> list[str]:
        """The requests so far, such as `GET /bucket/key`."""
        time.sleep(0.3)  # it writes the line after the answer
        # Some are in colour.
        found = re.findall(r'"(?:\x1b\[\d+m)*((?:GET|PUT|POST|HEAD|DELETE) \S+) HTTP', self._log.read_text())
        return [urllib.parse.unquote(request) for request in found]


def without_credentials(monkeypatch: Any) -> None:
    """Leaves boto3 nothing of this machine's to find."""
    for name in [name for name in os.environ if name.startswith(("AWS_", "SNAKEMAKE_STORAGE_"))]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", os.devnull)
