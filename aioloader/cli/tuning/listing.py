"""The user's samples, and the code that lists them again."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from aioloader.cli.counting import counting
from aioloader.dataset.image_folder import image_folder
from aioloader.dataset.manifest import manifest
from aioloader.errors import DatasetError, EmptyDatasetError
from aioloader.redact import redact_url
from aioloader.storage.url import scheme_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from aioloader.dataset.samples import Dataset


@dataclass(frozen=True, kw_only=True)
class Listed:
    """``data`` are the samples to measure with, spread evenly over all ``total``. ``name`` and ``code`` show no secret;
    ``hides_secrets`` says whether one was left out."""

    data: Dataset
    total: int
    name: str
    code: str
    hides_secrets: bool


def listed(url: str, most_samples: int, *, is_manifest: bool) -> Listed:
    """What lies at ``url``; without labels where they cannot be had. Raises what listing raises."""
    data, options = _manifest(url) if is_manifest else _image_folder(url)
    total = len(data)
    if not total:
        raise EmptyDatasetError(f"{data!r} has no sample; check the address")
    some = min(total, most_samples)
    name = redact_url(url) if scheme_of(url) else url
    return Listed(
        data=data.subset(place * total // some for place in range(some)),
        total=total,
        name=name,
        code=f"al.{'manifest' if is_manifest else 'image_folder'}({quoted(name)}{options})",
        hides_secrets=len(name) < len(url.strip()),
    )


def _image_folder(url: str) -> tuple[Dataset, str]:
    with counting("listing", "objects") as told:
        try:
            return image_folder(url, on_listed=told), ""
        except EmptyDatasetError:
            raise
        except DatasetError as exc:
            return _without_labels(lambda: image_folder(url, label_mode=None, on_listed=told), exc)


def _manifest(url: str) -> tuple[Dataset, str]:
    try:
        return manifest(url), ""
    except DatasetError as exc:
        return _without_labels(lambda: manifest(url, label_mode=None), exc)


def _without_labels(make: Callable[[], Dataset], first: DatasetError) -> tuple[Dataset, str]:
    try:
        return make(), ", label_mode=None"
    except DatasetError:
        raise first from None


def quoted(text: str) -> str:
    """``text`` as a program writes it."""
    return f'"{text}"' if text.isprintable() and not set(text) & set("\"'\\") else repr(text)
