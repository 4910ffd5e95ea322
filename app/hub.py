"""The hub of models: what a repository holds, and fetching one file of it, with clear words when it
fails. Only the command line comes here: nothing that a web client names is ever fetched."""

from __future__ import annotations

import errno
import fnmatch
import hashlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tqdm import tqdm

from ..models.released import Part
from .errors import CommandError

CHUNK = 1 << 20
BAR_FROM = 256 << 20
"""Bytes from which on a check shows its progress."""


@dataclass(frozen=True, slots=True)
class RemoteFile:
    """One file of a repository at one commit.

    Attributes:
        repo, path, commit: where it is.
        bytes: its size.
        sha256: of its content, or "" where the hub tells `blob` only.
        blob: its git object id (small files).
        licence: of the repository, as the hub tells it; "" where it does not.
    """

    repo: str
    path: str
    commit: str
    bytes: int
    sha256: str
    blob: str
    licence: str = ""


def files_of(part: Part, revision: str | None) -> list[RemoteFile]:
    """The files of a part, as the hub lists them now.

    Args:
        revision: branch, tag or commit; None takes the newest.

    Raises:
        CommandError: the hub cannot be asked, or a file is not there; the message says what to do.
    """
    from huggingface_hub import HfApi

    with _explained(part.repo, revision):
        info = HfApi(endpoint(), library_name="millrace").model_info(
            part.repo, revision=revision, files_metadata=True, timeout=30
        )
    licence = next((t[8:] for t in info.tags or [] if t.startswith("license:")), "")
    found = {}
    for entry in info.siblings or []:
        sha256 = entry.lfs.sha256 if entry.lfs is not None else ""
        size, blob = entry.size or 0, entry.blob_id or ""
        found[entry.rfilename] = RemoteFile(
            part.repo, entry.rfilename, info.sha or "", size, sha256, blob, licence
        )
    return _chosen(part, found)


def _chosen(part: Part, found: Mapping[str, RemoteFile]) -> list[RemoteFile]:
    chosen = {}
    for pattern in part.remote():
        matching = {name: file for name, file in found.items() if _fits(name, pattern)}
        if not matching and "*" not in pattern:
            raise CommandError(
                f"{part.repo} has no file {pattern} any more; fetch it elsewhere and name its "
                "folder with --from, or try an older --revision"
            )
        chosen.update(matching)
    if not chosen:
        raise CommandError(f"{part.repo} has none of the files {', '.join(part.remote())}")
    return list(chosen.values())


def fetch(file: RemoteFile, partial: Path) -> None:
    """Bring a file to `partial`, going on where an earlier try ended, and check it.

    Raises:
        CommandError: it could not be fetched, or came damaged (it is removed then).
    """
    from huggingface_hub import hf_hub_url
    from huggingface_hub.file_download import http_get
    from huggingface_hub.utils import build_hf_headers

    partial.parent.mkdir(parents=True, exist_ok=True)
    if partial.exists() and partial.stat().st_size > file.bytes:
        partial.unlink()
    with _explained(file.repo, file.commit, file.path), partial.open("ab") as target:
        # The library's own download begins anew after each break; for files of tens of gigabytes
        # the part that is here already is kept.
        http_get(
            hf_hub_url(file.repo, file.path, revision=file.commit, endpoint=endpoint()),
            target,
            resume_size=target.tell(),
            headers=build_hf_headers(library_name="millrace"),
            expected_size=file.bytes,
            displayed_filename=file.path,
        )
    fault = damage(partial, file)
    if fault:
        partial.unlink()
        raise CommandError(
            f"{file.repo}/{file.path}: {fault}; it was damaged on the way and is removed, "
            "please pull again"
        )


def damage(path: Path, file: RemoteFile) -> str:
    """What differs from what the hub says, or ""."""
    size = path.stat().st_size
    if size != file.bytes:
        return f"it has {size} bytes, the hub says {file.bytes}"
    if file.sha256:
        found = digest(path)
        return "" if found == file.sha256 else f"its sha256 is {found}, the hub says {file.sha256}"
    if file.blob:
        found = digest(path, hashlib.sha1(b"blob %d\0" % size, usedforsecurity=False))
        return "" if found == file.blob else f"its git id is {found}, the hub says {file.blob}"
    return ""


