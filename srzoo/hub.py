"""Where weight files come from: the package, a folder, the local cache of the Hub, the Hub itself."""

import errno
import logging
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Literal

from srzoo.architecture import Weights
from srzoo.version import __version__
from srzoo.weights import FOREIGN, file_sha256

LOGGER = logging.getLogger("srzoo")
PRETRAINED = Path(__file__).parent / "pretrained"
HUB = "hf-hub:"
FOLDER = "local-dir:"
FILE = "model.safetensors"
"""The weight file of a repository or a folder."""
PART = r"\w(?:[\w.-]*\w)?"
PATTERN = re.compile(rf"(?P<repo>{PART}/{PART})(?:@(?P<revision>[^\s:@?#]+))?(?::(?P<file>[^\s:]+))?", re.ASCII)
PREFIX = re.compile(r"(?:(?:hf[-_]hub|hf|hub):/*|https?://[^/]+/(?!datasets/|spaces/))+", re.IGNORECASE)
"""Ways in which people begin the address of a repository."""
MOST_LETTERS = 96
CHECKSUM = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True)
class HubFile:
    """A file of a repository on the Hugging Face Hub."""

    repo: str
    """`owner/name`."""
    revision: str = "main"
    """Branch, tag or 40-digit commit."""
    file: str = FILE
    """Path inside the repository."""
    kind: Literal["model", "dataset"] = "model"

    @classmethod
    def parse(cls, text: str) -> "HubFile":
        """The weight file that `owner/name`, `owner/name@revision` or `owner/name@revision:file` names.

        Args:
            text: With or without `hf-hub:` before it.

        Raises:
            ValueError: If it is not written so, or the file does not end in .safetensors.

        Examples:
            >>> HubFile.parse("hf-hub:owner/name@v1.0")
            HubFile(repo='owner/name', revision='v1.0', file='model.safetensors', kind='model')
            >>> str(HubFile.parse("owner/name@v1.0:half.safetensors"))
            'hf-hub:owner/name@v1.0:half.safetensors'
        """
        found = _parts(text.removeprefix(HUB))
        if found is None:
            hint = spelling_hint(text) or f"; write {HUB}owner/name or {HUB}owner/name@revision"
            raise ValueError(f"{text!r} names no repository{hint}")
        file = found["file"] or FILE
        if not file.endswith(".safetensors") or ".." in file.split("/") or file.startswith("/"):
            raise ValueError(
                f"{text!r} names {file!r}; srzoo loads .safetensors files, by their path in the repository"
            )
        return cls(found["repo"], found["revision"] or "main", file)

    @property
    def is_pinned(self) -> bool:
        """Whether the revision is a commit, which never changes."""
        return re.fullmatch(r"[0-9a-f]{40}", self.revision) is not None

    def at(self, path: Path) -> "HubFile":
        """The same file, pinned to the commit whose folder in the cache holds `path`."""
        return HubFile(self.repo, path.parents[self.file.count("/")].name, self.file, self.kind)

    def __str__(self) -> str:
        return f"{HUB}{self.repo}@{self.revision}" + ("" if self.file == FILE else f":{self.file}")


def _parts(text: str) -> re.Match[str] | None:
    """Repository, revision and file that a text without `hf-hub:` names, if the Hub could have them."""
    found = PATTERN.fullmatch(text)
    if found is None or not text.isprintable():
        return None
    repo, revision = found["repo"], found["revision"] or ""
    is_wrong = (
        repo.endswith(".git") or "--" in repo or ".." in text.partition(":")[0] or revision[:1] in ("/", ".", "-")
    )
    return None if is_wrong or max(map(len, repo.split("/"))) > MOST_LETTERS else found


