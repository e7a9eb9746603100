"""What the benchmarks record comes back, and is judged by its bars."""

from __future__ import annotations

import dataclasses

from benchmarks.method_variants import MethodMeasurement, method_tables
from benchmarks.network_tables import NO_BFLOAT16, network_tables
from benchmarks.network_variants import NetworkMeasurement
from benchmarks.pool_variants import PoolMeasurement, pool_tables
from benchmarks.record import append_csv, describe_run, read_newest_run, with_quantiles


def forward(network, variant, milliseconds, precision="float32"):
    blank = NetworkMeasurement("forward", network, variant, precision, 32, 224, 2)
    return with_quantiles(blank, [milliseconds * 1e-3])


def verdicts(table):
    """Last cell of each line by the one with the figure."""
    lines = [[cell.strip() for cell in line.split("|")] for line in table.splitlines()]
    return {line[2]: line[-2] for line in lines if len(line) == 7}


def test_newest_run_comes_back(tmp_path):
    old = dataclasses.replace(describe_run("old"), date="2026-01-01")
    new = dataclasses.replace(old, command="new", date="2026-01-02")
    first = forward("VGG16", "eager", 3000.0)
    memory = dataclasses.replace(first, part="memory", calls=0, peak_mb=1.5)
    file = tmp_path / "networks.csv"
    append_csv(file, new, [first, memory])
    append_csv(file, old, [forward("VGG16", "eager", 1.0)])
    run, measurements = read_newest_run(file, NetworkMeasurement)
    assert measurements == [first, memory]
    assert run["command"] == "new"


def test_bars_of_networks():
    slow_cpu = [
        forward("VGG16", "eager", 2590.0),
        forward("ThinAgeNet", "eager", 1000.0),
        forward("TinyAgeNet", "eager", 400.0),
        forward("ThinAgeNet", "optimised", 500.0),
        forward("ThinAgeNet", "torch alone", 600.0),
        forward("ThinAgeNet", "onnxruntime", 480.0),
        forward("ThinAgeNet", "openvino", 470.0),
    ]
    found = verdicts(network_tables(slow_cpu))
    assert found["VGG16 / ThinAgeNet, eager float32 (paper: 2.61)"] == "NO"
    assert found["VGG16 / TinyAgeNet, eager float32 (paper: 5.49)"] == "yes"
    assert found["ThinAgeNet eager / optimised float32"] == NO_BFLOAT16
    assert found["ThinAgeNet onnxruntime / optimised, float32"] == "yes"
    assert found["ThinAgeNet openvino / optimised, float32"] == "NO"

    bfloat16 = [
        forward("ThinAgeNet", "optimised", 70.0, "bfloat16"),
        forward("ThinAgeNet", "torch alone", 130.0, "bfloat16"),
        forward("ThinAgeNet", "openvino", 71.0, "bfloat16"),
    ]
    found = verdicts(network_tables(slow_cpu + bfloat16))
    assert found["ThinAgeNet eager / optimised bfloat16"] == "yes"
    assert found["ThinAgeNet eager / torch alone bfloat16"] == "NO"
    assert found["ThinAgeNet eager / optimised float32"] == ""
    assert found["ThinAgeNet openvino / optimised, bfloat16"] == "yes"


def test_bars_of_pooling():
    times = {"dldl_fast": 1e-3, "eager": 6.6e-3, "compile": 4.9e-3, "clone": 0.3e-3}
    measurements = [
        with_quantiles(PoolMeasurement("32x256x14x14", "contiguous", variant), [seconds])
        for variant, seconds in times.items()
    ]
    found = verdicts(pool_tables(measurements))
    assert found["times faster than eager"] == "yes"
    assert found["times faster than compile"] == "NO"
    assert found["time in clones"] == "NO"


def test_bars_of_methods():
    def of(method, variant, microseconds):
        return with_quantiles(MethodMeasurement(method, variant, 128, 101), [microseconds * 1e-6])

    measured = [of("coral", "dldl_fast", 300.0), of("coral", "coral_pytorch", 330.0)]
    measured += [of("hl-gauss", "dldl_fast", 500.0), of("hl-gauss", "hl_gauss_pytorch", 450.0)]
    measured += [of("dex", "dldl_fast", 100.0), of("dex", "torch", 90.0)]
    found = {
        line.split()[1]: line.split("|")[-2].strip()
        for line in method_tables(measured).split("\n\n")[0].splitlines()[2:]
    }
    assert found == {"coral": "yes", "hl-gauss": "NO", "dex": ""}
