"""PTX text of kernels that tests write themselves."""

from __future__ import annotations

HEADER = ".version 8.0\n.target sm_80\n.address_size 64\n"


def kernel(parameters: str, body: str, before: str = "") -> str:
    """A module with one kernel named `test`.

    Args:
        parameters: Their types, such as `u64 u64`; they are called p0, p1, and so on.
        body: Statements, registers that they use among them. %p0, %p1, ... hold the parameters
            of type u64, %tid the thread's index in its block.
        before: What stands in front of the kernel.
    """
    types = parameters.split()
    declared = ", ".join(f".param .{t} p{i}" for i, t in enumerate(types))
    pointers = [i for i, t in enumerate(types) if t == "u64"]
    loads = "\n".join(
        f".reg .b64 %p{i}; ld.param.u64 %p{i}, [p{i}]; cvta.to.global.u64 %p{i}, %p{i};"
        for i in pointers
    )
    return f"""{HEADER}{before}
.visible .entry test({declared}) {{
.reg .b32 %tid;
mov.u32 %tid, %tid.x;
{loads}
{body}
ret;
}}
"""


def address(name: str, pointer: str, stride: int, offset: int = 0) -> str:
    """Statements that set register `name` to where a thread's own element is."""
    return (
        f".reg .b64 %{name}; mad.wide.u32 %{name}, %tid, {stride}, %{pointer};"
        f"add.s64 %{name}, %{name}, {offset};"
    )
