"""Where weights come from. What touches the Hub runs the real client, in fresh processes, against a local server."""

import importlib.util
import inspect
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import torch

import srzoo
from srzoo import hub, registry
from srzoo.architecture import Weights
from srzoo.hub import HubFile
from srzoo.weights import Header, file_sha256, write_weights

SHA256_OF_ABC = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"  # FIPS 180-2, appendix B.1
ROW = Weights(model="m_x2", tag="t", file="m.safetensors", sha256=SHA256_OF_ABC, license="MIT", source="us")
COMMIT = "0123456789abcdef0123456789abcdef01234567"


# Files of the package


@pytest.fixture
def pretrained(tmp_path, monkeypatch) -> Path:
    monkeypatch.setattr(hub, "files", lambda package: tmp_path)
    return tmp_path


def test_a_bundled_file_with_the_recorded_hash_is_found(pretrained):
    (pretrained / ROW.file).write_bytes(b"abc")
    assert hub.find_weights(ROW) == pretrained / ROW.file
    assert hub.place(ROW) == "package"


def test_a_file_with_another_hash_is_refused_with_both_hashes(pretrained):
    (pretrained / ROW.file).write_bytes(b"abd")
    with pytest.raises(
        ValueError, match=rf"m\.safetensors is damaged: its sha256 is a52d.*, recorded is {SHA256_OF_ABC}"
    ):
        hub.find_weights(ROW)


def test_a_missing_file_is_named(pretrained):
    with pytest.raises(FileNotFoundError, match=r"other\.safetensors is missing from the installation"):
        hub.find_weights(replace(ROW, file="other.safetensors"))


def test_every_bundled_file_is_recorded_and_every_record_has_its_file():
    rows = [row for arch in registry.architectures().values() for row in arch.weights if hub.place(row) == "package"]
    bundled = {path.name for path in hub.PRETRAINED.glob("*") if not path.name.startswith((".", "_"))}
    assert {hub.find_weights(row).name for row in rows} == {name for name in bundled if name.endswith(".safetensors")}


def test_a_plugins_weights_are_found_in_its_own_package(tmp_path, monkeypatch):
    (tmp_path / "srzoo_theirs").mkdir()
    (tmp_path / "srzoo_theirs" / "m.safetensors").write_bytes(b"abc")
    monkeypatch.syspath_prepend(str(tmp_path))
    assert hub.find_weights(replace(ROW, package="srzoo_theirs")) == tmp_path / "srzoo_theirs" / "m.safetensors"
    with pytest.raises(FileNotFoundError, match=r"package srzoo_gone with m\.safetensors is not installed"):
        hub.find_weights(replace(ROW, package="srzoo_gone"))


