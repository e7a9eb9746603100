"""What the paper prints in its tables: numbers to stand beside measured ones, never for them.

Every value is copied from the text of Tables 1 to 7; None is a dash there.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple


class Column(NamedTuple):
    """What a column of a table holds.

    Attributes:
        data: name of the data set, as in `dldl_fast.data.sets.DATA_SETS` where it is one of those;
            empty for what depends on the network alone.
        metric: such as ``"mae"``; a key of `METRIC_TITLES`.
    """

    data: str
    metric: str

    def title(self) -> str:
        """The column in words.

        Example:
            >>> Column("chalearn15", "mae").title(), Column("", "parameters").title()
            ('ChaLearn15 MAE', 'parameters, millions')
        """
        data = DATA_TITLES.get(self.data, self.data)
        return f"{data} {METRIC_TITLES[self.metric]}".strip()


class PaperTable(NamedTuple):
    """A table of the paper.

    Attributes:
        title: its caption.
        columns: what its columns hold.
        rows: its numbers, by the name of the row.
    """

    title: str
    columns: tuple[Column, ...]
    rows: Mapping[str, tuple[float | None, ...]]

    def value(self, row: str, column: Column) -> float | None:
        """A number of the table; None: it has none.

        Example:
            >>> TABLES["table6"].value("DEX", Column("morph", "mae"))
            2.311
        """
        if row not in self.rows or column not in self.columns:
            return None
        return self.rows[row][self.columns.index(column)]

    def data_sets(self) -> list[str]:
        """Names of its data sets, in their order."""
        return list(dict.fromkeys(column.data for column in self.columns if column.data))


DATA_TITLES = {
    "chalearn15": "ChaLearn15",
    "chalearn16": "ChaLearn16",
    "morph": "Morph",
    "scut-fbp": "SCUT-FBP",
    "cfd": "CFD",
}
"""The paper's names of its data sets."""

METRIC_TITLES = {
    "parameters": "parameters, millions",
    "milliseconds": "32 images, ms",
    "mae": "MAE",
    "e_error": "e-error",
    "rmse": "RMSE",
    "pearson": "Pearson",
}
"""Metrics in words."""

SIZES = {
    "chalearn15": ("2476+1136", "3-85"),
    "chalearn16": ("5613+1978", "0-96"),
    "morph": ("55134", "16-70"),
    "scut-fbp": ("500", "1-5"),
    "cfd": ("597", "1-7"),
}
"""Table 1: images and label range of the data sets."""

_NETWORK = (Column("", "parameters"), Column("", "milliseconds"))
_AGES = (
    Column("chalearn15", "mae"),
    Column("chalearn15", "e_error"),
    Column("chalearn16", "mae"),
    Column("chalearn16", "e_error"),
    Column("morph", "mae"),
)
_ATTRACTIVENESS = (
    Column("scut-fbp", "mae"),
    Column("scut-fbp", "rmse"),
    Column("scut-fbp", "pearson"),
    Column("cfd", "mae"),
    Column("cfd", "rmse"),
    Column("cfd", "pearson"),
)

_DLDL_V2 = (3.135, 0.272, 3.452, 0.267, 1.969)
"""The row that closes Tables 2, 4, 5 and 6."""

