"""Weights, recordings and settings are data: nothing in them is run, read elsewhere, or endless.

Each test makes the file that a malicious stranger would send.
"""

from __future__ import annotations

import io
import os
import pickle
import struct
import tarfile
import wave
import zipfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from mcap.opcode import Opcode
from mcap.writer import CompressionType

import aam_edge
from aam_edge.camera_yaml import read_camera_yaml
from aam_edge.config import load_config
from aam_edge.errors import DataError, ModelError, UsageError
from aam_edge.recording.chunks import LARGEST_CHUNK_BYTES
from aam_edge.recording.reader import Recording
from tests.fuzz.attack import stands
from tests.fuzz.bags import IMAGE, bag, picture
from tests.program import run

MARK = "run-by-a-stranger"
GIANT = 1 << 40
HUGE_BYTES = 600 << 20
"""More than one input may cost (`attack.MOST_GROWTH_BYTES`)."""


class Command:
    """Unpickled, it runs a command of the shell."""

    def __init__(self, mark: Path):
        self.mark = mark

    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, (f"touch {self.mark}",)


@pytest.fixture
def mark(tmp_path: Path) -> Path:
    return tmp_path / MARK


def test_pickle_that_runs_a_command_would_do_so_elsewhere(mark: Path) -> None:
    pickle.loads(pickle.dumps(Command(mark)))
    assert mark.exists(), "else the tests below prove nothing"


def malicious_checkpoints(mark: Path, folder: Path) -> list[Path]:
    """A bare pickle, the older form of torch.save, and the zip of today."""
    torch = pytest.importorskip("torch")
    bare, old, new = (folder / f"{name}.pt" for name in ("bare", "old", "new"))
    bare.write_bytes(pickle.dumps({"average": Command(mark)}))
    torch.save({"average": Command(mark)}, old, _use_new_zipfile_serialization=False)
    torch.save({"average": Command(mark)}, new)
    return [bare, old, new]


def test_code_in_a_checkpoint_is_never_run(mark: Path, tmp_path: Path) -> None:
    paths = malicious_checkpoints(mark, tmp_path)
    from aam_edge.model.released.files import read_weights
    from aam_edge.training.run.checkpoint import read as read_checkpoint
    from aam_edge.training.run.checkpoint import read_named

    for path in paths:
        for read in (read_weights, read_checkpoint, read_named):
            with pytest.raises(ModelError):
                read(path)
    assert not mark.exists()


def test_importing_a_checkpoint_with_code_is_refused_in_one_line(
    mark: Path, tmp_path: Path
) -> None:
    *_, path = malicious_checkpoints(mark, tmp_path)
    done = run("weights", "import", str(path))
    assert done.returncode == 4
    assert done.stderr.startswith("aam-edge: weights file holds code (new.pt: posix.system)")
    assert done.stderr.count("\n") == 1
    assert not mark.exists()


