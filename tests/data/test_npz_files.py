# SPDX-License-Identifier: Apache-2.0
"""Npz files that are hostile, damaged, huge or none; their scales and labels."""

# Labels are optional in the type of a split, never in these tests.
# mypy: disable-error-code="arg-type,index,operator,union-attr"

import io
import os
import resource
import socket
import struct
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays_of
from processes import run_python
from properties import bounded

from tf_decomp import checks
from tf_decomp.data import Dataset, load_dataset, load_npz
from tf_decomp.errors import InputError

ROOT = Path(__file__).parents[2]
_RNG = np.random.default_rng(0)
PIXELS = _RNG.integers(0, 256, (40, 4, 4))
PIXELS[:30:29, 0, 0], PIXELS[0, 1, 1] = 255, 0
VECTORS = _RNG.normal(size=(40, 3))
CLASSES = np.arange(40) % 4


def saved(folder: Path, **arrays: Any) -> Path:
    path = folder / "data.npz"
    np.savez(path, **arrays)
    return path


def header(text: str, version: tuple[int, int] = (1, 0)) -> bytes:
    """Returns a npy header of any text."""
    length = struct.pack("<H" if version == (1, 0) else "<I", len(text))
    return b"\x93NUMPY" + bytes(version) + length + text.encode("latin1")


def described(dtype: str, shape: str, order: str = "False") -> str:
    return f"{{'descr': {dtype}, 'fortran_order': {order}, 'shape': {shape}, }}\n"


def archive(folder: Path, method: int = zipfile.ZIP_STORED, **members: bytes) -> Path:
    path = folder / "data.npz"
    with zipfile.ZipFile(path, "w", method) as file:
        for name, content in members.items():
            file.writestr(f"{name}.npy", content)
    return path


def refused(path: Path, message: str, **others: Any) -> str:
    with pytest.raises(InputError, match=message) as raised:
        load_npz(path, **others)
    text = str(raised.value)
    assert "\n" not in text
    assert len(text) < 700
    return text


# -- scales ----------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["u1", "i2", "u2", "i4", "u4", "i8", "u8", ">i8"])
def test_every_integer_type_of_image_is_scaled_and_says_so(
    tmp_path: Path, dtype: str
) -> None:
    images = PIXELS.astype(dtype)
    path = saved(tmp_path, x_train=images[:30], x_test=images[30:])
    dataset = load_npz(path)
    expected = (PIXELS / np.float32(255)).astype(np.float32)[..., None]
    np.testing.assert_array_equal(dataset.train.x, expected[:30])
    np.testing.assert_array_equal(dataset.test.x, expected[30:])
    stored = np.dtype(dtype).newbyteorder("=")
    assert dataset.train.note == f"x_train of {path}: {stored} 0..255, divided by 255"


@pytest.mark.parametrize(
    ("x", "note"),
    [
        (PIXELS.reshape(40, 16), "int64 0..255, kept as they are"),
        (PIXELS.reshape(40, 16).astype(np.uint8), "uint8 0..255, kept as they are"),
        (PIXELS % 2, "int64 0..1, kept as they are"),
        (PIXELS % 2 == 1, "bool 0..1, kept as they are"),
        (PIXELS * 257, "int64 0..65535, divided by 65535"),
        (PIXELS - 1, "int64 -1..254, kept as they are"),
        (PIXELS * 300, "int64 0..76500, kept as they are"),
        (PIXELS.astype(np.float32), "float32 0..255, kept as they are"),
        (PIXELS / 127.5 - 1, "float64 -1..1, kept as they are"),
    ],
)
def test_the_note_says_the_scale(tmp_path: Path, x: np.ndarray, note: str) -> None:
    for split in load_npz(saved(tmp_path, x_train=x)):
        assert split.note.endswith(f": {note}")
    part = load_dataset(f"npz:{tmp_path / 'data.npz'}", max_train_examples=5).train
    assert part.note.endswith(f": {note}")


