"""The names users may import from ``aioloader``: exactly these."""

from __future__ import annotations

import inspect
import re
import types

import pytest

import aioloader

# Error classes other than the base live in `aioloader.errors` alone: one place to catch them from.
SURFACE = [
    "AioloaderError",
    "AsyncLoader",
    "AzureStore",
    "Batch",
    "Dataset",
    "Decoder",
    "FieldSpec",
    "GCSStore",
    "HTTPStore",
    "ImageDecoder",
    "Loader",
    "LocalStore",
    "MemoryStore",
    "NpyDecoder",
    "RawDecoder",
    "Retry",
    "S3Store",
    "SampleRef",
    "Store",
    "UpTo",
    "__version__",
    "errors",
    "from_dataframe",
    "from_samples",
    "image_folder",
    "keras",
    "manifest",
    "progress",
]

# Touching `aioloader.keras` may import Keras.
NAMES = [pytest.param(name, marks=[pytest.mark.keras] if name == "keras" else []) for name in SURFACE]


def test_all_is_exactly_the_surface() -> None:
    assert sorted(aioloader.__all__) == SURFACE
    assert len(set(aioloader.__all__)) == len(aioloader.__all__)


def test_dir_shows_the_surface_and_no_other_public_name() -> None:
    shown = set(dir(aioloader))
    assert set(SURFACE) <= shown
    submodules = {name for name in shown if isinstance(vars(aioloader).get(name), types.ModuleType)}
    assert {name for name in shown - submodules if not name.startswith("_")} <= set(SURFACE)


@pytest.mark.parametrize("name", NAMES)
def test_every_name_is_there_and_documented(name: str) -> None:
    value = getattr(aioloader, name)
    if name == "__version__":
        assert re.fullmatch(r"\d+\.\d+\.\d+\w*", value)
        return
    assert inspect.getdoc(value)
    if not inspect.ismodule(value):
        assert value.__name__ == name
        assert value.__module__.startswith("aioloader.")


@pytest.mark.parametrize("name", NAMES)
def test_a_name_is_the_same_object_each_time(name: str) -> None:
    assert getattr(aioloader, name) is getattr(aioloader, name)


def test_an_unknown_name_is_an_attribute_error_that_names_it() -> None:
    with pytest.raises(AttributeError, match="Lodaer"):
        getattr(aioloader, "Lodaer")  # noqa: B009  # mypy would refuse the plain spelling
