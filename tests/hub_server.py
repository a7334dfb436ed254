"""A server on 127.0.0.1 that speaks the download side of the Hub's HTTP protocol, with faults to order.

`HEAD` and `GET /owner/name/resolve/REVISION/FILE`: large files (here: .safetensors) are redirected to a second server,
as the Hub does with its storage hosts, and say their hash and size in `X-Linked-*`; small ones come at once. `Range`
is honoured. Refusals carry `X-Error-Code`, by which the client tells them apart.
"""

import hashlib
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote


@dataclass
class Repo:
    """A repository: commits with their files, and what branches and tags point at."""

    commits: dict[str, dict[str, bytes]] = field(default_factory=dict)
    refs: dict[str, str] = field(default_factory=dict)
    token: str = ""
    """Who may read it; empty for everybody."""
    is_gated: bool = False

    def commit(self, files: Mapping[str, bytes], *refs: str) -> str:
        """Add a commit that holds these files, and point branches or tags at it."""
        told = b"".join(name.encode() + data for name, data in sorted(files.items()))
        name = hashlib.sha1(told + str(len(self.commits)).encode()).hexdigest()
        self.commits[name] = dict(files)
        self.refs.update(dict.fromkeys(refs, name))
        return name


@dataclass(frozen=True)
class Request:
    """What a client asked."""

    method: str
    path: str
    token: str = ""
    range: str = ""


@dataclass
class LocalHub:
    """Repositories by `owner/name` (`datasets/owner/name` for those), the requests so far, and the faults in force."""

    url: str = ""
    storage_url: str = ""
    repos: dict[str, Repo] = field(default_factory=dict)
    tokens: set[str] = field(default_factory=set)
    """Tokens of users there are; another one is refused."""
    requests: list[Request] = field(default_factory=list)
    cuts: list[int] = field(default_factory=list)
    """For each coming download, after how many bytes the connection breaks."""
    is_cut_always: bool = False
    is_corrupt: bool = False
    """Send other bytes, as many as announced."""
    status: int = 0
    """Answer everything with this."""
    delay: float = 0.0
    """Seconds before a download starts."""

    def repo(self, name: str) -> Repo:
        return self.repos.setdefault(name, Repo())

    def asked(self) -> list[str]:
        """Methods of the requests for files since the last call, `GET storage` for downloads."""
        about_files = [r for r in self.requests if not r.path.startswith("/api/")]
        told = [f"{r.method} storage" if r.path.startswith("/blob/") else r.method for r in about_files]
        self.requests.clear()
        return told

    def blob(self, digest: str) -> bytes:
        every = (data for repo in self.repos.values() for files in repo.commits.values() for data in files.values())
        return next(data for data in every if hashlib.sha256(data).hexdigest() == digest)


class _Handler(BaseHTTPRequestHandler):
    """What both servers share: a log, and answers with headers."""

    protocol_version = "HTTP/1.1"
    hub: LocalHub

    def log_message(self, *args: object) -> None:
        """No lines on the terminal."""

    def do_HEAD(self) -> None:
        self.handle_request()

    def do_GET(self) -> None:
        self.handle_request()

    def handle_request(self) -> None:
        given = self.headers.get("Authorization") or ""
        token = given.removeprefix("Bearer ") if not given.startswith("Basic ") else ""  # for a proxy on the way
        self.hub.requests.append(Request(self.command, self.path, token, self.headers.get("Range") or ""))
        if self.hub.status:
            return self.answer(self.hub.status)
        return self.respond(token)

    def respond(self, token: str) -> None:
        raise NotImplementedError

    def answer(self, status: int, headers: Mapping[str, str] | None = None, body: bytes = b"", cut: int = -1) -> None:
        self.send_response(status)
        for key, value in {"Content-Length": str(len(body)), **(headers or {})}.items():
            self.send_header(key, value)
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body if cut < 0 else body[:cut])
        if cut >= 0:
            self.close_connection = True

    def refuse(self, status: int, code: str = "", message: str = "", commit: str = "") -> None:
        headers = {"X-Error-Code": code, "X-Error-Message": message, "X-Repo-Commit": commit}
        self.answer(status, {key: value for key, value in headers.items() if value})


class _Api(_Handler):
    """`/owner/name/resolve/REVISION/FILE`."""

    def respond(self, token: str) -> None:
        name, _, rest = self.path.lstrip("/").partition("/resolve/")
        revision, _, file = rest.partition("/")
        repo, revision, file = self.hub.repos.get(name), unquote(revision), unquote(file)
        if token and token not in self.hub.tokens:
            return self.refuse(401, message="Invalid credentials in Authorization header")
        if repo is not None and repo.is_gated and token != repo.token:
            return self.refuse(403 if token else 401, "GatedRepo", "Access to this repository is restricted")
        if repo is None or token != repo.token != "":
            return self.refuse(404 if token else 401, "RepoNotFound", "Repository not found")
        commit = repo.refs.get(revision, revision)
        if commit not in repo.commits:
            return self.refuse(404, "RevisionNotFound", f"Invalid rev id: {revision}")
        data = repo.commits[commit].get(file)
        if data is None:
            return self.refuse(404, "EntryNotFound", "Entry not found", commit)
        if not file.endswith(".safetensors"):
            git = hashlib.sha1(f"blob {len(data)}\0".encode() + data).hexdigest()
            return self.answer(200, {"X-Repo-Commit": commit, "ETag": f'"{git}"'}, data)
        digest = hashlib.sha256(data).hexdigest()
        headers = {
            "Location": f"{self.hub.storage_url}/blob/{digest}?signed=yes",
            "X-Repo-Commit": commit,
            "X-Linked-ETag": f'"{digest}"',
            "X-Linked-Size": str(len(data)),
            "ETag": f'"{digest[:32]}"',
        }
        return self.answer(302, headers)


class _Storage(_Handler):
    """`/blob/HASH`, another host than the API's: it must never see a token."""

    def respond(self, token: str) -> None:
        data = self.hub.blob(self.path.removeprefix("/blob/").partition("?")[0])
        if self.hub.is_corrupt:
            data = bytes(len(data))
        time.sleep(self.hub.delay)
        first = int((self.headers.get("Range") or "bytes=0-").removeprefix("bytes=").partition("-")[0])
        cut = 0 if self.hub.is_cut_always else self.hub.cuts.pop(0) if self.hub.cuts else -1
        if first:
            span = {"Content-Range": f"bytes {first}-{len(data) - 1}/{len(data)}"}
            return self.answer(206, span, data[first:], cut)
        return self.answer(200, {}, data, cut)


@contextmanager
def serving() -> Iterator[LocalHub]:
    """A hub that answers until the block ends."""
    hub = LocalHub()
    servers = []
    for kind in (_Api, _Storage):
        handler = type(kind.__name__, (kind,), {"hub": hub})
        server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        servers.append(server)
    hub.url, hub.storage_url = (f"http://127.0.0.1:{server.server_address[1]}" for server in servers)
    try:
        yield hub
    finally:
        for server in servers:
            server.shutdown()
            server.server_close()
