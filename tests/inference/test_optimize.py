from __future__ import annotations

import copy
import itertools
import json
import threading
from types import SimpleNamespace

import pytest
import torch
from torch import nn

from dldl_fast import functional
from dldl_fast.data import MissingExtraError
from dldl_fast.inference import PATHS, TOLERANCE, optimize, optimized, paths, remembered
from tests.inference.conftest import expected_logits, some_images

LABELS = torch.arange(101, dtype=torch.float64)

# "compile" takes long, most of all for the model: it has tests of its own.
QUICK = ["eager", "onnxruntime", "openvino"]


def values(logits):
    return functional.expectation(logits, LABELS)


def exact_values(model, images):
    return values(expected_logits(model, images))


def assert_near(fast, model, images):
    """In label units: the tolerance is a share of the range, here 100."""
    difference = (values(fast(images)) - exact_values(model, images)).abs().max()
    assert difference <= 100 * TOLERANCE[fast.precision]


@pytest.fixture
def only(monkeypatch):
    """Leaves the named paths, and replaces what they are built by, if given."""

    def leave(**builders):
        left = {
            name: PATHS[name]._replace(build=b or PATHS[name].build) for name, b in builders.items()
        }
        for module in (paths, optimized):
            monkeypatch.setattr(module, "PATHS", left)

    return leave


def counting(name, calls):
    def build(source, precision):
        calls.append(name)
        return PATHS[name].build(source, precision)

    return build


@pytest.mark.parametrize("path", QUICK)
def test_values_of_every_path_and_any_number_of_images(path, model, images):
    before = copy.deepcopy(model.state_dict())
    fast = optimize(model, images, path=path, precision="float32")
    assert (fast.path, fast.precision, fast.milliseconds) == (path, "float32", {})
    assert f"path='{path}', precision='float32', images=[N, 3, 64, 64], threads=1" in repr(fast)
    for batch in (1, 3, 8):
        some = some_images(batch)
        assert_near(fast, model, some)
        assert_near(fast, model, some.contiguous(memory_format=torch.channels_last))
    with torch.inference_mode():
        assert_near(fast, model, some_images(3))
    assert fast(images[:0]).shape == (0, 101)
    assert fast(images.double()).dtype == torch.float32
    assert model.training
    assert all(torch.equal(model.state_dict()[k], v) for k, v in before.items())


def compiled_graphs() -> int:
    return torch._dynamo.utils.counters["stats"]["unique_graphs"]


def test_compiled(small_model, images):
    fast = optimize(small_model, images, path="compile", precision="float32")
    assert fast.path == "compile"
    before = compiled_graphs()
    for batch in (3, 8, 2):
        assert_near(fast, small_model, some_images(batch))
    with torch.inference_mode(), torch.autocast("cpu", dtype=torch.bfloat16):
        # Also where they are taken as they are: float32, channels last.
        assert_near(fast, small_model, some_images(3))
        layout = torch.channels_last
        assert_near(fast, small_model, some_images(3).contiguous(memory_format=layout))
    assert compiled_graphs() == before
    assert_near(fast, small_model, images[:1])
    assert compiled_graphs() == before + 1


@pytest.mark.slow
def test_compiled_whole_model(model, images):
    fast = optimize(model, images, path="compile", precision="float32")
    for batch in (1, 3, 8):
        assert_near(fast, model, some_images(batch))


@pytest.mark.slow
def test_all_paths_are_measured(model, images):
    fast = optimize(model, images, precision="float32")
    assert set(fast.milliseconds) == set(PATHS)
    assert fast.skipped == {}
    assert_near(fast, model, images)


def test_bfloat16(model, images):
    fast = optimize(model, images, path="eager", precision="bfloat16")
    assert fast(images).dtype == torch.float32
    assert_near(fast, model, images)
    exact = expected_logits(model, images)
    assert (fast(images) - exact).abs().max() > 1e-4  # it does compute in bfloat16


def test_autocast_around_the_call_changes_nothing(small_model, images):
    fast = optimize(small_model, images, path="eager", precision="float32")
    outside = fast(images)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(fast(images), outside)


