"""`image_folder`: class = folder name, on every store."""

from __future__ import annotations

import fnmatch
import glob
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from aioloader.dataset.keys import shown
from aioloader.dataset.labels import LabelMode, Labels, checked_class_names, checked_mode, encode
from aioloader.dataset.samples import Dataset
from aioloader.errors import DatasetError, EmptyDatasetError, OptionError
from aioloader.runtime.loop import run_on_loop
from aioloader.storage.key_order import key_bytes
from aioloader.storage.policies.retry import RETRY
from aioloader.storage.policies.retrying import RetryingStore
from aioloader.storage.url import open_store

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Sequence

    from aioloader.types import ObjectMeta, Store

IMAGE_EXTENSIONS = (".jpg", ".jpeg", ".png", ".webp", ".gif", ".bmp", ".tif", ".tiff")

_TOLD_EVERY = 1000

_Rule: TypeAlias = "re.Pattern[str] | Callable[[str], Any]"


def image_folder(
    url: str | os.PathLike[str],
    *,
    store: Store | None = None,
    label_mode: LabelMode | None = "int",
    class_names: Sequence[str] | None = None,
    label: str | Callable[[str], Any] | None = None,
    exclude: str | Sequence[str] = (),
    extensions: str | Sequence[str] = IMAGE_EXTENSIONS,
    on_listed: Callable[[int], object] | None = None,
) -> Dataset:
    """Every image under ``url``, labelled with its first folder: ``cats/2019/1.jpg`` is a cat.

    Classes are the folders that hold an image, sorted, or ``class_names``, which fixes their order; a folder
    that it does not name is an error, a name without images an empty class. Samples are sorted by relative
    key, bytewise in UTF-8, so that ids are the same on every store. Keys with a part that starts with a dot
    are hidden and not seen.

    ``label_mode`` decides what a sample's label is: ``"int"`` an int64 class id, ``"categorical"`` a float32
    one-hot vector ``(num_classes,)``, ``"binary"`` float32 ``(1,)`` for exactly 2 classes, None no label at
    all. ``label`` labels otherwise: a regular expression searched in the relative key, whose one group (or
    the group named ``label``) is the class name; or a callable from relative key to text, int or float.
    ``exclude`` are glob patterns for relative keys (case counts, ``*`` crosses ``/``), ``extensions`` what an
    image's name ends in (case does not count).

    Lists when called, in the calling thread's time, and lets go of the connections. ``on_listed`` is told how many
    objects were seen so far, every 1,000 and at the end, in the thread of the event loop. Raises `OptionError`,
    `DatasetError` naming a key and what to change, `EmptyDatasetError`, or the store's error.
    """
    mode = checked_mode(label_mode)
    names = checked_class_names(class_names)
    if mode is None and (label is not None or names is not None):
        name, got = ("label", label) if label is not None else ("class_names", names)
        raise OptionError(name, repr(got), "None where label_mode is None: then there are no labels")
    rule = _checked_rule(label)
    wanted = _Wanted(_checked_globs(exclude), _checked_extensions(extensions))

    folder = open_store(url, store)
    listing = run_on_loop(_list(RetryingStore(folder, RETRY), wanted, on_listed), using=folder)
    where = folder.location
    if not listing.keys:
        raise EmptyDatasetError(f"no images under {where}: looked for {wanted}, {listing.seen}")
    listing.sort(where)
    return Dataset(
        folder,
        listing.keys,
        labels=None if mode is None else _labels(listing.keys, rule, mode, names, where),
        sizes=np.array(listing.sizes, np.int64) if any(size >= 0 for size in listing.sizes) else None,
        etags=listing.etags if any(etag is not None for etag in listing.etags) else None,
    )


@dataclass(frozen=True, slots=True)
class _Wanted:
    exclude: re.Pattern[str] | None
    extensions: tuple[str, ...]

    def __str__(self) -> str:
        return f"names ending in {', '.join(self.extensions)}"


@dataclass(slots=True)
class _Listing:
    keys: list[str] = field(default_factory=list)
    sizes: list[int] = field(default_factory=list)
    etags: list[str | None] = field(default_factory=list)
    hidden: int = 0
    excluded: int = 0
    others: int = 0
    first_other: str = ""

    def add(self, found: ObjectMeta, wanted: _Wanted) -> None:
        key = found.key
        if key.startswith(".") or "/." in key:
            self.hidden += 1
        elif not key.lower().endswith(wanted.extensions):
            if not self.others or key < self.first_other:
                self.first_other = key
            self.others += 1
        elif wanted.exclude is not None and wanted.exclude.match(key):
            self.excluded += 1
        else:
            self.keys.append(key)
            self.sizes.append(-1 if found.size_bytes is None else found.size_bytes)
            self.etags.append(found.etag)

    @property
    def seen(self) -> str:
        """What was found where no image was, and what to do."""
        parts = []
        if self.others:
            hint = f"the first is {shown(self.first_other)}; pass extensions= if these are images"
            parts.append(f"{self.others} objects with other names ({hint})")
        if self.excluded:
            parts.append(f"{self.excluded} images that exclude= leaves out")
        if self.hidden:
            parts.append(f"{self.hidden} hidden objects (a part of the name starts with a dot)")
        return f"found {', '.join(parts)}" if parts else "found nothing at all; check the address"

    def sort(self, where: str) -> None:
        order = sorted(range(len(self.keys)), key=[key_bytes(key) for key in self.keys].__getitem__)
        self.keys = [self.keys[place] for place in order]
        self.sizes = [self.sizes[place] for place in order]
        self.etags = [self.etags[place] for place in order]
        twice = [one for one, following in zip(self.keys, self.keys[1:], strict=False) if one == following]
        if twice:
            raise DatasetError(
                f"the listing of {where} names {shown(twice[0])} more than once ({len(twice)} repeats in "
                "all); if it is an index.jsonl, write it anew"
            )


