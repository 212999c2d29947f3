"""The shipped settings files: each loads and says something."""

from __future__ import annotations

from pathlib import Path

import pytest

from aam_edge.cli.main import main
from aam_edge.config import Config, load_config
from aam_edge.strict_yaml import read_yaml

FILES = sorted((Path(__file__).parent.parent / "configs").glob("*.yaml"))


def test_there_are_shipped_settings() -> None:
    assert {file.name for file in FILES} >= {"laptop.yaml", "robot.yaml"}


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
def test_shipped_settings_load(file: Path) -> None:
    assert load_config(file) != Config()
    assert f"--config configs/{file.name}" in file.read_text()


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
def test_the_command_runs_with_shipped_settings(file: Path) -> None:
    here = ["--camera", "synthetic", "--frames", "3", "--pub", "none", "--control", "none"]
    assert main(["--config", str(file), *here, "--page", "none"]) == 0


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
def test_shipped_settings_open_nothing_to_the_network(file: Path) -> None:
    config = load_config(file)
    addresses = (config.zmq.pub, config.zmq.control, config.page.listen)
    assert all("127.0.0.1:" in address or address == "none" for address in addresses)
    assert "net" not in read_yaml(file)