# How a repository is written


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("hf-hub:owner/name", HubFile("owner/name")),
        ("owner/na.me-2_x", HubFile("owner/na.me-2_x")),
        ("hf-hub:owner/name@v1.0", HubFile("owner/name", "v1.0")),
        ("hf-hub:owner/name@refs/pr/3", HubFile("owner/name", "refs/pr/3")),
        (f"owner/name@{COMMIT}:sub/half.safetensors", HubFile("owner/name", COMMIT, "sub/half.safetensors")),
        ("owner/name:half.safetensors", HubFile("owner/name", "main", "half.safetensors")),
    ],
)
def test_a_name_of_a_repository_is_read_and_written(text, found):
    assert HubFile.parse(text) == found
    assert HubFile.parse(str(found)) == found
    assert found.is_pinned == (COMMIT in text)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("hf-hub:name", "names no repository; write hf-hub:owner/name or"),
        ("hf-hub:", "names no repository"),
        ("hf-hub:a/b/c", "names no repository"),
        ("hf-hub:owner/na--me", "names no repository; write hf-hub:owner/name or"),
        ("hf-hub:owner/na..me", "names no repository; write"),
        ("hf-hub:owner/name.", "names no repository; write"),
        ("hf-hub:owner/-name", "names no repository; write"),
        ("hf-hub:owner/name.git", "names no repository; write"),
        (f"hf-hub:owner/{'n' * 97}", "names no repository; write"),
        ("hf-hub:owner/name@../x", "names no repository"),
        ("hf-hub:owner/name@/etc/passwd", "names no repository"),
        ("hf-hub:owner/name@v?1", "names no repository"),
        ("hf-hub:owner/name@v#1", "names no repository"),
        ("hf-hub:owner/name@v\x1b1", "names no repository"),
        ("hf-hub:owner/name@v\udc801", "names no repository"),
        ("hf-hub:owner/name:a\0.safetensors", "names no repository"),
        ("hf-hub://owner/net", "names no repository; for a repository on the Hub write hf-hub:owner/net$"),
        ("hf-hub:owner/net/", "names no repository; for a repository on the Hub write hf-hub:owner/net$"),
        ("hf-hub:hf-hub:owner/net@v1", "names no repository; for a repository on the Hub write hf-hub:owner/net@v1$"),
        ("hf-hub:a/b@", "names no repository"),
        ("hf-hub:a/b@x y", "names no repository"),
        ("hf-hub:../b", "names no repository"),
        ("hf-hub:a/b:pytorch_model.bin", r"srzoo loads \.safetensors files"),
        ("hf-hub:a/b:../../x.safetensors", r"srzoo loads \.safetensors files"),
        ("hf-hub:a/b:/etc/x.safetensors", r"srzoo loads \.safetensors files"),
    ],
)
def test_what_names_no_weight_file_of_a_repository_is_refused(text, told):
    for ask in (srzoo.load_model, srzoo.create_model, registry.weight_file):
        with pytest.raises(ValueError, match=told):
            ask(text)


# The Hub: each function that starts with `in_child` runs in a fresh process, by its source

SPAWNER = """
import json, os, signal, ssl, sys, time, traceback
import srzoo, srzoo.cli
assert "huggingface_hub" not in sys.modules
import huggingface_hub, huggingface_hub.file_download, huggingface_hub.errors
for name in [name for name in sys.modules if name.partition(".")[0] == "huggingface_hub"]:
    del sys.modules[name]  # it reads its switches when it is imported: in each child; what it imports stays
srzoo.list_models()  # reads the catalog
certificates = ssl.create_default_context()
ssl.create_default_context = lambda *_, **__: certificates  # 60 ms a process, and there is no https here
signal.signal(signal.SIGCHLD, signal.SIG_IGN)
for line in sys.stdin:
    task = json.loads(line)
    if os.fork():
        continue
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    os.environ.update(task["env"])
    log = os.open(task["out"] + ".log", os.O_CREAT | os.O_WRONLY)
    os.dup2(log, 1), os.dup2(log, 2)
    sleep = time.sleep
    time.sleep = lambda seconds: sleep(seconds / 50)  # the client waits for seconds before it tries again
    try:
        space = {"Any": object}
        exec(task["code"], space)
        answer = {"value": space[task["name"]](**task["arguments"])}
    except BaseException:
        answer = {"error": traceback.format_exc()}
    sys.stdout.flush(), sys.stderr.flush()
    with open(task["out"] + ".part", "w") as file:
        json.dump(answer, file)
    os.rename(task["out"] + ".part", task["out"])
    os._exit(0)
"""


@dataclass
class Child:
    """A process that runs a function."""

    out: Path

    def value(self) -> Any:
        """What the function returned."""
        deadline = time.monotonic() + 60
        while not self.out.exists() and time.monotonic() < deadline:
            time.sleep(0.01)
        answer = json.loads(self.out.read_text())
        assert "error" not in answer, answer["error"]
        return answer["value"]

    def log(self) -> str:
        return Path(f"{self.out}.log").read_text()