def find_weights(row: Weights, *, local_files_only: bool = False) -> Path:
    """Path of a weight file, its hash checked: in the package, else in the cache of the Hub, else fetched from there.

    Args:
        row: The record of the file.
        local_files_only: Do not use the network.

    Raises:
        FileNotFoundError: If the file is neither in the package nor on the Hub.
        ValueError: If its hash is not the recorded one.
        OSError: If it cannot be fetched, as `fetch` says.
    """
    if (path := _bundled(row)) is not None:
        if (found := file_sha256(path)) != row.sha256:
            raise ValueError(f"{path} is damaged: its sha256 is {found}, recorded is {row.sha256}; install srzoo again")
        return path
    if row.hub:
        return fetch(HubFile.parse(row.hub), row.sha256, local_files_only=local_files_only)
    try:
        folder = files(row.package)
    except ModuleNotFoundError as error:
        raise FileNotFoundError(f"package {row.package} with {row.file} is not installed") from error
    raise FileNotFoundError(f"{folder / row.file} is missing from the installation; install srzoo again")


def place(row: Weights) -> Literal["package", "cache", "hub"]:
    """Where a weight file would be taken from now, without touching the network."""
    if not row.hub or _bundled(row) is not None:
        return "package"
    return "cache" if _cached(HubFile.parse(row.hub)) is not None else "hub"


def _bundled(row: Weights) -> Path | None:
    """A row's file in its package, if it is there."""
    if not row.file:
        return None
    try:
        path = Path(str(files(row.package) / row.file))
    except ModuleNotFoundError:
        return None
    return path if path.is_file() else None


def find_in_folder(folder: str | Path) -> Path:
    """Path of the weight file of a folder, `model.safetensors`.

    Raises:
        FileNotFoundError: If there is no such folder, or no such file in it.
    """
    folder = Path(folder).expanduser()
    if (folder / FILE).is_file():
        return folder / FILE
    if not folder.is_dir():
        raise FileNotFoundError(f"folder {folder} does not exist{spelling_hint(str(folder))}")
    others = sorted(path.name for path in folder.glob("*.safetensors"))
    pickles = sorted(path.name for path in folder.iterdir() if path.suffix in FOREIGN)
    hint = "srzoo.save_model and `srzoo train` write one"
    if others:
        hint = f"it has {', '.join(others)}: give the path of the one you mean"
    elif pickles:
        hint = f"turn {pickles[0]} into one with `srzoo convert`"
    raise FileNotFoundError(f"folder {folder} has no {FILE}; {hint}")


def spelling_hint(text: str) -> str:
    """How a repository must be written, where a text looks like one; empty for other texts.

    Examples:
        >>> spelling_hint("owner/name")
        '; for a repository on the Hub write hf-hub:owner/name'
        >>> spelling_hint("https://huggingface.co/owner/name/tree/main")
        '; for a repository on the Hub write hf-hub:owner/name'
        >>> spelling_hint("HF-HUB://owner/name/")
        '; for a repository on the Hub write hf-hub:owner/name'
        >>> spelling_hint("photos")
        ''
    """
    text = text.replace("\\", "/")
    begun = PREFIX.match(text)
    name = text if _parts(text) and not text.endswith(".safetensors") else ""
    if begun and (found := re.match(r"[\w.-]+/[\w.-]+(@[^\s/:]+)?(?=[/:]|$)", text[begun.end() :])):
        name = found[0] if _parts(found[0]) else ""
    return f"; for a repository on the Hub write {HUB}{name}" if name else ""


