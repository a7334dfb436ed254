import copy
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from train_stand_ins import CONFIG, Waves, assert_same_end, interrupted, plain_network, snapshot, tiny_edsr, tiny_mdsr

import srzoo
from srzoo.architecture import Origin
from srzoo.cli import main
from srzoo.data import Bicubic, Chain, Noise, PatchSource, pairs_from_hr
from srzoo.distributed import World
from srzoo.registry import open_model, weight_file
from srzoo.train import MSE, RECIPES, Callback, TrainConfig, Trainer, fine_tune, load_checkpoint
from srzoo.train.batches import Batches
from srzoo.train.checkpoint import find_checkpoints
from srzoo.train.continuity import check_same_teacher
from srzoo.train.estimate import estimate_run
from srzoo.train.teacher import Teacher, check_teacher, name_teacher
from srzoo.weights import Header, content_hash, read_header, save_model

CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def _own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("SRZOO_CACHE", str(tmp_path / "cache"))


def taught(teacher: srzoo.SRModel | None, config: TrainConfig = CONFIG, **options: Any) -> Trainer:
    return Trainer(options.pop("model", None) or tiny_edsr(), Waves(), config, teacher=teacher, **options)


def filed(path: Path, license: str = "CC-BY-SA-4.0", seed: int = 5, dtype: torch.dtype = torch.float32) -> Path:
    """A weight file of a teacher."""
    save_model(tiny_edsr(seed), path, dtype, header=Header(model="", license=license, source="a test"))
    return path


# What is learnt


def test_the_targets_are_what_the_teacher_makes_of_the_lr_patches():
    teacher = tiny_mdsr(seed=3).eval()
    with_one, without = (
        Batches(Waves((2, 3)), CONFIG, World(), CPU, targets) for targets in (Teacher(teacher, CPU, "fp32"), None)
    )
    scales = set()
    for step in range(6):
        batch, true = with_one.draw(step), without.draw(step)
        assert torch.equal(batch.lr, true.lr)
        assert batch.hr.shape == true.hr.shape
        torch.testing.assert_close(batch.hr, teacher(true.lr, true.scale), rtol=0, atol=0)
        assert batch.hr.is_contiguous(memory_format=torch.channels_last)
        scales.add(batch.scale)
    assert scales == {2, 3}


def test_they_are_float32_without_gradient_and_not_clamped():
    teacher = tiny_edsr(seed=1)
    with torch.no_grad():
        teacher.get_parameter("tail.weight").mul_(30)
    for precision in ("fp32", "bf16"):
        batch = taught(teacher, replace(CONFIG, precision=precision)).batch(0)
        assert batch.hr.dtype == torch.float32
        assert not batch.hr.requires_grad
        assert not batch.hr.is_inference()
        assert batch.hr.min() < 0
        assert batch.hr.max() > 1


def test_the_teacher_computes_in_the_precision_of_the_run():
    teacher = tiny_edsr(seed=1).eval()
    batch = taught(teacher, replace(CONFIG, precision="bf16")).batch(0)
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        expected = teacher(batch.lr).float()
    assert torch.equal(batch.hr, expected)
    assert not torch.equal(expected, taught(teacher).batch(0).hr)


def test_a_teacher_is_in_eval_mode_whatever_it_was_and_is_left_as_it_was():
    teacher = srzoo.create_model("srresnet_x2", width=4, num_blocks=1)  # with batch norm
    before = snapshot(teacher)
    trainer = taught(teacher)
    trainer.fit()
    assert teacher.training
    assert all(parameter.requires_grad and parameter.grad is None for parameter in teacher.parameters())
    assert all(torch.equal(before[name], tensor) for name, tensor in teacher.state_dict().items())
    batch = trainer.batch(0)
    with torch.no_grad():
        assert torch.equal(batch.hr, copy.deepcopy(teacher).eval()(batch.lr))


