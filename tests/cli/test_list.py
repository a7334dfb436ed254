import json

from srzoo.cli import list as list_command
from srzoo.cli import main


def test_each_weight_file_says_where_it_is(capsys):
    assert main(["list", "edsr_baseline_x3", "--json"]) == 0
    [row] = json.loads(capsys.readouterr().out)
    assert [(entry["tag"], entry["place"]) for entry in row["weights"]] == [("photos", "package")]


def test_weights_that_are_not_in_the_package_are_marked(capsys, monkeypatch):
    monkeypatch.setattr(list_command, "place", lambda row: "hub")
    assert main(["list", "edsr_baseline_x4"]) == 0
    assert "photos (on the Hub)" in capsys.readouterr().out


def test_a_model_without_weights_is_told_from_one_that_needs_none(capsys):
    assert main(["list", "[abe]*_x2"]) == 0
    rows = capsys.readouterr().out.splitlines()
    cells = {row.split()[0]: row.split()[1:] for row in rows[1:-1]}
    assert cells["bicubic_x2"] == ["x2", "0", "none", "needed"]
    assert cells["edsr_x2"] == ["x2", "40,729,603", "-"]
    assert int(cells["aplus_x2"][1].replace(",", "")) > 1_000_000
    assert rows[-1].startswith("-: no weights yet, train them.")
