"""`run.yaml`: all settings, versions and weights of the run that made a recording."""

from __future__ import annotations

import dataclasses
import platform
import re
from importlib import metadata
from typing import Any

import aam_edge

LIBRARIES = ("numpy", "opencv-python", "onnxruntime", "openvino", "mcap", "lz4")
SECRETS = re.compile(r"token|secret|password|(^|_)key$")
PASSWORD = re.compile(r"://[^/@\s]*@")


def describe_run(
    config: Any, *, model: str, weights: str, engine: str, cameras: list[str]
) -> dict[str, Any]:
    """Plain values for YAML.

    Args:
        config: the settings, a dataclass; secrets and passwords in addresses are left out.
        model, weights: the network's name and the hash of its weights.
        engine: with what it computes in.
        cameras: their names, as in messages.
    """
    return {
        "model": {"name": model, "weights": weights, "engine": engine},
        "cameras": cameras,
        "versions": versions(),
        "settings": _plain("", dataclasses.asdict(config)),
    }


def versions() -> dict[str, str]:
    """Of aam-edge, Python, the machine, and the libraries that numbers depend on."""
    found = {"aam-edge": aam_edge.__version__, "python": platform.python_version()}
    found["machine"] = f"{platform.system()} {platform.machine()}"
    known = {library: _version_of(library) for library in LIBRARIES}
    return found | {library: version for library, version in known.items() if version}


def _version_of(library: str) -> str:
    try:
        return metadata.version(library)
    except metadata.PackageNotFoundError:
        return ""


def _plain(key: str, value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _plain(name, inner) for name, inner in value.items()}
    if value is not None and SECRETS.search(key):
        return "(left out)"
    if isinstance(value, (list, tuple)):
        return [_plain(key, inner) for inner in value]
    return PASSWORD.sub("://", value) if isinstance(value, str) else value