def test_a_student_comes_to_do_what_the_teacher_does_and_not_what_the_images_are():
    teacher, start = tiny_edsr(seed=7).eval(), tiny_edsr(seed=8).eval()
    trained = taught(teacher, replace(CONFIG, steps=150), model=tiny_edsr(seed=8), loss=MSE()).fit()
    unseen = taught(None).batch(1000)  # of images that no step of the run saw
    with torch.no_grad():
        target = teacher(unseen.lr)
        was, now = ((network(unseen.lr) - target).abs().mean() for network in (start, trained))
        to_images = (trained(unseen.lr) - unseen.hr).abs().mean()
    assert now < was / 3
    assert now < to_images / 3


def test_a_model_can_teach_itself_what_it_was_at_the_start():
    model = tiny_edsr()
    trainer = taught(model, model=model)
    before, targets = snapshot(model), trainer.batch(0).hr
    with torch.no_grad():
        model.get_parameter("tail.weight").add_(0.1)
    trainer.fit()
    assert torch.equal(trainer.batch(0).hr, targets)
    assert not torch.equal(before["tail.weight"], model.state_dict()["tail.weight"])


def test_shares_and_batches_read_ahead_have_the_same_targets():
    teacher, config = Teacher(tiny_edsr(seed=2), CPU, "fp32"), replace(CONFIG, batch_size=5)
    whole = Batches(Waves(), config, World(), CPU, teacher)
    shares = [Batches(Waves(), config, World(rank, 2), CPU, teacher).draw(4) for rank in range(2)]
    torch.testing.assert_close(torch.cat([share.hr for share in shares]), whole.draw(4).hr)
    ahead = Batches(Waves(), config, World(), CPU, teacher)
    ahead._prefetches = True
    for step in range(3):
        made = ahead.next(step).hr  # from step 1 on by another thread
        assert torch.equal(made, whole.draw(step).hr)
        assert not made.requires_grad
    ahead.close()


def test_micro_batches_losses_and_other_networks_need_to_know_nothing(tmp_path):
    config = replace(CONFIG, batch_size=3, accumulate=2, clip_norm=1.0)
    assert taught(tiny_edsr(4), config, model=plain_network(), loss=MSE(), folder=tmp_path).fit() is not None
    assert len(find_checkpoints(tmp_path)) == 1


def test_validation_scores_against_the_true_images(photo_folder):
    pairs = pairs_from_hr(photo_folder, 2)
    one, other = (taught(teacher, validation={"photos": pairs}) for teacher in (tiny_edsr(6), None))
    assert one.validate() == other.validate()


def test_the_teacher_sees_the_degraded_images_that_the_student_sees(photo_folder):
    teacher = tiny_edsr(3).eval()
    source = PatchSource(photo_folder, scales=(2,), degradation=Chain(Bicubic(), Noise(30.0)))
    batch = Trainer(tiny_edsr(), source, CONFIG, teacher=teacher).batch(1)
    clean = Trainer(tiny_edsr(), PatchSource(photo_folder, scales=(2,)), CONFIG).batch(1)
    assert (batch.lr - clean.lr).std() > 0.05
    with torch.no_grad():
        assert torch.equal(batch.hr, teacher(batch.lr))


# Resume


def test_a_run_with_a_teacher_is_resumed_to_the_bit(tmp_path):
    whole = taught(tiny_edsr(5))
    whole.fit()
    interrupted(tiny_edsr, CONFIG, tmp_path, step=3, teacher=tiny_edsr(5))
    resumed = taught(tiny_edsr(5), model=tiny_edsr(9), folder=tmp_path)
    assert resumed.resume()
    resumed.fit()
    assert_same_end(resumed, whole)
    without = taught(None)
    without.fit()
    assert not torch.equal(without.model.state_dict()["tail.weight"], whole.model.state_dict()["tail.weight"])