TABLES = {
    "table2": PaperTable(
        "Table 2: state-of-the-art methods for apparent and real age estimation",
        (*_NETWORK, *_AGES),
        {
            "Human": (None, None, None, 0.340, None, None, 6.30),
            "OR-CNN": (None, None, None, None, None, None, 3.27),
            "DEX": (134.6, 133.30, 5.369, 0.456, None, None, 3.25),
            "DEX, external data": (134.6, 133.30, 3.252, 0.282, None, None, 2.68),
            "DLDL": (134.6, 133.30, 3.510, 0.310, None, None, 2.42),
            "Rank-CNN": (None, None, None, None, None, None, 2.96),
            "LDAE, external data, 11 models": (1480.6, 1446.30, None, None, None, 0.241, 2.35),
            "DLDLF": (None, None, None, None, None, None, 2.24),
            "DRFs": (None, None, None, None, None, None, 2.17),
            "DLDL-v2 (TinyAgeNet)": (0.9, 24.26, 3.427, 0.301, 3.765, 0.291, 2.291),
            "DLDL-v2 (ThinAgeNet)": (3.7, 51.05, *_DLDL_V2),
        },
    ),
    "table3": PaperTable(
        "Table 3: state-of-the-art methods for facial attractiveness estimation",
        (*_NETWORK, *_ATTRACTIVENESS),
        {
            "Regression (G+Tfeats)": (None, None, 0.393, 0.515, 0.648, None, None, None),
            "CNN (six layers)": (None, None, None, None, 0.819, None, None, None),
            "SLDL (LBP+Hog+Gabor)": (None, None, 0.302, 0.408, None, None, None, None),
            "LDL (ResNet50)": (23.6, 108.28, 0.217, 0.300, 0.917, None, None, None),
            "LDL (ResNet50+GFeats)": (23.6, 108.28, 0.213, 0.278, 0.930, None, None, None),
            "DLDL-v2 (TinyAttNet)": (0.9, 24.26, 0.221, 0.294, 0.915, 0.400, 0.521, 0.716),
            "DLDL-v2 (ThinAttNet)": (3.7, 51.05, 0.212, 0.273, 0.930, 0.364, 0.472, 0.766),
        },
    ),
    "table4": PaperTable(
        "Table 4: data augmentation and pooling",
        _AGES,
        {
            "no augmentation, HP": (3.399, 0.303, 3.717, 0.290, 2.346),
            "augmentation, GAP": (3.210, 0.282, 3.539, 0.274, 2.039),
            "augmentation, HP": _DLDL_V2,
        },
    ),
    "table5": PaperTable(
        "Table 5: two-stage methods for age estimation",
        _AGES,
        {
            "BIF: SVR": (6.832, 0.545, 9.225, 0.595, 4.303),
            "BIF: OHRank": (6.403, 0.525, 7.680, 0.533, 3.841),
            "BIF: BFGS-LDL": (6.441, 0.505, 7.626, 0.515, 3.883),
            "CNN: SVR": (5.333, 0.471, 6.348, 0.495, 4.370),
            "CNN: OHRank": (4.202, 0.383, 4.668, 0.380, 3.919),
            "CNN: BFGS-LDL": (4.037, 0.359, 4.457, 0.345, 3.865),
            "DLDL-v2": _DLDL_V2,
        },
    ),
    "table6": PaperTable(
        "Table 6: single-stage methods for age estimation",
        _AGES,
        {
            "MR (l2)": (3.665, 0.337, 3.696, 0.294, 2.282),
            "MR (l1)": (3.655, 0.334, 3.722, 0.301, 2.347),
            "DEX": (3.558, 0.306, 4.163, 0.332, 2.311),
            "Ranking": (3.365, 0.298, 3.645, 0.290, 2.164),
            "ER (l1)": (3.287, 0.291, 3.641, 0.282, 2.214),
            "DLDL": (3.228, 0.285, 3.509, 0.272, 2.132),
            "DLDL-v2": _DLDL_V2,
        },
    ),
    "table7": PaperTable(
        "Table 7: lambda and the step of the labels",
        _AGES,
        {
            "lambda 0.01, step 1": (3.223, 0.282, 3.493, 0.270, 1.960),
            "lambda 0.1, step 1": (3.188, 0.278, 3.455, 0.268, 1.972),
            "lambda 1, step 1": (3.135, 0.272, 3.452, 0.267, 1.969),
            "lambda 10, step 1": (3.144, 0.273, 3.487, 0.270, 1.977),
            "lambda 1, step 4": (3.182, 0.276, 3.473, 0.270, 1.963),
            "lambda 1, step 2": (3.184, 0.274, 3.484, 0.271, 1.963),
            "lambda 1, step 0.5": (3.184, 0.278, 3.484, 0.269, 1.992),
            "lambda 1, step 0.25": (3.167, 0.274, 3.459, 0.265, 2.028),
        },
    ),
}
"""The tables with results by name."""

TINY_MEGABYTES = 3.8
"""The abstract: what TinyAgeNet takes on disk, in MB."""
