"""``aioloader cache``: what lies in a loader's cache, whether it is sound, and how to fill and empty it."""

from __future__ import annotations

import os
import shutil
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

from aioloader.cli import warm
from aioloader.cli.counting import counting
from aioloader.errors import OptionError

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterable, Iterator

    from aioloader.storage.cache.folder import CacheFolder

_SHOWN = 20


def add_command(commands: argparse._SubParsersAction[argparse.ArgumentParser], shared: argparse.ArgumentParser) -> None:
    """Add ``cache`` to ``commands``."""
    parser = commands.add_parser(
        "cache",
        help="look into a loader's cache, check it, fill it, or empty it",
        description="Look into the directory that a loader was given as cache=, check every entry, fill it before "
        "training, or empty it. All may be used while loaders run.",
        parents=[shared],
    )
    actions = parser.add_subparsers(title="actions", metavar="ACTION", required=True)
    for name, run, text in (
        ("stat", stat, "entries, bytes and bounds"),
        ("verify", verify, "read and check every entry; 1 where one is spoilt"),
        ("clear", clear, "remove the entries, and nothing else"),
    ):
        action = actions.add_parser(name, help=text, description=f"{text[0].upper()}{text[1:]}.", parents=[shared])
        action.add_argument("directory", metavar="DIR", help="the cache")
        if name == "verify":
            action.add_argument("--delete", action="store_true", help="remove what is spoilt")
        action.set_defaults(run=run)
    warm.add_action(actions, shared)


def stat(options: argparse.Namespace) -> int:
    """Print what there is; 0."""
    from aioloader.storage.cache import content
    from aioloader.storage.cache.entry import BadEntryError
    from aioloader.units import human_bytes

    with closing(_open(options.directory)) as folder:
        entries = body_bytes = disk_bytes = unversioned = strange = 0
        for path in _with_progress("reading headers", content.entry_paths(folder.descriptor)):
            status = content.is_regular(folder.descriptor, path)
            disk_bytes += 0 if status is None else content.blocks(status.st_size)
            try:
                header = folder.header(path)
            except FileNotFoundError:
                continue
            except (BadEntryError, OSError):
                strange += 1
                continue
            entries += 1
            body_bytes += header.body_bytes
            unversioned += not header.is_versioned
        print(
            f"{options.directory}: {entries:,} entries, {human_bytes(body_bytes)} ({human_bytes(disk_bytes)} on disk)"
        )
        _print_bounds(folder)
        if unversioned:
            print(
                f"  {unversioned:,} known by their URL alone: no size, no ETag was listed; a changed object is not seen"
            )
        if strange:
            print(f"  {strange:,} files are no entries though they are named so; see `aioloader cache verify`")
        waiting = [path for paths in content.temporaries(folder.descriptor).values() for path in paths]
        if waiting:
            print(f"  {len(waiting):,} being written")
        _print_strangers(list(content.strangers(folder.descriptor)), "not the cache's")
    return 0


def _print_bounds(folder: CacheFolder) -> None:
    from aioloader.units import human_bytes

    if folder.room is None:
        print(f"  it can only be read: {folder.read_only_because}")
    else:
        count = folder.room.read()
        if count.is_counted and count.bound_bytes:
            taken = f"{human_bytes(count.taken_bytes)} of {human_bytes(count.bound_bytes)} taken"
            print(f"  {taken}, by the last loader's cache_size")
        elif not count.is_counted:
            print("  its room is counted anew by the next loader that writes")
    disk = shutil.disk_usage(folder.path)
    print(f"  {human_bytes(disk.free)} of the file system's {human_bytes(disk.total)} are free; 5 % stay so")


def verify(options: argparse.Namespace) -> int:
    """Check every entry; 0 where all are sound, 1 where one is not."""
    from aioloader.storage.cache import content
    from aioloader.storage.cache.entry import BadEntryError

    sound = spoilt = 0
    with closing(_open(options.directory)) as folder:
        for path in _with_progress("checking", content.entry_paths(folder.descriptor)):
            try:
                folder.check(path)
            except FileNotFoundError:  # removed meanwhile
                continue
            except (BadEntryError, OSError) as exc:
                spoilt += 1
                removed = options.delete and folder.remove(path)
                print(f"{path}: {exc}{'; removed' if removed else ''}")
            else:
                sound += 1
    print(f"{sound:,} entries are sound, {spoilt:,} spoilt")
    return 1 if spoilt else 0


def clear(options: argparse.Namespace) -> int:
    """Remove all that is the cache's; 0, or 1 where something of it is left."""
    from aioloader.storage.cache import content

    removed = left = 0
    with closing(_open(options.directory)) as folder:
        if folder.room is None:
            raise OptionError(
                "DIR", repr(options.directory), f"a cache that can be written: {folder.read_only_because}"
            )
        for path in _with_progress("removing", content.entry_paths(folder.descriptor)):
            if folder.remove(path):
                removed += 1
            else:
                left += 1
        folder.remove_empty_folders()
        strangers = list(content.strangers(folder.descriptor))
    print(f"removed {removed:,} entries")
    _print_strangers(strangers, "not the cache's, and still there")
    return 1 if left else 0


def _print_strangers(strangers: list[str], what: str) -> None:
    if strangers:
        names = ", ".join(map(repr, strangers[:_SHOWN]))
        print(f"  {what}: {names}{' and more' if len(strangers) > _SHOWN else ''}")


def _open(directory: str) -> CacheFolder:
    from aioloader.storage.cache.content import RECORD_FILE
    from aioloader.storage.cache.folder import CacheFolder

    path = Path(directory).absolute()
    if not os.path.lexists(path / RECORD_FILE):
        raise OptionError("DIR", repr(directory), "a directory that a loader was given as cache=")
    try:
        return CacheFolder(str(path), None)
    except OSError as exc:
        raise OptionError("DIR", repr(directory), f"a cache that can be opened; the system says {exc}") from exc


def _with_progress(words: str, paths: Iterable[str]) -> Iterator[str]:
    """``paths``, with their number on a terminal."""
    with counting(words, "entries") as tell:
        for number, path in enumerate(paths, 1):
            yield path
            if tell is not None:
                tell(number)
