"""The leased background loop: one thread, counted, ended by its last lease, never waited for in vain."""

from __future__ import annotations

import asyncio
import gc
import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
import weakref
from concurrent.futures import CancelledError
from typing import TYPE_CHECKING

import pytest

from aioloader.errors import LoaderClosedError
from aioloader.runtime import loop as loop_module
from aioloader.runtime.loop import LoopLease, run_on_loop

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

# Ten times the promise that an end takes less than 1 s; the figure itself is a benchmark's business.
END_CEILING_S = 10.0


@pytest.fixture(autouse=True)
def no_lease_is_left() -> Iterator[None]:
    """A test that fails before its release must not keep the loop of the next ones alive."""
    yield
    left, loop_module._current = loop_module._current, None
    if left is not None:
        left.stop()
        left.join()
        pytest.fail(f"this test left {left.leases} leases")


async def current_thread() -> threading.Thread:
    return threading.current_thread()


async def forever(begun: threading.Event, ended: threading.Event) -> None:
    """Says when it runs and when it was cancelled."""
    begun.set()
    try:
        await asyncio.Event().wait()
    finally:
        ended.set()


class Recorder:
    """A closable that counts, and fails or waits when told to."""

    def __init__(self, failure: BaseException | None = None) -> None:
        self.closes = 0
        self.failure = failure

    async def aclose(self) -> None:
        self.closes += 1
        if self.failure is not None:
            raise self.failure


async def hold(lease: LoopLease, closable: Recorder) -> None:
    lease.hold(closable)


async def let_go(lease: LoopLease, closable: Recorder) -> None:
    await lease.let_go(closable)


def run_script(script: str, timeout_s: float = 30.0) -> subprocess.CompletedProcess[str]:
    """A fresh interpreter that runs ``script`` with warnings as errors."""
    return subprocess.run(
        [sys.executable, "-W", "error", "-c", textwrap.dedent(script)],
        capture_output=True,
        text=True,
        timeout=timeout_s,
        check=False,
    )


def test_leases_share_one_thread_and_the_last_release_ends_it() -> None:
    first, second = LoopLease(), LoopLease()
    thread = first.run(current_thread())
    assert second.run(current_thread()) is thread
    assert first.loop is second.loop
    assert (thread.name, thread.daemon) == ("aioloader-loop", True)
    first.release()
    assert thread.is_alive()
    assert second.run(current_thread()) is thread
    second.release()
    assert not thread.is_alive()
    assert second.loop.is_closed()


def test_a_lease_after_the_end_starts_a_new_loop() -> None:
    first = LoopLease()
    loop = first.loop
    first.release()
    second = LoopLease()
    assert second.loop is not loop
    assert second.run(current_thread()).is_alive()
    second.release()


def test_releasing_twice_counts_once() -> None:
    first, second = LoopLease(), LoopLease()
    first.release()
    first.release()
    first.release_soon()
    assert second.run(current_thread()).is_alive()
    second.release_soon()
    second.release()
    assert second.loop.is_closed()


