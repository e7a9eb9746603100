"""Writes binary Torch7 files for the tests, as File.lua does."""

from __future__ import annotations

import struct
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

TYPES = {
    torch.uint8: "Byte",
    torch.int8: "Char",
    torch.int16: "Short",
    torch.int32: "Int",
    torch.int64: "Long",
    torch.float16: "Half",
    torch.float32: "Float",
    torch.float64: "Double",
}


@dataclass(eq=False)
class Object:
    """An object of a Lua class."""

    class_name: str
    fields: dict[Any, Any]


@dataclass(eq=False)
class Function:
    """A Lua function: byte code and the variables that it refers to."""

    kind: int
    code: bytes
    variables: Any = field(default_factory=dict)


class Writer:
    def __init__(self, *, versions: bool = True, cuda: bool = False) -> None:
        self.data = bytearray()
        self.versions = versions
        self.prefix = "torch.Cuda" if cuda else "torch."
        self._numbers: dict[int, int] = {}
        self._kept: list[Any] = []

    def int(self, value: int) -> None:
        self.data += struct.pack("<i", value)

    def longs(self, *values: int) -> None:
        self.data += struct.pack(f"<{len(values)}q", *values)

    def string(self, value: str | bytes) -> None:
        value = value if isinstance(value, bytes) else value.encode()
        self.int(len(value))
        self.data += value

    def _is_new(self, key: int, value: Any) -> bool:
        new = key not in self._numbers
        self._kept.append(value)  # so that no other object gets its id
        self.int(self._numbers.setdefault(key, len(self._numbers) + 1))
        return new

    def _class(self, name: str) -> None:
        if self.versions:
            self.string("V 1")
        self.string(name)

    def write(self, value: Any) -> Writer:
        if value is None:
            self.int(0)
        elif isinstance(value, bool):
            self.int(5)
            self.int(value)
        elif isinstance(value, (int, float)):
            self.int(1)
            self.data += struct.pack("<d", value)
        elif isinstance(value, (str, bytes)):
            self.int(2)
            self.string(value)
        elif isinstance(value, dict):
            self.int(3)
            if self._is_new(id(value), value):
                self.int(len(value))
                for key, entry in value.items():
                    self.write(key)
                    self.write(entry)
        elif isinstance(value, Function):
            self.int(value.kind)
            if value.kind == 6 or self._is_new(id(value), value):
                self.string(value.code)
                self.write(value.variables)
        elif isinstance(value, Object):
            self.int(4)
            if self._is_new(id(value), value):
                self._class(value.class_name)
                self.write(value.fields)
        else:
            self._tensor(value)
        return self

    def _tensor(self, tensor: Tensor) -> None:
        kind = TYPES[tensor.dtype]
        if self.prefix == "torch.Cuda" and kind == "Float":
            kind = ""
        self.int(4)
        if not self._is_new(id(tensor), tensor):
            return
        self._class(f"{self.prefix}{kind}Tensor")
        self.int(tensor.dim())
        self.longs(*tensor.shape, *tensor.stride(), tensor.storage_offset() + 1)
        if tensor.numel() == 0:
            self.int(0)
            return
        self.int(4)
        storage = tensor.untyped_storage()
        if self._is_new(storage.data_ptr(), storage):
            self._class(f"{self.prefix}{kind}Storage")
            values = torch.empty(0, dtype=tensor.dtype).set_(storage)
            self.longs(len(values))
            self.data += values.numpy().tobytes()


def lua_list(values: list[Any]) -> dict[int, Any]:
    return dict(enumerate(values, start=1))


def sequential(modules: list[Any]) -> Object:
    return Object("nn.Sequential", {"modules": lua_list(modules), "train": False})


def released_network(net: Any, *, outputs: tuple[str, ...] = ("nn.SoftMax",)) -> list[Object]:
    """Modules that the authors' released code would have saved for a network."""
    modules = []
    for layer in [*net.features, nn.MaxPool2d(2)]:
        if isinstance(layer, nn.Conv2d):
            fields = {
                "nInputPlane": layer.in_channels,
                "nOutputPlane": layer.out_channels,
                **{"kW": 3, "kH": 3, "dW": 1, "dH": 1, "padW": 1, "padH": 1},
                "weight": layer.weight.detach(),
            }
            modules.append(Object("cudnn.SpatialConvolution", fields))
        elif isinstance(layer, nn.BatchNorm2d):
            names = ("weight", "bias", "running_mean", "running_var")
            fields = {name: getattr(layer, name).detach() for name in names}
            fields |= {"eps": 1e-5, "momentum": 0.1, "affine": True}
            modules.append(Object("nn.SpatialBatchNormalization", fields))
        elif isinstance(layer, nn.ReLU):
            modules.append(Object("cudnn.ReLU", {"inplace": True}))
        else:
            fields = {"kW": 2, "kH": 2, "dW": 2, "dH": 2, "padW": 0, "padH": 0}
            modules.append(Object("nn.SpatialMaxPooling", fields))
    modules.append(Object("cudnn.SpatialAveragePooling", {"kW": 7, "kH": 7, "dW": 1, "dH": 1}))
    modules.append(Object("nn.View", {"numElements": net.head.in_features}))
    head = {name: getattr(net.head, name).detach() for name in ("weight", "bias")}
    modules.append(Object("nn.Linear", head))
    return modules + [Object(name, {}) for name in outputs]
