"""Comparison of methods on real data: folds, one budget for all, scores and a paired test.

`dldl-fast compare` is the command; docs/compare.md says what it does.
"""

import dldl_fast.estimators  # noqa: F401  # before scikit-learn: it says what to install
from dldl_fast.comparison.data import ComparisonData, load_comparison_data
from dldl_fast.comparison.entries import (
    REFERENCE,
    Entry,
    EntryError,
    known_methods,
    method_entries,
    parse_sweep,
    sweep_entries,
)
from dldl_fast.comparison.report import table_cells, table_titles, write_tables
from dldl_fast.comparison.run import Progress, Results, run_comparison
from dldl_fast.comparison.statistics import Line, Score, summarise
from dldl_fast.resume import ResumeError

__all__ = [
    "REFERENCE",
    "ComparisonData",
    "Entry",
    "EntryError",
    "Line",
    "Progress",
    "Results",
    "ResumeError",
    "Score",
    "known_methods",
    "load_comparison_data",
    "method_entries",
    "parse_sweep",
    "run_comparison",
    "summarise",
    "sweep_entries",
    "table_cells",
    "table_titles",
    "write_tables",
]