def test_another_teacher_or_none_is_refused_and_the_same_by_another_name_is_not(tmp_path):
    path = filed(tmp_path / "a.safetensors")
    interrupted(tiny_edsr, CONFIG, tmp_path / "run", step=3, teacher=open_model(path))
    content = read_header(path).content[:8]
    other = tiny_edsr(6)
    told = (
        rf"^the run to resume had the teacher edsr_baseline_x2, content {content}, now there is the teacher "
        rf"edsr_baseline_x2, content {content_hash(other.state_dict())[:8]}; give the same \(--teacher\) or start anew$"
    )
    with pytest.raises(ValueError, match=told):
        taught(other, folder=tmp_path / "run").resume()
    with pytest.raises(ValueError, match=rf"content {content}, now there is no teacher; give"):
        taught(None, folder=tmp_path / "run").resume()
    same_tensors = tiny_edsr(5, res_scale=0.5)
    with pytest.raises(ValueError, match="give the same"):
        taught(same_tensors, folder=tmp_path / "run").resume()
    assert taught(tiny_edsr(5), folder=tmp_path / "run").resume()  # never was in a file
    path.rename(tmp_path / "b.safetensors")
    assert taught(open_model(tmp_path / "b.safetensors"), folder=tmp_path / "run").resume()


def test_a_run_without_a_teacher_does_not_get_one(tmp_path):
    interrupted(tiny_edsr, CONFIG, tmp_path, step=3)
    with pytest.raises(ValueError, match="the run to resume had no teacher, now there is the teacher edsr_baseline_x2"):
        taught(tiny_edsr(5), folder=tmp_path).resume()
    assert taught(None, folder=tmp_path).resume()


def test_a_checkpoint_from_before_there_were_teachers_goes_on_without_one():
    state = taught(None).state_dict()
    del state["teacher"]
    taught(None).load_state_dict(state)
    with pytest.raises(ValueError, match="had no teacher"):
        taught(tiny_edsr(5)).load_state_dict(state)
    check_same_teacher({"told": "a", "content": "1"}, {"told": "b", "content": "1"})