def fetch(source: HubFile, sha256: str = "", *, local_files_only: bool = False) -> Path:
    """Path of a file of the Hub in the local cache, downloaded if it is not there, and checked.

    A pinned revision that is in the cache needs no request. For a branch or a tag, the Hub is asked which commit it
    is; where it does not answer, the cached one is used, with a warning. `HF_HUB_OFFLINE`, `HF_ENDPOINT`, `HF_TOKEN`,
    `HF_HOME` and `HF_HUB_CACHE` are honoured; huggingface_hub reads them when it is first imported.

    Args:
        source: The file.
        sha256: What it must hash to; empty to check against the hash the Hub keeps for it.
        local_files_only: Do not use the network.

    Raises:
        FileNotFoundError: If repository, revision or file do not exist; offline, if the file is not in the cache.
        PermissionError: If the repository is gated, or the cache cannot be written to.
        ConnectionError: If the Hub does not answer.
        ValueError: If the hash is another one.
        OSError: If the disk is full, or the download broke off.
    """
    from huggingface_hub import constants

    offline = local_files_only or constants.HF_HUB_OFFLINE
    with _explained(source):
        cached = _cached(source)
    if offline and cached is None:
        switch = "HF_HUB_OFFLINE" if constants.HF_HUB_OFFLINE else "local_files_only"
        raise FileNotFoundError(
            f"{source} is not in the cache {constants.HF_HUB_CACHE}, and {switch} forbids the network; fetch it once "
            "with network, or copy the cache from a machine that has it"
        )
    with _explained(source):
        path = cached if cached is not None and (offline or source.is_pinned) else _current(source, cached)
        fault = _fault(path, sha256)
        if fault and path == cached and not offline and not _is_intact(path):
            LOGGER.warning("%s is damaged: %s; it is fetched again", path, fault)
            _remove(path)
            path = _download(source.at(path))
            fault = _fault(path, sha256)
        if not fault:
            return path
        if _is_intact(path):
            advice = "the repository holds another file than the record says: update srzoo, or tell its author"
        elif offline:
            advice = "delete it and fetch it again with network"
        else:
            _remove(path)
            advice = "what arrives is not what the Hub announces: try again, without the proxy or mirror between"
        raise ValueError(f"{source} in {path} is not as recorded: {fault}; {advice}")


def _announced(path: Path) -> str:
    """The sha256 that the Hub keeps for a cached file: the cache calls the file behind the link so."""
    name = path.resolve().name
    return name if CHECKSUM.fullmatch(name) else ""


def _is_intact(path: Path) -> bool:
    """Whether a cached file is what the Hub announced; False where that is not known."""
    return file_sha256(path) == _announced(path)


def _fault(path: Path, sha256: str) -> str:
    """How a file's hash differs from what it should be; empty if it does not."""
    wanted = sha256 or _announced(path)
    found = file_sha256(path)
    return f"its sha256 is {found}, recorded is {wanted}" if wanted and found != wanted else ""


def _remove(path: Path) -> None:
    """Take a damaged file out of the cache, with what it links to."""
    path.resolve().unlink(missing_ok=True)
    path.unlink(missing_ok=True)


def _cached(source: HubFile) -> Path | None:
    """The file as the cache has it, for a branch or tag at the commit last seen."""
    from huggingface_hub import try_to_load_from_cache

    found = try_to_load_from_cache(source.repo, source.file, revision=source.revision, repo_type=source.kind)
    return Path(found) if isinstance(found, str) else None


def _current(source: HubFile, cached: Path | None) -> Path:
    """The file at the commit that the revision is now; the cached one if the Hub does not say."""
    from huggingface_hub import errors, get_hf_file_metadata, hf_hub_url

    url = hf_hub_url(source.repo, source.file, repo_type=source.kind, revision=source.revision)
    try:
        commit = get_hf_file_metadata(url, library_name="srzoo", library_version=__version__).commit_hash
    except (errors.RevisionNotFoundError, errors.RemoteEntryNotFoundError):
        raise
    except (OSError, errors.HTTPError) as error:  # pyright: ignore[reportPrivateImportUsage]
        if cached is not None:
            told = _explain(error, source)
            LOGGER.warning("%s; commit %s from the cache is used", told, source.at(cached).revision)
            return cached
        if not _is_passing(error):
            raise
        commit = None  # the client's own retries may yet succeed
    return cached if cached is not None and source.at(cached).revision == commit else _download(source)