@pytest.fixture(scope="module")
def spawner() -> Iterator[subprocess.Popen[str]]:
    """A process that has imported torch and srzoo, and forks."""
    if not hasattr(os, "fork"):
        pytest.skip("these tests fork")
    kept = {key: value for key, value in os.environ.items() if not key.startswith(("HF_", "HUGGING"))}
    env = {**kept, "OMP_NUM_THREADS": "1", "NO_PROXY": "127.0.0.1", "HF_HUB_DISABLE_XET": "1", "HF_HUB_OFFLINE": "0"}
    process = subprocess.Popen([sys.executable, "-c", SPAWNER], stdin=subprocess.PIPE, text=True, env=env)
    yield process
    process.communicate()


@pytest.fixture
def start(spawner, local, tmp_path) -> Callable[..., Child]:
    """Start a function in a child, with environment variables; its home of the client is the test's own."""

    def started(function: Callable[..., Any], env: dict[str, str] | None = None, **arguments: Any) -> Child:
        out = tmp_path / f"child{len(list(tmp_path.glob('child*')))}"
        out.with_name(f"{out.name}.log").touch()
        task = {
            "env": {"HF_HOME": str(tmp_path / "home"), "HF_ENDPOINT": local.url, **(env or {})},
            "code": inspect.getsource(function),
            "name": function.__name__,
            "arguments": arguments,
            "out": str(out),
        }
        spawner.stdin.write(json.dumps(task) + "\n")
        spawner.stdin.flush()
        return Child(out)

    return started


@pytest.fixture
def local() -> Iterator[Any]:
    """A hub on this machine, see tests/hub_server.py."""
    spec = importlib.util.spec_from_file_location("hub_server", Path(__file__).with_name("hub_server.py"))
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["hub_server"] = module  # dataclasses look themselves up
    spec.loader.exec_module(module)
    with module.serving() as server:
        yield server


@dataclass(frozen=True)
class Sample:
    """A repository with two commits of an 8-wide EDSR: `v1`, and `main` with other weights."""

    old: str
    new: str
    sha256: dict[str, str]


@pytest.fixture
def sample(local, tmp_path) -> Sample:
    repo = local.repo("owner/name")
    commits, hashes = [], {}
    for refs, seed in ((("v1",), 1), (("main",), 2)):
        torch.manual_seed(seed)
        path = tmp_path / "model.safetensors"
        model = srzoo.create_model("edsr_baseline_x2", width=8, num_blocks=2)
        srzoo.save_model(model, path, header=Header(model="", license=f"L{seed}"))
        files = {"model.safetensors": path.read_bytes(), "half.safetensors": b"", "README.md": b"# A model"}
        srzoo.save_model(model, path, dtype=torch.float16)
        files["half.safetensors"] = path.read_bytes()
        commits.append(repo.commit(files, *refs))
        path.write_bytes(files["model.safetensors"])
        hashes[commits[-1]] = file_sha256(path)
        path.unlink()
    return Sample(*commits, hashes)


def in_child_load(name: str, local_files_only: bool = False) -> list[str]:
    import logging

    import srzoo

    logging.basicConfig(format="srzoo: %(message)s")
    logging.getLogger("srzoo").setLevel(logging.INFO)
    model = srzoo.load_model(name, local_files_only=local_files_only)
    return [model.origin.name, model.origin.license]


def in_child_fail(name: str, **options: bool) -> list[str]:
    import srzoo

    try:
        srzoo.load_model(name, **options)
    except Exception as error:
        return [type(error).__name__, str(error), type(error.__cause__).__name__]
    raise AssertionError("no error")


def blobs(tmp_path: Path) -> list[Path]:
    found = (tmp_path / "home").glob("hub/models--*/blobs/*")
    return sorted(path for path in found if path.suffix != ".incomplete")  # early clients keep these, and go on later


def flip_last_byte(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)


def test_a_repository_is_fetched_once_then_only_its_revision_is_asked_for(start, local, sample):
    child = start(in_child_load, name="hf-hub:owner/name")
    assert child.value() == [f"hf-hub:owner/name@{sample.new}", "L2"]
    assert local.asked() == ["HEAD", "HEAD", "GET storage"]
    assert f"srzoo: getting hf-hub:owner/name@main from {local.url}\n" == child.log()  # no progress bar in a file
    assert start(in_child_load, name="hf-hub:owner/name").value() == [f"hf-hub:owner/name@{sample.new}", "L2"]
    assert local.asked() == ["HEAD"]


