"""The recorder's way to disk: rows are handed to a thread that writes them, and a second thread keeps house.

A row is acknowledged once its ``write`` has returned: it then survives the death of the process. Whatever the disk
does, the training neither waits for long nor hears of it: rows wait in a bounded queue, then are dropped and counted.
"""

from __future__ import annotations

import atexit
import contextlib
import logging
import os
import threading
import time
import weakref
from collections import deque
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from gradlens.store import session as sessions
from gradlens.store.disk import Disk
from gradlens.store.frames import NONE, MicroBatches, Row, Tensors
from gradlens.store.session import Session
from gradlens.store.tables import Parameters

logger = logging.getLogger("gradlens")

MOST_ROWS: Final = 4096
MOST_BYTES: Final = 64 << 20
PATIENCE: Final = 0.005
"""Seconds that a training on the CPU waits for a row to be written."""
RETRY_SECONDS: Final = (0.05, 1.0)
TICK_SECONDS: Final = 1.0
SYNC_SECONDS: Final = 4.0
BEAT_SECONDS: Final = 15.0
GIVE_UP_SECONDS: Final = 4.0
"""How long ``close`` waits for a disk that does nothing."""
CLOSE_SECONDS: Final = 60.0
"""How long it waits for one that is slow."""
LAST_BEAT_SECONDS: Final = 1.0
"""How long it then tries to note how the run ended."""
EXIT_SECONDS: Final = 10.0
"""How long the end of the process waits for threads that ``close`` gave up on: one that Python cuts off inside the
Parquet library takes the process down with it."""