def _is_passing(error: Exception) -> bool:
    """Whether an error may be gone in a moment: too many requests, a server that restarts, a slow answer."""
    status = getattr(getattr(error, "response", None), "status_code", None)
    return status in (408, 429, 500, 502, 503, 504) or "Timeout" in type(error).__name__


def _download(source: HubFile) -> Path:
    """The file, through huggingface_hub: resumed when the connection breaks, moved into the cache when it is whole."""
    from huggingface_hub import constants, hf_hub_download

    LOGGER.info("getting %s from %s", source, _shown(constants.ENDPOINT))
    return Path(
        hf_hub_download(
            source.repo,
            source.file,
            revision=source.revision,
            repo_type=source.kind,
            library_name="srzoo",
            library_version=__version__,
        )
    )


@contextmanager
def _explained(source: HubFile) -> Iterator[None]:
    """Turn what the client raises into one sentence that says what to do."""
    from huggingface_hub import errors

    try:
        yield
    except (OSError, errors.HFValidationError, errors.HTTPError) as error:  # pyright: ignore[reportPrivateImportUsage]
        raise _explain(error, source) from error


def _shown(text: str) -> str:
    """A text without what nobody else should read: passwords in addresses, and the signatures after their `?`."""
    return re.sub(r"(://[^\s?'\"]*)\?[^\s'\")]*", r"\1", re.sub(r"://[^\s/?'\"]*@", "://", text))


def _reason(error: BaseException) -> str:
    """The first line of what an error says."""
    return _shown(str(error).strip().partition("\n")[0]) or type(error).__name__


def _explain(error: Exception, source: HubFile) -> OSError | ValueError:
    """The built-in exception, with one sentence, for an exception of the client."""
    from huggingface_hub import constants, errors, get_token

    page = f"{_shown(constants.ENDPOINT)}/{'datasets/' if source.kind == 'dataset' else ''}{source.repo}"
    login = "log in with `hf auth login`, or set HF_TOKEN"
    cause = error.__cause__ if isinstance(error, errors.LocalEntryNotFoundError) else None
    reason = _reason(cause or error)
    status = getattr(getattr(cause or error, "response", None), "status_code", None)
    if isinstance(error, errors.HFValidationError):
        return ValueError(f"{source} names no repository: {reason}")
    if isinstance(error, errors.GatedRepoError):
        return PermissionError(f"{source.repo} is gated; accept its terms at {page}, and {login}")
    if isinstance(error, errors.RepositoryNotFoundError):
        return FileNotFoundError(f"there is no repository at {page}, or it is private; check the name, or {login}")
    if isinstance(error, errors.RevisionNotFoundError):
        return FileNotFoundError(f"{source.repo} has no revision {source.revision!r}; {page}/commits/main lists them")
    if isinstance(error, errors.RemoteEntryNotFoundError):
        return FileNotFoundError(f"{source.repo}@{source.revision} has no file {source.file}; see {page}/tree/main")
    if status in (401, 403):
        refused = "refuses the token it was given" if get_token() else "refuses to answer without a token"
        return PermissionError(f"{page} {refused} ({reason}); {login}")
    if status == 404:
        return FileNotFoundError(f"{page} has no {source.file} at {source.revision} ({reason}); check HF_ENDPOINT too")
    if status is not None:
        return ConnectionError(f"{page} answers, but with an error ({reason}); try again later, or check HF_ENDPOINT")
    if type(error) is OSError and error.errno is None:
        return OSError(f"{source} did not arrive whole ({reason}); try again")
    if isinstance(error, OSError) and error.errno is not None and error.errno != errno.ECONNREFUSED:
        told = f"the cache {constants.HF_HUB_CACHE} cannot be used ({error.strerror or reason})"
        kind = PermissionError if isinstance(error, PermissionError) else OSError
        return kind(f"{told}; make room, or name another folder with HF_HOME")
    return ConnectionError(f"{page} cannot be reached ({reason}); check the network, proxy and HF_ENDPOINT")
