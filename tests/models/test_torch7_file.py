from __future__ import annotations

import struct

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from dldl_fast.models import CheckpointError
from dldl_fast.models.importers import Torch7Object, read_torch7
from tests.models.torch7_writer import TYPES, Function, Object, Writer, lua_list


@pytest.fixture
def read(tmp_path):
    def read(data: bytes):
        (tmp_path / "file.t7").write_bytes(data)
        return read_torch7(tmp_path / "file.t7")

    return read


def written(value, **options) -> bytes:
    return bytes(Writer(**options).write(value).data)


def test_every_byte_of_a_small_file(read):
    # { "x" = 2.5, 1 = true }, written out by hand after File.lua
    data = struct.pack(
        "<iii" "ii1s" "id" "id" "ii",
        *(3, 1, 2),
        *(2, 1, b"x"),
        *(1, 2.5),
        *(1, 1.0),
        *(5, 1),
    )  # fmt: skip
    assert read(data) == {"x": 2.5, 1: True}


def test_every_byte_of_a_tensor(read):
    # torch.FloatTensor{{1, 2, 3}, {4, 5, 6}}:narrow(2, 2, 2)
    data = struct.pack(
        "<ii" "i3s" "i17s" "i" "2q" "2q" "q" "ii" "i3s" "i18s" "q" "6f",
        *(4, 1),
        *(3, b"V 1"),
        *(17, b"torch.FloatTensor"),
        2,
        *(2, 2),
        *(3, 1),
        2,
        *(4, 2),
        *(3, b"V 1"),
        *(18, b"torch.FloatStorage"),
        6,
        *(1, 2, 3, 4, 5, 6),
    )  # fmt: skip
    assert torch.equal(read(data), torch.tensor([[2.0, 3.0], [5.0, 6.0]]))


@pytest.mark.parametrize(
    "value",
    [None, True, False, -1.5, "", "Größe", lua_list([1, "two", {"three": None}]), {True: 1.0}],
)
def test_plain_values(read, value):
    assert read(written(value)) == value


def test_strings_that_are_no_text(read):
    assert read(written(b"\xff\x00a")).encode("utf-8", "surrogateescape") == b"\xff\x00a"


@pytest.mark.parametrize("versions", [True, False])
@pytest.mark.parametrize("cuda", [True, False])
@pytest.mark.parametrize("dtype", list(TYPES))
def test_tensors_of_every_type(read, dtype, cuda, versions):
    value = (torch.arange(24).reshape(4, 3, 2) * 3 - 11).to(dtype)
    for tensor in (value, value.transpose(0, 2), value[1:3, :, 1], value[:0], value.new_empty(0)):
        got = read(written(tensor, cuda=cuda, versions=versions))
        assert got.dtype == dtype
        assert torch.equal(got, tensor)


def test_what_is_the_same_object_stays_the_same(read):
    shared, tensor = {"a": 1.0}, torch.arange(6.0)
    table = {"first": shared, "second": shared, "all": tensor, "again": tensor, "part": tensor[2:]}
    table["itself"] = table
    got = read(written(table))
    assert got["first"] is got["second"]
    assert got["itself"] is got
    assert got["all"] is got["again"]
    got["all"][2] = 9.0
    assert got["part"][0] == 9.0


def test_objects_of_classes_are_their_fields(read):
    got = read(written(Object("nn.Linear", {"weight": torch.ones(2, 3), "train": False})))
    assert isinstance(got, Torch7Object)
    assert got.class_name == "nn.Linear"
    assert set(got) == {"weight", "train"}
    assert torch.equal(got["weight"], torch.ones(2, 3))


@pytest.mark.parametrize("kind", [6, 7, 8])
def test_functions_are_left_out(read, kind):
    function = Function(kind, b"\x1bLua", lua_list([{"name": "x", "value": 1.0}]))
    got = read(written({"f": function, "after": 2.0}))
    assert got["f"].class_name == "function"
    assert got["f"] == {}
    assert got["after"] == 2.0


NETWORK = Object(
    "nn.Sequential",
    {"modules": lua_list([Object("nn.Linear", {"weight": torch.ones(2, 3), "name": "last"})])},
)


