"""Daemon threads for blocking calls: started when needed, never joined at exit, ended by close."""

from __future__ import annotations

import asyncio
import gc
import subprocess
import sys
import textwrap
import threading
import time
import weakref

import pytest

from aioloader.runtime.threads import DaemonThreads

CEILING_S = 10.0


@pytest.fixture
def threads() -> DaemonThreads:
    """Three at most; closed by the test, the shared check of left threads sees to it."""
    return DaemonThreads("aioloader-test", 3)


def ours() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name.startswith("aioloader-test")]


async def wait_for(event: threading.Event) -> None:
    """Wait for a thread without blocking the loop."""
    assert await asyncio.to_thread(event.wait, CEILING_S)


async def test_run_gives_the_result_of_a_call_in_a_daemon_thread(threads: DaemonThreads) -> None:
    thread = await threads.run(threading.current_thread)
    assert thread is not threading.current_thread()
    assert (thread.name, thread.daemon) == ("aioloader-test-0", True)
    assert await threads.run(divmod, 7, 2) == (3, 1)
    threads.close()


async def test_run_raises_the_error_itself(threads: DaemonThreads) -> None:
    error = KeyError("the one")

    def fail() -> None:
        raise error

    with pytest.raises(KeyError) as caught:
        await threads.run(fail)
    assert caught.value is error
    assert await threads.run(int, "7") == 7
    threads.close()


async def test_a_stop_iteration_becomes_an_error_instead_of_a_hang(threads: DaemonThreads) -> None:
    async with asyncio.timeout(CEILING_S):
        with pytest.raises(RuntimeError, match="raised StopIteration") as caught:
            await threads.run(next, iter(()))
    assert isinstance(caught.value.__cause__, StopIteration)
    threads.close()


async def test_no_thread_starts_before_the_first_call_and_one_serves_calls_in_turn(
    threads: DaemonThreads,
) -> None:
    assert ours() == []
    for _ in range(10):
        await threads.run(int)
    assert len(ours()) == 1
    threads.close()


async def test_calls_run_side_by_side_up_to_the_limit(threads: DaemonThreads) -> None:
    together = threading.Barrier(3, timeout=CEILING_S)
    await asyncio.gather(*(threads.run(together.wait) for _ in range(3)))
    await asyncio.gather(*(threads.run(int) for _ in range(20)))
    assert len(ours()) <= 3
    threads.close()


async def test_calls_made_at_once_do_not_queue_behind_one_idle_thread(threads: DaemonThreads) -> None:
    await threads.run(int)  # leaves one thread idle
    together = threading.Barrier(3, timeout=CEILING_S)
    await asyncio.gather(*(threads.run(together.wait) for _ in range(3)))
    threads.close()


async def test_a_cancelled_call_is_abandoned_and_its_thread_serves_on() -> None:
    threads = DaemonThreads("aioloader-test", 1)
    begun, go_on = threading.Event(), threading.Event()

    def wait() -> None:
        begun.set()
        go_on.wait()

    call = asyncio.create_task(threads.run(wait))
    await wait_for(begun)
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    go_on.set()
    assert await threads.run(int, "7") == 7
    threads.close()


async def test_a_call_cancelled_in_the_queue_never_runs() -> None:
    threads = DaemonThreads("aioloader-test", 1)
    begun, go_on, ran = threading.Event(), threading.Event(), threading.Event()

    def wait() -> None:
        begun.set()
        go_on.wait()

    first = asyncio.create_task(threads.run(wait))
    await wait_for(begun)
    second = asyncio.create_task(threads.run(ran.set))
    await asyncio.sleep(0)
    second.cancel()
    go_on.set()
    await first
    await threads.run(int)
    assert not ran.is_set()
    assert second.cancelled()
    threads.close()


async def test_close_lets_running_and_queued_calls_finish_and_ends_the_threads() -> None:
    threads = DaemonThreads("aioloader-test", 1)
    begun, go_on = threading.Event(), threading.Event()

    def wait() -> str:
        begun.set()
        go_on.wait()
        return "finished"

    running = asyncio.create_task(threads.run(wait))
    await wait_for(begun)
    queued = asyncio.create_task(threads.run(int, "7"))
    await asyncio.sleep(0)
    left = ours()
    threads.close()
    threads.close()
    go_on.set()
    assert await running == "finished"
    assert await queued == 7
    for thread in left:
        await asyncio.to_thread(thread.join, CEILING_S)
        assert not thread.is_alive()


async def test_calls_after_a_close_are_served_though_an_old_one_hangs(threads: DaemonThreads) -> None:
    begun, go_on = threading.Event(), threading.Event()

    def hang() -> None:
        begun.set()
        go_on.wait()

    hung = asyncio.create_task(threads.run(hang))
    await wait_for(begun)
    threads.close()
    async with asyncio.timeout(CEILING_S):
        assert await asyncio.gather(*(threads.run(int, "7") for _ in range(9))) == [7] * 9
    threads.close()
    go_on.set()
    await hung


async def test_an_idle_thread_keeps_neither_arguments_nor_result_alive(threads: DaemonThreads) -> None:
    class Body:
        pass

    body = Body()
    seen = weakref.ref(body)

    def give_back(argument: Body) -> Body:
        return argument

    assert await threads.run(give_back, body) is body
    del body
    deadline = time.monotonic() + CEILING_S
    while seen() is not None and time.monotonic() < deadline:
        await asyncio.to_thread(gc.collect)  # gives the worker the time to let go
    assert seen() is None
    threads.close()


def test_a_result_for_a_loop_that_has_ended_is_dropped_in_silence() -> None:
    threads = DaemonThreads("aioloader-test", 1)
    go_on = threading.Event()

    async def abandon() -> None:
        call = asyncio.create_task(threads.run(go_on.wait))
        await asyncio.sleep(0)
        call.cancel()

    asyncio.run(abandon())
    go_on.set()
    assert asyncio.run(threads.run(int, "7")) == 7
    threads.close()


def test_a_call_that_hangs_does_not_hang_the_exit() -> None:
    script = """
        import asyncio, threading
        from aioloader.runtime.threads import DaemonThreads

        async def main():
            threads = DaemonThreads("aioloader-test", 1)
            begun = threading.Event()

            def hang():
                begun.set()
                threading.Event().wait()

            call = asyncio.create_task(threads.run(hang))
            await asyncio.to_thread(begun.wait)
            threads.close()
            call.cancel()
            print("main ends")

        asyncio.run(main())
    """
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", textwrap.dedent(script)],
        capture_output=True,
        text=True,
        timeout=CEILING_S,
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "main ends\n", "")
