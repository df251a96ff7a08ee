from training.figures.tables import interval, measure, table


def test_every_line_of_a_table_has_as_many_cells_as_its_header() -> None:
    assert table(["a", "b"], [["1", "2"], ["3", ""]]).splitlines() == ["| a | b |", "|-|-|", "| 1 | 2 |", "| 3 |  |"]


def test_measures_are_printed_with_their_interval() -> None:
    assert interval(0.95, (0.9311, 0.9639)) == "0.950 [0.931, 0.964]"
    assert measure({"value": 0.95, "low": 0.9311, "high": 0.9639}, 2) == "0.95 [0.93, 0.96]"
