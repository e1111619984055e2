"""The S3 store against two services: moto, which checks no signature, and Ceph's gateway, which checks all."""

from __future__ import annotations

import asyncio
import json
import pickle
import re
import shutil
import subprocess
import sys
import traceback
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import boto3
import pytest

from aioloader.errors import AccessDeniedError, ObjectChangedError, ObjectNotFoundError, StoreError
from aioloader.storage.s3.store import S3Store
from aioloader.storage.url import open_store, read_object
from aioloader.testing.store_contract import StoreContract

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping
    from pathlib import Path

    from tests.s3_services import Service

PART_BYTES = 5 << 20
"""The least that a part may have which is not the last."""
SERVER_AND_UPLOAD_LOGGERS = ("botocore", "boto3", "werkzeug", "urllib3", "moto")


class OnAnyService(StoreContract):
    service: Service

    @asynccontextmanager
    async def store_with(self, objects: Mapping[str, bytes]) -> AsyncIterator[S3Store]:
        below = {f"prefix ü/{key}": body for key, body in objects.items()}
        bucket = await asyncio.to_thread(self.service.new_bucket, below | {"prefix üx/other.bin": b"other"})
        yield self.service.store().at(f"s3://{bucket}/prefix ü")

    @pytest.mark.parametrize(
        "key", ["double//slash", "/leading", "trailing/", "many///of//them/", "e\u0301 decomposed", "a/b//c d/ü"]
    )
    async def test_a_key_that_obstore_would_change_gets_its_own_object(self, key: str) -> None:
        collapsed = "/".join(segment for segment in key.split("/") if segment)
        objects = {collapsed: b"another object", key: f"body of {key}".encode()}
        async with self.store_with(objects) as store:
            assert await store.get(key) == objects[key]
            assert await store.get(key, (5, 9)) == objects[key][5:9]
            assert await store.size(key) == len(objects[key])
            await store.aclose()

    @pytest.mark.parametrize("key", ["a/../b", "./a", "a/.", "line\nbreak", "bell\x07"])
    async def test_a_key_that_no_url_carries_is_refused_by_name(self, key: str) -> None:
        async with self.store_with({"b": b"not this"}) as store:
            with pytest.raises(StoreError, match="no URL carries unchanged") as caught:
                await store.get(key)
            assert "\n" not in str(caught.value)
            assert "\x07" not in str(caught.value)
            await store.aclose()

    async def test_a_listing_that_obstore_cannot_give_says_why(self) -> None:
        async with self.store_with({"a//b": b"x"}) as store:
            with pytest.raises(StoreError, match="which obstore cannot list"):
                _ = [meta async for meta in store.list()]
            await store.aclose()

    async def test_the_first_bytes_of_an_empty_object_are_empty(self) -> None:
        async with self.store_with({"empty.bin": b""}) as store:
            assert await store.get("empty.bin", (0, 100)) == b""
            with pytest.raises(StoreError):
                await store.get("empty.bin", (1, 100))
            await store.aclose()

    async def test_folder_markers_are_no_objects(self) -> None:
        async with self.store_with({"cat/": b"", "cat/1.bin": b"1", "cat.bin": b"2"}) as store:
            assert sorted([meta.key async for meta in store.list()]) == ["cat.bin", "cat/1.bin"]
            await store.aclose()

    async def test_a_listing_has_more_than_one_page(self) -> None:
        objects = {f"{number:04}.bin": b"x" for number in range(1005)}
        async with self.store_with(objects) as store:
            found = [meta async for meta in store.list()]
            assert [meta.key for meta in found] == sorted(objects)
            assert all(meta.etag for meta in found)
            await store.aclose()

    async def test_a_missing_bucket_is_named_with_a_next_step(self) -> None:
        store = self.service.store().at("s3://no-such-bucket/x/")
        with pytest.raises(ObjectNotFoundError, match=r"s3://no-such-bucket/x/a.*NoSuchBucket.*bucket's name"):
            await store.get("a")
        with pytest.raises(ObjectNotFoundError, match=r"s3://no-such-bucket/x/.*NoSuchBucket.*bucket's name"):
            _ = [meta async for meta in store.list()]
        await store.aclose()

    async def test_many_gets_at_once_open_one_client(self) -> None:
        async with self.store_with({"a.bin": b"abc"}) as store:
            assert set(await asyncio.gather(*(store.get("a.bin") for _ in range(64)))) == {b"abc"}
            await store.aclose()

    async def test_a_pickled_store_works(self) -> None:
        async with self.store_with({"a.bin": b"abc"}) as store:
            assert await store.get("a.bin") == b"abc"
            copy: S3Store = pickle.loads(pickle.dumps(store))
            assert await copy.get("a.bin") == b"abc"
            await copy.aclose()
            await store.aclose()

    @pytest.mark.leaves("descriptors", reason="moto keeps large objects in files")
    async def test_an_object_is_read_as_it_was_listed(self) -> None:
        """The listing's ETags are those of the answers, of objects in parts too."""
        async with self.store_with({"a.bin": b"abcdef"}) as store:
            bucket, root = store.location.removeprefix("s3://").split("/", 1)
            await asyncio.to_thread(self._put_in_parts, bucket, root + "parts.bin")
            listed = {meta.key: meta.etag async for meta in store.list()}
            whole = {"a.bin": b"abcdef", "parts.bin": b"x" * PART_BYTES + b"tail"}
            assert listed.keys() == whole.keys()
            assert re.fullmatch(r'"[0-9a-f]{32}-2"', listed["parts.bin"] or "")
            for key, body in whole.items():
                etag = listed[key]
                assert etag is not None
                assert await store.get_version(key, None, etag) == body
                assert await store.get_version(key, (2, 5), etag) == body[2:5]
            for tag in ('"0123456789abcdef0123456789abcdef"', listed["parts.bin"] or ""):
                for byte_range in (None, (2, 5)):
                    with pytest.raises(ObjectChangedError, match=r"a\.bin.*another one by now.*List the dataset again"):
                        await store.get_version("a.bin", byte_range, tag)
            await store.aclose()

    def _put_in_parts(self, bucket: str, key: str) -> None:
        client = boto3.client(
            "s3",
            endpoint_url=self.service.endpoint,
            aws_access_key_id=self.service.access_key_id,
            aws_secret_access_key=self.service.secret_access_key,
            region_name="us-east-1",
        )
        upload = client.create_multipart_upload(Bucket=bucket, Key=key)["UploadId"]
        parts = []
        for number, body in enumerate((b"x" * PART_BYTES, b"tail"), 1):
            part = client.upload_part(Bucket=bucket, Key=key, UploadId=upload, PartNumber=number, Body=body)
            parts.append({"PartNumber": number, "ETag": part["ETag"]})
        client.complete_multipart_upload(Bucket=bucket, Key=key, UploadId=upload, MultipartUpload={"Parts": parts})
        client.close()

    async def test_requester_pays_is_accepted(self) -> None:
        bucket = await asyncio.to_thread(self.service.new_bucket, {"a.bin": b"abc"})
        store = self.service.store(request_payer=True).at(f"s3://{bucket}")
        assert await store.get("a.bin") == b"abc"
        assert [meta.key async for meta in store.list()] == ["a.bin"]
        await store.aclose()

    async def test_keys_of_the_environment_do_not_mix_with_given_ones(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("AWS_SESSION_TOKEN", "of-another-key")
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", "another-key")
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "another-secret")
        monkeypatch.setenv("AWS_ENDPOINT_URL_S3", "http://127.0.0.1:9")
        async with self.store_with({"a.bin": b"abc"}) as store:
            assert await store.get("a.bin") == b"abc"
            assert [meta.key async for meta in store.list()] == ["a.bin"]
            await store.aclose()

    async def test_everything_may_come_from_the_environment(self, monkeypatch: pytest.MonkeyPatch) -> None:
        bucket = await asyncio.to_thread(self.service.new_bucket, {"folder/a.bin": b"abc"})
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", self.service.access_key_id)
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", self.service.secret_access_key)
        monkeypatch.setenv("AWS_ENDPOINT_URL", self.service.endpoint)
        store = open_store(f"s3://{bucket}/folder")
        assert await store.get("a.bin") == b"abc"
        assert store.origin == self.service.endpoint
        await store.aclose()
        assert await read_object(f"s3://{bucket}/folder/a.bin") == b"abc"

    async def test_everything_may_come_from_a_profile(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        bucket = await asyncio.to_thread(self.service.new_bucket, {"a.bin": b"abc"})
        (tmp_path / "credentials").write_text(
            f"[mine]\naws_access_key_id = {self.service.access_key_id}\n"
            f"aws_secret_access_key = {self.service.secret_access_key}\n"
        )
        (tmp_path / "config").write_text(f"[profile mine]\nendpoint_url = {self.service.endpoint}\n")
        monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "credentials"))
        monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
        store = S3Store(profile="mine").at(f"s3://{bucket}")
        assert await store.get("a.bin") == b"abc"
        await store.aclose()

    # Against Ceph one socket outlived the test by more than 3 s in 2 of 11 runs on a busy machine; whose is not known.
    @pytest.mark.leaves("descriptors", reason="a socket closes late after boto3 and obstore were used, seen with Ceph")
    async def test_a_profile_without_a_static_key_goes_through_boto3(
        self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        bucket = await asyncio.to_thread(self.service.new_bucket, {"a.bin": b"abc"})
        answer = {
            "Version": 1,
            "AccessKeyId": self.service.access_key_id,
            "SecretAccessKey": self.service.secret_access_key,
        }
        (tmp_path / "answer.json").write_text(json.dumps(answer))
        (tmp_path / "config").write_text(f"[profile mine]\ncredential_process = cat {tmp_path}/answer.json\n")
        monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "credentials"))
        monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
        store = self.service.store(profile="mine", access_key_id=None, secret_access_key=None)
        store = store.at(f"s3://{bucket}")
        assert await store.get("a.bin") == b"abc"
        assert [meta.key async for meta in store.list()] == ["a.bin"]
        await store.aclose()

    async def test_no_secret_is_in_an_error_or_its_chain(self, caplog: pytest.LogCaptureFixture) -> None:
        caplog.set_level(0)
        bucket = await asyncio.to_thread(self.service.new_bucket, {"a.bin": b"abc"})
        store = self.service.store(
            secret_access_key="canary-secret", session_token="canary-token", access_key_id="canary-id"
        ).at(f"s3://{bucket}/x")
        texts = [repr(store)]
        for attempt in (store.get("missing"), store.get("missing//x"), store.size("missing"), _listed(store)):
            try:
                await attempt
            except StoreError as error:
                texts += ["".join(traceback.format_exception(error)), repr(error), repr(error.__context__)]
        await store.aclose()
        ours = [r.getMessage() for r in caplog.records if r.name.split(".")[0] not in SERVER_AND_UPLOAD_LOGGERS]
        told = "\n".join(texts + ours)
        assert "canary-id" not in told
        assert "canary-secret" not in told
        assert "canary-token" not in told
        assert "X-Amz-Signature" not in told
        assert f"s3://{bucket}/x/missing" in told


