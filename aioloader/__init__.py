"""aioloader streams training data from disk, HTTP(S), S3, GCS and Azure into Keras."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from aioloader import errors as errors

if TYPE_CHECKING:
    from aioloader import fit as keras
    from aioloader.dataset.dataframe import from_dataframe as from_dataframe
    from aioloader.dataset.image_folder import image_folder as image_folder
    from aioloader.dataset.listed import from_samples as from_samples
    from aioloader.dataset.manifest import manifest as manifest
    from aioloader.dataset.samples import Dataset as Dataset
    from aioloader.decode.image import ImageDecoder as ImageDecoder
    from aioloader.decode.npy import NpyDecoder as NpyDecoder
    from aioloader.decode.raw import RawDecoder as RawDecoder
    from aioloader.errors import AioloaderError as AioloaderError
    from aioloader.loader import AsyncLoader as AsyncLoader
    from aioloader.loader import Loader as Loader
    from aioloader.storage.cloud.azure import AzureStore as AzureStore
    from aioloader.storage.cloud.gcs import GCSStore as GCSStore
    from aioloader.storage.http.store import HTTPStore as HTTPStore
    from aioloader.storage.local.store import LocalStore as LocalStore
    from aioloader.storage.memory import MemoryStore as MemoryStore
    from aioloader.storage.policies.retry import Retry as Retry
    from aioloader.storage.s3.store import S3Store as S3Store
    from aioloader.types import Batch as Batch
    from aioloader.types import Decoder as Decoder
    from aioloader.types import FieldSpec as FieldSpec
    from aioloader.types import SampleRef as SampleRef
    from aioloader.types import Store as Store
    from aioloader.types import UpTo as UpTo
    from aioloader.view.progress import progress as progress

__version__ = "0.1.0"

_HOMES = {
    "AioloaderError": "aioloader.errors",
    "AsyncLoader": "aioloader.loader",
    "AzureStore": "aioloader.storage.cloud.azure",
    "Batch": "aioloader.types",
    "Dataset": "aioloader.dataset.samples",
    "Decoder": "aioloader.types",
    "FieldSpec": "aioloader.types",
    "GCSStore": "aioloader.storage.cloud.gcs",
    "HTTPStore": "aioloader.storage.http.store",
    "ImageDecoder": "aioloader.decode.image",
    "Loader": "aioloader.loader",
    "LocalStore": "aioloader.storage.local.store",
    "MemoryStore": "aioloader.storage.memory",
    "NpyDecoder": "aioloader.decode.npy",
    "RawDecoder": "aioloader.decode.raw",
    "Retry": "aioloader.storage.policies.retry",
    "S3Store": "aioloader.storage.s3.store",
    "SampleRef": "aioloader.types",
    "Store": "aioloader.types",
    "UpTo": "aioloader.types",
    "from_dataframe": "aioloader.dataset.dataframe",
    "from_samples": "aioloader.dataset.listed",
    "image_folder": "aioloader.dataset.image_folder",
    "manifest": "aioloader.dataset.manifest",
    "progress": "aioloader.view.progress",
}

__all__ = ["__version__", "errors", "keras", *_HOMES]


def __getattr__(name: str) -> Any:
    # Lazy, so that `import aioloader` costs what numpy costs until something is used.
    if name == "keras":
        value = import_module("aioloader.fit")
    elif name in _HOMES:
        value = getattr(import_module(_HOMES[name]), name)
    else:
        raise AttributeError(f"module 'aioloader' has no attribute {name!r}")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