def test_many_threads_that_lease_and_release_at_once_leave_nothing() -> None:
    start = threading.Barrier(8)
    failures: list[BaseException] = []

    def lease_and_release() -> None:
        try:
            start.wait()
            for _ in range(25):
                lease = LoopLease()
                assert lease.run(asyncio.sleep(0, "slept")) == "slept"
                lease.release()
        except BaseException as exc:  # shown by the assertion below
            failures.append(exc)

    threads = [threading.Thread(target=lease_and_release) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []


def test_run_gives_the_result_and_raises_the_error_itself() -> None:
    lease = LoopLease()
    error = KeyError("the one")

    async def fail() -> None:
        raise error

    assert lease.run(asyncio.sleep(0, 42)) == 42
    with pytest.raises(KeyError) as caught:
        lease.run(fail())
    assert caught.value is error
    assert lease.run(asyncio.sleep(0, "still alive")) == "still alive"
    lease.release()


def test_a_timeout_raised_by_the_coroutine_is_not_taken_for_that_of_the_wait() -> None:
    async def time_out() -> None:
        await asyncio.wait_for(asyncio.Event().wait(), 0.01)

    lease = LoopLease()
    with pytest.raises(TimeoutError):
        lease.run(time_out())
    lease.release()


def test_a_call_longer_than_the_signal_check_gives_its_result() -> None:
    lease = LoopLease()
    assert lease.run(asyncio.sleep(2.2 * loop_module.SIGNAL_CHECK_S, "late")) == "late"
    lease.release()


def test_an_exit_raised_on_the_loop_reaches_the_caller_and_spares_the_loop() -> None:
    lease = LoopLease()

    async def leave() -> None:
        raise SystemExit(3)

    with pytest.raises(SystemExit):
        lease.run(leave())
    assert lease.run(asyncio.sleep(0, "still alive")) == "still alive"
    lease.release()


def test_cancelling_the_future_cancels_the_task() -> None:
    lease = LoopLease()
    begun, ended = threading.Event(), threading.Event()
    future = lease.submit(forever(begun, ended))
    assert begun.wait(END_CEILING_S)
    assert future.cancel()
    assert ended.wait(END_CEILING_S)
    with pytest.raises(CancelledError):
        future.result(0)
    lease.release()


@pytest.mark.blocks(reason="holds the loop to order the calls")
def test_a_call_cancelled_before_it_starts_never_runs() -> None:
    lease = LoopLease()
    blocked, unblock, ran = threading.Event(), threading.Event(), threading.Event()

    def block() -> None:
        blocked.set()
        unblock.wait()

    async def run() -> None:
        ran.set()

    lease.post(block)
    assert blocked.wait(END_CEILING_S)
    lease.submit(run()).cancel()
    unblock.set()
    lease.run(asyncio.sleep(0))
    assert not ran.is_set()
    lease.release()


def test_cancellations_that_race_with_results_harm_nobody() -> None:
    lease = LoopLease()
    for _ in range(300):
        lease.submit(asyncio.sleep(0)).cancel()
    assert lease.run(asyncio.sleep(0, "still alive")) == "still alive"
    lease.release()


def test_ctrl_c_in_run_cancels_the_task_and_raises_at_once() -> None:
    lease = LoopLease()
    begun, ended = threading.Event(), threading.Event()

    def interrupt() -> None:
        begun.wait()
        os.kill(os.getpid(), signal.SIGINT)

    sender = threading.Thread(target=interrupt)
    sender.start()
    started = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        lease.run(forever(begun, ended))
    assert ended.wait(END_CEILING_S)
    assert time.monotonic() - started < END_CEILING_S
    sender.join()
    lease.release()


def test_ctrl_c_between_the_start_and_the_wait_cancels_the_task_too() -> None:
    class InterruptedLease(LoopLease):
        def post(self, callback: Callable[..., object], *arguments: object) -> bool:
            super().post(callback, *arguments)
            assert begun.wait(END_CEILING_S)
            raise KeyboardInterrupt

    lease = InterruptedLease()
    begun, ended = threading.Event(), threading.Event()
    with pytest.raises(KeyboardInterrupt):
        lease.run(forever(begun, ended))
    assert ended.wait(END_CEILING_S)
    lease.release()


def test_a_released_lease_refuses_calls_with_the_next_step() -> None:
    lease = LoopLease()
    lease.release()
    with pytest.raises(LoaderClosedError, match="closed; create a new one"):
        lease.run(asyncio.sleep(0))


def test_a_call_on_the_loop_itself_is_refused_instead_of_waiting_for_itself() -> None:
    lease = LoopLease()

    async def wait_for_itself() -> None:
        lease.run(asyncio.sleep(0))

    with pytest.raises(RuntimeError, match="would wait for itself"):
        lease.run(wait_for_itself())
    lease.release()


def test_the_last_release_ends_a_call_that_waits_in_another_thread() -> None:
    lease = LoopLease()
    begun, ended = threading.Event(), threading.Event()
    raised: list[BaseException] = []

    def wait() -> None:
        try:
            lease.run(forever(begun, ended))
        except BaseException as exc:  # examined below
            raised.append(exc)

    waiter = threading.Thread(target=wait, daemon=True)
    waiter.start()
    assert begun.wait(END_CEILING_S)
    lease.release()
    waiter.join(END_CEILING_S)
    assert ended.is_set()
    assert [type(error) for error in raised] == [LoaderClosedError]


@pytest.mark.blocks(reason="holds the loop to order the calls")
def test_a_call_that_arrives_while_the_loop_ends_is_told_so() -> None:
    lease = LoopLease()
    blocked, unblock = threading.Event(), threading.Event()

    def block() -> None:
        blocked.set()
        unblock.wait()

    lease.post(block)
    assert blocked.wait(END_CEILING_S)
    lease.release_soon()
    futures = [lease.submit(asyncio.sleep(60)) for _ in range(3)]
    unblock.set()
    lease.release()
    late = lease.submit(asyncio.sleep(60))
    assert not lease.post(print)
    for future in [*futures, late]:
        with pytest.raises((CancelledError, LoaderClosedError)):
            future.result(END_CEILING_S)


def test_a_finalizer_on_the_loop_thread_may_release_the_last_lease() -> None:
    lease = LoopLease()
    loop = lease.loop
    thread = lease.run(current_thread())

    class Owner:
        pass

    owner: list[Owner] = [Owner()]
    weakref.finalize(owner[0], lease.release_soon)

    async def collect() -> None:
        owner.clear()
        gc.collect()

    lease.submit(collect())
    thread.join(END_CEILING_S)
    assert not thread.is_alive()
    assert loop.is_closed()


def test_a_lease_may_be_released_on_the_loop_without_dead_lock() -> None:
    lease = LoopLease()
    thread = lease.run(current_thread())
    lease.post(lease.release)
    thread.join(END_CEILING_S)
    assert not thread.is_alive()


def test_the_last_of_two_holders_closes_what_they_held() -> None:
    lease = LoopLease()
    closable = Recorder()
    lease.run(hold(lease, closable))
    lease.run(hold(lease, closable))
    lease.run(let_go(lease, closable))
    assert closable.closes == 0
    lease.run(let_go(lease, closable))
    assert closable.closes == 1
    lease.run(let_go(lease, closable))
    lease.release()
    assert closable.closes == 1


def test_the_end_of_the_loop_closes_what_is_still_held() -> None:
    lease = LoopLease()
    closable = Recorder()
    lease.run(hold(lease, closable))
    lease.run(hold(lease, closable))
    lease.release()
    assert closable.closes == 1


@pytest.mark.parametrize("failure", [OSError("no way"), asyncio.CancelledError()], ids=["error", "cancelled"])
def test_a_failing_close_does_not_keep_the_others_from_theirs(failure: BaseException) -> None:
    lease = LoopLease()
    closables = [Recorder(), Recorder(failure), Recorder()]
    for closable in closables:
        lease.run(hold(lease, closable))
    lease.release()
    assert [closable.closes for closable in closables] == [1, 1, 1]
    assert lease.loop.is_closed()


def test_a_close_interrupted_by_the_end_of_the_loop_is_done_again() -> None:
    lease = LoopLease()
    begun = threading.Event()

    class Slow(Recorder):
        async def aclose(self) -> None:
            self.closes += 1
            if self.closes == 1:
                begun.set()
                await asyncio.Event().wait()

    slow = Slow()
    lease.run(hold(lease, slow))
    lease.submit(let_go(lease, slow))
    assert begun.wait(END_CEILING_S)
    lease.release()
    assert slow.closes == 2


def test_a_librarys_own_task_gets_to_clean_up_before_the_loop_closes() -> None:
    lease = LoopLease()
    steps: list[str] = []
    tasks: list[asyncio.Task[None]] = []

    async def own() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            for step in ("first", "second", "third"):
                await asyncio.sleep(0)
                steps.append(step)

    async def start() -> None:
        tasks.append(asyncio.create_task(own()))
        await asyncio.sleep(0)

    lease.run(start())
    lease.release()
    assert steps == ["first", "second", "third"]
    assert tasks[0].cancelled()


def test_run_on_loop_leaves_no_thread_and_closes_what_it_used() -> None:
    closable = Recorder()
    thread = run_on_loop(current_thread(), using=closable)
    assert not thread.is_alive()
    assert closable.closes == 1


def test_run_on_loop_spares_what_another_lease_holds() -> None:
    lease = LoopLease()
    closable = Recorder()
    lease.run(hold(lease, closable))
    run_on_loop(asyncio.sleep(0), using=closable)
    assert closable.closes == 0
    lease.release()
    assert closable.closes == 1


def test_run_on_loop_closes_what_it_used_after_an_error_too() -> None:
    closable = Recorder()

    async def fail() -> None:
        raise KeyError("the one")

    with pytest.raises(KeyError, match="the one"):
        run_on_loop(fail(), using=closable)
    assert closable.closes == 1


def test_a_forked_child_is_told_and_may_start_its_own_loop() -> None:
    done = run_script(
        """
        import asyncio, os, sys, warnings
        warnings.filterwarnings("ignore", "This process", DeprecationWarning)  # 3.12: threads and fork
        from aioloader.errors import LoaderClosedError
        from aioloader.runtime.loop import LoopLease, run_on_loop

        lease = LoopLease()
        pid = os.fork()
        if pid == 0:
            try:
                lease.run(asyncio.sleep(0))
            except LoaderClosedError as error:
                assert "forked child" in str(error) and "'spawn'" in str(error), error
                assert not lease.post(print)
                lease.release_soon()
                lease.release()
                del lease, error
                assert run_on_loop(asyncio.sleep(0, 7)) == 7
                sys.exit(0)  # not os._exit: the interpreter's own exit must be clean too
            sys.exit(1)
        _, status = os.waitpid(pid, 0)
        assert os.waitstatus_to_exitcode(status) == 0, status
        assert lease.run(asyncio.sleep(0, 8)) == 8  # the child's release was not ours
        lease.release()
        print("parent well")
        """
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "parent well\n", "")


def test_the_interpreter_exits_quickly_and_quietly_with_a_live_lease() -> None:
    started = time.monotonic()
    done = run_script(
        """
        import asyncio
        from aioloader.runtime.loop import LoopLease

        class Closable:
            async def aclose(self):
                print("closed")

        lease = LoopLease()
        closable = Closable()

        async def hold():
            lease.hold(closable)

        lease.run(hold())
        lease.submit(asyncio.sleep(3600))
        print("main ends")
        """
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "main ends\nclosed\n", "")
    assert time.monotonic() - started < END_CEILING_S


def test_an_uncaught_error_with_a_live_lease_ends_the_process_with_its_traceback() -> None:
    done = run_script(
        """
        import asyncio
        from aioloader.runtime.loop import LoopLease

        lease = LoopLease()
        lease.submit(asyncio.sleep(3600))
        raise KeyError("from the training loop")
        """
    )
    assert done.returncode == 1
    assert done.stderr.endswith("KeyError: 'from the training loop'\n")
    assert done.stderr.count("Traceback") == 1