@pytest.mark.parametrize(
    ("train", "test"),
    [
        (PIXELS, PIXELS / 255),
        (PIXELS / 255, PIXELS),
        (PIXELS.astype(np.uint8), PIXELS.astype(np.float32)),
        (PIXELS.astype(np.float32), PIXELS / 255),
        (PIXELS / 255, PIXELS.astype(np.float32)),
        (PIXELS / 127.5 - 1, PIXELS.astype(np.float32)),
        (PIXELS // 200, PIXELS),
        (PIXELS > 99, PIXELS),
        (PIXELS // 200, PIXELS // 20),
        (PIXELS, PIXELS * 257),
        (PIXELS, PIXELS - 1),
        (PIXELS.reshape(40, 16), PIXELS.reshape(40, 16) / 255),
        (PIXELS.reshape(40, 16) / 255, PIXELS.reshape(40, 16)),
    ],
)
def test_one_scale_serves_both_splits(
    tmp_path: Path, train: np.ndarray, test: np.ndarray
) -> None:
    path = saved(tmp_path, x_train=train, x_test=test)
    refused(path, r"must have one scale; received .*\.\..* and .*; store both alike")


@pytest.mark.parametrize(
    ("train", "test"),
    [
        (PIXELS, PIXELS // 2),
        (PIXELS, PIXELS // 200),
        (PIXELS.astype(np.uint8), PIXELS),
        (PIXELS > 99, PIXELS // 200),
        (PIXELS / 255, PIXELS / 300),
        (PIXELS / 255, PIXELS // 200),
        (VECTORS, VECTORS * 30),
        (VECTORS * 100, np.abs(VECTORS) / 9),
        (PIXELS - 5, PIXELS),
    ],
)
def test_other_ranges_are_no_other_scale(
    tmp_path: Path, train: np.ndarray, test: np.ndarray
) -> None:
    load_npz(saved(tmp_path, x_train=train, x_test=test))


# -- values ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("x", "message"),
    [
        (np.full((9, 2), 2**24 + 1), "integers of at most 16,777,216, .* int64"),
        (np.full((9, 2), -(2**63)), "integers of at most"),
        (np.full((9, 2), 2**64 - 1, np.uint64), "integers of at most"),
        (np.full((9, 2, 2), 2**53 + 1), "integers of at most"),
        (np.full((9, 2), 1e39), "finite in float32"),
        (np.full((9, 2), np.longdouble(10) ** 400), "finite in float32"),
        (np.where(np.eye(9, 2) > 0, -np.inf, 0), "finite in float32"),
        (np.where(np.eye(9, 2) > 0, np.nan, 0), "finite in float32"),
        (np.full((9, 2), np.nan, np.float16), "finite in float32"),
        (np.full((9, 2), 1e-46), "numbers that float32 has; received none above 1e-46"),
        (np.full((9, 2), 1 + 2j), "real numbers; received dtype complex128"),
        (np.zeros((9, 2), "m8[s]"), "real numbers; received dtype timedelta64"),
        (np.zeros((9, 2), [("a", "f4"), ("b", "f4")]), "real numbers; received dtype"),
        (np.zeros((9, 2), "V4"), "real numbers; received dtype"),
        (np.full((9, 2), b"a"), "real numbers; received dtype"),
        (np.array(5.0), r"received shape \(\)"),
    ],
)
def test_values_that_float32_does_not_hold(
    tmp_path: Path, x: np.ndarray, message: str
) -> None:
    refused(saved(tmp_path, x_train=x), f"x_train of .* {message}")
    if x.ndim:
        right = np.ones(x.shape, np.float32)
        refused(saved(tmp_path, x_train=right, x_test=x), f"x_test of .* {message}")


@pytest.mark.parametrize("x", [np.full((9, 2), 2**24), np.full((9, 2), 1e-30)])
def test_values_at_the_edge(tmp_path: Path, x: np.ndarray) -> None:
    train = load_npz(saved(tmp_path, x_train=x)).train
    np.testing.assert_array_equal(train.x, x[:8].astype(np.float32))


@pytest.mark.parametrize("dtype", ["<f8", ">f8", ">f4", "<f2", "longdouble"])
@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_every_layout_gives_the_same_data(
    tmp_path: Path, dtype: str, order: str, save: Callable[..., None]
) -> None:
    x = np.arange(120.0).reshape(40, 3)
    save(tmp_path / "data.npz", x_train=x.astype(dtype, order=order), y_train=CLASSES)
    for split in load_npz(tmp_path / "data.npz"):
        assert split.x.dtype == np.float32
        np.testing.assert_array_equal(split.x[:, 0] // 3 % 4, split.labels)


# -- labels ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "labels",
    [
        CLASSES,
        CLASSES[:, None],
        np.eye(4)[CLASSES],
        np.eye(4, dtype=bool)[CLASSES],
        np.eye(4, dtype=np.uint8)[CLASSES],
        np.asfortranarray(np.eye(4, dtype=">i2")[CLASSES]),
        CLASSES.astype(np.float32),
        CLASSES.astype(np.float64)[:, None],
        CLASSES.astype(">u8"),
        CLASSES.astype(np.int8),
    ],
)
def test_labels_become_whole_numbers(tmp_path: Path, labels: np.ndarray) -> None:
    arrays = {"x_train": VECTORS, "y_train": labels, "x_test": VECTORS[:5]}
    dataset = load_npz(saved(tmp_path, **arrays, y_test=labels[:5]))  # lacks no class
    for split, number in zip(dataset, (40, 5), strict=True):
        assert split.labels.dtype == np.int64
        assert split.labels.tolist() == CLASSES[:number].tolist()
    held_out = load_npz(saved(tmp_path, x_train=VECTORS, y_train=labels))
    assert held_out.test.labels.shape == (4,)


@pytest.mark.parametrize(
    ("labels", "expected"),
    [
        (CLASSES - 9, (CLASSES - 9).tolist()),
        (CLASSES > 1, (CLASSES > 1).astype(int).tolist()),
        (CLASSES + 2**53 - 9, (CLASSES + 2**53 - 9).tolist()),
        (CLASSES.astype(str), CLASSES.astype(str).tolist()),
        (CLASSES.astype(str)[:, None], CLASSES.astype(str).tolist()),
        (CLASSES.astype("S"), CLASSES.astype(str).tolist()),
        (np.array(["é".encode()] * 40), ["é"] * 40),
    ],
)
def test_classes_of_other_kinds(
    tmp_path: Path, labels: np.ndarray, expected: list[Any]
) -> None:
    path = saved(tmp_path, x_train=VECTORS, y_train=labels, x_test=VECTORS[:3])
    dataset = load_npz(path)
    assert dataset.train.labels.tolist() == expected
    assert dataset.test.labels is None


def with_one(value: float) -> np.ndarray:
    labels = CLASSES.astype(np.float64)
    labels[7] = value
    return labels


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (with_one(np.nan), "whole numbers .* received nan in row 7"),
        (with_one(np.inf), "received inf in row 7"),
        (with_one(0.5), "received 0.5 in row 7"),
        (with_one(1e300), r"received 1e\+300 in row 7"),
        (with_one(np.nan)[:, None], "received nan in row 7"),
        (np.full(40, 2**64 - 1, np.uint64), "whole numbers below 2"),
        (np.eye(4)[CLASSES] + np.eye(40, 4), "must be one-hot, .* row 0 is not"),
        (np.eye(4)[CLASSES] * 2, "must be one-hot"),
        (np.eye(4)[CLASSES] * np.nan, "must be one-hot"),
        (np.zeros((40, 4)), "must be one-hot"),
        (np.zeros((40, 0)), "must be one-hot"),
        (np.full((40, 2), "a"), "must be one-hot"),
        (np.eye(4)[CLASSES] * 0.9 + 0.025, "must be one-hot"),
        (
            np.eye(4)[CLASSES][None].repeat(40, 0),
            r"one-hot \[n, classes\], .* \(40, 40, 4",
        ),
        (CLASSES * 1j, "whole numbers or words; received complex128"),
        (CLASSES.astype("M8[s]"), "whole numbers or words; received datetime64"),
        (np.zeros(40, [("a", "i4")]), "whole numbers or words; received"),
        (np.full(40, b"\xff"), "words in UTF-8"),
        (CLASSES[:39], r"a row for each of the 40 rows .* received shape \(39,\)"),
    ],
)
def test_labels_that_are_no_classes(
    tmp_path: Path, labels: np.ndarray, message: str
) -> None:
    refused(saved(tmp_path, x_train=VECTORS, y_train=labels), f"y_train of .*{message}")
    arrays = {"x_train": VECTORS, "x_test": VECTORS, "y_test": labels}
    message = message.replace("y_train", "y_test")
    refused(saved(tmp_path, **arrays), f"y_test of .*{message}")


# -- files -----------------------------------------------------------------------------


def test_what_is_no_file_is_not_opened(tmp_path: Path) -> None:
    pipe, loop, link = (tmp_path / name for name in ("pipe.npz", "loop.npz", "link"))
    os.mkfifo(pipe)
    refused(pipe, "pipe.npz must be a file; it is a pipe")
    link.symlink_to(pipe)
    refused(link, "it is a pipe")
    refused(Path("/dev/zero"), "it is a pipe, socket or device")
    refused(tmp_path, "it is a folder")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(tmp_path / "socket.npz"))
        refused(tmp_path / "socket.npz", "it is a pipe, socket")
    refused(Path(f"{tmp_path}/a\0b.npz"), "must be the path of a file; .* null byte")
    loop.symlink_to(loop)
    for path in (loop, tmp_path / "none.npz", tmp_path / ("a" * 300), link / "a.npz"):
        with pytest.raises(OSError, match="Errno") as raised:
            load_npz(path)
        assert "\n" not in str(raised.value)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_file_that_may_not_be_read(tmp_path: Path) -> None:
    path = saved(tmp_path, x_train=VECTORS)
    path.chmod(0)
    with pytest.raises(PermissionError):
        load_npz(path)


def test_the_home_folder_and_odd_names(tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    saved(tmp_path, x_train=VECTORS)
    assert load_dataset("npz:~/data.npz").train.x.shape == (36, 3)
    for name in (
        "~nobody-of-this-name.npz",
        "é [1] *.npz",
        " a\nb.npz ",
        "$\\frac{.npz",
    ):
        (tmp_path / name).write_bytes((tmp_path / "data.npz").read_bytes())
        assert load_dataset(f"npz:{name}").train.x.shape == (36, 3)
    undecodable = os.fsdecode(b"\xff\xfe.npz")
    (tmp_path / undecodable).write_bytes(b"")
    refused(tmp_path / undecodable, "must be a .npz file")


def test_members_that_are_named_twice(tmp_path: Path) -> None:
    content, path = io.BytesIO(), tmp_path / "data.npz"
    np.save(content, VECTORS)
    for names in (("x_train.npy", "x_train.npy"), ("x_train", "x_train.npy")):
        with warnings.catch_warnings(), zipfile.ZipFile(path, "w") as file:
            warnings.simplefilter("ignore")  # of duplicates
            for name in names:
                file.writestr(name, content.getvalue())
        refused(path, "must hold x_train once; it holds 2 members")


HEADERS = {
    "petabytes": header(described("'<f8'", f"({10**15}, 3)")),
    "no data": header(described("'|b1'", "(2000000000, 1)")),
    "overflow": header(described("'<f8'", f"({2**62}, 4)")),
    "endless": header(described("'<f8'", f"({'9' * 4000},)")),
    "negative": header(described("'<f8'", "(-2, -3)")) + bytes(48),
    "a float": header(described("'<f8'", "(2.0, 3)")) + bytes(48),
    "no shape": header("{'descr': '<f8', 'fortran_order': False}\n"),
    "objects": header(described("'|O'", "(2, 3)")) + bytes(48),
    "no dtype": header(described("'strange'", "(2, 3)")) + bytes(48),
    "nested": header("(" * 3000 + "\n"),
    "code": header("__import__('os').getcwd()\n"),
    "no dict": header("[1, 2]\n"),
    "not closed": header("{'descr': '<f8'\n"),
    "long": header(" " * 30_000 + "\n", (2, 0)),
    "longer than it is": b"\x93NUMPY\x02\0\xff\xff\xff\x7f" + bytes(99),
    "version 3": header(described("'<f8'", "(2, 3)"), (3, 0)) + bytes(48),
    "version 9": header(described("'<f8'", "(2, 3)"), (9, 0)) + bytes(48),
    "too much": header(described("'<f8'", "(2, 3)")) + bytes(49),
    "too little": header(described("'<f8'", "(2, 3)")) + bytes(47),
    "python 2": header(described("'<f8'", "(2L, 3L)")) + bytes(47),
    "not latin": header(described("'<f8'", "(2, 3)"), (3, 0)).replace(b"s", b"\xff"),
    "nothing": b"",
    "magic only": b"\x93NUMPY",
    "text": b"1 2 3",
}


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
@pytest.mark.parametrize("case", HEADERS)
def test_headers_are_judged_before_data(tmp_path: Path, case: str, method: int) -> None:
    path = archive(tmp_path, method, x_train=HEADERS[case])
    refused(path, "must be a .npz file of plain arrays, not damaged; reading it gave")


def altered(path: Path, what: str, method: int) -> bytes:
    content = bytearray(path.read_bytes())
    central = content.index(b"PK\x01\x02")
    if what == "encrypted":
        content[6] |= 1
        content[central + 8] |= 1
    elif what == "unknown method":
        content[8:10] = content[central + 10 : central + 12] = b"\x63\0"
    elif what == "checksum":
        content[14:18] = content[central + 16 : central + 20] = b"1234"
    elif what == "data":
        content[200] ^= 1
    elif what == "truncated":
        return bytes(content[: len(content) // 2])
    elif what == "no directory":
        return bytes(content[:central])
    elif what == "offset":
        content[central + 42 : central + 46] = b"\xff\xff\xff\x7f"
    elif what == "name":
        content[central + 8 : central + 10] = b"\0\x08"  # UTF-8
        content[central + 46] = 0xFF
    elif what == "size":  # 4 GB
        content[central + 24 : central + 28] = b"\xff\xff\xff\xfe"
    return bytes(content)


@pytest.mark.parametrize(
    "method",
    [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA],
)
@pytest.mark.parametrize(
    "what",
    [
        *("encrypted", "unknown method", "checksum", "data", "truncated"),
        *("no directory", "offset", "name", "size"),
    ],
)
def test_damaged_archives(tmp_path: Path, what: str, method: int) -> None:
    content = io.BytesIO()
    np.save(content, VECTORS)
    path = archive(tmp_path, method, x_train=content.getvalue())
    assert load_npz(path).train.x.shape == (36, 3)
    path.write_bytes(altered(path, what, method))
    refused(path, f"{path} must ")


def test_more_than_the_memory_is_refused_before_it_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "data.npz"
    np.savez_compressed(path, x_train=np.zeros((1000, 1000), bool))  # 1 MB, and 4 MB
    monkeypatch.setattr(checks, "available_memory", lambda: 5_000_001)
    assert load_npz(path).train.x.shape == (900, 1000)
    monkeypatch.setattr(checks, "available_memory", lambda: 4_999_999)
    monkeypatch.setattr(np.lib.format, "read_array", pytest.fail)
    refused(path, "reading .* needs 0.0 GB of memory at least; 0.0 GB are available")


@pytest.mark.parametrize("image_size", [1_000_000, 10**9, 10**30, 10**400])
def test_images_of_millions_of_pixels_a_side(tmp_path: Path, image_size: int) -> None:
    message = "GB of memory at least; .* smaller image_size"
    if image_size > 2**63:
        message = "image_size must be a whole number between 0 and 9,223,372,036,854,7"
    refused(saved(tmp_path, x_train=PIXELS), message, image_size=image_size)


LIMITED = """
import resource, sys
import numpy as np
import tf_decomp
from tf_decomp.data import load_npz
from tf_decomp.errors import InputError

pages = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (pages + 2**30, resource.RLIM_INFINITY))
try:
    load_npz(sys.argv[1])
except InputError as error:
    print(error)
"""


@pytest.mark.slow
def test_an_archive_that_unpacks_to_gigabytes(tmp_path: Path) -> None:
    path = tmp_path / "data.npz"
    rows, zeros = 2_000, bytes(10**6)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        with file.open("x_train.npy", "w", force_zip64=True) as member:
            member.write(header(described("'|b1'", f"({rows}, 1000000)")))
            for _ in range(rows):
                member.write(zeros)
    assert path.stat().st_size < 3e6
    out, _ = run_python("-c", LIMITED, path, environment={"PYTHONPATH": str(ROOT)})
    assert "needs 10.0 GB of memory at least; " in out
    assert len(out.splitlines()) == 1


def test_the_memory_of_a_process_is_its_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    unlimited = checks.available_memory()
    assert 0 < unlimited < 2**63
    limit = (2**30, resource.RLIM_INFINITY)
    monkeypatch.setattr(resource, "getrlimit", lambda which: limit)
    assert checks.available_memory() == 0  # Python with TensorFlow has more by now


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({"max": "max\n", "current": "5\n"}, 2**63),
        ({"max": "1000\n", "current": "900\n"}, 100),
        (
            {
                "max": "1000\n",
                "current": "900\n",
                "stat": "anon 300\nfile 600\ninactive_file 400\nactive_file 100\n",
            },
            600,
        ),
        ({}, 2**63),
    ],
)
def test_the_memory_of_a_control_group(
    tmp_path: Path, monkeypatch: Any, files: dict[str, str], expected: int
) -> None:
    for name, text in files.items():
        (tmp_path / f"memory.{name}").write_text(text)
    monkeypatch.setattr(checks, "_GROUP", tmp_path)
    assert checks._of_group() == expected


# -- properties ------------------------------------------------------------------------


def ends_well(path: Path) -> None:
    """Loads a file, or sees it refused in one line."""
    try:
        dataset = load_npz(path)
    except InputError as error:
        message = str(error)
    else:
        dataset_is_usable(dataset)
        message = ""
    assert "\n" not in message


def dataset_is_usable(dataset: Dataset) -> None:
    for split in dataset:
        assert split.x.dtype == np.float32
        assert split.x.ndim in (2, 4)
        assert np.isfinite(split.x).all()
        if split.labels is not None:
            assert split.labels.shape == (len(split.x),)


SHAPES = arrays_of.array_shapes(min_dims=0, max_dims=5, min_side=0, max_side=4)
DTYPES = st.one_of(
    arrays_of.scalar_dtypes(),
    arrays_of.unicode_string_dtypes(max_len=3),
    arrays_of.byte_string_dtypes(max_len=3),
    arrays_of.array_dtypes(max_size=2),
)
ARRAYS = arrays_of.arrays(DTYPES, SHAPES)
SAME_ROWS = st.shared(st.integers(2, 6), key="rows")
DATA = SAME_ROWS.flatmap(
    lambda n: arrays_of.arrays(
        st.one_of(
            arrays_of.integer_dtypes(),
            arrays_of.unsigned_integer_dtypes(),
            arrays_of.floating_dtypes(),
            arrays_of.boolean_dtypes(),
        ),
        st.sampled_from([(n, 2), (n, 2, 2), (n, 2, 2, 1)]),
    )
)
LABELS = SAME_ROWS.flatmap(
    lambda n: arrays_of.arrays(DTYPES, st.sampled_from([(n,), (n, 1), (n, 3)]))
)


@bounded(max_examples=300)
@given(
    of_train=st.one_of(ARRAYS, DATA),
    others=st.fixed_dictionaries(
        {},
        optional={
            "x_test": st.one_of(DATA, ARRAYS),
            "y_train": st.one_of(LABELS, ARRAYS),
            "y_test": LABELS,
        },
    ),
    compressed=st.booleans(),
)
def test_any_arrays_end_well(
    tmp_path_factory: pytest.TempPathFactory,
    of_train: np.ndarray,
    others: dict[str, np.ndarray],
    compressed: bool,
) -> None:
    path = tmp_path_factory.getbasetemp() / "arrays.npz"
    save = np.savez_compressed if compressed else np.savez
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of names of fields outside Latin-1
        save(path, x_train=of_train, **others)
    ends_well(path)


@bounded(max_examples=300)
@given(
    place=st.floats(0, 1, exclude_max=True),
    change=st.binary(min_size=0, max_size=12),
    removed=st.integers(0, 12),
    compressed=st.booleans(),
)
def test_any_damage_ends_well(
    tmp_path_factory: pytest.TempPathFactory,
    place: float,
    change: bytes,
    removed: int,
    compressed: bool,
) -> None:
    path = tmp_path_factory.getbasetemp() / "damaged.npz"
    save = np.savez_compressed if compressed else np.savez
    save(path, x_train=PIXELS.astype(np.uint8), y_train=CLASSES)
    content = path.read_bytes()
    start = int(place * len(content))
    path.write_bytes(content[:start] + change + content[start + removed :])
    ends_well(path)


@bounded(max_examples=200)
@given(text=st.text(st.characters(max_codepoint=255), max_size=60), data=st.binary())
def test_any_header_ends_well(
    tmp_path_factory: pytest.TempPathFactory, text: str, data: bytes
) -> None:
    folder = tmp_path_factory.getbasetemp()
    right = described("'<f8'", "(2, 3)")
    for member in (header(text + "\n"), header(right.replace("2", text))):
        ends_well(archive(folder, x_train=member + data))
    (folder / "data.npz").write_bytes(data)
    ends_well(folder / "data.npz")
