"""The keys of an S3 profile without static ones, through boto3: single sign-on, assumed roles, external processes."""

from __future__ import annotations

import logging
import subprocess
import threading
from concurrent.futures import Future, wait
from typing import TYPE_CHECKING, Any, Final, TypeVar

from aioloader.errors import AccessDeniedError, OptionError
from aioloader.storage.s3.keys import S3Keys

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

T = TypeVar("T")

log = logging.getLogger(__name__)

PROGRAM_S: Final = 60.0
"""For a profile's program, which may ask somebody for a code. Four tries end before the loader's watchdog does."""
_MORE_S: Final = 5.0
"""For what boto3 does besides: other programs and services that a profile may lead to have no limit of ours."""


class ProfileKeys:
    """A profile's keys, from whoever gives them; each call takes as long as that takes, `PROGRAM_S` at most.

    Raises `OptionError` where boto3 cannot be had or cannot use the profile, and `AccessDeniedError` where it is slow.
    """

    def __init__(self, profile: str) -> None:
        try:
            import boto3  # noqa: F401 - what users install
            import botocore.credentials
            import botocore.session
        except ImportError:
            raise OptionError(
                "profile",
                repr(profile),
                "a profile with aws_access_key_id and aws_secret_access_key; for single sign-on, roles and "
                "credential_process, `pip install boto3`",
            ) from None
        self._profile = profile
        self._botocore = botocore
        self._credentials: Any = None
        self._credentials = self._in_time(self._begin)

    def _begin(self) -> Any:
        session = self._botocore.session.Session(profile=self._profile)
        process = self._botocore.credentials.ProcessProvider(self._profile, lambda: session.full_config, popen=_Program)
        try:
            session.get_component("credential_provider").insert_before(process.METHOD, process)
            credentials = session.get_credentials()
        except subprocess.TimeoutExpired:
            raise
        except Exception as exc:  # botocore's tree, which cannot be imported without it
            kind = type(exc).__name__
        else:
            if credentials is not None:
                return credentials
            kind = "it has no credentials"
        raise OptionError("profile", repr(self._profile), f"a profile that boto3 can use ({kind})")

    def __call__(self, *, anew: bool) -> S3Keys:
        """The keys as boto3 has them, or fetched ``anew``: it does not know that a store has refused its own.

        Raises `OptionError`, `AccessDeniedError`.
        """
        if anew:
            self._credentials = self._in_time(self._begin)
        return self._in_time(self._now)

    def _now(self) -> S3Keys:
        try:
            now = self._credentials.get_frozen_credentials()
        except subprocess.TimeoutExpired:
            raise
        except Exception as exc:  # its message may quote what a program printed
            kind = type(exc).__name__
        else:
            return S3Keys(access_key_id=now.access_key, secret_access_key=now.secret_key, session_token=now.token)
        raise AccessDeniedError(
            f"the profile {self._profile!r} gave no credentials ({kind})", "", "Renew them, such as by `aws sso login`."
        )

    def _in_time(self, ask: Callable[[], T]) -> T:
        """What ``ask`` gives, in a thread that is left behind where it takes too long."""
        answer: Future[T] = Future()

        def run() -> None:
            try:
                answer.set_result(ask())
            except BaseException as exc:  # carried to who waits
                answer.set_exception(exc)

        threading.Thread(target=run, name="aioloader-profile", daemon=True).start()
        if wait([answer], PROGRAM_S + _MORE_S).done and not isinstance(answer.exception(), subprocess.TimeoutExpired):
            return answer.result()
        reason = f"the profile {self._profile!r} gave no credentials within {PROGRAM_S:g} s"
        hint = "Run its credential_process by hand to see what it waits for, or log in, such as by `aws sso login`."
        if self._credentials is not None:
            log.warning("%s: those that there are may end. %s", reason, hint)
        raise AccessDeniedError(reason, "", hint)


class _Program:
    """What boto3 starts for a profile, in place of `subprocess.Popen`; killed where it takes too long."""

    returncode = 0

    def __init__(self, command: Sequence[str], *, stdout: int, stderr: int) -> None:
        self._command = command
        self._pipes = stdout, stderr

    def communicate(self) -> tuple[bytes, bytes]:
        """What it prints. Raises `subprocess.TimeoutExpired`."""
        stdout, stderr = self._pipes
        done = subprocess.run(self._command, stdout=stdout, stderr=stderr, timeout=PROGRAM_S, check=False)
        self.returncode = done.returncode
        return done.stdout, done.stderr