def test_the_teachers_weights_are_in_no_checkpoint(tmp_path):
    sizes = []
    for name, teacher in (("with", tiny_edsr(5, width=8)), ("without", None)):
        taught(teacher, folder=tmp_path / name).fit()
        state = load_checkpoint(find_checkpoints(tmp_path / name)[-1])
        sizes.append(sum(tensor.numel() for tensor in [*state["model"].values(), *state["ema"].values()]))
        files = find_checkpoints(tmp_path / name)
        sizes.append(files[-1].stat().st_size // 1024)
    assert sizes[:2] == pytest.approx(sizes[2:], abs=1)


# What is told of it


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
def test_a_teacher_is_told_by_name_and_the_content_that_info_tells(tmp_path, dtype):
    path = filed(tmp_path / "mine.safetensors", dtype=dtype)
    content = read_header(path).content[:8]
    model = open_model(path)
    assert name_teacher(model) == f"edsr_baseline_x2, content {content}"  # and no path of this machine
    zoo = open_model("edsr_baseline_x2")
    content = read_header(weight_file("edsr_baseline_x2")).content[:8]
    assert name_teacher(zoo) == f"edsr_baseline_x2.photos, content {content}"


def test_a_model_trained_since_it_was_loaded_is_not_called_by_what_it_was(tmp_path):
    model = open_model(filed(tmp_path / "a.safetensors"))
    model.origin = Origin("edsr_baseline_x2.photos", "CC-BY-SA-4.0")  # such as the result of a fine-tuning
    own = content_hash(model.state_dict())[:8]
    assert name_teacher(model) == f"edsr_baseline_x2, content {own}"
    assert Teacher(model, CPU, "fp32").license == "CC-BY-SA-4.0"


def test_the_header_the_licence_and_the_summary_name_the_teacher(photo_folder, tmp_path):
    path = filed(tmp_path / "teacher.safetensors")
    content = read_header(path).content[:8]
    found = fine_tune(tiny_edsr(), photo_folder, tmp_path / "run", replace(CONFIG, steps=2), teacher=str(path))
    header = read_header(found.folder / "model.safetensors")
    name = f"edsr_baseline_x2, content {content}"
    assert header.recipe["teacher"] == name
    assert header.recipe["teacher_license"] == "CC-BY-SA-4.0"
    assert header.license == "CC-BY-SA-4.0"
    assert header.source == f"trained by srzoo train, with the teacher {name}"
    assert str(tmp_path) not in json.dumps(header.recipe)
    assert read_header(found.folder / "best.safetensors").recipe["teacher"] == name
    summary = (found.folder / "summary.md").read_text()
    assert f"| teacher | {name} |" in summary
    assert "| licence of the weights | CC-BY-SA-4.0 |" in summary


@pytest.mark.parametrize(
    ("license", "expected"),
    [("CC0-1.0", ""), ("CC-BY-4.0", ""), ("MIT AND CC-BY-SA-3.0", "CC-BY-SA-3.0"), ("", "")],
)
def test_only_share_alike_licences_of_a_teacher_ask_for_anything(photo_folder, tmp_path, license, expected):
    teacher = open_model(filed(tmp_path / "teacher.safetensors", license))
    config = replace(CONFIG, steps=1)
    found = fine_tune(tiny_edsr(), photo_folder, tmp_path / "run", config, teacher=teacher, validation=None)
    assert read_header(found.folder / "model.safetensors").license == expected


def test_without_a_teacher_nothing_is_said_of_one(photo_folder, tmp_path):
    found = fine_tune(tiny_edsr(), photo_folder, tmp_path / "run", replace(CONFIG, steps=1), validation=None)
    header = read_header(found.folder / "model.safetensors")
    assert not {"teacher", "teacher_license"} & header.recipe.keys()
    assert header.source == "trained by srzoo train"
    assert "| teacher |" not in (found.folder / "summary.md").read_text()


def test_an_estimate_times_the_teacher_too(monkeypatch):
    calls = []
    monkeypatch.setattr(Teacher, "__call__", lambda self, lr, scale: calls.append(scale) or torch.zeros(2, 3, 12, 12))
    found = estimate_run(taught(tiny_edsr(5)), seconds=0.0)
    assert len(calls) == found.steps_tried + 1


# Errors


def test_a_teacher_that_lacks_a_scale_is_refused():
    told = r"^the teacher edsr_baseline_x2 offers x2 and is to teach x3, x4; give one that offers x2, x3, x4$"
    with pytest.raises(ValueError, match=told):
        check_teacher(tiny_edsr(), (4, 2, 3), 3)
    with pytest.raises(ValueError, match="is to teach x3; give one that offers x2, x3"):
        Trainer(tiny_mdsr(), Waves((2, 3)), CONFIG, teacher=tiny_edsr())
    with pytest.raises(ValueError, match="is to teach x4"):  # before images are looked for
        fine_tune(srzoo.create_model("edsr_baseline_x4"), "nowhere", "run", teacher=tiny_edsr())
    check_teacher(tiny_mdsr(), (2,), 3)


def test_a_teacher_for_other_channels_is_refused(photo_folder):
    grey = tiny_edsr(channels=1)
    told = (
        r"^the teacher edsr_baseline_x2 is for 1 channel and is to teach a model for 3 channels; give one for as many$"
    )
    with pytest.raises(ValueError, match=told):
        taught(grey)
    with pytest.raises(ValueError, match="is for 1 channel and is to teach"):  # of a network that does not say
        Trainer(plain_network(), PatchSource(photo_folder, scales=(2,)), CONFIG, teacher=grey)


@pytest.mark.usefixtures("as_users_call")
def test_what_is_no_model_of_the_zoos_kind_is_refused():
    wrong: Any = nn.Conv2d(3, 3, 1)
    with pytest.raises(TypeError, match="the teacher is a Conv2d; give a model with weights"):
        taught(wrong)


def test_processes_with_different_teachers_are_refused(monkeypatch):
    monkeypatch.setattr(World, "share_object", lambda world, thing: thing if thing == "waves" else "another")
    with pytest.raises(ValueError, match="the processes of the run have different teachers; give all of them the same"):
        taught(tiny_edsr(5))


# The command


@pytest.fixture
def train(photo_folder: Path, tmp_path: Path):
    def call(*more: str, run: str = "run") -> int:
        tiny = ["--set", "width=4", "--set", "num_blocks=1", "--batch-size", "2", "--patch-size", "8"]
        where = ["--data", str(photo_folder), "--run", str(tmp_path / run), "--device", "cpu", "--steps", "2"]
        return main(["train", "--model", "edsr_baseline_x2", *where, *tiny, *more])

    return call


def test_the_command_takes_a_teacher_and_goes_on_with_the_same_only(train, tmp_path, capsys):
    path = filed(tmp_path / "teacher.safetensors")
    name = f"edsr_baseline_x2, content {read_header(path).content[:8]}"
    assert train("--teacher", str(path), "--schedule", "constant", "--quiet") == 0
    assert read_header(tmp_path / "run/model.safetensors").recipe["teacher"] == name
    assert train("--schedule", "constant", "--quiet", "--resume") == 2
    assert f"the run to resume had the teacher {name}, now there is no teacher" in capsys.readouterr().err
    assert train("--teacher", str(path), "--schedule", "constant", "--quiet", "--resume") == 0


def test_a_dry_run_names_the_teacher(train, tmp_path, capsys):
    path = filed(tmp_path / "teacher.safetensors")
    assert train("--teacher", str(path), "--dry-run", "--json") == 0
    assert json.loads(capsys.readouterr().out)["teacher"].startswith("edsr_baseline_x2, content ")
    assert train("--teacher", str(path), "--dry-run") == 0
    assert "\nteacher     edsr_baseline_x2, content " in capsys.readouterr().out
    assert train("--dry-run") == 0
    assert "teacher" not in capsys.readouterr().out


@pytest.mark.parametrize(
    ("teacher", "told"),
    [
        ("edsr_baseline_x3", "the teacher edsr_baseline_x3 offers x3 and is to teach x2"),
        ("edsr_baseline_x8", "no pretrained weights"),
        ("mdsr_baselin", "did you mean"),
        ("TMP/none.safetensors", "TMP/none.safetensors does not exist"),
    ],
)
def test_a_teacher_that_cannot_be_had_is_told_in_one_sentence(train, tmp_path, capsys, teacher, told):
    assert train("--teacher", teacher.replace("TMP", str(tmp_path))) == 2
    [line] = capsys.readouterr().err.strip().splitlines()
    assert line.startswith("srzoo: ")
    assert told.replace("TMP", str(tmp_path)) in line
    assert not (tmp_path / "run").exists()


def test_a_recipe_may_name_a_teacher_and_none_takes_it_away(train, tmp_path, monkeypatch, capsys):
    path = str(filed(tmp_path / "teacher.safetensors"))
    recipe = replace(RECIPES["edsr_baseline"], teacher=path)
    monkeypatch.setitem(RECIPES, "edsr_baseline", recipe)
    assert recipe.to_json()["teacher"] == path
    for more, expected in (([], True), (["--teacher", "none"], False)):
        assert train("--recipe", "edsr_baseline", "--dry-run", "--json", *more) == 0
        assert bool(json.loads(capsys.readouterr().out)["teacher"]) == expected


def test_a_family_that_is_fitted_has_no_teacher(photo_folder, tmp_path, capsys):
    command = ["train", "--model", "aplus_x2", "--data", str(photo_folder), "--run", str(tmp_path / "run")]
    assert main([*command, "--teacher", "edsr_baseline_x2"]) == 2
    assert "so --teacher means nothing" in capsys.readouterr().err


class SecondBatch(Callback):
    """Keeps the batch that a run sees at step 1."""

    def start(self, run: Any) -> None:
        self.hr = run.batch(1).hr


def test_fine_tune_takes_a_name_of_the_zoo(photo_folder, tmp_path):
    student, seen = tiny_edsr(), SecondBatch()
    config = replace(CONFIG, steps=1)
    fine_tune(student, photo_folder, tmp_path, config, teacher="edsr_baseline_x2", validation=None, callbacks=[seen])
    source = PatchSource(photo_folder, scales=(2,))
    expected = Trainer(tiny_edsr(), source, config, teacher=open_model("edsr_baseline_x2.photos")).batch(1).hr
    assert torch.equal(seen.hr, expected)
