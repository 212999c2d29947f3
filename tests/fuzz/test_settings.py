"""Strangers at the settings: YAML files of --config, words of --set, calibration files."""

from __future__ import annotations

from pathlib import Path

from hypothesis import strategies as st

from aam_edge.camera_yaml import read_camera_yaml
from aam_edge.config import load_config
from aam_edge.ego.gyro_log import read_gyro_log
from aam_edge.ego.imu_yaml import read_imu_yaml
from tests.fuzz.attack import Door, attack, replayed, stands, times
from tests.fuzz.mutation import INTEGERS, bytes_like

REPOSITORY = Path(__file__).resolve().parents[2]
SETTINGS = [path.read_bytes() for path in sorted((REPOSITORY / "configs").glob("*.yaml"))]
CAMERAS = [path.read_bytes() for path in sorted((REPOSITORY / "calibration").glob("*.yaml"))]
IMU = b"""camera_from_imu:
  - [0, -1, 0]
  - [0, 0, -1]
  - [1, 0, 0]
time_offset_s: 0.00512
gyro_bias_rad_s: [0.01, -0.02, 0]
"""
GYRO = b"time_ns,wx,wy,wz\n" + b"".join(
    b"%d,0.1,-0.2,%d\n" % (1_800_000_000_000_000_000 + 5_000_000 * k, k % 3) for k in range(40)
)
WORDS = (
    *("null", "~", "[]", "{}", "[1, 2]", "{a: 1}", "!!python/object/apply:os.system [ls]", "*a"),
    *("&a [*a]", "!!binary aGk=", "!!set {a}", "!!omap [a: 1]", "2001-01-01", "2001-99-99", "? a"),
    *("0x10", "1_000", ".inf", ".nan", "1e999", "-1", "9" * 5000, "'", '"', "%TAG", "\t", "\0"),
    *("!!int x", "!!float x", "!!timestamp x", "!!bool x", "[" * 2000, "{a: " * 2000, "<<: 1"),
    *("on", "no", "x" * 20_000, "ä", "\x1b[31m", "!!null x", "!!str", "- - - -", "!!merge a"),
    *("!!timestamp 2001-99-99", "!!pairs [a]", "=", "? [a]\n: b", "? {a: b}\n: c", "!!int ''"),
)
YAML = st.sampled_from([word.encode() for word in WORDS])
BOMB = b"a: &a [x, x, x, x, x, x, x, x, x]\n" + b"".join(
    b"%c: &%c [%s]\n" % (97 + k, 97 + k, b", ".join([b"*%c" % (96 + k)] * 9)) for k in range(1, 12)
)


def yaml_like(valid: list[bytes]) -> st.SearchStrategy[bytes]:
    """Files with broken bytes, and files one value of which is strange."""
    lines = st.sampled_from([text.splitlines() for text in valid])

    def replaced(args: tuple[list[bytes], int, bytes]) -> bytes:
        text, at, word = args
        at %= len(text)
        key = text[at].partition(b":")[0]
        return b"\n".join([*text[:at], key + b": " + word, *text[at + 1 :]])

    numbers = st.sampled_from([str(n).encode() for n in (*INTEGERS, -1, 0.5)])
    words = st.one_of(YAML, YAML, numbers, st.text(max_size=20).map(str_bytes))
    strange = st.tuples(lines, st.integers(0, 1000), words).map(replaced)
    return st.one_of(strange, strange, bytes_like(valid), st.just(BOMB), YAML)


def str_bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")


def file_door(read: object, path: Path) -> Door:
    """A reader of files as a door."""

    def door(content: bytes) -> None:
        path.write_bytes(content)
        read(path)  # type: ignore[operator]

    return door


def settings_door(folder: Path) -> Door:
    return file_door(load_config, folder / "settings.yaml")


def words_door(content: bytes) -> None:
    """One --set."""
    load_config(sets=[content.decode("utf-8", "surrogateescape")])


def camera_door(folder: Path) -> Door:
    """A calibration, and what the stream asks of it."""

    def read(path: Path) -> None:
        lens = read_camera_yaml(path)
        lens.fits((640, 480))
        lens.scaled((640, 480)).rays(lens.matrix[:2, 2][None])

    return file_door(read, folder / "camera.yaml")


@times()
def test_no_settings_file_breaks_the_start(cases: int, tmp_path: Path) -> None:
    attack(settings_door(tmp_path), yaml_like(SETTINGS), cases)


@replayed("settings")
def test_settings_files_that_broke_it_once(case: Path, tmp_path: Path) -> None:
    stands(settings_door(tmp_path), case.read_bytes())


@times()
def test_no_word_of_set_breaks_the_start(cases: int) -> None:
    keys = [b"zmq.hwm", b"source.fps", b"prompts", b"page.listen", b"zmq.map_dtype", b"frames"]
    pairs = st.tuples(st.sampled_from([*keys, b"nobody", b""]), st.one_of(YAML, st.binary()))
    attack(words_door, st.one_of(pairs.map(b"=".join), YAML), cases)


@replayed("set")
def test_words_of_set_that_broke_it_once(case: Path) -> None:
    stands(words_door, case.read_bytes())


@times()
def test_no_calibration_breaks_its_reader(cases: int, tmp_path: Path) -> None:
    attack(camera_door(tmp_path), yaml_like(CAMERAS), cases)


@replayed("calibration")
def test_calibrations_that_broke_it_once(case: Path, tmp_path: Path) -> None:
    stands(camera_door(tmp_path), case.read_bytes())


@times()
def test_no_imu_calibration_breaks_its_reader(cases: int, tmp_path: Path) -> None:
    attack(file_door(read_imu_yaml, tmp_path / "imu.yaml"), yaml_like([IMU]), cases)


@replayed("imu")
def test_imu_calibrations_that_broke_it_once(case: Path, tmp_path: Path) -> None:
    stands(file_door(read_imu_yaml, tmp_path / "imu.yaml"), case.read_bytes())


@times()
def test_no_gyro_log_breaks_its_reader(cases: int, tmp_path: Path) -> None:
    door = file_door(read_gyro_log, tmp_path / "gyro.csv")
    attack(door, st.one_of(bytes_like([GYRO]), csv_like()), cases)


@replayed("gyro")
def test_gyro_logs_that_broke_it_once(case: Path, tmp_path: Path) -> None:
    stands(file_door(read_gyro_log, tmp_path / "gyro.csv"), case.read_bytes())


def csv_like() -> st.SearchStrategy[bytes]:
    """Tables of strange cells."""
    words = ("", "nan", "inf", "1e400", "-1", "9" * 400, '"', "1e300", str(2**63), "x" * 200_000)
    cells = st.sampled_from((*words, "1", "0.5", "1_0", " 2 ", "\0"))
    rows = st.lists(st.lists(cells, max_size=5).map(",".join), max_size=5)
    heads = st.sampled_from(("time_s,wx,wy,wz", "time_ns,wx,wy,wz", "wx,wy,wz,time_s,wx", ""))
    return st.tuples(heads, rows).map(lambda table: "\n".join([table[0], *table[1]]).encode())