async def _list(folder: Store, wanted: _Wanted, on_listed: Callable[[int], object] | None) -> _Listing:
    listing = _Listing()
    seen = 0
    async for found in folder.list():
        listing.add(found, wanted)
        seen += 1
        if on_listed is not None and not seen % _TOLD_EVERY:
            on_listed(seen)
    if on_listed is not None:
        on_listed(seen)
    return listing


def _labels(
    keys: list[str],
    rule: _Rule | None,
    mode: LabelMode,
    class_names: tuple[str, ...] | None,
    where: str,
) -> Labels:
    if rule is None:
        raw: list[Any] = _folders(keys, class_names, where)
    elif isinstance(rule, re.Pattern):
        raw = _matches(keys, rule, where)
    else:
        raw = _called(keys, rule, where)
    return encode(raw, mode=mode, class_names=class_names, place=lambda row: shown(keys[row]), source=where)


def _folders(keys: list[str], class_names: tuple[str, ...] | None, where: str) -> list[str]:
    loose = [key for key in keys if "/" not in key]
    if loose:
        raise DatasetError(
            f"{len(loose)} images lie directly in {where}, in no class folder "
            f"(the first is {shown(loose[0])}); move them into folders, pass label= to label by name, "
            "exclude= to leave them out, or label_mode=None for no labels"
        )
    folders = [key.partition("/")[0] for key in keys]
    if class_names is not None:
        unnamed = sorted(set(folders) - set(class_names))
        if unnamed:
            count = folders.count(unnamed[0])
            others = f" and {len(unnamed) - 1} other folders" if len(unnamed) > 1 else ""
            pattern = f"{glob.escape(unnamed[0])}/*"
            raise DatasetError(
                f"the folder {unnamed[0]!r} ({count} images){others} under {where} is not in class_names; "
                f"add it, or leave it out with exclude={pattern!r}"
            )
    return folders


def _matches(keys: list[str], rule: re.Pattern[str], where: str) -> list[str]:
    group: int | str = "label" if "label" in rule.groupindex else 1
    names = [found[group] if (found := rule.search(key)) else None for key in keys]
    missed = [key for key, name in zip(keys, names, strict=True) if not name]
    if missed:
        raise DatasetError(
            f"label={rule.pattern!r} finds no label in {len(missed)} of {len(keys)} keys under {where} "
            f"(the first is {shown(missed[0])}); correct it, or leave those out with exclude="
        )
    return [name for name in names if name]


def _called(keys: list[str], rule: Callable[[str], Any], where: str) -> list[Any]:
    raw = []
    for key in keys:
        try:
            raw.append(rule(key))
        except Exception as exc:
            raise DatasetError(
                f"label= raised {type(exc).__name__} for {shown(key)} under {where}; "
                "it gets a relative key and returns text, an int or a float"
            ) from exc
    return raw


def _checked_rule(label: object) -> _Rule | None:
    if label is None or callable(label):
        return label
    if not isinstance(label, str):
        raise OptionError("label", repr(label), "a callable, a regular expression, or None for the folder")
    try:
        rule = re.compile(label)
    except re.error as exc:
        raise OptionError("label", repr(label), f"a regular expression; this one fails: {exc}") from exc
    if rule.groups != 1 and "label" not in rule.groupindex:
        raise OptionError("label", repr(label), "exactly one group (...), or one named (?P<label>...)")
    return rule


def _checked_globs(exclude: str | Sequence[str]) -> re.Pattern[str] | None:
    given: tuple[object, ...] = (exclude,) if isinstance(exclude, str) else tuple(exclude)
    globs = [one for one in given if isinstance(one, str) and one]
    if len(globs) != len(given):
        raise OptionError("exclude", repr(exclude), "glob patterns for relative keys, such as 'broken/*'")
    return re.compile("|".join(map(fnmatch.translate, globs))) if globs else None


def _checked_extensions(extensions: str | Sequence[str]) -> tuple[str, ...]:
    given: tuple[object, ...] = (extensions,) if isinstance(extensions, str) else tuple(extensions)
    endings = tuple(one.lower() for one in given if isinstance(one, str) and len(one) > 1 and one[0] == ".")
    if not endings or len(endings) != len(given):
        raise OptionError("extensions", repr(extensions), "endings with their dot, such as ('.jpg', '.png')")
    return endings
