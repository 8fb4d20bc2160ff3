"""Environments that change what happens in every Python process started with them.

Python imports a module called `sitecustomize` by itself wherever it finds one on its path.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

_GUARD = """
import os, socket

def refuse(*arguments, **options):
    with open(os.environ["NETWORK_USED"], "a") as file:
        print(os.getpid(), arguments, file=file)
    raise OSError("no network in tests")

class Guarded(socket.socket):
    def connect(self, address):
        if self.family != socket.AF_UNIX:
            refuse("connect", address)
        super().connect(address)

    connect_ex = connect

socket.socket = Guarded
socket.getaddrinfo = socket.gethostbyname = refuse
"""


_PATCH = """
import importlib.abc, importlib.machinery, os, sys

PATCHES = {{}}
for name, code in {patches!r}.items():
    names = {{"os": os, "sys": sys, "__file__": __file__}}
    exec(code, names)
    PATCHES[name] = names["patch"]

class Finder(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path, target=None):
        if name not in PATCHES:
            return None
        spec = importlib.machinery.PathFinder.find_spec(name, path)
        execute = spec.loader.exec_module

        def exec_module(module):
            execute(module)
            PATCHES[name](module)

        spec.loader.exec_module = exec_module
        return spec

sys.meta_path.insert(0, Finder())
"""


def patched_everywhere(
    folder: Path, module: str, patch: str, others: Mapping[str, str] = MappingProxyType({})
) -> dict[str, str]:
    """An environment whose Python processes call `patch(module)` once they have imported `module`.

    `patch` is the code of that function; it may use `os` and `sys`. `others` has more modules with such code. The new
    `folder` holds what makes this happen.
    """
    folder.mkdir(parents=True)
    (folder / "sitecustomize.py").write_text(_PATCH.format(patches={module: patch, **others}))
    return {"PYTHONPATH": str(folder)}


def without_network(folder: Path) -> dict[str, str]:
    """An environment whose Python processes cannot use the network, and note each try in `folder / "network_used"`."""
    guard = folder / "guard"
    guard.mkdir(parents=True)
    (guard / "sitecustomize.py").write_text(_GUARD)
    return {"PYTHONPATH": str(guard), "NETWORK_USED": str(folder / "network_used")}