def test_a_pinned_revision_in_the_cache_needs_no_request(start, local, sample):
    for asked in (["HEAD", "HEAD", "GET storage"], []):
        child = start(in_child_load, name=f"hf-hub:owner/name@{sample.old}")
        assert child.value() == [f"hf-hub:owner/name@{sample.old}", "L1"]
        assert local.asked() == asked


def test_a_branch_that_moves_is_followed_and_a_tag_is_found(start, local, sample):
    assert start(in_child_load, name="hf-hub:owner/name@v1").value() == [f"hf-hub:owner/name@{sample.old}", "L1"]
    assert start(in_child_load, name="hf-hub:owner/name").value()[1] == "L2"
    local.repos["owner/name"].refs["main"] = sample.old
    local.asked()
    assert start(in_child_load, name="hf-hub:owner/name").value()[1] == "L1"
    assert "GET storage" not in local.asked()


def in_child_names() -> dict[str, Any]:
    import torch

    import srzoo
    from srzoo.registry import model_info, open_model, weight_file

    def failure(call, *args, **options):
        try:
            call(*args, **options)
        except (TypeError, ValueError) as error:
            return [type(error).__name__, str(error)]

    name = "hf-hub:owner/name@v1"
    whole, created = srzoo.load_model(name), srzoo.create_model(name, pretrained=True)
    lr = torch.rand(1, 3, 4, 5)
    return {
        "same": [torch.equal(whole(lr), model(lr)) for model in (created, open_model(name))],
        "training": created.training,
        "half": srzoo.load_model(f"{name}:half.safetensors").origin.name,
        "file": weight_file(name).name,
        "fits": srzoo.create_model(name, res_scale=0.5).arguments["res_scale"],
        "shape": failure(srzoo.create_model, name, channels=1),
        "unknown": failure(srzoo.create_model, name, widht=1),
        "scale": failure(srzoo.create_model, name, scale=3),
        "info": failure(model_info, name),
    }


def test_create_load_and_open_take_repositories(start, sample):
    found = start(in_child_names).value()
    assert found["same"] == [True, True]
    assert (found["training"], found["file"], found["fits"]) == (False, "model.safetensors", 0.5)
    assert found["half"] == f"hf-hub:owner/name@{sample.old}:half.safetensors"
    assert found["shape"][0] == "ValueError"
    assert f"hf-hub:owner/name@{sample.old} does not fit EDSR: " in found["shape"][1]
    assert found["unknown"] == ["TypeError", "edsr_baseline_x2 takes no argument 'widht'; did you mean width?"]
    assert found["scale"] == ["ValueError", "edsr_baseline_x2 upscales by 2, scale=3 was given; take another name"]
    assert found["info"][0] == "ValueError"


def in_child_load_in_pieces(name: str) -> str:
    from huggingface_hub import constants

    import srzoo

    constants.DOWNLOAD_CHUNK_SIZE = 500  # the client writes pieces of 10 MB, and resumes after the last one
    for _ in range(2):
        try:
            return srzoo.load_model(name).origin.license
        except ConnectionError:  # early clients resume at the next call
            continue
    return srzoo.load_model(name).origin.license


def test_a_cut_connection_is_resumed_where_it_broke(start, local, sample):
    local.cuts = [1000, 2000]
    assert start(in_child_load_in_pieces, name="hf-hub:owner/name").value() == "L2"
    ranges = [request.range for request in local.requests if request.path.startswith("/blob/")]
    assert ranges == ["", "bytes=1000-", "bytes=3000-"]


def test_a_connection_that_always_breaks_is_given_up_and_nothing_is_taken_for_whole(start, local, sample, tmp_path):
    local.is_cut_always = True
    kind, told, cause = start(in_child_fail, name="hf-hub:owner/name").value()
    assert (kind, cause) == ("ConnectionError", "RemoteProtocolError")
    assert told.startswith(f"{local.url}/owner/name cannot be reached (")
    assert not blobs(tmp_path)


