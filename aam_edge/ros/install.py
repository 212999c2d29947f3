"""Puts the facade where a node looks for rclpy and the standard messages."""

from __future__ import annotations

import importlib
import pkgutil
import sys
from collections.abc import Sequence
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

from aam_edge.ros import messages, rclpy
from aam_edge.ros.rclpy.context import set_default_url
from aam_edge.ros.transport import DEFAULT_URL, check_url
from aam_edge.ros_definitions import DEFINITIONS

PACKAGES = frozenset(name.partition("/")[0] for name in DEFINITIONS)


class Missing:
    """Says of a module that would belong to the facade, and does not, that it is not covered."""

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Part of importing: raises where nobody else may answer."""
        if name.partition(".")[0] in PACKAGES | {"rclpy"}:
            words = f"aam-edge's facade has no {name}: run this node with the real rclpy"
            raise ModuleNotFoundError(words, name=name)
        return None


def install(url: str = DEFAULT_URL) -> None:
    """Makes `import rclpy` and `from sensor_msgs.msg import Image` mean the facade.

    Args:
        url: where the bridge is.

    Raises:
        UsageError: `url` is no address of a bridge.
        RuntimeError: the real rclpy has been imported in this process.
    """
    if sys.modules.get("rclpy", rclpy) is not rclpy:
        raise RuntimeError("the real rclpy is already in use in this process")
    set_default_url(check_url(url))
    sys.modules["rclpy"] = rclpy
    for module in pkgutil.iter_modules(rclpy.__path__):
        name = f"aam_edge.ros.rclpy.{module.name}"
        sys.modules[f"rclpy.{module.name}"] = importlib.import_module(name)
    for package in PACKAGES:
        _install_package(package)
    if not any(isinstance(finder, Missing) for finder in sys.meta_path):
        sys.meta_path.insert(0, Missing())


def uninstall() -> None:
    """Takes it all back."""
    sys.meta_path[:] = [finder for finder in sys.meta_path if not isinstance(finder, Missing)]
    for name in list(sys.modules):
        if name.partition(".")[0] in PACKAGES | {"rclpy"}:
            del sys.modules[name]


def _install_package(package: str) -> None:
    parent = ModuleType(package, "Messages of aam-edge's facade.")
    parent.__path__ = []
    sys.modules[package] = parent
    for part, make in (("msg", messages.message), ("srv", messages.service)):
        names = list(messages.names_of_package(package, part))
        if names:
            module = ModuleType(f"{package}.{part}")
            for name in names:
                _set(module, name, make(f"{package}/{part}/{name}"))
            sys.modules[module.__name__] = module
            _set(parent, part, module)


def _set(module: ModuleType, name: str, value: Any) -> None:
    setattr(module, name, value)