@pytest.mark.parametrize("path", QUICK)
def test_calls_from_several_threads(path, small_model, images):
    fast = optimize(small_model, images, path=path, precision="float32")
    batches = [some_images(batch) for batch in range(1, 9)]
    results = [None] * len(batches)

    def work(index):
        for _ in range(5):
            results[index] = fast(batches[index])

    threads = [threading.Thread(target=work, args=(index,)) for index in range(len(batches))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for batch, result in zip(batches, results, strict=True):
        torch.testing.assert_close(
            result.double(), expected_logits(small_model, batch), rtol=1e-3, atol=1e-3
        )


def test_predict(model, images):
    model.labels = LABELS
    fast = optimize(model, images, path="eager", precision="float32")
    expected, mirrored = (values(expected_logits(model, x)) for x in (images, images.flip(-1)))
    torch.testing.assert_close(fast.predict(images), expected, rtol=0, atol=1e-3)
    both = (expected + mirrored) / 2
    torch.testing.assert_close(fast.predict(images, flip=True), both, rtol=0, atol=1e-3)
    assert (both - expected).abs().max() > 1e-2  # the mirror images matter


def test_predict_without_label_grid(small_model, images):
    small_model.labels = None
    with pytest.raises(RuntimeError, match="no label grid"):
        optimize(small_model, images, path="eager").predict(images)


def test_gradients_and_training_are_refused(small_model, images):
    fast = optimize(small_model, images, path="eager")
    with pytest.raises(RuntimeError, match="has no gradients"):
        fast(images.clone().requires_grad_())
    with torch.no_grad():
        fast(images.clone().requires_grad_())
    with pytest.raises(RuntimeError, match="cannot be trained"):
        fast.train()
    assert fast.eval() is fast
    assert not fast.training


@pytest.mark.parametrize(
    ("images", "error", "message"),
    [
        (torch.zeros(2, 3, 32, 64), ValueError, r"\[N, 3, 64, 64\].*got \[2, 3, 32, 64\]"),
        (torch.zeros(3, 64, 64), ValueError, r"got \[3, 64, 64\]"),
        (torch.zeros(2, 3, 64, 64, dtype=torch.uint8), TypeError, "images must be floating point"),
        (torch.zeros(2, 3, 64, 64, device="meta"), ValueError, "images must be on the CPU"),
    ],
)
def test_bad_images(small_model, images, error, message):
    fast = optimize(small_model, torch.zeros(1, 3, 64, 64), path="eager")
    with pytest.raises(error, match=message):
        fast(images)


def test_bad_arguments(small_model, images):
    with pytest.raises(ValueError, match="path must be 'auto' or one of eager, .*got 'fastest'"):
        optimize(small_model, images, path="fastest")
    with pytest.raises(ValueError, match="precision must be 'auto' or one of .*got 'float16'"):
        optimize(small_model, images, precision="float16")
    with pytest.raises(ValueError, match="'onnxruntime' computes in float32, got .*'bfloat16'"):
        optimize(small_model, images, path="onnxruntime", precision="bfloat16")
    with pytest.raises(ValueError, match=r"model must give logits \[N, K\], gave \[3, 3, 62, 62\]"):
        optimize(nn.Conv2d(3, 3, 3), images, path="eager")


def test_a_named_path_that_is_not_installed_is_an_error(small_model, images, monkeypatch):
    monkeypatch.setattr(paths, "find_spec", lambda package: None)
    with pytest.raises(MissingExtraError, match=r"'openvino' needs .*dldl_fast\[openvino\]"):
        optimize(small_model, images, path="openvino")


def test_a_named_path_that_changes_the_values_is_an_error(small_model, images, only):
    only(eager=lambda source, precision: lambda x: source.plain(x) + torch.linspace(0, 1, 101))
    with pytest.raises(RuntimeError, match="path 'eager' in float32 changes the predicted values"):
        optimize(small_model, images, path="eager", precision="float32")


def test_a_path_that_gives_nan_is_an_error(small_model, images, only):
    only(eager=lambda source, precision: lambda x: torch.full((3, 101), torch.nan))
    with pytest.raises(RuntimeError, match="changes the predicted values"):
        optimize(small_model, images, path="eager", precision="float32")


def test_openvino_does_not_take_float32_for_bfloat16(small_model, images):
    if optimized._computes_in_bfloat16():
        pytest.skip("this processor has bfloat16")
    with pytest.raises(RuntimeError, match="OpenVINO computes in f32 on this processor"):
        optimize(small_model, images, path="openvino", precision="bfloat16")


def test_precision_auto_follows_the_processor(small_model, images, monkeypatch):
    for there, precision in ((False, "float32"), (True, "bfloat16")):
        monkeypatch.setattr(optimized, "_computes_in_bfloat16", lambda there=there: there)
        assert optimize(small_model, images, path="eager").precision == precision
        assert optimize(small_model, images, path="onnxruntime").precision == "float32"


def test_precision_auto_takes_float32_where_bfloat16_is_too_coarse(
    small_model, images, monkeypatch
):
    monkeypatch.setattr(optimized, "_computes_in_bfloat16", lambda: True)
    monkeypatch.setitem(TOLERANCE, "bfloat16", 0.0)
    fast = optimize(small_model, images, path="eager")
    assert fast.precision == "float32"
    assert "changes the predicted values" in fast.skipped["eager bfloat16"]


def test_the_fastest_is_taken_remembered_and_built_alone(
    small_model, images, only, monkeypatch, cache_folder
):
    calls, clock = [], [0.0]
    monkeypatch.setattr(optimized, "time", SimpleNamespace(perf_counter=lambda: clock[0]))

    def taking(name, seconds):
        def build(source, precision):
            calls.append(name)
            run, pauses = PATHS["eager"].build(source, precision), itertools.cycle(seconds)

            def run_and_wait(images):
                clock[0] += next(pauses)
                return run(images)

            return run_and_wait

        return build

    def broken(source, precision):
        calls.append("openvino")
        raise OSError("no such compiler")

    # One disturbed call of the faster path must not decide.
    only(
        compile=taking("compile", [0.003]),
        eager=taking("eager", [0.002, 0.002, 0.002, 5.0]),
        openvino=broken,
    )
    first = optimize(small_model, images, precision="float32")
    assert first.path == "eager"
    assert first.milliseconds == {"compile": 3.0, "eager": 2.0}
    assert first.skipped == {"openvino float32": "OSError: no such compiler"}
    assert_near(first, small_model, images)

    calls.clear()
    again = optimize(small_model, images, precision="float32")
    assert (again.path, again.milliseconds) == ("eager", first.milliseconds)
    assert calls == ["eager"]

    (file,) = cache_folder.iterdir()
    assert json.loads(file.read_text())["key"]["torch"] == torch.__version__


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[]",
        "null",
        "{}",
        '{"path": "eager"}',
        '{"path": [], "milliseconds": {}}',
        '{"path": "eager", "milliseconds": 3}',
        '{"path": "eager", "milliseconds": {"eager": "fast"}}',
        '{"path": "eager", "milliseconds": {"eager": 1.0}, "key": {}}',
        "\x00\ud800",
        "[" * 100_000,
    ],
)
def test_damaged_files_are_measured_again(text, cache_folder):
    key = {"images": [1]}
    choice = remembered.Choice("eager", {"eager": 1.5})
    remembered.remember(key, choice)
    assert remembered.recall(key) == choice
    (file,) = cache_folder.iterdir()
    file.write_bytes(text.encode("utf-8", "surrogatepass"))
    assert remembered.recall(key) is None
    remembered.remember(key, choice)
    assert remembered.recall(key) == choice


