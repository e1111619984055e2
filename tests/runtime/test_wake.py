"""`Wake`: set from one thread, heard in others, whatever interrupts them."""

from __future__ import annotations

import threading

from aioloader.runtime.wake import Wake

CEILING_S = 10.0


def test_a_wait_ends_when_it_is_set_and_not_before() -> None:
    wake = Wake()
    assert not wake.wait(0.01)
    threading.Timer(0.02, wake.set).start()
    assert wake.wait(CEILING_S)
    assert wake.wait(0)
    wake.set()
    wake.clear()
    assert not wake.wait(0.01)
    wake.set()
    assert wake.wait(0)


def test_all_who_wait_hear_one_set() -> None:
    wake = Wake()
    heard: list[bool] = []
    threads = [threading.Thread(target=lambda: heard.append(wake.wait(CEILING_S))) for _ in range(5)]
    for thread in threads:
        thread.start()
    wake.set()
    for thread in threads:
        thread.join(CEILING_S)
    assert heard == [True] * 5
