"""A profile's program that never answers is killed, and who gives no keys in time is named."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING

import pytest

from aioloader.errors import AccessDeniedError
from aioloader.storage.s3 import profile_keys
from aioloader.storage.s3.profile_keys import ProfileKeys
from aioloader.storage.s3.store import S3Store

if TYPE_CHECKING:
    from pathlib import Path

ANSWER = {"Version": 1, "AccessKeyId": "id", "SecretAccessKey": "CANARY"}
TOO_SLOW = r"the profile 'mine' gave no credentials within 0\.3 s"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A program that reads ``fifo`` waits until somebody writes there; the one that reads ``answer`` does not."""
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "answer").write_text(json.dumps(ANSWER))
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    return tmp_path


def give_by(folder: Path, file: str, more: str = "") -> None:
    (folder / "config").write_text(f"[profile mine]\ncredential_process = cat {folder / file}\nregion = x\n{more}")


@pytest.mark.blocks(reason="it writes the profile")
async def test_a_program_that_never_answers_is_given_up(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(profile_keys, "PROGRAM_S", 0.3)
    give_by(folder, "fifo")
    store = S3Store(endpoint="http://127.0.0.1:9", profile="mine").at("s3://bucket/")
    with pytest.raises(AccessDeniedError, match=rf"{TOO_SLOW}\. Run its credential_process by hand"):
        await store.get("a.bin")
    await store.aclose()


def test_keys_that_are_there_stay_while_newer_ones_do_not_come(
    folder: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    give_by(folder, "answer")
    keys = ProfileKeys("mine")
    found = keys(anew=False)
    assert (found.access_key_id, found.secret_access_key) == ("id", "CANARY")
    monkeypatch.setattr(profile_keys, "PROGRAM_S", 0.3)
    give_by(folder, "fifo")
    with pytest.raises(AccessDeniedError, match=TOO_SLOW):
        keys(anew=True)
    assert keys(anew=False) == found
    assert [record.getMessage().partition(":")[0] for record in caplog.records if record.name.startswith("aio")] == [
        "the profile 'mine' gave no credentials within 0.3 s"
    ]


def test_what_a_profile_leads_to_has_a_limit_too(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(profile_keys, "PROGRAM_S", 0.3)
    monkeypatch.setattr(profile_keys, "_MORE_S", 0.1)
    give_by(folder, "fifo", "[profile role]\nrole_arn = arn:aws:iam::1:role/r\nsource_profile = mine\n")
    try:
        with pytest.raises(AccessDeniedError, match="the profile 'role' gave no credentials within"):
            ProfileKeys("role")
    finally:
        # The program of another profile is boto3's alone; it ends once it can be answered.
        (folder / "fifo").write_text("{}")