def test_a_remembered_path_that_fails_now_is_replaced(small_model, images, only):
    calls = []
    only(eager=counting("eager", calls))
    optimize(small_model, images, precision="float32")
    fail = iter([True, False])

    def fails_once(source, precision):
        if next(fail):
            raise OSError("not today")
        return PATHS["eager"].build(source, precision)

    only(eager=fails_once)
    fast = optimize(small_model, images, precision="float32")
    assert fast.path == "eager"
    assert fast.skipped == {"eager float32": "OSError: not today"}


def test_what_a_choice_depends_on(small_model, images, monkeypatch, only):
    only(eager=None)

    def key(net=small_model, example=images, precision="float32"):
        return optimized._Search(net, example)._key(precision)

    keys = [key(), key(example=images[:2]), key(precision="bfloat16")]
    keys.append(key(nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten())))
    torch.set_num_threads(2)
    keys.append(key())
    torch.set_num_threads(1)
    only(eager=None, openvino=None)
    keys.append(key())
    monkeypatch.setattr(torch, "__version__", "2.99.0")
    keys.append(key())
    monkeypatch.setattr(optimized, "processor_name", lambda: "another")
    keys.append(key())
    texts = [json.dumps(k, sort_keys=True) for k in keys]
    assert len(set(texts)) == len(texts)
    assert json.dumps(key(), sort_keys=True) == texts[-1]


def test_no_path_works(small_model, images, only):
    def broken(source, precision):
        raise OSError("no such compiler")

    only(eager=broken)
    with pytest.raises(RuntimeError, match="no path works .*eager float32: OSError: no such comp"):
        optimize(small_model, images, precision="float32")


def test_many_writers_leave_a_whole_file(cache_folder):
    key = {"images": [1]}
    choices = [remembered.Choice("eager", {"eager": float(n)}) for n in range(8)]

    def work(choice):
        for _ in range(50):
            remembered.remember(key, choice)
            assert remembered.recall(key) in choices

    failures = []

    def guarded(choice):
        try:
            work(choice)
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=guarded, args=(choice,)) for choice in choices]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert len(list(cache_folder.iterdir())) == 1


def test_a_folder_that_cannot_be_written_to_is_a_warning(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    with pytest.warns(UserWarning, match="cannot be kept .*XDG_CACHE_HOME"):
        remembered.remember({}, remembered.Choice("eager", {"eager": 1.0}))
