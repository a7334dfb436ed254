import json

import pytest
import torch

import srzoo
from srzoo.cli import main
from srzoo.weights import Header, write_weights


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


def test_what_strangers_wrote_into_a_file_cannot_steer_the_terminal(tmp_path, capsys):
    path = tmp_path / "a.safetensors"
    evil = "bad\x1b]0;title\x07\nmodel: fake\r\u202e"
    header = Header(model="edsr_baseline_x2", source=evil, recipe={evil: [{"steps": 1}], "by": {evil: 2}})
    write_weights(path, {"x": torch.zeros(1)}, header)
    assert main(["info", str(path)]) == 0
    told = capsys.readouterr().out
    assert r"source: bad\x1b]0;title\x07\nmodel: fake\r\u202e" in told
    assert told.replace("\n", "").isprintable()
    assert [line for line in told.splitlines() if line.startswith("model:")] == ["model: edsr_baseline_x2"]
    assert main(["info", str(path), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["source"] == evil


def test_a_checkpoint_is_answered_with_how_to_convert_it(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    torch.save({"x": torch.zeros(1)}, "x.pth")
    assert main(["info", "x.pth"]) == 2
    assert capsys.readouterr().err == "srzoo: x.pth is no weight file; turn it into one with `srzoo convert`\n"
