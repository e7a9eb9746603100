"""The compiled extensions: what is built, with which flags, and what to say when it cannot be.

`dldl_fast._C` (csrc/*.cpp, csrc/cpu/*.cpp) holds the CPU kernels,
`dldl_fast._C_cuda` (csrc/cuda/*) the CUDA kernels. Both use torch's stable ABI and the limited
API of Python, so that one binary serves every later torch and Python.

Environment variables:
    DLDL_FAST_NO_EXT: 1 installs without compiled code; the reference backend serves.
    DLDL_FAST_CUDA: auto (default) builds `_C_cuda` where a CUDA toolkit is found and works, and
        leaves a CPU build otherwise; 0 never; 1 always, so that a failure ends the installation.
    TORCH_CUDA_ARCH_LIST: compute capabilities to compile for, as in torch's own builds.
    CXX, CUDA_HOME, MAX_JOBS: the C++ compiler, the toolkit, how many files compile at once.

What was done, and why something was not, is written into dldl_fast/_build_info.json, which
`dldl-fast env` shows: pip hides the output of a build that succeeds.
"""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import setuptools
from setuptools.command.build_py import build_py

from _build import cuda_toolkit, settings
from _build.settings import BuildError

PACKAGE = "dldl_fast"
CPU_MODULE = f"{PACKAGE}._C"
CUDA_MODULE = f"{PACKAGE}._C_cuda"
INFO_FILE = "_build_info.json"

# The first versions whose stable ABI has what the sources use: for CUDA that is the stream.
MIN_TORCH = (2, 10)
MIN_TORCH_CUDA = (2, 13)

_BUILDING = {"build", "build_ext", "bdist_wheel", "editable_wheel", "develop", "install"}
_EDITABLE = {"editable_wheel", "develop"}
_ROOT = Path(__file__).resolve().parent.parent

_WINDOWS = sys.platform == "win32"
# No -std: torch passes the one that its headers need. No -march: the sources choose the instruction
# sets themselves, so that the binary runs on any processor.
_HIDDEN = ("-fvisibility=hidden", "-fvisibility-inlines-hidden")
# Vectors pass between functions of one file only, so what the ABI says of them does not matter.
_CXX_FLAGS = ["/O2"] if _WINDOWS else ["-O3", "-g0", "-Wno-psabi", *_HIDDEN]
_NVCC_FLAGS = ["-O3"] if _WINDOWS else ["-O3", f"-Xcompiler={','.join(_HIDDEN)}"]


@dataclass
class BuildInfo:
    """What was built; `no_extension` and `no_cuda` say why not, and are empty if it was."""

    torch: str | None = None
    compiler: str | None = None
    cuda_toolkit: str | None = None
    cuda_architectures: str | None = None
    no_extension: str = ""
    no_cuda: str = ""

    def write(self, folder: Path) -> None:
        """Write it into the package that `folder` holds."""
        (folder / INFO_FILE).write_text(json.dumps(asdict(self), indent=2) + "\n")


def setup_arguments(commands: list[str]) -> dict[str, Any]:
    """Keyword arguments of `setuptools.setup` for these commands; metadata needs no torch."""
    if not _BUILDING.intersection(commands):
        return {}
    cuda_wanted = settings.cuda()
    info = BuildInfo()
    if settings.no_extension():
        info.no_extension = "DLDL_FAST_NO_EXT=1 was set for the build; install again without it"
    else:
        info.torch = _torch_version()
        if _version(info.torch) < MIN_TORCH:
            info.no_extension = (
                f"the compiled ops need torch >= {_text(MIN_TORCH)}, and the build found "
                f"{info.torch}; install a newer torch and dldl_fast again"
            )
    if info.no_extension:
        if cuda_wanted == "1":
            raise BuildError(f"DLDL_FAST_CUDA=1, but {info.no_extension}")
        info.no_cuda = info.no_extension
        _say(f"building without compiled code: {info.no_extension}")
        return {"cmdclass": {"build_py": _build_py(info)}}

    info.compiler = _compiler()
    extensions = [_cpu_extension()]
    toolkit = None
    if cuda_wanted == "0":
        info.no_cuda = "DLDL_FAST_CUDA=0 was set for the build; install again without it"
    else:
        try:
            toolkit = _cuda_toolkit(info)
            # First, so that one that must and cannot be built is found out soon.
            extensions.insert(
                0, _cuda_extension(info, toolkit, editable=bool(_EDITABLE & {*commands}))
            )
        except cuda_toolkit.ToolkitError as error:
            _without_cuda(info, str(error), required=cuda_wanted == "1")
    return {
        "ext_modules": extensions,
        "cmdclass": {
            "build_py": _build_py(info),
            "build_ext": _build_ext(info, toolkit, cuda_required=cuda_wanted == "1"),
        },
        "options": {"bdist_wheel": {"py_limited_api": "cp310"}},
    }


def _torch_version() -> str:
    try:
        import torch
    except ImportError as error:
        raise BuildError(
            f"the build needs torch, which cannot be imported ({error}); install torch first, or "
            "set DLDL_FAST_NO_EXT=1 to install without compiled code"
        ) from error
    return str(torch.__version__)


def _version(text: str) -> tuple[int, ...]:
    return tuple(int(part) for part in text.split(".")[:2])


def _text(version: tuple[int, ...]) -> str:
    return ".".join(map(str, version))


def _say(message: str) -> None:
    print(f"dldl_fast: {message}", flush=True)


def _without_cuda(info: BuildInfo, reason: str, *, required: bool) -> None:
    if required:
        raise BuildError(f"DLDL_FAST_CUDA=1, but the CUDA library cannot be built: {reason}")
    info.no_cuda = reason
    info.cuda_architectures = None
    _say(f"CPU build, without the CUDA library: {reason}")


