"""The paper's numbers as its text prints them."""

from __future__ import annotations

import pytest

from dldl_fast.reproduction import REPRODUCTIONS
from dldl_fast.reproduction.paper import SIZES, TABLES, Column


@pytest.mark.parametrize(
    ("table", "row", "data", "metric", "printed"),
    [
        ("table2", "Human", "chalearn15", "e_error", 0.340),
        ("table2", "Human", "morph", "mae", 6.30),
        ("table2", "DEX", "chalearn15", "mae", 5.369),
        ("table2", "DEX, external data", "morph", "mae", 2.68),
        ("table2", "LDAE, external data, 11 models", "", "parameters", 1480.6),
        ("table2", "LDAE, external data, 11 models", "chalearn16", "e_error", 0.241),
        ("table2", "DLDL-v2 (TinyAgeNet)", "", "milliseconds", 24.26),
        ("table2", "DLDL-v2 (TinyAgeNet)", "chalearn16", "mae", 3.765),
        ("table3", "LDL (ResNet50)", "", "milliseconds", 108.28),
        ("table3", "CNN (six layers)", "scut-fbp", "pearson", 0.819),
        ("table3", "DLDL-v2 (ThinAttNet)", "cfd", "pearson", 0.766),
        ("table4", "augmentation, GAP", "morph", "mae", 2.039),
        ("table5", "BIF: SVR", "chalearn16", "mae", 9.225),
        ("table5", "CNN: BFGS-LDL", "chalearn15", "mae", 4.037),
        ("table6", "MR (l1)", "chalearn16", "e_error", 0.301),
        ("table6", "DLDL", "morph", "mae", 2.132),
        ("table7", "lambda 0.01, step 1", "morph", "mae", 1.960),
        ("table7", "lambda 1, step 0.25", "chalearn16", "e_error", 0.265),
    ],
)
def test_literal_numbers_of_the_text(table, row, data, metric, printed):
    assert TABLES[table].value(row, Column(data, metric)) == printed


def test_every_table_has_the_same_dldl_v2():
    """Tables 2, 4, 5, 6 and 7 all end with, or contain, the same experiment."""
    rows = {
        "table2": "DLDL-v2 (ThinAgeNet)",
        "table4": "augmentation, HP",
        "table5": "DLDL-v2",
        "table6": "DLDL-v2",
        "table7": "lambda 1, step 1",
    }
    for table, row in rows.items():
        numbers = [
            TABLES[table].value(row, Column(data, metric))
            for data, metric in (
                ("chalearn15", "mae"),
                ("chalearn15", "e_error"),
                ("chalearn16", "mae"),
                ("chalearn16", "e_error"),
                ("morph", "mae"),
            )
        ]
        assert numbers == [3.135, 0.272, 3.452, 0.267, 1.969]


def test_what_dldl_v2_wins_by_is_what_the_text_says():
    """Section 4.5.1: .26 to .27 of MAE on apparent ages and .38 on Morph by augmentation."""
    table = TABLES["table4"]
    gains = [
        table.value("no augmentation, HP", column) - table.value("augmentation, HP", column)
        for column in table.columns
        if column.metric == "mae"
    ]
    assert gains == pytest.approx([0.264, 0.265, 0.377])
    assert SIZES["chalearn15"] == ("2476+1136", "3-85")


@pytest.mark.parametrize("name", TABLES)
def test_tables_are_whole(name):
    table = TABLES[name]
    assert name in REPRODUCTIONS
    assert {len(row) for row in table.rows.values()} == {len(table.columns)}
    assert len(set(table.columns)) == len(table.columns)


def test_what_there_is_not_is_none():
    assert TABLES["table6"].value("DEX", Column("cfd", "mae")) is None
    assert TABLES["table6"].value("median", Column("morph", "mae")) is None
