"""A folder as a bucket: which key is which file, and the listings. Everything here blocks."""

from __future__ import annotations

import html
import json
import os
import stat
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote

from aioloader.errors import OptionError

if TYPE_CHECKING:
    from collections.abc import Iterator

INDEX_NAME = "index.jsonl"


class FileChangedError(OSError):
    """A file is no longer the one whose size and ETag were announced."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredFile:
    """A regular file under the root, as it was when it was looked up; ``etag`` is quoted, as in the header."""

    path: str
    size_bytes: int
    etag: str
    modified_s: float

    def read(self, start: int, stop: int) -> bytes:
        """Bytes ``[start, stop)``; raises `FileChangedError` where the file is another one by now.

        Opens and closes on each call: a transfer that is given up between two calls has nothing to close.
        """
        with Path(self.path).open("rb") as opened:
            if _stored(self.path, os.fstat(opened.fileno())).etag != self.etag:
                raise FileChangedError(self.path)
            opened.seek(start)
            body = opened.read(stop - start)
        if len(body) < stop - start:
            raise FileChangedError(self.path)
        return body


@dataclass(frozen=True, slots=True)
class StoredFolder:
    """A folder under the root, or the root."""

    path: str


class FolderTree:
    """The files under ``folder``. Symbolic links that leave it do not exist here."""

    def __init__(self, folder: str | os.PathLike[str]) -> None:
        self.root = os.path.realpath(folder)
        if not Path(self.root).is_dir():
            raise OptionError("folder", repr(os.fspath(folder)), "an existing folder to serve")

    def look_up(self, key: str) -> StoredFile | StoredFolder | None:
        """What lies at ``key`` (relative, ``/``-separated, unescaped); None where nothing may be seen.

        A key that ends in ``/`` is a folder or nothing.
        """
        names = key.removesuffix("/").split("/") if key else []
        # Links are judged by where they lead; "..", "." and "" are not names and never followed.
        if "\0" in key or any(name in ("", ".", "..") for name in names):
            return None
        found = self._inside("/".join([self.root, *names]))
        if found is None:
            return None
        path, status = found
        if stat.S_ISDIR(status.st_mode):
            return StoredFolder(path)
        if stat.S_ISREG(status.st_mode) and not key.endswith("/"):
            return _stored(path, status)
        return None

    def index(self, key: str) -> bytes | None:
        """The listing for ``key``, the path of an ``index.jsonl``; None for another key or no such folder.

        Every file below that folder as a JSON line ``{"key", "size", "etag"}``, by bytewise sorted relative
        key. Folders behind symbolic links are left out (they may be loops); so are names that are not UTF-8.
        """
        parent, slash, name = key.rpartition("/")
        folder = self.look_up(parent + slash) if name == INDEX_NAME else None
        if not isinstance(folder, StoredFolder):
            return None
        files = sorted(self._walk(folder.path), key=lambda entry: entry[0].encode())
        lines = [
            json.dumps({"key": key, "size": file.size_bytes, "etag": file.etag}, ensure_ascii=False) + "\n"
            for key, file in files
        ]
        return "".join(lines).encode()

    def page(self, folder: StoredFolder) -> bytes:
        """The folder's own entries as HTML in nginx' autoindex form: encoded relative links, dates, sizes."""
        rows = []
        with os.scandir(folder.path) as entries:
            for entry in entries:
                found = self._inside(entry.path) if _is_unicode(entry.name) else None
                if found is not None:
                    is_folder = stat.S_ISDIR(found[1].st_mode)
                    rows.append(_row(entry.name + "/" * is_folder, found[1], "-" if is_folder else None))
        relative = os.path.relpath(folder.path, self.root)
        title = "Index of /"
        if relative != ".":
            title += html.escape(relative) + "/"
            rows.append('<a href="../">../</a>\n')
        head = f"<html>\n<head><title>{title}</title></head>\n"
        links = "".join(sorted(rows))
        return f"{head}<body>\n<h1>{title}</h1><hr><pre>{links}</pre><hr></body>\n</html>\n".encode()

    def _inside(self, path: str) -> tuple[str, os.stat_result] | None:
        try:
            real = os.path.realpath(path, strict=True)
            status = Path(real).stat()
        except OSError:  # missing, unreadable, a loop of links, a name too long: not there
            return None
        inside = real == self.root or real.startswith(self.root.rstrip("/") + "/")
        return (real, status) if inside else None

    def _walk(self, top: str) -> Iterator[tuple[str, StoredFile]]:
        pending = [(top, "")]
        while pending:
            path, prefix = pending.pop()
            with os.scandir(path) as entries:
                for entry in entries:
                    if not _is_unicode(entry.name):
                        continue
                    if entry.is_dir(follow_symlinks=False):
                        pending.append((entry.path, f"{prefix}{entry.name}/"))
                        continue
                    found = self._inside(entry.path)
                    if found is not None and stat.S_ISREG(found[1].st_mode):
                        yield prefix + entry.name, _stored(*found)


def _stored(path: str, status: os.stat_result) -> StoredFile:
    return StoredFile(
        path=path,
        size_bytes=status.st_size,
        etag=f'"{status.st_mtime_ns:x}-{status.st_size:x}"',
        modified_s=status.st_mtime,
    )


def _row(name: str, status: os.stat_result, size: str | None) -> str:
    modified = time.strftime("%d-%b-%Y %H:%M", time.gmtime(status.st_mtime))
    return f'<a href="{quote(name)}">{html.escape(name)}</a>  {modified}  {size or status.st_size}\n'


def _is_unicode(name: str) -> bool:
    # os.scandir smuggles bytes that are not UTF-8 as lone surrogates; such a name cannot be a key.
    return name.isascii() or not any("\ud800" <= letter <= "\udfff" for letter in name)
