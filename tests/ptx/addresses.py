"""The 64-bit addresses that kernels compute with.

Every allocation of global memory has 4 GiB of addresses for itself and lies in the middle of them,
so that an address past either end still tells which allocation was meant. Shared and local memory
have addresses of their own that begin at 0; a generic address has one of the windows added.
"""

from __future__ import annotations

ROOM_BITS = 32
ROOM_MIDDLE = 1 << 31
SHARED_WINDOW = 1 << 60
LOCAL_WINDOW = 1 << 61
