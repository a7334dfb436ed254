import json

from srzoo.cli import list as list_command
from srzoo.cli import main


def test_each_weight_file_says_where_it_is(capsys):
    assert main(["list", "edsr_baseline_x4", "--json"]) == 0
    [row] = json.loads(capsys.readouterr().out)
    assert [(entry["tag"], entry["place"]) for entry in row["weights"]] == [("photos", "package")]


def test_weights_that_are_not_in_the_package_are_marked(capsys, monkeypatch):
    monkeypatch.setattr(list_command, "place", lambda row: "hub")
    assert main(["list", "edsr_baseline_x4"]) == 0
    assert "photos (on the Hub)" in capsys.readouterr().out
