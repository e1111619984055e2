"""A capacity shared by streams: requests on the wire, or bytes held. Oldest first, and never a dead-lock.

Each stream has an account. An account that holds nothing is always granted, whatever the others hold, so the oldest
unfinished sample of every stream moves; one sample larger than the whole budget passes alone.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections import deque
from math import inf


class Budget:
    """``capacity`` units (requests, or bytes) for all accounts together.

    ``reserve`` is awaited on one loop; ``release`` may come from any thread.
    """

    def __init__(self, capacity: int) -> None:
        self.capacity = capacity
        self.used = 0
        self.peak = 0
        self._lock = threading.Lock()
        self._accounts: list[Account] = []

    def open(self, limit: int | None = None) -> Account:
        """An account for one stream; ``limit`` bounds what it may hold below the capacity."""
        account = Account(self, limit)
        with self._lock:
            self._accounts.append(account)
        return account

    def grow(self, capacity: int) -> None:
        """Raise the capacity to at least ``capacity``."""
        self.capacity = max(self.capacity, capacity)

    def resize(self, capacity: int) -> None:
        """Set the capacity; what is held beyond a smaller one is waited for."""
        self.capacity = capacity
        with self._lock:
            waiting = self._waiting()
        for account in waiting:
            account.wake()

    def _waiting(self) -> list[Account]:
        return [account for account in self._accounts if account.waiters]

    def take(self, account: Account, amount: int) -> bool:
        """Reserve at once if the rules allow it."""
        with self._lock:
            if account.used and (self.used + amount > self.capacity or account.used + amount > account.limit):
                return False
            account.used += amount
            self.used += amount
            self.peak = max(self.peak, self.used)
            return True

    def put(self, account: Account, amount: int) -> None:
        """Give back; then let the accounts' oldest waiters try again."""
        with self._lock:
            amount = min(amount, account.used)  # a decode may end after its stream's account was closed
            account.used -= amount
            self.used -= amount
            waiting = self._waiting()
        for other in waiting:
            other.wake()

    def add(self, account: Account, amount: int) -> None:
        """Count what is held already, whether there is room or not; later reservations wait the longer."""
        with self._lock:
            account.used += amount
            self.used += amount
            self.peak = max(self.peak, self.used)

    def forget(self, account: Account) -> None:
        """Close an account: what it held is free again."""
        with self._lock:
            if account not in self._accounts:
                return
            self._accounts.remove(account)
        self.put(account, account.used)


class Account:
    """One stream's share of a `Budget`; waiters are served in the order they came."""

    def __init__(self, budget: Budget, limit: int | None) -> None:
        self._budget = budget
        self.limit = inf if limit is None else limit
        self.used = 0
        self.waiters: deque[tuple[int, asyncio.Future[None]]] = deque()
        """(amount, what its grant resolves), first come first; changed on their loop alone."""
        self._wake_posted = False

    @property
    def used_by_all(self) -> int:
        """What all accounts of the budget hold together."""
        return self._budget.used

    def reserve_now(self, amount: int) -> bool:
        """Reserve ``amount`` units if nobody waits and the rules allow it."""
        return not self.waiters and self._budget.take(self, amount)

    async def reserve(self, amount: int) -> None:
        """Wait for ``amount`` units. Cancelled while waiting, nothing is held."""
        if self.reserve_now(amount):
            return
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.waiters.append((amount, future))
        self._serve()  # a release may have come between the refusal and the append
        try:
            await future
        except asyncio.CancelledError:
            if future.done() and not future.cancelled():
                self.release(amount)  # granted and cancelled at once
            else:
                with contextlib.suppress(ValueError):
                    self.waiters.remove((amount, future))
                self._serve()
            raise

    def set_limit(self, limit: int) -> None:
        """Another bound of its own; what is held beyond a smaller one is waited for. On the waiters' loop."""
        self.limit = limit
        self._serve()

    def take_beyond(self, amount: int) -> None:
        """``amount`` units at once, whether there is room or not."""
        self._budget.add(self, amount)

    def release(self, amount: int) -> None:
        """Give ``amount`` units back; any thread."""
        self._budget.put(self, amount)

    def correct(self, reserved: int, actual: int) -> None:
        """What was reserved by a guess turned out to take ``actual`` units; any thread."""
        if actual > reserved:
            self._budget.add(self, actual - reserved)
        elif actual < reserved:
            self.release(reserved - actual)

    def wake(self) -> None:
        """Have the waiters served on their loop; any thread."""
        if self._wake_posted:
            return
        try:
            _, future = self.waiters[0]
        except IndexError:
            return
        self._wake_posted = True
        with contextlib.suppress(RuntimeError):  # the loop has ended, and the waiters with it
            future.get_loop().call_soon_threadsafe(self._serve)

    def _serve(self) -> None:
        self._wake_posted = False
        while self.waiters:
            amount, future = self.waiters[0]
            if future.done():
                self.waiters.popleft()
            elif self._budget.take(self, amount):
                self.waiters.popleft()
                future.set_result(None)
            else:
                return

    def close(self) -> None:
        """Free everything the account holds; idempotent."""
        self._budget.forget(self)
