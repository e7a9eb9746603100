"""The paper's tables and figures, each measured anew by one command.

`dldl-fast reproduce` is the command; docs/reproduce.md says what it does.
"""

from dldl_fast.reproduction.job import BUDGETS, Job, Watch, make_job
from dldl_fast.reproduction.registry import REPRODUCTIONS, Reproduction, Written, reproduce

__all__ = [
    "BUDGETS",
    "REPRODUCTIONS",
    "Job",
    "Reproduction",
    "Watch",
    "Written",
    "make_job",
    "reproduce",
]