def test_bytes_other_than_announced_are_refused_and_not_kept(start, local, sample, tmp_path):
    local.is_corrupt = True
    kind, told, _ = start(in_child_fail, name="hf-hub:owner/name").value()
    assert kind == "ValueError"
    assert told.endswith("what arrives is not what the Hub announces: try again, without the proxy or mirror between")
    assert f"recorded is {sample.sha256[sample.new]}" in told
    assert not blobs(tmp_path)
    local.is_corrupt = False
    assert start(in_child_load, name="hf-hub:owner/name").value()[1] == "L2"


@pytest.mark.parametrize("change", [flip_last_byte, lambda path: path.write_bytes(path.read_bytes()[:99])])
def test_a_cached_file_that_was_changed_is_told_and_fetched_again(start, local, sample, tmp_path, change):
    name = f"hf-hub:owner/name@{sample.new}"
    start(in_child_load, name=name).value()
    [blob] = blobs(tmp_path)
    whole = blob.read_bytes()
    change(blob)
    kind, told, _ = start(in_child_fail, {"HF_HUB_OFFLINE": "1"}, name=name).value()
    assert kind == "ValueError"
    assert told.endswith("delete it and fetch it again with network")
    local.asked()
    child = start(in_child_load, name=name)
    assert child.value()[1] == "L2"
    assert "model.safetensors is damaged: its sha256 is" in child.log()
    assert local.asked() == ["HEAD", "GET storage"]
    assert blob.read_bytes() == whole


def test_a_file_put_in_place_of_the_cached_link_is_replaced(start, sample, tmp_path):
    """Without a link the cache does not know the hash; the content hash in the header does."""
    name = f"hf-hub:owner/name@{sample.new}"
    start(in_child_load, name=name).value()
    [link] = (tmp_path / "home").glob("hub/models--*/snapshots/*/*")
    data = link.read_bytes()
    link.unlink()
    link.write_bytes(data)
    flip_last_byte(link)
    kind, told, _ = start(in_child_fail, name=name).value()
    assert kind == "ValueError"
    assert "was changed after it was written" in told


def test_offline_takes_the_cache_for_branch_tag_and_commit(start, local, sample):
    offline = {"HF_HUB_OFFLINE": "1"}
    for name in ("hf-hub:owner/name", "hf-hub:owner/name@v1"):
        start(in_child_load, name=name).value()
    local.asked()
    for name in ("hf-hub:owner/name", "hf-hub:owner/name@v1", f"hf-hub:owner/name@{sample.old}"):
        expected = ["L1"] if "@" in name else ["L2"]
        assert start(in_child_load, offline, name=name).value()[1:] == expected
        assert start(in_child_load, name=name, local_files_only=True).value()[1:] == expected
    assert local.asked() == []


def test_offline_without_the_file_says_so_and_asks_nobody(start, local, sample, tmp_path):
    for env, options, switch in (
        ({"HF_HUB_OFFLINE": "1"}, {}, "HF_HUB_OFFLINE"),
        ({}, {"local_files_only": True}, "local_files_only"),
    ):
        kind, told, _ = start(in_child_fail, env, name="hf-hub:owner/name", **options).value()
        assert kind == "FileNotFoundError"
        cache = tmp_path / "home" / "hub"
        assert told.startswith(f"hf-hub:owner/name@main is not in the cache {cache}, and {switch} forbids the network")
    assert local.requests == []


def test_without_a_server_the_cache_serves_with_a_warning_else_it_is_an_error(start, local, sample):
    dead = {"HF_ENDPOINT": "http://127.0.0.1:9"}
    started = time.monotonic()
    kind, told, cause = start(in_child_fail, dead, name="hf-hub:owner/name").value()
    assert (kind, cause) == ("ConnectionError", "ConnectError")
    assert told.startswith("http://127.0.0.1:9/owner/name cannot be reached (")
    assert time.monotonic() - started < 20
    start(in_child_load, name="hf-hub:owner/name").value()
    child = start(in_child_load, dead, name="hf-hub:owner/name")
    assert child.value()[1] == "L2"
    assert f"; commit {sample.new} from the cache is used\n" in child.log()


