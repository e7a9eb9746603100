"""Branches, calls, ends and barriers: what the scheduler does itself."""

from __future__ import annotations

from tests.ptx.opcodes.table import Control, define

for _spelling, _kind in (
    ("bra", "branch"),
    ("bra.uni", "branch"),
    ("brx.idx", "branch by index"),
    ("brx.idx.uni", "branch by index"),
    ("call", "call"),
    ("call.uni", "call"),
    ("ret", "return"),
    ("ret.uni", "return"),
    ("exit", "exit"),
    ("trap", "trap"),
    ("bar.sync", "barrier"),
    ("barrier.sync", "barrier"),
    ("barrier.sync.aligned", "barrier"),
    ("bar.red.and.pred", "barrier with and"),
    ("bar.red.or.pred", "barrier with or"),
    ("bar.red.popc.u32", "barrier with popc"),
    ("bar.warp.sync", "warp barrier"),
):
    define(_spelling, Control(_kind))