class RunWriter:
    """Writes one session of one run from two threads of its own.

    Args:
        session: the session to write.
        patience: seconds that ``append`` may wait until its row is acknowledged; 0 never waits.

    Attributes:
        acknowledged: step of the last row that survives the death of the process, -1 before the first.
        dropped: rows lost.
        last_error: what the disk said last, None if nothing.
    """

    def __init__(self, session: Session, patience: float = PATIENCE) -> None:
        self.acknowledged = -1
        self.dropped = 0
        self.last_error: str | None = None
        self._session = session
        self._patience = patience
        self._queue: deque[tuple[int, Row, Tensors, MicroBatches, int]] = deque()
        self._bytes = 0
        self._seq = 0
        self._behind = False
        self._closing = False
        self._forked = False
        self._warned = False
        self._outcome: str | None = None
        self._told: tuple[object, ...] = ()
        self._beaten = -BEAT_SECONDS
        self._synced = time.monotonic()
        self._moving = time.monotonic()
        self._make_locks()
        self._beat_if_due()
        _writers.add(self)
        self._threads = [
            threading.Thread(target=target, name=f"gradlens-{name}", daemon=True)
            for name, target in (("log", self._write_rows), ("keeper", self._keep_house))
        ]
        for thread in self._threads:
            thread.start()

    @classmethod
    def create(
        cls,
        root: Path,
        name: str,
        description: Mapping[str, Any],
        parameters: Parameters,
        *,
        disk: Disk | None = None,
        patience: float = PATIENCE,
        max_bytes: int | None = None,
    ) -> RunWriter:
        """Begin a run; see :func:`gradlens.store.session.start`.

        Raises:
            OSError: if the run folder cannot be made; later failures are counted instead.
        """
        session = sessions.start(disk or Disk(), root, name, description, parameters)
        session.max_bytes = max_bytes
        return cls(session, patience)

    @classmethod
    def resume(
        cls,
        path: Path,
        description: Mapping[str, Any],
        parameters: Parameters,
        *,
        disk: Disk | None = None,
        patience: float = PATIENCE,
        max_bytes: int | None = None,
    ) -> RunWriter:
        """Take the next turn at a run; see :func:`gradlens.store.session.resume`.

        Raises:
            RunError: if it is no run that this version can read.
            OSError: if it cannot be written to; later failures are counted instead.
        """
        session = sessions.resume(disk or Disk(), path, description, parameters)
        session.max_bytes = max_bytes
        return cls(session, patience)

    @property
    def path(self) -> Path:
        """The run folder."""
        return self._session.path

    @property
    def rows(self) -> int:
        """Rows handed over so far."""
        return self._seq

    @property
    def session(self) -> int:
        """Number of the session."""
        return self._session.number

    # ---- the training's thread ---------------------------------------------------------------------------------------

    def append(self, row: Row, tensors: Tensors, micro_batches: MicroBatches = NONE) -> None:
        """Hand over one complete step record. Never raises.

        Waits ``patience`` at most until the rows before it are written, for which they had a whole step; while the disk
        is behind, not again.

        Args:
            row: the scalars of the step, ``step`` among them; None is null.
            tensors: kind -> (parameters,) float32, for the kinds measured in this step.
            micro_batches: column of the micro-batch table -> one value for each micro-batch of the step, texts or None
                for the domain; none where they were not measured.
        """
        if self._forked or self._closing:
            self._refuse()
            return
        with self._lock:
            seq = self._seq
            self._seq += 1
            if len(self._queue) >= MOST_ROWS or self._bytes >= MOST_BYTES:
                self.dropped += 1
                return
            if self._queue and self._patience and not self._behind:
                self._behind = not self._written.wait_for(lambda: not self._queue, self._patience)
                if self._closing:  # by a signal's handler, meanwhile
                    self.dropped += 1
                    return
            size = 8 * (len(row) + sum(map(len, micro_batches.values()))) + sum(v.nbytes for v in tensors.values())
            self._queue.append((seq, row, tensors, micro_batches, size))
            self._bytes += size
            self._arrived.notify()

    def flush(self, timeout: float = 10.0) -> bool:
        """Wait until all rows so far are written; whether they are."""
        if self._forked:
            return False
        with self._lock:
            return self._written.wait_for(lambda: not self._queue, timeout)

    def close(self, outcome: str) -> None:
        """Write what waits, seal, merge the segments, and note how the session ended.

        On a disk that does nothing this gives up after seconds, and counts what it could not write.

        Args:
            outcome: ``"finished"`` or ``"stopped"``.
        """
        if self._forked or self._closing:
            return
        self._outcome = outcome
        with self._lock:
            self._closing = True
            self._arrived.notify_all()
        self._wake.set()
        begin = self._moving = time.monotonic()
        while any(thread.is_alive() for thread in self._threads):
            self._threads[-1].join(0.02)
            now = time.monotonic()
            if now - self._moving > GIVE_UP_SECONDS or now - begin > CLOSE_SECONDS:
                if self._queue or self.last_error is None:  # else what came before says more
                    self._note(TimeoutError(f"closing took more than {now - begin:.0f} s"))
                self._give_up()
                self._say_how_it_ended()
                _given_up.extend(self._threads)
                break
        _writers.discard(self)

    def discard(self) -> None:
        """Close a session without rows and remove its run, of which nothing is lost."""
        self.close("stopped")
        with contextlib.suppress(OSError):
            self._session.remove()

    def _refuse(self) -> None:
        if self._forked and not self._warned:
            self._warned = True
            logger.warning("gradlens records in the process that made the recorder only; this one was forked from it.")

    # ---- the log's thread --------------------------------------------------------------------------------------------

    def _write_rows(self) -> None:
        pause, most = RETRY_SECONDS
        while True:
            with self._lock:
                self._arrived.wait_for(lambda: self._queue or self._closing)
                if not self._queue:
                    return
                seq, row, tensors, micro_batches, _ = self._queue[0]
            try:
                self._session.append(seq, row, tensors, micro_batches)
            except (OSError, MemoryError) as error:
                self._note(error)
                if self._closing:
                    self._give_up()
                    return
                with self._lock:
                    self._arrived.wait_for(lambda: self._closing, pause)
                pause = min(2 * pause, most)
                continue
            except Exception as error:
                self._note(error)
                with self._lock:
                    self.dropped += 1
            else:
                self.acknowledged = int(row["step"])  # type: ignore[arg-type]  # a row has a step, a number
            pause = RETRY_SECONDS[0]
            self._moving = time.monotonic()
            with self._lock:
                if self._queue:  # unless close has given up meanwhile
                    self._bytes -= self._queue.popleft()[-1]
                self._behind = self._behind and bool(self._queue)
                self._written.notify_all()
            if self._session.waiting:
                self._wake.set()

    def _give_up(self) -> None:
        with self._lock:
            self.dropped += len(self._queue)
            self._queue.clear()
            self._written.notify_all()

    # ---- the keeper's thread -----------------------------------------------------------------------------------------

    def _keep_house(self) -> None:
        if self._session.number:
            self._try(self._session.tidy)
        while not self._closing:
            self._try(self._session.look)
            if not self._session.gone:
                self._sync_and_beat_if_due()
                if self._session.waiting:
                    self._try(lambda: self._session.seal(self._sync_and_beat_if_due))
                    self._try(lambda: self._session.compact(tick=self._sync_and_beat_if_due))
            self._wake.wait(TICK_SECONDS)
            self._wake.clear()
        self._threads[0].join()
        self._try(self._session.look)
        if not self._session.gone:
            self._session.rotate()
            self._try(self._beat)  # how it ended is known before what may take long
            self._try(lambda: self._session.seal(self._tick))
            self._try(lambda: self._session.compact(1, self._tick))
            self._try(self._beat)
        self._session.close()

    def _sync_and_beat_if_due(self) -> None:
        self._tick()
        if time.monotonic() - self._synced >= SYNC_SECONDS:
            self._synced = time.monotonic()
            self._try(self._session.sync)
        self._beat_if_due()

    def _beat_if_due(self) -> None:
        now, state = time.monotonic(), (self.dropped, self.last_error)
        if (now - self._beaten >= BEAT_SECONDS or state != self._told) and self._try(self._beat):
            self._beaten, self._told = now, state

    def _beat(self) -> None:
        with self._beating:
            self._session.beat(
                {
                    "rows": self._seq,
                    "acknowledged": self.acknowledged,
                    "dropped": self.dropped,
                    "last_error": self.last_error,
                    "closed": self._outcome,
                }
            )

    def _say_how_it_ended(self) -> None:
        """Where the keeper is held up in something long: by a thread that a disk that does nothing may keep."""
        beat = threading.Thread(target=lambda: self._try(self._beat), name="gradlens-beat", daemon=True)
        beat.start()
        beat.join(LAST_BEAT_SECONDS)

    def _try(self, keep: Any) -> bool:
        """Whether it went well; what is raised is noted, and must not end the thread."""
        self._tick()
        try:
            keep()
        except Exception as error:
            self._note(error)
            return False
        finally:
            self._tick()
        return True

    def _tick(self) -> None:
        self._moving = time.monotonic()

    def _note(self, error: Exception) -> None:
        """Keep what went wrong; the first time, say it."""
        self.last_error = f"{type(error).__name__}: {error}"
        if not self._warned:
            self._warned = True
            logger.warning(
                "gradlens cannot write to %s (%s). Training goes on; rows wait in memory while there is room, then are "
                "dropped and counted, here in silence, and shown by: gradlens info",
                self._session.path, self.last_error,
            )  # fmt: skip

    # ---- forks -------------------------------------------------------------------------------------------------------

    def _make_locks(self) -> None:
        self._lock = threading.RLock()  # a signal's handler may close within an append
        self._arrived = threading.Condition(self._lock)
        self._written = threading.Condition(self._lock)
        self._wake = threading.Event()
        self._beating = threading.Lock()

    def _in_child(self) -> None:
        """In a forked child there are no threads, and the run is the parent's."""
        self._forked, self._warned = True, False
        self._make_locks()
        with contextlib.suppress(Exception):
            self._session.close()


_writers: weakref.WeakSet[RunWriter] = weakref.WeakSet()
_given_up: list[threading.Thread] = []


def _after_fork() -> None:
    for writer in list(_writers):
        writer._in_child()
    _writers.clear()
    _given_up.clear()


def _at_exit() -> None:
    until = time.monotonic() + EXIT_SECONDS
    for thread in _given_up:
        thread.join(max(0.0, until - time.monotonic()))


atexit.register(_at_exit)  # before any recorder's, so that it runs after them


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
