"""What can go wrong: text that is not understood, and faults of a kernel while it runs."""

from __future__ import annotations


class PtxError(Exception):
    """Anything this package refuses to do."""


class SyntaxNotUnderstood(PtxError):
    """The text has a form that the parser does not know."""


class UnknownOpcode(PtxError):
    """An opcode spelling that is not in the table, hence has no test."""


class BadLaunch(PtxError):
    """Arguments, grid or block that do not fit the kernel."""


class Fault(PtxError):
    """A kernel did what it must not do. One subclass for each kind, for tests to name.

    Args:
        message: What was expected and got.
        thread: The place of a thread in its batch, where one is to blame.
    """

    def __init__(self, message: str, thread: int | None = None) -> None:
        super().__init__(message)
        self.thread = thread


class OutOfBounds(Fault):
    """An access outside every allocation, or outside shared or local memory."""


class Misaligned(Fault):
    """An access whose address is no multiple of its size."""


class UninitialisedMemory(Fault):
    """A read of bytes that nobody has written."""


class UninitialisedRegister(Fault):
    """A read of a register that the thread has not written."""


class Unwritten(Fault):
    """Bytes of an output that no thread has written when the launch ends."""


class StaleRead(Fault):
    """A non-coherent load (ld.global.nc) of bytes that the same launch has written."""


class DivergentShuffle(Fault):
    """A shuffle or vote in which a named lane does not take part, or reads one that does not."""


class DivergentBarrier(Fault):
    """A barrier that some threads of the block, or named lanes of the warp, never reach."""


class SharedRace(Fault):
    """Two threads use the same byte of shared memory, one of them writing, with no barrier."""


class UndefinedResult(Fault):
    """An operation for which PTX defines no result, such as an integer division by zero."""


class Trapped(Fault):
    """The kernel gave up by itself: a trap, or a call of a function that has no body."""


class Endless(Fault):
    """The kernel ran for longer than any kernel of this project should."""