@pytest.mark.parametrize("status", [429, 503])
def test_a_server_in_trouble_is_tried_again_then_told(start, local, sample, status):
    local.status = status
    kind, told, _ = start(in_child_fail, name="hf-hub:owner/name").value()
    assert kind == "ConnectionError"
    assert str(status) in told
    assert len(local.asked()) > 1


def in_child_fail_each(names: list[str]) -> list[list[str]]:
    import srzoo

    told = []
    for name in names:
        try:
            srzoo.load_model(name)
        except Exception as error:
            told.append([type(error).__name__, str(error)])
        else:
            told.append(["", ""])
    return told


def test_what_is_not_there_or_not_allowed_is_told(start, local, sample, tmp_path):
    url = local.url
    files = dict(local.repos["owner/name"].commits[sample.new])
    for name in ("owner/private", "owner/gated"):
        repo = local.repo(name)
        repo.commit(files, "main")
        repo.token, repo.is_gated = "secret", name == "owner/gated"
    local.tokens = {"secret", "mine"}
    names = ["gone/gone", "owner/name@v9", "owner/name:x.safetensors", "owner/private", "owner/gated"]
    names = [f"hf-hub:{name}" for name in names]
    login = "log in with `hf auth login`, or set HF_TOKEN"
    gone = [
        "FileNotFoundError",
        f"there is no repository at {url}/gone/gone, or it is private; check the name, or {login}",
    ]
    private = [gone[0], gone[1].replace("gone/gone", "owner/private")]
    others = [
        ["FileNotFoundError", f"owner/name has no revision 'v9'; {url}/owner/name/commits/main lists them"],
        ["FileNotFoundError", f"owner/name@main has no file x.safetensors; see {url}/owner/name/tree/main"],
    ]
    gated = ["PermissionError", f"owner/gated is gated; accept its terms at {url}/owner/gated, and {login}"]
    homes = [{"HF_HOME": str(tmp_path / f"home{number}")} for number in range(4)]  # one user's cache is not another's
    anonymous = start(in_child_fail_each, homes[0], names=names)
    stranger = start(in_child_fail_each, {**homes[1], "HF_TOKEN": "mine"}, names=names)
    owner = start(in_child_fail_each, {**homes[2], "HF_TOKEN": "secret"}, names=names)
    unknown = start(in_child_fail_each, {**homes[3], "HF_TOKEN": "nobody"}, names=names[-2:])
    assert anonymous.value() == [gone, *others, private, gated]
    assert stranger.value() == [gone, *others, private, gated]
    assert owner.value() == [gone, *others, ["", ""], ["", ""]]
    for kind, told in unknown.value():
        assert kind == "PermissionError"
        assert "refuses the token it was given (" in told
    assert "secret" not in {request.token for request in local.requests if request.path.startswith("/blob/")}


@pytest.mark.parametrize(
    ("status", "token", "kind", "told"),
    [
        (401, "mine", "PermissionError", "refuses the token it was given ("),
        (403, "", "PermissionError", "refuses to answer without a token ("),
        (404, "", "FileNotFoundError", "has no model.safetensors at main ("),
        (410, "", "ConnectionError", "answers, but with an error ("),
    ],
)
def test_an_answer_that_is_an_error_is_told_as_such_and_without_password(start, local, status, token, kind, told):
    """The server gives no X-Error-Code, as a mirror or proxy does."""
    local.status = status
    local.tokens = {"mine"}
    env = {"HF_ENDPOINT": local.url.replace("://", "://user:passw0rd@"), "HF_TOKEN": token}
    found, sentence, _ = start(in_child_fail, env, name="hf-hub:owner/name").value()
    assert found == kind
    assert sentence.startswith(f"{local.url}/owner/name {told}")
    assert str(status) in sentence
    assert "passw0rd" not in sentence


