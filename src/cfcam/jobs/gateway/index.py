"""What is known of the objects in a spool, and of what is done with them: one SQLite file that outlives crashes."""

from __future__ import annotations

import json
import sqlite3
import threading
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from cfcam import json_text
from cfcam.errors import JobError
from cfcam.files import check_inside
from cfcam.jobs.gateway.header import Header
from cfcam.jobs.gateway.records import BUNDLE, ROOT, Entry, Has, Result, State, Task

_VERSION = 1
_TABLES = """
CREATE TABLE objects (
    key TEXT PRIMARY KEY, series TEXT NOT NULL, sha256 TEXT NOT NULL, size INTEGER NOT NULL, sender TEXT NOT NULL,
    header TEXT NOT NULL, state TEXT NOT NULL, came REAL NOT NULL
) WITHOUT ROWID;
CREATE INDEX objects_of_series ON objects (series);
CREATE INDEX objects_by_state ON objects (state);
CREATE TABLE tasks (
    id TEXT PRIMARY KEY, unit TEXT NOT NULL, volume INTEGER NOT NULL, network TEXT NOT NULL, rule TEXT NOT NULL,
    state TEXT NOT NULL, round INTEGER NOT NULL, tries INTEGER NOT NULL, reason TEXT NOT NULL, came REAL NOT NULL,
    changed REAL NOT NULL
) WITHOUT ROWID;
CREATE INDEX tasks_by_state ON tasks (state, came);
CREATE TABLE results (
    file TEXT PRIMARY KEY, task TEXT NOT NULL, uid TEXT NOT NULL, kind TEXT NOT NULL, state TEXT NOT NULL,
    tries INTEGER NOT NULL, reason TEXT NOT NULL
) WITHOUT ROWID;
CREATE INDEX results_by_state ON results (state);
CREATE INDEX results_of_task ON results (task);
CREATE INDEX results_by_uid ON results (uid);
"""