def test_every_truncation_is_an_error_that_names_the_byte(read):
    data = written(NETWORK)
    for length in range(len(data)):
        with pytest.raises(CheckpointError, match=r"file\.t7: not a binary Torch7 file: byte \d+"):
            read(data[:length])


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_damage_is_an_error_or_another_value(tmp_path_factory, data):
    whole = bytearray(written(NETWORK))
    for _ in range(data.draw(st.integers(1, 4))):
        whole[data.draw(st.integers(0, len(whole) - 1))] = data.draw(st.integers(0, 255))
    path = tmp_path_factory.getbasetemp() / "damaged.t7"
    path.write_bytes(whole)
    try:
        read_torch7(path)
    except CheckpointError as error:
        assert "byte" in str(error)  # noqa: PT017


def tensor_of(sizes, strides, offset, elements=6) -> bytes:
    writer = Writer()
    writer.int(4)
    writer.int(1)
    writer.string("V 1")
    writer.string("torch.FloatTensor")
    writer.int(len(sizes))
    writer.longs(*sizes, *strides, offset)
    writer.int(4)
    writer.int(2)
    writer.string("V 1")
    writer.string("torch.FloatStorage")
    writer.longs(elements)
    return bytes(writer.data) + bytes(4 * 6)


@pytest.mark.parametrize(
    ("data", "problem"),
    [
        (b"", "byte 0, type of an object of 4 bytes, but 0 are left"),
        (b"4\n1\n", r"byte 0, unknown type"),
        (struct.pack("<i", 99), "byte 0, unknown type 99"),
        (struct.pack("<ii", 2, 2**31 - 1), "byte 8, a string of 2,147,483,647 bytes, but 0 are"),
        (struct.pack("<ii", 2, -1), "byte 8, a string of -1 bytes"),
        (struct.pack("<iii", 3, 1, 2**30), "byte 8, table of 1,073,741,824 entries, but 0 bytes"),
        (struct.pack("<iii", 3, 1, -1), "byte 8, table of -1 entries"),
        (struct.pack("<iiii8x", 3, 1, 1, 0), "byte 12, NoneType as the key of a table"),
        (struct.pack("<iid", 1, 0, 0.0), "byte 12, 4 bytes after the end"),
        (tensor_of((2, 3), (3, 1), 1, 2**40), "storage of 1,099,511,627,776 elements of 4,398,"),
        (tensor_of((2, 3), (3, 1), 1, -1), "storage of -1 elements"),
        (tensor_of((2, 3), (3, 1), 2), r"sizes \(2, 3\), strides \(3, 1\), offset 2 on a storage"),
        (tensor_of((2, 3), (4, 1), 1), "on a storage of 6 elements"),
        (tensor_of((2**40,), (0,), 1), "on a storage of 6 elements"),
        (tensor_of((2**62, 2**62, 2**62), (0, 0, 0), 1), "on a storage of 6 elements"),
        (tensor_of((2,), (-1,), 3), r"strides \(-1,\)"),
        (tensor_of((-2,), (1,), 1), r"sizes \(-2,\)"),
        (tensor_of((2,), (1,), 0), "offset 0"),
        (tensor_of((1,) * 17, (1,) * 17, 1), "tensor of 17 dimensions"),
        (written(Object("tds.Hash", 3.0)), "tds.Hash does not consist of its fields"),
        (
            written(Object("torch.FloatTensor", {})),
            "byte",  # the table is taken for the tensor's sizes
        ),
    ],
)
def test_damage(read, data, problem):
    with pytest.raises(CheckpointError, match=problem):
        read(data)


def test_the_depth_is_bounded(read):
    value: dict = {}
    for _ in range(99):
        value = {1: value}
    read(written(value))
    with pytest.raises(CheckpointError, match="nests deeper than 100 levels"):
        read(written({1: {1: value}}))
    with pytest.raises(CheckpointError, match="nests deeper than 100 levels"):
        read(b"".join(struct.pack("<iii", 3, number, 1) for number in range(10_000)))