def test_passwords_and_signatures_are_not_shown():
    signed = "Client error for url: 'https://me:pw@host:80/a/b@v1?Signature=s3cret&Key=k' (Request ID: 7?)"
    assert hub._shown(signed) == "Client error for url: 'https://host:80/a/b@v1' (Request ID: 7?)"
    assert hub._shown("http://p@ss:w@host/x and https://host?a=b.") == "http://host/x and https://host"


def in_child_bare() -> list[str]:
    from srzoo.hub import HubFile, fetch

    told = []
    for repo in ("owner/na--me", "owner/name.", "owner/" + 200 * "n"):
        try:
            fetch(HubFile(repo))
        except Exception as error:
            told.append(f"{type(error).__name__}: {error}")
    return told


def test_what_the_client_refuses_to_look_up_is_told_in_a_sentence(start, local):
    told = start(in_child_bare).value()
    assert len(told) == 3
    for one in told:
        assert one.startswith("ValueError: hf-hub:owner/n")
        assert " names no repository: " in one
    assert local.requests == []


def test_a_password_in_the_endpoint_is_not_logged(start, local, sample):
    endpoint = {"HF_ENDPOINT": local.url.replace("://", "://user:passw0rd@")}
    child = start(in_child_load, endpoint, name="hf-hub:owner/name")
    child.value()
    assert child.log() == f"srzoo: getting hf-hub:owner/name@main from {local.url}\n"


def test_two_processes_at_once_fetch_it_once(start, local, sample, tmp_path):
    local.delay = 0.5
    children = [start(in_child_load, name="hf-hub:owner/name") for _ in range(2)]
    assert [child.value()[1] for child in children] == ["L2", "L2"]
    assert local.asked().count("GET storage") == 1
    [blob] = blobs(tmp_path)
    assert file_sha256(blob) == sample.sha256[sample.new]


def in_child_full_disk(name: str) -> list[str]:
    import resource

    import srzoo

    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4000, limits[1]))
    try:
        srzoo.load_model(name)
    except OSError as error:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        return [type(error).__name__, str(error)]


def test_a_full_disk_is_told_and_no_part_is_taken_for_the_file(start, sample, tmp_path):
    pytest.importorskip("resource")
    kind, told = start(in_child_full_disk, name="hf-hub:owner/name").value()
    assert kind == "OSError"
    cache = tmp_path / "home" / "hub"
    assert told == f"the cache {cache} cannot be used (File too large); make room, or name another folder with HF_HOME"
    assert not blobs(tmp_path)


# Rows of the registry


def in_child_row(hub: str, sha256: str, local_files_only: bool = False) -> list[Any]:
    import srzoo
    from srzoo.hub import place
    from srzoo.models.edsr import EDSR

    row = srzoo.Weights(model="toy_x2", tag="t", hub=hub, sha256=sha256, license="MIT", source="us")
    arch = srzoo.Architecture(
        family="toy",
        model=EDSR,
        title="toy",
        paper="https://example.org",
        scales=(2,),
        variants={"toy": dict(width=8, num_blocks=2)},
        weights=(row,),
    )
    srzoo.register(arch)
    before = place(row)
    try:
        model = srzoo.create_model("toy_x2", pretrained=True, local_files_only=local_files_only)
    except (OSError, ValueError) as error:
        return [before, type(error).__name__, str(error)]
    return [before, model.origin.name, place(row), srzoo.list_models("toy*", pretrained=True)]


def test_a_row_of_the_hub_is_fetched_once_and_listed(start, local, sample):
    row = {"hub": f"owner/name@{sample.old}", "sha256": sample.sha256[sample.old]}
    assert start(in_child_row, **row, local_files_only=True).value()[:2] == ["hub", "FileNotFoundError"]
    assert local.asked() == []
    assert start(in_child_row, **row).value() == ["hub", "toy_x2.t", "cache", ["toy_x2"]]
    local.asked()
    assert start(in_child_row, {"HF_HUB_OFFLINE": "1"}, **row).value() == ["cache", "toy_x2.t", "cache", ["toy_x2"]]
    assert local.asked() == []


