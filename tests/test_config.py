"""Settings: where they come from, which one wins, and what is refused with which sentence."""

from __future__ import annotations

from pathlib import Path

import pytest

from aam_edge.config import Config, load_config, parse_size
from aam_edge.errors import UsageError
from aam_edge.settings import known_settings


def written(folder: Path, text: str) -> Path:
    file = folder / "settings.yaml"
    file.write_text(text)
    return file


def test_defaults_stand_where_nothing_is_said() -> None:
    assert load_config() == Config()


def test_file_goes_over_defaults_sets_over_file_and_options_over_sets(tmp_path: Path) -> None:
    file = written(tmp_path, "zmq:\n  hwm: 3\npage:\n  fps: 5\n  width: 100\n")
    config = load_config(
        file, ["page.fps=6", "page.width=200"], {"page.width": 300, "page.quality": None}
    )
    assert (config.zmq.hwm, config.page.fps, config.page.width) == (3, 6.0, 300)
    assert config.page.quality == Config().page.quality


def test_later_set_wins() -> None:
    assert load_config(sets=["zmq.hwm=3", "zmq.hwm=4"]).zmq.hwm == 4


@pytest.mark.parametrize("text", ["", "# nothing\n", "zmq:\n", "zmq: {}\n"])
def test_empty_file_and_empty_sections_change_nothing(tmp_path: Path, text: str) -> None:
    assert load_config(written(tmp_path, text)) == Config()


@pytest.mark.parametrize(
    ("text", "key", "nearest"),
    [
        ("zmq:\n  hmw: 2\n", "zmq.hmw", "zmq.hwm"),
        ("sorce:\n  fps: 2\n", "sorce.fps", "source.fps"),
    ],
)
def test_unknown_key_of_a_file_is_refused_with_the_nearest(
    tmp_path: Path, text: str, key: str, nearest: str
) -> None:
    file = written(tmp_path, text)
    with pytest.raises(UsageError) as refused:
        load_config(file)
    assert str(refused.value) == f"unknown setting ({key}, {file}): did you mean {nearest}?"


def test_unknown_key_of_a_set_is_refused_with_the_nearest() -> None:
    with pytest.raises(UsageError) as refused:
        load_config(sets=["page.widht=3"])
    assert str(refused.value) == "unknown setting (page.widht, --set): did you mean page.width?"


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("zmq.hwm=two", "setting has the wrong type (zmq.hwm='two'): give a whole number"),
        ("zmq.hwm=2.5", "setting has the wrong type (zmq.hwm=2.5): give a whole number"),
        ("zmq.hwm=true", "setting has the wrong type (zmq.hwm=True): give a whole number"),
        ("zmq.hwm=null", "setting has the wrong type (zmq.hwm=None): give a whole number"),
        ("page.fps=fast", "setting has the wrong type (page.fps='fast'): give a number"),
        ("page.fps=on", "setting has the wrong type (page.fps=True): give a number"),
        ("net.insecure=1", "setting has the wrong type (net.insecure=1): give true or false"),
        ("zmq.pub=[1]", "setting has the wrong type (zmq.pub=[1]): give text"),
        ("prompts=[1, [2]]", "setting has the wrong type (prompts=[2]): give text"),
        (
            "zmq.map_dtype=<f8",
            "setting has no such value (zmq.map_dtype=<f8): give <f2 or <f4 or u1",
        ),
    ],
)
def test_wrong_type_is_refused_with_key_and_value(text: str, sentence: str) -> None:
    with pytest.raises(UsageError) as refused:
        load_config(sets=[text])
    assert str(refused.value) == sentence


@pytest.mark.parametrize(
    "text",
    [
        "zmq.hwm=0",
        "page.fps=0",
        "page.fps=.nan",
        "page.fps=.inf",
        "page.quality=101",
        "readout.max_targets=9",
        "source.size=640",
        "source.size=0x480",
        "source.pixel_format=MJ",
        "frames=0",
        "duration_s=-1",
        "prompts=[]",
        "prompts=['  ']",
    ],
)
def test_value_out_of_range_is_refused(text: str) -> None:
    with pytest.raises(UsageError):
        load_config(sets=[text])


def test_yaml_reads_1e3_as_text_and_we_read_a_number() -> None:
    assert load_config(sets=["source.fps=1e3"]).source.fps == 1000.0


def test_whole_number_is_taken_for_a_number_and_for_text() -> None:
    config = load_config(sets=["page.fps=10", "source.cameras=0", "source.mic=1"])
    assert (config.page.fps, config.source.cameras, config.source.mic) == (10.0, ("0",), "1")


def test_yaml_no_is_not_taken_for_text() -> None:
    with pytest.raises(UsageError, match=r"source\.mic=False"):
        load_config(sets=["source.mic=no"])


def test_yaml_12_30_stays_what_was_written() -> None:
    assert load_config(sets=["model.name=12:30"]).model.name == "12:30"


def test_yaml_010_stays_what_was_written() -> None:
    assert load_config(sets=["source.cameras=[010]"]).source.cameras == ("010",)


def test_single_prompt_needs_no_list() -> None:
    assert load_config(sets=["prompts=search for cup"]).prompts == ("search for cup",)


def test_null_takes_a_choice_back(tmp_path: Path) -> None:
    file = written(tmp_path, "source:\n  size: 640x480\n")
    assert load_config(file, ["source.size=null"]).source.size is None


def test_key_given_twice_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="key given twice: hwm"):
        load_config(written(tmp_path, "zmq:\n  hwm: 2\n  hwm: 3\n"))


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("zmq: [", "settings file is not YAML"),
        ("a: b: c", "settings file is not YAML"),
        ("!!python/object:os.system {}", "settings file is not YAML"),
        ("- zmq\n", "settings file is not a map"),
        ("just words", "settings file is not a map"),
    ],
)
def test_file_of_another_kind_is_refused(tmp_path: Path, text: str, what: str) -> None:
    with pytest.raises(UsageError) as refused:
        load_config(written(tmp_path, text))
    assert refused.value.what == what
    assert "\n" not in str(refused.value)


def test_file_that_cannot_be_read_is_said(tmp_path: Path) -> None:
    (tmp_path / "latin.yaml").write_bytes(b"prompts: [caf\xe9]\n")
    for file in (tmp_path / "missing.yaml", tmp_path, tmp_path / "latin.yaml"):
        with pytest.raises(UsageError, match="settings file cannot be read"):
            load_config(file)


@pytest.mark.parametrize("text", ["zmq.hwm", "zmq.hwm=[", ""])
def test_set_that_is_not_understood_is_refused(text: str) -> None:
    with pytest.raises(UsageError):
        load_config(sets=[text])


def test_every_setting_has_its_default_and_words() -> None:
    settings = known_settings(Config)
    assert settings["zmq.hwm"][0] == Config().zmq.hwm
    assert {"prompts", "source.cameras", "page.listen"} <= settings.keys()
    for key, (_, words) in settings.items():
        assert len(words) > 5, key


def test_size_is_width_by_height() -> None:
    assert parse_size("640x480") == parse_size("640X480") == (640, 480)


@pytest.mark.parametrize(
    "text", ["640", "x", "0x480", "²x480", "640x480x3", "-1x5", "9" * 6 + "x1", ""]
)
def test_other_sizes_are_refused(text: str) -> None:
    with pytest.raises(UsageError, match="size is wrong"):
        parse_size(text)
