"""The command ``dldl-fast train`` as a module, for torchrun.

``torchrun --nproc-per-node 2 -m dldl_fast.train --data my_faces/ --recipe paper-age``
"""

from __future__ import annotations

import sys

from dldl_fast.cli import main

if __name__ == "__main__":
    sys.argv[1:1] = ["train"]
    main()
