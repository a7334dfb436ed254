import json

import pytest

import srzoo
from srzoo.cli import main


@pytest.mark.parametrize("name", ["mine/model.safetensors", "mine", "./mine", "local-dir:mine"])
def test_a_file_is_described_by_every_spelling_of_its_folder(tmp_path, monkeypatch, capsys, name):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine").mkdir()
    srzoo.save_model(srzoo.create_model("edsr_baseline_x2", width=4, num_blocks=1), "mine/model.safetensors")
    assert main(["info", name, "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert (facts["file"], facts["model"]) == ("mine/model.safetensors", "edsr_baseline_x2")


def test_weights_of_a_model_say_where_they_are(capsys):
    assert main(["info", "edsr_baseline_x4"]) == 0
    assert "  place: package" in capsys.readouterr().out
