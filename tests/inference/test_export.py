from __future__ import annotations

import io
import json
import sys

import onnx
import onnxruntime
import pytest
import torch
from torch import nn

from dldl_fast import functional
from dldl_fast.data import MissingExtraError
from dldl_fast.inference import LABELS_KEY, ONNX_OPSET, export_onnx, export_program
from tests.inference.conftest import expected_logits, some_images

BATCHES = [1, 2, 7]


def test_program_after_saving(model, images):
    file = io.BytesIO()
    torch.export.save(export_program(model, images), file)
    file.seek(0)
    program = torch.export.load(file)
    for batch in BATCHES:
        some = some_images(batch)
        logits = program.module()(some).double()
        torch.testing.assert_close(logits, expected_logits(model, some), rtol=1e-4, atol=1e-4)
    assert model.training


def test_onnx_with_onnxruntime(model, images, tmp_path):
    path = tmp_path / "age.onnx"
    model.labels = torch.arange(101, dtype=torch.float64)
    export_onnx(model, path, images[:1])
    assert [file.name for file in tmp_path.iterdir() if file.is_file()] == ["age.onnx"]
    session = onnxruntime.InferenceSession(path)
    for batch in BATCHES:
        some = some_images(batch)
        (logits,) = session.run(["logits"], {"images": some.numpy()})
        torch.testing.assert_close(
            torch.from_numpy(logits).double(), expected_logits(model, some), rtol=1e-4, atol=1e-4
        )


def test_onnx_opset_names_and_label_grid(small_model, images, tmp_path):
    path = tmp_path / "age.onnx"
    grid = torch.linspace(1, 5, 101, dtype=torch.float64)
    export_onnx(small_model, path, images, labels=grid)
    proto = onnx.load(path)
    onnx.checker.check_model(proto, full_check=True)
    assert {entry.domain: entry.version for entry in proto.opset_import}[""] == ONNX_OPSET == 18
    metadata = {entry.key: entry.value for entry in proto.metadata_props}
    assert json.loads(metadata[LABELS_KEY]) == grid.tolist()
    assert "BatchNormalization" not in {node.op_type for node in proto.graph.node}
    dims = proto.graph.input[0].type.tensor_type.shape.dim
    assert (proto.graph.input[0].name, dims[0].dim_param != "") == ("images", True)
    assert [dim.dim_value for dim in dims][1:] == [3, 64, 64]


def test_without_a_label_grid_there_is_no_metadata_for_it(small_model, images, tmp_path):
    small_model.labels = None
    export_onnx(small_model, tmp_path / "age.onnx", images)
    keys = {entry.key for entry in onnx.load(tmp_path / "age.onnx").metadata_props}
    assert LABELS_KEY not in keys


def test_labels_that_do_not_fit(small_model, images, tmp_path):
    with pytest.raises(ValueError, match="labels must be the 101 labels of the logits, got 3"):
        export_onnx(small_model, tmp_path / "age.onnx", images, labels=[1, 2, 3])
    assert list(tmp_path.glob("*.onnx")) == []


def test_missing_package(small_model, images, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnxscript", None)
    with pytest.raises(MissingExtraError, match=r"'onnxscript'.*dldl_fast\[onnx\]"):
        export_onnx(small_model, tmp_path / "age.onnx", images)


class WithOurOp(nn.Module):
    """Its forward uses an operation that nothing but this package has."""

    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(3, 5)

    def forward(self, images):
        logits = self.head(images.mean((2, 3)))
        return functional.expectation(logits, range(5), backend="cpp")[:, None]


@pytest.mark.skipif(functional.backends.resolve("auto", "cpu") != "cpp", reason="not compiled")
def test_operations_of_this_package_are_named(images):
    with pytest.raises(ValueError, match=r"must not use dldl_fast\.\w+"):
        export_program(WithOurOp(), images)


@pytest.mark.parametrize(
    ("example", "error", "message"),
    [
        (torch.zeros(3, 64, 64), ValueError, r"\[N, C, H, W\] with N >= 1, got \[3, 64, 64\]"),
        (torch.zeros(0, 3, 64, 64), ValueError, r"got \[0, 3, 64, 64\]"),
        (torch.zeros(1, 3, 64, 64, dtype=torch.uint8), TypeError, "got torch.uint8"),
        (torch.zeros(1, 3, 64, 64, device="meta"), ValueError, "on the CPU, got meta"),
    ],
)
def test_bad_examples(small_model, example, error, message):
    with pytest.raises(error, match=message):
        export_program(small_model, example)


def test_a_model_elsewhere(images):
    with pytest.raises(ValueError, match="model must be on the CPU, its parameter weight is on"):
        export_program(nn.Conv2d(3, 3, 3, device="meta"), images)
