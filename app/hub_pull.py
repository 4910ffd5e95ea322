"""`millrace models pull`: shows what will be fetched and under which licence, and fetches it."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from ..models.released import Part, Released, folder_of
from . import hub, hub_lock
from .errors import CallError, CommandError, Interrupted
from .hub import RemoteFile
from .hub_lock import PARTIAL, Kept

SPARE = 256 << 20
"""Bytes that stay free on the disk."""
LINKED_FROM = 1 << 20
"""Bytes from which on a file that another model has already is not fetched again."""


@dataclass(frozen=True, slots=True)
class Wish:
    """What to pull.

    Attributes:
        model: which.
        root: where models lie.
        source: a local folder to take the files from, or None for the hub.
        revision: of the repositories; "" for the newest.
        agreed: asked for without a question (--yes).
    """

    model: Released
    root: Path
    source: Path | None = None
    revision: str = ""
    agreed: bool = False

    @property
    def folder(self) -> Path:
        return folder_of(self.model.name, self.root)


@dataclass(frozen=True, slots=True)
class Item:
    """One file to come.

    Attributes:
        kept: what is known of it.
        bring: puts it at a place.
        source: where it lies on this machine; None on the hub.
    """

    kept: Kept
    bring: Callable[[Path], None]
    source: Path | None = None


def pull(wish: Wish, ask: Callable[[str], bool] | None) -> None:
    """Fetch what is missing of a model. What is whole already stays.

    Args:
        ask: puts a question to the user; None where there is nobody to ask.

    Raises:
        CallError: nobody agreed to licence and size.
        CommandError: it failed; whole files and parts of files are kept for the next try.
    """
    items = _items(wish)
    known = _known(wish.folder)
    todo = [item for item in items if not _here(item, known, wish.folder)]
    _show(wish, items, todo)
    if todo:
        _check_disk(wish, todo)
        _agree(wish, todo, ask)
        try:
            with _alone(wish.folder):
                _fetch_all(wish, items)
        except KeyboardInterrupt:
            raise Interrupted("interrupted; pull again to go on from here") from None
    print(f"{wish.model.name} is complete in {wish.folder}")


def _items(wish: Wish) -> list[Item]:
    if wish.source is not None:
        return [item for part in wish.model.parts for item in _local(part, wish.source)]
    return [item for part in wish.model.parts for item in _remote(part, wish)]


def _remote(part: Part, wish: Wish) -> Iterator[Item]:
    for file in hub.files_of(part, wish.revision or None):
        name = part.local(file.path)
        expected = part.sha256.get(name, "")
        if expected and file.sha256 and file.sha256 != expected and not wish.revision:
            raise CommandError(
                f"{file.repo}/{file.path} is not the file that this version knows: its sha256 is "
                f"{file.sha256} instead of {expected}. If you trust the new one, say so with "
                f"--revision {file.commit}"
            )
        yield Item(_kept(part, name, file), _bringer(file))


def _kept(part: Part, name: str, file: RemoteFile) -> Kept:
    return Kept(
        part.role,
        name,
        file.bytes,
        file.sha256,
        file.repo,
        file.path,
        file.commit,
        file.licence or part.licence,
    )


def _bringer(file: RemoteFile) -> Callable[[Path], None]:
    def bring(partial: Path) -> None:
        hub.fetch(file, partial)

    return bring


def _local(part: Part, source: Path) -> Iterator[Item]:
    """The files of a part in a folder that somebody filled: in the layout here, or as clones of the
    repositories, each in a folder of its name or alone."""
    places = (
        (source / part.role, True),
        (source / part.repo, False),
        (source / part.repo.rpartition("/")[2], False),
        (source, False),
    )
    tried = []
    for place, ours in places:
        patterns = tuple(map(part.local, part.remote())) if ours else part.remote()
        found = [sorted(place.glob(pattern)) for pattern in patterns]
        missing = [p for p, files in zip(patterns, found, strict=True) if not files]
        if any(found) and not any("*" not in pattern for pattern in missing):
            for path in (path for files in found for path in files):
                inside = path.relative_to(place).as_posix()
                yield _copied(part, inside if ours else part.local(inside), path)
            return
        tried += [str(place / pattern) for pattern in missing]
    raise CommandError(f"{source} has no {part.role} of this model; looked for {', '.join(tried)}")


def _copied(part: Part, name: str, path: Path) -> Item:
    def bring(partial: Path) -> None:
        _link(path, partial)

    # Its checksum is taken when it has come: it may be tens of gigabytes.
    kept = Kept(part.role, name, path.stat().st_size, "", "", "", "", part.licence)
    return Item(kept, bring, path)


def _here(item: Item, known: dict[tuple[str, str], Kept], folder: Path) -> bool:
    """Whether the file lies there already, by name, size and what the lock file says."""
    kept = item.kept
    before = known.get((kept.role, kept.file))
    if before is None or not before.whole(folder) or before.bytes != kept.bytes:
        return False
    if item.source is not None:
        return before.sha256 == hub.digest(item.source)
    return before.sha256 == kept.sha256 if kept.sha256 else before.commit == kept.commit


def _show(wish: Wish, items: list[Item], todo: list[Item]) -> None:
    origin = str(wish.source) if wish.source else hub.endpoint()
    print(f"{wish.model.name}: {wish.model.about}")
    for part in wish.model.parts:
        own = [item.kept for item in items if _of(item.kept, part)]
        licence = " / ".join(dict.fromkeys([*(kept.licence for kept in own), part.licence]))
        size = size_text(sum(kept.bytes for kept in own))
        print(f"  {part.role:<13} {part.repo}  {size}  licence: {licence}")
    need = sum(item.kept.bytes for item in todo)
    print(f"  {size_text(need)} to fetch from {origin} to {wish.folder}")


def _of(kept: Kept, part: Part) -> bool:
    return kept.role == part.role and (not kept.repo or kept.repo == part.repo)


def _check_disk(wish: Wish, todo: list[Item]) -> None:
    need = sum(item.kept.bytes for item in todo) - _partly_here(wish.folder)
    place = wish.folder
    while not place.exists():
        place = place.parent
    free = shutil.disk_usage(place).free
    if need + SPARE > free:
        raise CommandError(
            f"{wish.model.name} needs {size_text(need)} more on the disk of {place}, which has "
            f"{size_text(free)} free ({size_text(SPARE)} stay free); make room, or name a folder "
            "on another disk with --dir (or MILLRACE_MODELS)"
        )


def _partly_here(folder: Path) -> int:
    return sum(f.stat().st_size for f in (folder / PARTIAL).rglob("*") if f.is_file())


def _agree(wish: Wish, todo: list[Item], ask: Callable[[str], bool] | None) -> None:
    if wish.agreed:
        return
    if ask is None:
        raise CallError("nobody can be asked here; read the licences above and add --yes")
    amount = size_text(sum(item.kept.bytes for item in todo))
    if not ask(f"Fetch {amount} under these licences?"):
        raise CallError("nothing was fetched")


def _known(folder: Path) -> dict[tuple[str, str], Kept]:
    return {(file.role, file.file): file for file in hub_lock.read(folder) or ()}


def _fetch_all(wish: Wish, items: list[Item]) -> None:
    known = _known(wish.folder)  # again, as another pull may just have ended
    done: dict[tuple[str, str], Kept] = {}
    todo = []
    for item in items:
        key = item.kept.role, item.kept.file
        here = _here(item, known, wish.folder)
        done[key] = known[key] if here else item.kept
        todo += [] if here else [item]
    # Written before and after each file, so that a break leaves a true account of what is here.
    hub_lock.write(wish.folder, wish.model.name, tuple(done.values()))
    for item in todo:
        done[item.kept.role, item.kept.file] = _bring(wish, item)
        hub_lock.write(wish.folder, wish.model.name, tuple(done.values()))
    shutil.rmtree(wish.folder / PARTIAL, ignore_errors=True)


def _bring(wish: Wish, item: Item) -> Kept:
    """One file to its final name, whole and checked; half a file never has that name."""
    kept, target = item.kept, item.kept.at(wish.folder)
    suffix = (kept.sha256 or kept.commit)[:12]
    partial = wish.folder / PARTIAL / kept.role / f"{kept.file}.{suffix}"
    twin = hub_lock.twin(wish.root, kept.sha256) if kept.bytes >= LINKED_FROM else None
    try:
        partial.parent.mkdir(parents=True, exist_ok=True)
        if twin is not None and twin != target and hub.digest(twin) == kept.sha256:
            print(f"  {kept.role}/{kept.file}: the same as {twin}, linked", file=sys.stderr)
            _link(twin, partial)
        else:
            item.bring(partial)
        summed = kept if kept.sha256 else kept.summed(hub.digest(partial))
        target.parent.mkdir(parents=True, exist_ok=True)
        os.replace(partial, target)
    except OSError as error:
        raise CommandError(f"{target}: {error.strerror or error}; choose another --dir") from error
    return summed


def _link(path: Path, target: Path) -> None:
    """A second name for the file where the disk can, a copy elsewhere."""
    target.unlink(missing_ok=True)
    try:
        os.link(path.resolve(), target)
    except OSError:
        shutil.copyfile(path, target)


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Nobody else pulls into the same folder.

    Raises:
        CommandError: somebody does, or the folder cannot be made.
    """
    from filelock import FileLock, Timeout

    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = FileLock(folder / ".pulling", timeout=0)
        lock.acquire()
    except Timeout as error:
        raise CommandError(f"another pull into {folder} is running; wait for it") from error
    except OSError as error:
        raise CommandError(f"{folder}: {error.strerror or error}; choose another --dir") from error
    try:
        yield
    finally:
        lock.release()


def size_text(size: float) -> str:
    """ "5.7 GB", in the units of the hub's pages."""
    for unit in ("bytes", "kB", "MB"):
        if size < 1000:
            return f"{size:.0f} {unit}" if unit in ("bytes", "kB") else f"{size:.1f} {unit}"
        size /= 1000
    return f"{size:.1f} GB"