def _compiler() -> str:
    """First line of the C++ compiler's --version.

    Raises:
        BuildError: saying how to go on without one.
    """
    if _WINDOWS:
        return os.environ.get("CXX", "MSVC")
    command = shlex.split(os.environ.get("CXX", "c++"))
    try:
        answer = subprocess.run(
            [*command, "--version"], capture_output=True, text=True, check=True
        ).stdout
    except (OSError, subprocess.CalledProcessError) as error:
        raise BuildError(
            f"no C++ compiler: {error}. Install one (on Debian and Ubuntu: apt install g++), name "
            "it by the environment variable CXX, or set DLDL_FAST_NO_EXT=1 to install without "
            "compiled code; everything then runs on the slower reference backend"
        ) from error
    return answer.partition("\n")[0].strip()


def _cuda_toolkit(info: BuildInfo) -> cuda_toolkit.Toolkit:
    if _version(info.torch or "") < MIN_TORCH_CUDA:
        raise cuda_toolkit.ToolkitError(
            f"it needs torch >= {_text(MIN_TORCH_CUDA)}, and the build found {info.torch}; "
            "install a newer torch and dldl_fast again"
        )
    return cuda_toolkit.find_toolkit()


def _sources(*patterns: str) -> list[str]:
    # Relative, as setuptools wants them, and sorted, so that builds are repeatable.
    return sorted(
        path.relative_to(_ROOT).as_posix() for p in patterns for path in _ROOT.glob(f"csrc/{p}")
    )


def _stable_abi(version: tuple[int, ...]) -> list[tuple[str, str | None]]:
    target = f"0x{version[0]:02x}{version[1]:02x}000000000000ULL"
    return [("TORCH_STABLE_ONLY", None), ("TORCH_TARGET_VERSION", target)]


def _cpu_extension() -> setuptools.Extension:
    from torch.utils.cpp_extension import CppExtension

    return CppExtension(
        CPU_MODULE,
        _sources("*.cpp", "cpu/*.cpp"),
        include_dirs=[str(_ROOT / "csrc")],
        define_macros=_stable_abi(MIN_TORCH),
        depends=_sources("**/*.h"),
        extra_compile_args=[*_CXX_FLAGS],
        py_limited_api=True,
    )


def _cuda_extension(
    info: BuildInfo, toolkit: cuda_toolkit.Toolkit, *, editable: bool
) -> setuptools.Extension:
    from torch.utils.cpp_extension import CppExtension

    chosen = cuda_toolkit.architectures(toolkit, editable=editable)
    info.cuda_toolkit, info.cuda_architectures = toolkit.version, " ".join(chosen)
    return CppExtension(
        CUDA_MODULE,
        _sources("cuda/*.cpp", "cuda/*.cu"),
        include_dirs=[str(_ROOT / "csrc"), str(toolkit.include)],
        define_macros=_stable_abi(MIN_TORCH_CUDA),
        depends=_sources("**/*.h", "**/*.cuh"),
        extra_compile_args={
            "cxx": [*_CXX_FLAGS],
            "nvcc": [*_NVCC_FLAGS, *cuda_toolkit.gencode_flags(chosen)],
        },
        # Static, so that the library loads under any torch, one without CUDA too; and unseen from
        # outside, so that its runtime and torch's do not take each other's calls.
        libraries=["cudart_static"] if _WINDOWS else ["cudart_static", "rt", "dl", "pthread"],
        library_dirs=[str(toolkit.libraries)],
        extra_link_args=[] if _WINDOWS else ["-Wl,--exclude-libs,libcudart_static.a"],
        py_limited_api=True,
    )


def _build_py(info: BuildInfo) -> type[build_py]:
    class BuildPy(build_py):
        """Leave nothing of an earlier build beside the modules, and say what this one is."""

        def run(self) -> None:
            super().run()
            folder = Path(PACKAGE if self.editable_mode else f"{self.build_lib}/{PACKAGE}")
            for pattern in ("_C*.so", "_C*.pyd", "_C*.dylib"):
                for stale in folder.glob(pattern):
                    stale.unlink()
            info.write(folder)

    return BuildPy


def _build_ext(info: BuildInfo, toolkit: cuda_toolkit.Toolkit | None, cuda_required: bool) -> Any:
    from torch.utils import cpp_extension

    if toolkit is not None:
        # Under a CPU build of torch it is None whatever the environment says.
        cpp_extension.CUDA_HOME = str(toolkit.home)
        # It compares the toolkit with torch's own; with the runtime linked statically and no CUDA
        # header of torch in use, the two need not agree.
        cpp_extension._check_cuda_version = lambda *_: None

    class BuildExt(cpp_extension.BuildExtension):
        """torch's, with an answer to what fails to compile."""

        def run(self) -> None:
            super().run()
            info.write(Path(self.get_ext_fullpath(CPU_MODULE)).parent)

        def build_extension(self, ext: setuptools.Extension) -> None:
            try:
                super().build_extension(ext)
            except Exception as error:
                if ext.name == CPU_MODULE:
                    raise BuildError(
                        f"the CPU kernels do not compile ({error}): see the compiler's messages "
                        "above, or set DLDL_FAST_NO_EXT=1 to install without compiled code"
                    ) from error
                reason = (
                    f"CUDA {info.cuda_toolkit} did not compile it ({error}); the output of "
                    "`DLDL_FAST_CUDA=1 pip install -v` has the messages of nvcc"
                )
                _without_cuda(info, reason, required=cuda_required)
                self.extensions = [other for other in self.extensions if other is not ext]

    return BuildExt