def test_compressed_checkpoint_is_refused_before_it_grows(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    from aam_edge.model.released.files import read_weights

    plain, path = tmp_path / "plain.pt", tmp_path / "bomb.pt"
    torch.save({"w": torch.zeros(1 << 20)}, plain)
    with zipfile.ZipFile(plain) as source, zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as out:
        for record in source.infolist():
            out.writestr(record.filename, source.read(record))
    assert path.stat().st_size < plain.stat().st_size / 100
    with pytest.raises(ModelError, match="damaged or of no known form"):
        read_weights(path)


def test_objects_in_tables_of_numpy_are_never_unpickled(mark: Path, tmp_path: Path) -> None:
    pytest.importorskip("scipy")
    from aam_edge.engine.text import TextTable
    from aam_edge.training.measure.map_folder import read_map
    from aam_edge.training.tables import read_arrays

    objects = np.array([Command(mark)], object)
    np.savez(tmp_path / "a.npz", image_id=objects, rows=objects)
    np.save(tmp_path / "a.npy", objects)
    with pytest.raises(DataError, match="gaze set cannot be read"):
        read_arrays(tmp_path / "a.npz")
    with pytest.raises(DataError, match="map cannot be read"):
        read_map(tmp_path / "a.npy")
    with pytest.raises(ModelError, match="text table cannot be read"):
        TextTable(tmp_path / "a.npz").embed("cup")
    assert not mark.exists()


def test_every_loader_of_arrays_and_pickles_says_that_it_runs_nothing() -> None:
    for path in Path(aam_edge.__file__).parent.rglob("*.py"):
        for line in path.read_text().splitlines():
            if "np.load(" in line:
                assert "allow_pickle=False" in line, f"{path}: {line}"
            if "torch.load(" in line and "`" not in line:
                assert "weights_only=True" in line, f"{path}: {line}"
            for loader in ("pickle.load(", "pickle.loads(", "yaml.unsafe", "yaml.full_load"):
                assert loader not in line, f"{path}: {line}"


def test_table_that_unpacks_to_a_giant_is_refused(tmp_path: Path) -> None:
    pytest.importorskip("cv2")
    from aam_edge.training.tables import read_arrays

    np.savez_compressed(tmp_path / "a.npz", image_id=np.zeros(32 << 20, np.uint8))
    with pytest.raises(DataError, match="unpack to 32 MB"):
        read_arrays(tmp_path / "a.npz")


def test_objects_in_yaml_are_never_made(mark: Path, tmp_path: Path) -> None:
    path = tmp_path / "a.yaml"
    path.write_text(f"prompts: !!python/object/apply:os.system ['touch {mark}']\n")
    with pytest.raises(UsageError, match="not YAML"):
        load_config(path)
    with pytest.raises(UsageError, match="not YAML"):
        load_config(sets=[f"prompts=!!python/object/apply:os.system ['touch {mark}']"])
    with pytest.raises(DataError, match="not YAML"):
        read_camera_yaml(path)
    assert not mark.exists()


LOCATIONS = ("/etc/passwd", "../key", "key", "sub/../../key", "./stranger.safetensors", "link")


@pytest.mark.parametrize("location", LOCATIONS)
@pytest.mark.parametrize("engine", ["onnx", "openvino"])
def test_graph_that_reads_another_file_than_its_tensors_is_refused(
    location: str, engine: str, tmp_path: Path
) -> None:
    pytest.importorskip("onnx")
    pytest.importorskip(engine if engine == "openvino" else "onnxruntime")
    from aam_edge.engine.buffers import Buffers, Shape
    from aam_edge.engine.onnx import OnnxBackend
    from aam_edge.engine.openvino import OpenvinoBackend
    from aam_edge.engine.package import FORMAT, Package
    from tests.fuzz.test_weights import graph

    folder = tmp_path / "package"
    folder.mkdir()
    (tmp_path / "key").write_bytes(b"secret, secret, secret")
    (folder / "key").write_bytes(b"secret, secret, secret")
    (folder / "link").symlink_to(tmp_path / "key")
    (folder / "stranger.onnx").write_bytes(graph(location))
    files = folder / "stranger.onnx", folder / "stranger.safetensors"
    package = Package("stranger", *files, {"format": FORMAT})

    def use() -> None:
        if engine == "onnx":
            OnnxBackend(package)
        else:
            OpenvinoBackend(package).bind(Buffers(Shape(1, 96, 96), 128))

    with pytest.raises(ModelError, match="reads a file of others") as refused:
        use()
    assert location in str(refused.value)


def test_path_hidden_in_a_branch_of_the_graph_is_found(tmp_path: Path) -> None:
    onnx = pytest.importorskip("onnx")
    from aam_edge.engine.graph_files import check_graph_files
    from tests.fuzz.test_weights import graph

    inner = onnx.load_from_string(graph("/etc/passwd")).graph
    del inner.input[:]
    node = onnx.helper.make_node("If", ["c"], ["y"], then_branch=inner, else_branch=inner)
    outer = onnx.helper.make_graph([node], "g", [], [])
    path = tmp_path / "a.onnx"
    path.write_bytes(onnx.helper.make_model(outer).SerializeToString())
    with pytest.raises(ModelError, match="/etc/passwd"):
        check_graph_files(path, tmp_path / "a.safetensors")


def test_header_of_tensors_that_claims_a_giant_costs_no_memory(tmp_path: Path) -> None:
    from aam_edge.engine.weights import read_header

    def door(content: bytes) -> None:
        (tmp_path / "a.safetensors").write_bytes(content)
        read_header(tmp_path / "a.safetensors")

    for claimed in (GIANT, 2**63, 2**64 - 1, 100_000_000):
        stands(door, struct.pack("<Q", claimed) + b'{"a": {"dtype": "F32"')


def chunk_bomb(kind: CompressionType, claimed: int | None) -> bytes:
    """A bag whose one chunk unpacks to HUGE_BYTES, or claims another size."""
    whole = bag(IMAGE, [picture()], compression=kind)
    (length,) = struct.unpack_from("<Q", whole, 8 + 1)
    at = 8 + 9 + length  # the chunk's record, behind magic and header
    assert whole[at] == Opcode.CHUNK
    start, end = struct.unpack_from("<QQ", whole, at + 9)
    zeros = compressed_zeros(kind)
    name = kind.name.lower().encode()
    body = struct.pack("<QQQI", start, end, claimed or HUGE_BYTES, 0)
    body += struct.pack("<I", len(name)) + name + struct.pack("<Q", len(zeros)) + zeros
    return whole[:at] + b"\x06" + struct.pack("<Q", len(body)) + body


def compressed_zeros(kind: CompressionType) -> bytes:
    import lz4.frame
    import zstandard

    piece = bytes(1 << 20)
    file = io.BytesIO()
    if kind is CompressionType.LZ4:
        writer: Any = lz4.frame.LZ4FrameFile(file, "wb", block_size=lz4.frame.BLOCKSIZE_MAX4MB)
    else:
        writer = zstandard.ZstdCompressor(level=1).stream_writer(file, closefd=False)
    with writer:
        for _ in range(HUGE_BYTES >> 20):
            writer.write(piece)
    return file.getvalue()


@pytest.mark.parametrize("kind", [CompressionType.LZ4, CompressionType.ZSTD])
@pytest.mark.parametrize("claimed", [None, 1000, LARGEST_CHUNK_BYTES, GIANT])
def test_chunk_that_unpacks_to_a_giant_is_left_out(
    kind: CompressionType, claimed: int | None, tmp_path: Path
) -> None:
    content = chunk_bomb(kind, claimed)
    assert len(content) < HUGE_BYTES / 100

    def door(content: bytes) -> None:
        (tmp_path / "a.mcap").write_bytes(content)
        with pytest.raises(DataError, match="holds no messages"):
            Recording(tmp_path / "a.mcap")

    stands(door, content)


def test_settings_in_a_recording_are_read_as_data(mark: Path, tmp_path: Path) -> None:
    from mcap.writer import Writer

    path = tmp_path / "a.mcap"
    yaml = f"settings: !!python/object/apply:os.system ['touch {mark}']\n".encode()
    with path.open("wb") as file:
        writer = Writer(file)
        writer.start("ros2", "a test")
        schema = writer.register_schema("std_msgs/msg/String", "ros2msg", b"string data")
        channel = writer.register_channel("/a", "cdr", schema)
        writer.add_message(channel, 1, b"\0\1\0\0\1\0\0\0\0", 1)
        writer.add_attachment(1, 1, "run.yaml", "text/yaml", yaml)
        writer.finish()
    with Recording(path) as recording:
        assert recording.run == {}
    assert not mark.exists()


def test_shard_writes_nothing_and_a_sparse_file_in_it_does_not_grow(tmp_path: Path) -> None:
    pytest.importorskip("webdataset")
    from aam_edge.training.corpus.skipped import Skipped
    from aam_edge.training.shards import read_shards

    folder = tmp_path / "a" / "b"
    folder.mkdir(parents=True)
    (folder / "train.json").write_text('{"shards": [{"file": "train-000000.tar"}]}')

    def door(content: bytes) -> None:
        (folder / "train-000000.tar").write_bytes(content)
        skipped = Skipped()
        assert not list(read_shards(folder / "train.json", skipped))
        assert skipped.count

    for name in ("../../0.json", "/tmp/0.json"):
        stands(door, tar(tarfile.TarInfo(name), b"{}"))
    for kind in (tarfile.SYMTYPE, tarfile.LNKTYPE):
        link = tarfile.TarInfo("0.json")
        link.type, link.linkname = kind, "/etc/passwd"
        stands(door, tar(link, b""))
    stands(door, tar(sparse(), b""))
    assert sorted(path.name for path in tmp_path.rglob("*")) == [
        "a", "b", "train-000000.tar", "train.json",
    ]  # fmt: skip


def tar(member: tarfile.TarInfo, content: bytes) -> bytes:
    file = io.BytesIO()
    member.size = len(content)
    with tarfile.open(None, "w", file) as target:
        target.addfile(member, io.BytesIO(content))
    return file.getvalue()


def sparse() -> tarfile.TarInfo:
    """A file of a terabyte that takes no byte in the tar."""
    member = tarfile.TarInfo("0.json")
    member.pax_headers = {
        "GNU.sparse.major": "0", "GNU.sparse.minor": "1", "GNU.sparse.name": "0.json",
        "GNU.sparse.size": str(GIANT), "GNU.sparse.numblocks": "0", "GNU.sparse.map": "",
    }  # fmt: skip
    return member


def test_shard_named_as_a_command_is_not_run(mark: Path, tmp_path: Path) -> None:
    pytest.importorskip("webdataset")
    from aam_edge.training.corpus.skipped import Skipped
    from aam_edge.training.shards import read_shards

    index = tmp_path / "train.json"
    index.write_text(f'{{"shards": [{{"file": "pipe:touch {mark}"}}]}}')
    with pytest.raises(DataError, match="elsewhere"):
        list(read_shards(index, Skipped()))
    assert not mark.exists()


def test_picture_of_a_few_bytes_that_claims_a_giant_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "bomb.png"
    path.write_bytes(png(20_000, 20_000))
    assert path.stat().st_size < 100_000
    done = run("predict", str(path), "--out", str(tmp_path / "out"))
    assert done.returncode == 3
    lines = [line for line in done.stderr.splitlines() if "bomb.png" in line]
    assert lines
    assert "Traceback" not in done.stderr


def png(width: int, height: int) -> bytes:
    """Black, one bit a pixel."""
    packer = zlib.compressobj(9)
    row = bytes(1 + (width + 7) // 8)
    packed = b"".join(packer.compress(row) for _ in range(height)) + packer.flush()
    head = struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0)
    chunks = ((b"IHDR", head), (b"IDAT", packed), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))
        for name, body in chunks
    )


def test_sound_that_claims_more_than_it_has_costs_no_memory() -> None:
    pytest.importorskip("scipy")
    from tests.fuzz.test_media import wav_door

    file = io.BytesIO()
    with wave.open(file, "wb") as written:
        written.setnchannels(1)
        written.setsampwidth(2)
        written.setframerate(16000)
        written.writeframes(bytes(2000))
    content = bytearray(file.getvalue())
    struct.pack_into("<I", content, 40, 2**32 - 2)
    stands(wav_door, bytes(content))
    struct.pack_into("<I", content, 24, 2**32 - 1)
    stands(wav_door, bytes(content))


def test_video_that_claims_a_giant_is_refused(tmp_path: Path) -> None:
    from tests.fuzz.test_media import VIDEOS, video_door

    whole = VIDEOS[1]  # avi: its head has width and height as they are
    size = struct.pack("<II", 64, 48)
    stands(video_door(tmp_path), whole.replace(size, struct.pack("<II", 65535, 65535)))