async def _listed(store: S3Store) -> list[str]:
    return [meta.key async for meta in store.list()]


class TestMoto(OnAnyService):
    @pytest.fixture(autouse=True)
    def _service(self, moto: Service) -> None:
        self.service = moto


@pytest.mark.ceph
class TestCeph(OnAnyService):
    @pytest.fixture(autouse=True)
    def _service(self, ceph: Service) -> None:
        self.service = ceph

    async def test_a_wrong_secret_is_told_apart_from_an_unknown_key(self) -> None:
        bucket = await asyncio.to_thread(self.service.new_bucket, {"a.bin": b"abc"})
        wrong = self.service.store(secret_access_key="wrong").at(f"s3://{bucket}")
        with pytest.raises(AccessDeniedError, match=r"SignatureDoesNotMatch.*secret key"):
            await wrong.get("a.bin")
        with pytest.raises(AccessDeniedError, match=r"SignatureDoesNotMatch.*secret key"):
            await wrong.size("a.bin")
        with pytest.raises(AccessDeniedError, match=r"SignatureDoesNotMatch.*secret key"):
            await _listed(wrong)
        unknown = self.service.store(access_key_id="unknown").at(f"s3://{bucket}")
        with pytest.raises(AccessDeniedError, match=r"InvalidAccessKeyId.*does not know"):
            await unknown.get("a.bin")
        await wrong.aclose()
        await unknown.aclose()

    @pytest.mark.skipif(shutil.which("faketime") is None, reason="faketime is not installed")
    @pytest.mark.parametrize(("shift", "words"), [("-20m", "20 minutes behind"), ("+20m", "20 minutes ahead of")])
    def test_a_wrong_clock_is_named(self, shift: str, words: str) -> None:
        bucket = self.service.new_bucket({"a.bin": b"abc"})
        keys = {"access_key_id": self.service.access_key_id, "secret_access_key": self.service.secret_access_key}
        program = (
            "import asyncio; from aioloader.storage.s3.store import S3Store\n"
            "async def main():\n"
            f"    store = S3Store(endpoint={self.service.endpoint!r}, **{keys}).at('s3://{bucket}')\n"
            "    for one in (store.get('a.bin'), anext(aiter(store.list()))):\n"
            "        try: print(await one)\n"
            "        except Exception as exc: print(exc)\n"
            "    await store.aclose()\n"
            "asyncio.run(main())"
        )
        done = subprocess.run(
            ["faketime", "-f", shift, sys.executable, "-c", program], capture_output=True, text=True, check=True
        )
        got, listed = done.stdout.splitlines()
        assert f"this machine's clock is {words} the server's" in listed
        # The gateway takes what is signed in its future; what was signed in its past has run out.
        assert (got == "b'abc'") if shift == "+20m" else (f"clock is {words} the server's" in got)

    async def test_anonymous_reads_what_is_public_and_nothing_else(self) -> None:
        bucket = await asyncio.to_thread(self.service.new_bucket, {"public ü//x": b"abc", "private": b"no"})
        await asyncio.to_thread(self._publish, bucket, "public ü//x")
        store = S3Store(endpoint=self.service.endpoint, anonymous=True).at(f"s3://{bucket}")
        assert await store.get("public ü//x") == b"abc"
        with pytest.raises(AccessDeniedError, match="AccessDenied"):
            await store.get("private")
        await store.aclose()

    def _publish(self, bucket: str, key: str) -> None:
        client = boto3.client(
            "s3",
            endpoint_url=self.service.endpoint,
            aws_access_key_id=self.service.access_key_id,
            aws_secret_access_key=self.service.secret_access_key,
            region_name="us-east-1",
        )
        client.put_object_acl(Bucket=bucket, Key=key, ACL="public-read")
        client.close()
