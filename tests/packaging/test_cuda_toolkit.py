"""Finding a toolkit and choosing architectures, with toolkits made of scripts."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from _build import cuda_toolkit
from _build.cuda_toolkit import Toolkit, ToolkitError

pytestmark = pytest.mark.skipif(os.name == "nt", reason="the toolkits are shell scripts")

ALL_NUMBERS = (75, 80, 86, 87, 89, 90, 100, 103, 120, 121)


def make_toolkit(
    home: Path, numbers: tuple[int, ...] = ALL_NUMBERS, library: str = "lib64"
) -> Path:
    """A folder that looks like a toolkit; its nvcc answers questions and compiles nothing."""
    listed = "\\n".join(f"compute_{number}" for number in numbers)
    for folder in ("bin", "include", library):
        (home / folder).mkdir(parents=True)
    script(
        home / "bin" / "nvcc",
        f"""case "$1" in
          --version) echo 'Cuda compilation tools, release 12.4, V12.4.99' ;;
          --list-gpu-arch) printf '{listed}\\n' ;;
          --dryrun) echo '#$ TOP={home}/bin/..' >&2 ;;
          *) exit 1 ;;
        esac""",
    )
    (home / "include" / "cuda_runtime.h").touch()
    (home / library / "libcudart_static.a").touch()
    return home


def script(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)


@pytest.fixture(autouse=True)
def bare_machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No toolkit, no GPU, and nothing on PATH but a shell's own tools."""
    for variable in ("CUDA_HOME", "CUDA_PATH", "TORCH_CUDA_ARCH_LIST"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setenv("PATH", str(tmp_path / "path"))
    monkeypatch.setattr(cuda_toolkit, "_USUAL_HOME", tmp_path / "usual")


def set_gpus(tmp_path: Path, report: str) -> None:
    script(tmp_path / "path" / "nvidia-smi", f"printf '{report}'")


def test_no_toolkit() -> None:
    with pytest.raises(ToolkitError, match=r"nvcc is not on PATH.*install one and set CUDA_HOME"):
        cuda_toolkit.find_toolkit()


@pytest.mark.parametrize("library", ["lib64", "lib", "targets/x86_64-linux/lib"])
def test_toolkit_of_cuda_home(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, library: str
) -> None:
    home = make_toolkit(tmp_path / "cuda", library=library)
    make_toolkit(tmp_path / "usual")
    monkeypatch.setenv("CUDA_HOME", str(home))
    found = cuda_toolkit.find_toolkit()
    assert found.nvcc == home / "bin" / "nvcc"
    assert (found.include, found.libraries) == (home / "include", home / library)
    assert found.version == "12.4"


@pytest.mark.parametrize(
    "missing", ["bin/nvcc", "include/cuda_runtime.h", "lib64/libcudart_static.a"]
)
def test_incomplete_toolkit_is_passed_over(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, missing: str
) -> None:
    broken = make_toolkit(tmp_path / "broken")
    (broken / missing).unlink()
    monkeypatch.setenv("CUDA_HOME", str(broken))
    with pytest.raises(ToolkitError, match=f"CUDA_HOME.*has no.*{Path(missing).name}"):
        cuda_toolkit.find_toolkit()
    whole = make_toolkit(tmp_path / "usual")
    assert cuda_toolkit.find_toolkit().home == whole


def test_nvcc_on_path_may_be_a_script_that_starts_another(tmp_path: Path) -> None:
    home = make_toolkit(tmp_path / "cuda-12.4")
    script(tmp_path / "path" / "nvcc", f'exec {home}/bin/nvcc "$@"')
    assert cuda_toolkit.find_toolkit().home == home


def test_nvcc_that_does_not_run(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    home = make_toolkit(tmp_path / "cuda")
    script(home / "bin" / "nvcc", "exit 3")
    monkeypatch.setenv("CUDA_HOME", str(home))
    with pytest.raises(ToolkitError, match=r"nvcc does not run.*exit status 3"):
        cuda_toolkit.find_toolkit()


def chosen(tmp_path: Path, numbers: tuple[int, ...], *, editable: bool) -> tuple[str, ...]:
    home = make_toolkit(tmp_path / "cuda", numbers)
    toolkit = Toolkit(home, home / "bin" / "nvcc", home / "include", home / "lib64", "12.4")
    return cuda_toolkit.architectures(toolkit, editable=editable)


def test_wheel_takes_the_full_list_whatever_gpu_is_there(tmp_path: Path) -> None:
    set_gpus(tmp_path, "9.0\\n")
    full = ("7.5", "8.0", "8.6", "8.9", "9.0", "10.0", "12.0+PTX")
    assert chosen(tmp_path, ALL_NUMBERS, editable=False) == full


def test_wheel_by_an_older_toolkit_ends_with_the_newest_it_knows(tmp_path: Path) -> None:
    got = chosen(tmp_path, (75, 80, 86, 87, 89, 90), editable=False)
    assert got == ("7.5", "8.0", "8.6", "8.9", "9.0+PTX")


def test_wheel_by_a_newer_toolkit_leaves_out_what_it_dropped(tmp_path: Path) -> None:
    assert chosen(tmp_path, (90, 100, 120, 130), editable=False) == ("9.0", "10.0", "12.0+PTX")


def test_editable_without_gpu_takes_one_with_ptx(tmp_path: Path) -> None:
    assert chosen(tmp_path, ALL_NUMBERS, editable=True) == ("8.0+PTX",)


def test_editable_takes_the_gpus_that_are_there(tmp_path: Path) -> None:
    set_gpus(tmp_path, "10.0\\n8.6\\n10.0\\n")
    assert chosen(tmp_path, ALL_NUMBERS, editable=True) == ("8.6", "10.0")


def test_gpu_newer_than_the_toolkit_runs_the_ptx_of_the_newest(tmp_path: Path) -> None:
    set_gpus(tmp_path, "12.0\\n")
    assert chosen(tmp_path, (75, 80, 90), editable=True) == ("9.0+PTX",)


def test_gpu_older_than_the_toolkit_supports(tmp_path: Path) -> None:
    set_gpus(tmp_path, "6.1\\n")
    with pytest.raises(ToolkitError, match=r"CUDA 12\.4 no longer compiles for 6\.1"):
        chosen(tmp_path, ALL_NUMBERS, editable=True)


@pytest.mark.parametrize("report", ["No devices were found\\n", "[N/A]\\n", ""])
def test_driver_without_gpu(tmp_path: Path, report: str) -> None:
    set_gpus(tmp_path, report)
    assert cuda_toolkit.visible_gpus() == ()


def test_arch_list_of_the_user(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    set_gpus(tmp_path, "9.0\\n")
    monkeypatch.setenv("TORCH_CUDA_ARCH_LIST", "8.6;Hopper 9.0+PTX")
    for editable in (True, False):
        got = chosen(tmp_path / str(editable), ALL_NUMBERS, editable=editable)
        assert got == ("8.6", "Hopper", "9.0+PTX")
        assert cuda_toolkit.gencode_flags(got) == [], "torch's build reads the variable itself"


def test_gencode_flags() -> None:
    assert cuda_toolkit.gencode_flags(("7.5", "12.0+PTX")) == [
        "-gencode=arch=compute_75,code=sm_75",
        "-gencode=arch=compute_120,code=sm_120",
        "-gencode=arch=compute_120,code=compute_120",
    ]