def test_a_row_with_another_hash_than_its_repository_is_refused(start, local, sample):
    row = {"hub": f"owner/name@{sample.old}", "sha256": SHA256_OF_ABC}
    for asked in (["HEAD", "HEAD", "GET storage"], []):
        _, kind, told = start(in_child_row, **row).value()
        assert kind == "ValueError"
        assert f"its sha256 is {sample.sha256[sample.old]}, recorded is {SHA256_OF_ABC}; the repository holds" in told
        assert local.asked() == asked


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (dict(hub="owner/name", sha256=SHA256_OF_ABC), r"m_x2\.t .* give hub as owner/name@ with a 40-digit commit"),
        (dict(hub="owner/name@main", sha256=SHA256_OF_ABC), "with a 40-digit commit"),
        (dict(hub=f"owner/name@{COMMIT}", sha256=""), "and the sha256 of the file"),
        (dict(file=""), "have neither file nor hub"),
    ],
)
def test_a_row_that_could_change_or_is_nowhere_is_refused(change, told):
    arch = registry.architectures()["edsr"]
    row = replace(ROW, **change)
    wrong = replace(arch, family="m", variants={"m": {}}, scales=(2,), weights=(row,))
    with pytest.raises(ValueError, match=told):
        srzoo.register(wrong)
    assert not srzoo.list_models("m_x2")


# What a repository may hold


def test_what_srzoo_cannot_build_is_refused_by_name(start, local, tmp_path):
    from safetensors.torch import save_file

    path = tmp_path / "x.safetensors"
    names = []
    for name, header in {
        "plain": None,
        "plugin": Header(model="plugnet_x2", requires="plugnet 1.0"),
        "evil": Header(model="plugnet_x2", requires="plugnet; rm -rf ~"),
        "later": Header(model="edsr_baseline_x2", arguments={"scale": 2, "window": 8}),
        "broken": Header(model="edsr_baseline_x2", arguments={"scale": 2, "width": -8}),
    }.items():
        if header is None:
            save_file({"x": torch.zeros(1)}, path)
        else:
            write_weights(path, {"x": torch.zeros(1)}, header)
        local.repo(f"owner/{name}").commit({"model.safetensors": path.read_bytes()}, "main")
        names.append(f"hf-hub:owner/{name}")
    plain, plugin, evil, later, broken = start(in_child_fail_each, names=names).value()
    assert {kind for kind, _ in (plain, plugin, evil, later, broken)} == {"ValueError"}
    assert "has no srzoo header; turn other projects' files into weight files with `srzoo convert`" in plain[1]
    assert plugin[1].endswith("its header names the package plugnet 1.0: install that if you trust it")
    assert evil[1].endswith("install the package that has it, or add it with srzoo.register")
    assert "owner/later" in later[1]
    assert "cannot be built as its header says: edsr_baseline_x2 takes no argument 'window'" in later[1]
    assert "cannot be built as its header says: " in broken[1]


def in_child_command(words: list[str]) -> int:
    from srzoo.cli import main

    return main(words)


def test_the_command_line_takes_repositories_and_tells_faults_in_one_line(start, local, sample):
    child = start(in_child_command, words=["info", "hf-hub:owner/name", "--json"])
    assert child.value() == 0
    facts = json.loads(child.log().partition("\n")[2])
    assert (facts["model"], facts["license"], facts["sha256"]) == ("edsr_baseline_x2", "L2", sample.sha256[sample.new])
    child = start(in_child_command, words=["info", "hf-hub:owner/gone"])
    assert child.value() == 2
    assert child.log().startswith(f"srzoo: there is no repository at {local.url}/owner/gone, or it is private; ")
    assert child.log().count("\n") == 1
