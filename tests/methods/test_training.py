"""Methods in a training loop, copied, saved, compiled."""

from __future__ import annotations

import copy
import subprocess
import sys

import pytest
import torch

from dldl_fast.methods import make_method, method_names
from tests.cases import targets_on
from tests.methods.test_values import GRIDS, outputs_of


@pytest.mark.parametrize("name", method_names())
def test_a_linear_layer_learns_with_any_method_in_the_same_loop(name: str) -> None:
    features = torch.randn(64, 5)
    target = 10 + 8 * torch.tanh(features @ torch.tensor([0.5, -0.4, 0.3, 0.0, 0.1]))
    method = make_method(name, labels=torch.arange(21.0))
    net = torch.nn.Linear(5, method.out_features)
    optimizer = torch.optim.Adam([*net.parameters(), *method.parameters()], lr=0.1)
    constant = float((target - target.median()).abs().mean())
    for _ in range(150):
        optimizer.zero_grad()
        method.loss(net(features), target, sigma=1.0).backward()
        optimizer.step()
    error = float((method.decode(net(features)).detach() - target).abs().mean())
    assert error < 0.5 * constant, (error, constant)


@pytest.mark.parametrize("name", method_names())
def test_copies_and_saved_states_give_the_same_loss(name: str) -> None:
    method = make_method(name, GRIDS["bent"])
    outputs, target = outputs_of(method), targets_on(method.labels, 5)
    want = method.loss(outputs, target)
    assert torch.equal(copy.deepcopy(method).loss(outputs, target), want)
    other = make_method(name, GRIDS["bent"])
    other.load_state_dict(method.state_dict())
    assert torch.equal(other.loss(outputs, target), want)
    assert f"'{name}', out_features={method.out_features}" in repr(method)
    # A grid in half precision would not be this one.
    assert method.half().labels.dtype == torch.float64


@pytest.mark.parametrize("name", ["mr-l2", "coral", "corn", "unimodal"])
def test_losses_are_traced_as_one_graph(name: str) -> None:
    method = make_method(name, GRIDS["uniform"])
    outputs, target = outputs_of(method), targets_on(method.labels, 5)
    traced = torch.compile(method, fullgraph=True, backend="aot_eager")
    weight = torch.tensor([1.0, 2.0, 1.0, 0.0, 1.0], dtype=torch.float64)
    loss, want = (m(outputs, target, None, weight) for m in (traced, method))
    torch.testing.assert_close(loss, want)
    torch.testing.assert_close(*(torch.autograd.grad(x, outputs) for x in (loss, want)))


def test_make_method_imports_nothing_of_others() -> None:
    script = """
import sys
import dldl_fast
assert dldl_fast.make_method("coral", range(5)).out_features == 1
for name in ("coral_pytorch", "hl_gauss_pytorch", "dlordinal", "scipy", "sklearn"):
    assert name not in sys.modules, name
"""
    subprocess.run([sys.executable, "-c", script], check=True)
