"""A secret given to a store, or riding on a URL, appears in no error, traceback, log, repr, report or ledger."""

from __future__ import annotations

import json
import logging
import pickle
import threading
import traceback
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlsplit

import numpy as np
import pytest
from prometheus_client import CollectorRegistry, generate_latest

import aioloader as al
from aioloader.fit.page_file import PageFile
from aioloader.prometheus import LoaderCollector
from tests.loader.conftest import worker_pids

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from tests.loader.conftest import Bucket

SECRET = "hunter2-S3CR3T"


def with_headers(bucket: Bucket) -> al.Dataset:
    store = al.HTTPStore(headers={"Authorization": f"Bearer {SECRET}", "X-Api-Key": SECRET})
    return al.from_samples([("nowhere.png", 0), ("elsewhere.png", 1)], root=bucket.url, store=store)


def with_user_info(bucket: Bucket) -> al.Dataset:
    url = bucket.url.replace("http://", f"http://someone:{SECRET}@")
    return al.from_samples([("nowhere.png", 0), ("elsewhere.png", 1)], root=url)


def with_root_query(bucket: Bucket) -> al.Dataset:
    return al.from_samples([("nowhere.png", 0)], root=f"{bucket.url}?sig={SECRET}")


def with_presigned_urls(bucket: Bucket) -> al.Dataset:
    presigned = f"{bucket.url}nowhere.png?X-Amz-Signature={SECRET}&X-Amz-Credential={SECRET}"
    return al.from_samples([(presigned, 0)], root=bucket.url, allow_hosts=[urlsplit(bucket.url).netloc])


def of_s3_keys(_bucket: Bucket) -> al.Dataset:
    store = al.S3Store(endpoint="http://127.0.0.1:9", access_key_id="someone", secret_access_key=SECRET)
    return al.from_samples([("nowhere.png", 0)], root="s3://bucket/train/", store=store)


MAKERS = [with_headers, with_user_info, with_root_query, with_presigned_urls, of_s3_keys]


@pytest.mark.parametrize("make", MAKERS, ids=lambda make: make.__name__)
@pytest.mark.parametrize(("on_error", "in_processes"), [("raise", False), ("skip", False), ("raise", True)])
def test_no_secret_shows_anywhere(
    bucket: Bucket,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    capfd: pytest.CaptureFixture[str],
    make: Callable[[Bucket], al.Dataset],
    on_error: Any,
    *,
    in_processes: bool,
) -> None:
    caplog.set_level(logging.DEBUG)
    ledger = tmp_path / "ledger.jsonl"
    data = make(bucket)
    options: dict[str, Any] = {"on_error": on_error, "use_multiprocessing": in_processes, "workers": 2}
    with al.Loader(data, decode=al.RawDecoder(), ledger=ledger, **options) as loader:
        with pytest.raises(al.AioloaderError) as caught:
            next(iter(loader))
        about = [Path(f"/proc/{pid}/{name}") for pid in worker_pids() for name in ("cmdline", "environ")]
        assert bool(about) == in_processes
        of_workers = [path.read_bytes().decode(errors="replace") for path in about]
        shown = [*of_workers, repr(loader), loader.report(), repr(data), data.fingerprint, repr(data.fingerprint_parts)]
    shown += [repr(data[0]), repr(data.store), str(data.store.location), data.store.origin]
    shown += ["".join(traceback.format_exception(caught.value)), repr(pickle.dumps(caught.value))]
    shown += [caplog.text, *capfd.readouterr(), ledger.read_text(), json.dumps(vars(caught.value), default=repr)]
    assert any("nowhere.png" in text for text in shown)  # the sample is named, so there was something to leak
    for text in shown:
        assert SECRET not in text


def test_a_decoder_that_prints_its_sample_prints_no_secret(bucket: Bucket) -> None:
    image = al.image_folder(bucket.url)[0]

    def decode(data: bytes, sample: al.SampleRef) -> None:
        raise ValueError(f"cannot read {sample.key}, a sample like {sample!r}")

    presigned = f"{bucket.url}{quote(image.key)}?X-Amz-Signature={SECRET}"
    data = al.from_samples([(presigned, 0)], root=bucket.url, allow_hosts=[urlsplit(bucket.url).netloc])
    with al.Loader(data, decode=decode) as loader, pytest.raises(al.errors.DecodeError) as caught:
        next(iter(loader))
    assert SECRET not in str(caught.value)
    assert "X-Amz-Signature=…" in str(caught.value)


@dataclass(frozen=True)
class Authorised:
    """A user's decoder whose repr shows what it was given."""

    token: str

    def spec(self) -> None: ...

    def decode(
        self, data: bytes, sample: al.SampleRef, rng: np.random.Generator | None, out: Any = None
    ) -> NDArray[np.int64]:
        return np.array(len(data))


def with_token(data: bytes, *, token: str) -> NDArray[np.int64]:
    return np.array(len(data))


@pytest.mark.parametrize("decode", [Authorised(SECRET), partial(with_token, token=SECRET)], ids=["object", "partial"])
def test_no_argument_of_a_users_decoder_shows_anywhere(bucket: Bucket, tmp_path: Path, decode: Any) -> None:
    trace, page = tmp_path / "trace.json", tmp_path / "page.html"
    with al.Loader(al.image_folder(bucket.url), decode=decode, batch_size=4) as loader:
        for _ in loader:
            pass
        loader.trace(trace)
        PageFile(loader, page).write()
        registry = CollectorRegistry()
        registry.register(LoaderCollector({"train": loader}))
        shown = [repr(loader), loader.report(), repr(loader.snapshot()), generate_latest(registry).decode()]
    with (
        pytest.raises(al.errors.OptionError) as caught,
        al.Loader(al.image_folder(bucket.url, label_mode=None), decode=decode, class_weight={0: 2.0}) as loader,
    ):
        next(iter(loader))
    shown += [str(caught.value), trace.read_text(), page.read_text()]
    name = "Authorised" if isinstance(decode, Authorised) else "with_token"
    assert sum(name in text for text in shown) >= 4
    for text in shown:
        assert SECRET not in text


def test_no_argument_of_a_transform_shows_where_it_cannot_be_sent(bucket: Bucket) -> None:
    def augment(image: Any, rng: Any, *, token: str, lock: Any) -> Any:
        return image

    transform = partial(augment, token=SECRET, lock=threading.Lock())
    with pytest.raises(al.errors.OptionError) as caught:
        al.Loader(al.image_folder(bucket.url), decode=al.ImageDecoder(), transform=transform, use_multiprocessing=True)
    assert SECRET not in str(caught.value)
    assert "augment" in str(caught.value)