class Index:
    """The tables of a spool; every method is one transaction, on the disk when it returns.

    Args:
        path: the file.
        make: whether it is made if it is missing.

    Raises:
        JobError: it is none of a gateway, is missing, or is a link that leads out of the spool.
    """

    def __init__(self, path: Path, *, make: bool = True) -> None:
        if not make and not path.is_file():
            raise JobError("the spool has no index: the gateway was never started with this file of settings")
        for beside in ("", "-wal", "-shm"):
            check_inside(f"{path}{beside}", JobError)
        self._lock = threading.RLock()
        self._base = sqlite3.connect(path, timeout=30, isolation_level=None, check_same_thread=False)
        try:
            self._base.execute("PRAGMA journal_mode = WAL")
            self._base.execute("PRAGMA synchronous = FULL")  # a commit is on the disk, not only in the log's cache
            with self._at_once():
                version = self._base.execute("PRAGMA user_version").fetchone()[0]
                if version == 0 and make:
                    for statement in filter(str.strip, _TABLES.split(";")):
                        self._base.execute(statement)
                    self._base.execute(f"PRAGMA user_version = {_VERSION}")
                elif version != _VERSION:
                    raise JobError("the spool's index is of another version of cfcam: name another [spool] folder")
                if make:  # not in the first spools; without it a sweep takes the square of a day's studies
                    self._base.execute("CREATE INDEX IF NOT EXISTS tasks_of_unit ON tasks (unit)")
        except sqlite3.DatabaseError as error:
            raise JobError("the spool's index is broken: move it away; objects in the spool are taken again") from error

    def close(self) -> None:
        """Closes the file."""
        with self._lock:
            self._base.close()

    @contextmanager
    def _at_once(self) -> Iterator[sqlite3.Connection]:
        with self._lock:
            self._base.execute("BEGIN IMMEDIATE")
            try:
                yield self._base
                self._base.execute("COMMIT")
            finally:
                if self._base.in_transaction:  # a full disk ends some by itself, and leaves others open
                    self._base.execute("ROLLBACK")

    def _all(self, sql: str, values: Sequence[Any] = ()) -> list[Any]:
        with self._lock:
            return self._base.execute(sql, values).fetchall()

    # objects

    def known(self, key: str) -> bool:
        """Tells whether an object was entered."""
        return bool(self._all("SELECT 1 FROM objects WHERE key = ?", (key,)))

    def enter(self, entries: Iterable[tuple[Entry, Has, Sequence[Task]]]) -> None:
        """Enters objects that arrived, with what is begun at once; what was entered before stays as it is."""
        now = time.time()
        with self._at_once() as base:
            for entry, has, tasks in entries:
                header = entry.header
                values = (header.key, header.series_key, entry.sha256, entry.size, entry.sender)
                base.execute(
                    "INSERT OR IGNORE INTO objects VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
                    (*values, json.dumps(header.as_dict()), has, now),
                )
                for task in tasks:
                    _begin(base, task, now)

    def waiting(self) -> int:
        """Returns how many objects wait or are worked on."""
        return int(self._all("SELECT count(*) FROM objects WHERE state IN ('waiting', 'taken')")[0][0])

    def open_series(self) -> list[str]:
        """Returns the series that wait for further objects."""
        return [row[0] for row in self._all("SELECT DISTINCT series FROM objects WHERE state = 'waiting'")]

    def series(self, series: str) -> list[Entry]:
        """Returns the objects of a series with which something is or was done."""
        rows = self._all(
            "SELECT header, sha256, size, sender FROM objects WHERE series = ? AND state != 'ignored'"
            " ORDER BY came, key",
            (series,),
        )
        return [
            Entry(Header.from_dict(json_text.parse(row[0], "the gateway's index", JobError)), *row[1:]) for row in rows
        ]

    def close_series(self, series: str, has: Has, tasks: Sequence[Task], *, again: bool = False) -> None:
        """Ends the waiting of a series: studies are begun, or nothing is done with it.

        Args:
            series: its key.
            has: what becomes of its waiting objects.
            tasks: that are begun.
            again: of those that were explained before, with fewer objects, too.
        """
        now = time.time()
        with self._at_once() as base:
            base.execute(
                "UPDATE objects SET state = ? WHERE series = ? AND state = 'waiting'",
                (has, series),
            )
            for task in tasks:
                _begin(base, task, now, again=again)

    def ours(self, uid: str) -> bool:
        """Tells whether a UID is that of a result."""
        return bool(self._all("SELECT 1 FROM results WHERE uid = ?", (uid,)))

    # studies

    def task(self, study: str) -> Task | None:
        """Returns a study."""
        rows = self._tasks("WHERE id = ?", (study,))
        return rows[0] if rows else None

    def take(self) -> Task | None:
        """Takes the study that waits longest."""
        with self._at_once() as base:
            rows = self._tasks("WHERE state = 'complete' ORDER BY came, id LIMIT 1")
            if not rows:
                return None
            base.execute(
                "UPDATE tasks SET state = 'working', tries = tries + 1, changed = ? WHERE id = ?",
                (time.time(), rows[0].id),
            )
        return rows[0]

    def back(self) -> int:
        """Puts studies back that a process which is gone was at; returns how many."""
        with self._at_once() as base:
            return base.execute("UPDATE tasks SET state = 'complete' WHERE state = 'working'").rowcount

    def again(self, task: Task, reason: str, *, counted: bool = True) -> None:
        """Puts a study back, since work on it ended without an answer.

        Args:
            task: as it was taken.
            reason: why.
            counted: whether that was one of its tries.
        """
        with self._at_once() as base:
            if self._move(base, task, State.COMPLETE, reason) and not counted:
                base.execute("UPDATE tasks SET tries = tries - 1 WHERE id = ?", (task.id,))

    def dead(self, task: Task, reason: str) -> None:
        """Puts a study aside."""
        with self._at_once() as base:
            if self._move(base, task, State.DEAD, reason):
                _release(base, task.id)

    def finish(self, task: Task, results: Sequence[Result], *, sent: bool, posted: bool = False) -> None:
        """Enters the results of a study.

        Args:
            task: as it was taken.
            results: its objects and files; those with a UID are to be delivered.
            sent: whether there is somebody to deliver to.
            posted: whether there is a FHIR server; its Bundle is held until all objects are delivered.
        """
        with self._at_once() as base:
            for one in results:
                state = "waiting" if sent and one.uid else "held" if posted and one.kind == BUNDLE else "kept"
                base.execute(
                    "INSERT OR IGNORE INTO results VALUES (?, ?, ?, ?, ?, 0, '')",
                    (one.file, task.id, one.uid, one.kind, state),
                )
            if self._move(base, task, State.RESULTS, ""):
                _release(base, task.id)

    def _move(self, base: sqlite3.Connection, task: Task, state: State, reason: str) -> bool:
        """Sets the state of a study, unless more of it came meanwhile: then it waits for its next round."""
        return bool(
            base.execute(
                "UPDATE tasks SET state = ?, reason = ?, changed = ? WHERE id = ? AND round = ?",
                (state, reason, time.time(), task.id, task.round),
            ).rowcount
        )

    def _tasks(self, where: str, values: Sequence[Any] = ()) -> list[Task]:
        rows = self._all(
            f"SELECT id, unit, volume, network, rule, round, state, tries, reason FROM tasks {where}",  # noqa: S608
            values,
        )
        return [Task(row[0], row[1], bool(row[2]), *row[3:]) for row in rows]

    # results

    def to_deliver(self, most: int) -> list[Result]:
        """Returns results that are to be delivered, those of one study together, and its root behind what it names."""
        rows = self._all(
            "SELECT file, task, uid, kind, tries FROM results WHERE state = 'waiting'"
            " ORDER BY task, kind = ?, file LIMIT ?",
            (ROOT, most),
        )
        return [Result(*row) for row in rows]

    def to_post(self, most: int) -> list[Result]:
        """Returns Bundles that are to be posted: those of studies of which all objects have arrived."""
        rows = self._all(
            "SELECT file, task, uid, kind, tries FROM results WHERE state = 'held' AND NOT EXISTS"
            " (SELECT 1 FROM results AS other WHERE other.task = results.task AND other.state IN ('waiting', 'dead'))"
            " ORDER BY file LIMIT ?",
            (most,),
        )
        return [Result(*row) for row in rows]

    def delivered(self, files: Sequence[str]) -> None:
        """Notes that results have arrived."""
        self._settle(files, "delivered", "")

    def refused(self, file: str, reason: str) -> None:
        """Notes that a result will not be taken: it is put aside, and its study with it."""
        self._settle([file], "dead", reason)

    def not_yet(self, files: Sequence[str], reason: str) -> None:
        """Notes that results did not get through this time."""
        with self._at_once() as base:
            base.executemany(
                "UPDATE results SET tries = tries + 1, reason = ? WHERE file = ?", [(reason, file) for file in files]
            )

    def _settle(self, files: Sequence[str], state: str, reason: str) -> None:
        with self._at_once() as base:
            for file in files:
                base.execute("UPDATE results SET state = ?, reason = ? WHERE file = ?", (state, reason, file))
            marks = ", ".join("?" * len(files))
            tasks = base.execute(f"SELECT DISTINCT task FROM results WHERE file IN ({marks})", files).fetchall()  # noqa: S608
            for (task,) in tasks:
                states = {row[0] for row in base.execute("SELECT state FROM results WHERE task = ?", (task,))}
                now = (
                    (State.DEAD, reason or "a result of it was refused") if "dead" in states else (State.DELIVERED, "")
                )
                if "dead" in states or not states & {"waiting", "held"}:
                    base.execute(  # unless more of it came meanwhile
                        "UPDATE tasks SET state = ?, reason = ?, changed = ? WHERE id = ?"
                        " AND state IN ('results', 'delivered', 'dead')",
                        (*now, time.time(), task),
                    )

    # for people

    def counts(self) -> dict[str, dict[str, int]]:
        """Returns how many objects, studies and results are in which state."""
        tables = ("objects", "tasks", "results")
        return {
            table: dict(self._all(f"SELECT state, count(*) FROM {table} GROUP BY state"))  # noqa: S608 (names are ours)
            for table in tables
        }

    def held_up(self) -> list[tuple[int, str]]:
        """Returns how many results wait since nobody took them, and why, the most first."""
        return self._all(
            "SELECT count(*), reason FROM results WHERE state = 'waiting' AND reason != '' GROUP BY reason"
            " ORDER BY count(*) DESC, reason"
        )

    def put_aside(self) -> list[Task]:
        """Returns the studies that were put aside."""
        return self._tasks("WHERE state = 'dead' ORDER BY changed")

    def retry(self, ids: Sequence[str] = ()) -> list[str]:
        """Lets what was put aside be tried again: all, or these; returns their names."""
        with self._at_once() as base:
            found = [task for task in self.put_aside() if not ids or task.id in ids]
            for task in found:
                lost = base.execute(
                    "UPDATE results SET state = iif(kind = ?, 'held', 'waiting'), tries = 0, reason = ''"
                    " WHERE task = ? AND state = 'dead'",
                    (BUNDLE, task.id),
                ).rowcount
                state = State.RESULTS if lost else State.COMPLETE
                base.execute("UPDATE tasks SET state = ?, tries = 0, reason = '' WHERE id = ?", (state, task.id))
        return [task.id for task in found]

    def old(self, before: float) -> tuple[list[str], list[Task]]:
        """Returns the objects and studies with which all is done since then."""
        objects = self._all(
            "SELECT key FROM objects WHERE state IN ('done', 'ignored') AND came < ? AND NOT EXISTS"
            " (SELECT 1 FROM tasks WHERE unit IN (objects.key, objects.series)"
            " AND state NOT IN ('delivered', 'results'))",
            (before,),
        )
        tasks = self._tasks(
            "WHERE state IN ('delivered', 'results') AND changed < ? AND NOT EXISTS"
            " (SELECT 1 FROM results WHERE task = id AND state IN ('waiting', 'held'))",
            (before,),
        )
        return [row[0] for row in objects], tasks

    def forget(self, objects: Sequence[str], tasks: Sequence[Task]) -> None:
        """Removes lines of what is done; their files are gone already."""
        with self._at_once() as base:
            base.executemany("DELETE FROM objects WHERE key = ?", [(key,) for key in objects])
            base.executemany("DELETE FROM results WHERE task = ?", [(task.id,) for task in tasks])
            base.executemany("DELETE FROM tasks WHERE id = ?", [(task.id,) for task in tasks])


def _begin(base: sqlite3.Connection, task: Task, now: float, *, again: bool = False) -> None:
    values = (task.id, task.unit, int(task.volume), task.network, task.rule, task.state, 0, 0, task.reason, now, now)
    rows = base.execute("SELECT 1 FROM tasks WHERE id = ?", (task.id,)).fetchall()
    if not rows:
        base.execute("INSERT INTO tasks VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)", values)
    elif again:
        base.execute(
            "UPDATE tasks SET state = ?, round = round + 1, tries = 0, reason = ?, came = ?, changed = ? WHERE id = ?",
            (task.state, task.reason, now, now, task.id),
        )


def _release(base: sqlite3.Connection, study: str) -> None:
    """The objects of a study are done, unless another network still needs them."""
    base.execute(
        "UPDATE objects SET state = 'done' WHERE state = 'taken'"
        " AND (key = (SELECT unit FROM tasks WHERE id = :id) OR series = (SELECT unit FROM tasks WHERE id = :id))"
        " AND NOT EXISTS (SELECT 1 FROM tasks WHERE unit IN (objects.key, objects.series)"
        " AND state IN ('complete', 'working'))",
        {"id": study},
    )