def digest(path: Path, sum: hashlib._Hash | None = None) -> str:
    """Checksum of a file in hexadecimal, sha256 by default; long ones show a bar."""
    sum = sum or hashlib.sha256()
    size = path.stat().st_size
    bar = tqdm(
        total=size,
        unit="B",
        unit_scale=True,
        desc=f"checking {path.name}",
        disable=None if size >= BAR_FROM else True,
    )
    with path.open("rb") as source, bar:
        while chunk := source.read(CHUNK):
            sum.update(chunk)
            bar.update(len(chunk))
    return sum.hexdigest()


def _fits(name: str, pattern: str) -> bool:
    """Like a shell: * does not reach into folders."""
    return name.count("/") == pattern.count("/") and fnmatch.fnmatchcase(name, pattern)


@contextmanager
def _explained(repo: str, revision: str | None, path: str = "") -> Iterator[None]:
    """Turn what goes wrong on the way to the hub into a sentence with a remedy.

    Raises:
        CommandError: instead of every error of the library, of the network and of the disk.
    """
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, HTTPError

    what = f"{repo}/{path}" if path else repo
    try:
        yield
    except HfHubHTTPError as error:
        raise CommandError(_refusal(what, repo, revision, error)) from error
    except HFValidationError as error:
        raise CommandError(f"{what}: {error}") from error
    except HTTPError as error:
        raise CommandError(_unreachable(what, error)) from error
    except OSError as error:
        raise CommandError(_disk_or_network(what, error)) from error


def _refusal(what: str, repo: str, revision: str | None, error: OSError) -> str:
    from huggingface_hub.errors import (
        EntryNotFoundError,
        GatedRepoError,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    status = getattr(getattr(error, "response", None), "status_code", 0)
    if isinstance(error, GatedRepoError):
        return (
            f"{what} is gated ({status}): accept its terms on {page(repo)}, log in with "
            "`hf auth login` (or set HF_TOKEN), and pull again"
        )
    if isinstance(error, RevisionNotFoundError):
        return f"{repo} has no revision {revision} (404); leave --revision out for the newest"
    if isinstance(error, EntryNotFoundError):
        return f"{what} is not there (404); try --revision, or fetch it elsewhere and use --from"
    if status == 401:
        return (
            f"{what} is private, or does not exist (401): check {page(repo)}; if you have access, "
            "log in with `hf auth login` (or set HF_TOKEN)"
        )
    if status == 403:
        return (
            f"{what} may not be read with this login (403): look at {page(repo)} for its terms, or "
            "use a token with the right to read it"
        )
    if status == 404 or isinstance(error, RepositoryNotFoundError):
        return (
            f"{what} is not there (404): it was moved or removed; see {page(repo)}, or fetch it "
            "elsewhere and name its folder with --from"
        )
    if status == 429:
        return f"{what}: the hub has had too many requests from here (429); wait some minutes"
    return f"{what}: the hub has trouble ({status}); pull again later, what is here is kept"


def _unreachable(what: str, error: Exception) -> str:
    kind = type(error).__name__
    if "Timeout" in kind:
        return (
            f"{what}: {endpoint()} did not answer in time ({kind}); pull again, what is here is "
            "kept. HF_HUB_DOWNLOAD_TIMEOUT=60 waits longer"
        )
    return (
        f"{what}: {endpoint()} cannot be reached ({error}); check the connection and the proxy "
        "(HTTPS_PROXY), or fetch the files elsewhere and name their folder with --from. What is "
        "here is kept"
    )


def _disk_or_network(what: str, error: OSError) -> str:
    if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        return (
            f"{what}: the disk is full ({error.strerror}); make room and pull again, or use --dir"
        )
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        return f"{what}: {error.filename} cannot be written ({error.strerror}); use --dir"
    if type(error).__name__ == "OfflineModeIsEnabled":
        return f"{what}: HF_HUB_OFFLINE is set; unset it, or use --from"
    if error.errno is None:
        return f"{what}: {str(error).splitlines()[0]} Pull again"
    return _unreachable(what, error)


def page(repo: str) -> str:
    """Where people read about a repository."""
    return f"{endpoint()}/{repo}"


def endpoint() -> str:
    """The hub's address, as its library has it (HF_ENDPOINT)."""
    from huggingface_hub import constants

    return constants.ENDPOINT
