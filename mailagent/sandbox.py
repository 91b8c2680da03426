"""How is work on foreign bytes kept from hanging, killing or owning this process?

It runs in a child with an empty environment, no other descriptors, limits and a deadline
(`sandbox_worker`, `sandbox_limits`). Whatever happens there comes back as bytes or as an error of
ours, and the next job gets a healthy worker. The child's answers are as foreign as the mail it
reads: they are bounded, JSON and bytes, never pickles.
"""

from __future__ import annotations

import asyncio
import json
import math
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any, Literal, TypeAlias, get_args

from mailagent.errors import MailagentError, Malformed, NotFound, SandboxFailure

__all__ = ["JsonValue", "Sandbox"]

JsonValue: TypeAlias = (
    "bool | int | float | str | Sequence[JsonValue] | Mapping[str, JsonValue] | None"
)

_WORKER = Path(__file__).with_name("sandbox_worker.py")
_START_SECONDS = 30.0
"""A machine under full load still starts an interpreter in this time."""
_HEADER_BYTES = 64 * 1024
_READ_AHEAD_BYTES = 1024 * 1024
_LIBRARIES = ("/lib", "/lib64", "/usr/lib", "/usr/lib64", "/nix/store", "/etc/ld.so.cache")
"""Where the shared libraries of compiled packages may lie."""
_Cause: TypeAlias = Literal["deadline", "memory", "crash"]


class Sandbox:
    """A few worker processes for jobs on foreign bytes.

    `workers` at most run at once: the first starts with the first job (or `warm`), the others only
    when all are busy, and those end again after `idle`. `memory_bytes` is each worker's address
    space, `deadline` the default for one job, `answer_bytes` the longest result taken from a child.
    `allowed` names the modules (and packages) whose functions may be jobs; they may read the files
    of the interpreter, of installed packages and of their own, and beneath `readable`.
    """

    def __init__(
        self,
        *,
        workers: int = 2,
        memory_bytes: int = 1024 * 1024 * 1024,
        deadline: timedelta = timedelta(seconds=20),
        idle: timedelta = timedelta(minutes=1),
        answer_bytes: int = 128 * 1024 * 1024,
        allowed: Sequence[str] = (
            "mailagent.mime",
            "mailagent.authentication",
            "mailagent.reading",
        ),
        readable: Sequence[Path] = (),
    ) -> None:
        self._memory_bytes = memory_bytes
        self._deadline = deadline
        self._idle_after = idle
        self._answer_bytes = answer_bytes
        self._allowed = tuple(allowed)
        self._readable = [str(path.absolute()) for path in readable]
        self._workers = workers
        self._slots = asyncio.Semaphore(workers)
        self._idle: list[_Worker] = []
        self._busy: set[_Worker] = set()
        self._ending: set[asyncio.Task[None]] = set()
        self._confinement: tuple[str, ...] = ()
        self._closed = False
        self.failures: dict[_Cause, int] = dict.fromkeys(get_args(_Cause), 0)
        """How many jobs ended in a SandboxFailure, by its cause."""

    @property
    def confinement(self) -> tuple[str, ...]:
        """Which means hold the workers (see `sandbox_limits.confine`); empty before the first."""
        return self._confinement

    async def warm(self) -> None:
        """Start the first worker before the first job needs it. Raises SandboxFailure."""
        if not self._idle and not self._busy:
            self._rest(await self._start())

    async def run(
        self,
        job: str,
        blob: bytes,
        arguments: Mapping[str, JsonValue],
        *,
        deadline: timedelta | None = None,
    ) -> bytes:
        """Call `package.module:function` with (blob, arguments) in a worker and return its bytes.

        The deadline counts from the moment a worker has the job. Raises SandboxFailure (`deadline`,
        `memory`, `crash`), Malformed and NotFound as the job raised them, ValueError for a job that
        is not allowed. A cancelled call kills its worker.
        """
        self._permit(job)
        try:
            return await self._run(job, blob, arguments, deadline)
        except SandboxFailure as failure:
            if not self._closed:
                self.failures[failure.cause] += 1
            raise

    async def _run(
        self,
        job: str,
        blob: bytes,
        arguments: Mapping[str, JsonValue],
        deadline: timedelta | None,
    ) -> bytes:
        seconds = (self._deadline if deadline is None else deadline).total_seconds()
        request = json.dumps(
            {
                "job": job,
                "arguments": arguments,
                "cpu_seconds": math.ceil(seconds),
                "size": len(blob),
            }
        ).encode()
        async with self._slots:
            worker = await self._take()
            try:
                async with asyncio.timeout(seconds):
                    header, result = await worker.ask(
                        request, blob, answer_bytes=self._answer_bytes
                    )
                failure = _failure(header)
            except TimeoutError:
                self._discard(worker)
                raise SandboxFailure("deadline", f"{job} took more than {seconds:g} s") from None
            except (OSError, EOFError, ValueError) as error:
                self._discard(worker)
                raise SandboxFailure("crash", f"{job}: the worker died or broke off") from error
            except BaseException:
                self._discard(worker)
                raise
            if isinstance(failure, SandboxFailure) and failure.cause == "memory":
                self._discard(worker)
            else:
                self._rest(worker)
            if failure is not None:
                raise failure
            return result

    async def close(self) -> None:
        """End all workers, busy ones too, and wait until they are gone."""
        if self._closed:
            return
        self._closed = True
        for worker in list(self._idle):
            self._discard(worker)
        for worker in self._busy:
            worker.kill()
        for _ in range(self._workers):  # every `run` has noticed and thrown its worker away
            await self._slots.acquire()
        while self._ending:
            await asyncio.gather(*self._ending)

    def _permit(self, job: str) -> None:
        module, _, function = job.partition(":")
        allowed = any(module == name or module.startswith(f"{name}.") for name in self._allowed)
        if not allowed or not function.isidentifier():
            raise ValueError(f"{job!r} is not a job the sandbox may run")

    async def _take(self) -> _Worker:
        # The last one to rest first: the others get the chance to end of idleness.
        while self._idle:
            worker = self._idle.pop()
            worker.stay()
            if worker.alive:
                break
            self._discard(worker)
        else:
            worker = await self._start()
        if self._closed:
            self._discard(worker)
            raise SandboxFailure("crash", "the sandbox is closed")
        self._busy.add(worker)
        return worker

    def _rest(self, worker: _Worker) -> None:
        self._busy.discard(worker)
        if self._closed:
            self._discard(worker)
            return
        if self._idle:
            worker.end_after(self._idle_after, self._discard)
        self._idle.append(worker)

    def _discard(self, worker: _Worker) -> None:
        self._busy.discard(worker)
        if worker in self._idle:
            self._idle.remove(worker)
        worker.stay()
        worker.kill()
        # Reaped in the background: who waits for a result does not wait for a funeral.
        task = asyncio.create_task(worker.gone())
        self._ending.add(task)
        task.add_done_callback(self._ending.discard)

    async def _start(self) -> _Worker:
        if self._closed:
            raise SandboxFailure("crash", "the sandbox is closed")
        start = {
            "path": _absolute(sys.path),
            "readable": [*_readable(self._allowed), *self._readable],
            "memory_bytes": self._memory_bytes,
            "parent": os.getpid(),
        }
        try:
            worker = _Worker(
                await asyncio.create_subprocess_exec(
                    *(sys.executable, "-I", "-S", "-B", "-X", "utf8"),
                    *(str(_WORKER), json.dumps(start)),
                    stdin=asyncio.subprocess.PIPE,
                    stdout=asyncio.subprocess.PIPE,
                    stderr=asyncio.subprocess.DEVNULL,
                    env={},
                    cwd="/",
                    # Not part of the terminal's job: Ctrl-C is ours to handle, work is finished.
                    start_new_session=True,
                    limit=_READ_AHEAD_BYTES,
                )
            )
        except OSError as error:
            raise SandboxFailure("crash", "the worker could not be started") from error
        try:
            async with asyncio.timeout(_START_SECONDS):
                self._confinement = await worker.ready()
        except (TimeoutError, OSError, EOFError, ValueError) as error:
            self._discard(worker)
            raise SandboxFailure("crash", "the worker did not start") from error
        except BaseException:
            self._discard(worker)
            raise
        return worker


class _Worker:
    """One child process and the frames spoken with it; the format is `sandbox_worker`'s.

    What is read raises OSError, EOFError or ValueError when the child is gone or breaks the format.
    """

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        assert process.stdin is not None
        assert process.stdout is not None
        self._process = process
        self._requests = process.stdin
        self._answers = process.stdout
        self._timer: asyncio.TimerHandle | None = None

    @property
    def alive(self) -> bool:
        if self._process.returncode is not None or self._answers.at_eof():
            return False
        if not hasattr(os, "waitid"):  # macOS before Python 3.13
            return True
        # The event loop hears of a death only in its next round: the kernel knows of it now.
        look = os.WEXITED | os.WNOHANG | os.WNOWAIT
        try:
            return os.waitid(os.P_PID, self._process.pid, look) is None
        except ChildProcessError:
            return False

    async def ready(self) -> tuple[str, ...]:
        return tuple(str(means)[:40] for means in (await self._header())["ready"])

    async def ask(
        self, request: bytes, blob: bytes, *, answer_bytes: int
    ) -> tuple[dict[str, Any], bytes]:
        self._requests.write(len(request).to_bytes(4, "big") + request)
        self._requests.write(blob)
        await self._requests.drain()
        header = await self._header()
        size = header.get("size", 0)
        if not isinstance(size, int) or not 0 <= size <= answer_bytes:
            raise ValueError("the answer is too long")
        return header, await self._answers.readexactly(size)

    def kill(self) -> None:
        if self._process.returncode is None:
            self._process.kill()
        self._requests.close()

    async def gone(self) -> None:
        # Read to the end: the transport of a pipe with unread bytes would never close.
        while await self._answers.read(_READ_AHEAD_BYTES):
            pass
        await self._process.wait()

    def end_after(self, idle: timedelta, end: Callable[[_Worker], None]) -> None:
        loop = asyncio.get_running_loop()
        self._timer = loop.call_later(idle.total_seconds(), end, self)

    def stay(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    async def _header(self) -> dict[str, Any]:
        length = int.from_bytes(await self._answers.readexactly(4), "big")
        if not 0 < length <= _HEADER_BYTES:
            raise ValueError("the header is too long")
        header = json.loads(await self._answers.readexactly(length))
        if not isinstance(header, dict):
            raise ValueError("the header is not an object")  # noqa: TRY004  a format, not a type
        return header


def _absolute(path: Sequence[str]) -> list[str]:
    """The worker runs elsewhere: an empty entry means the directory that we run in."""
    return [str(Path(entry).absolute()) for entry in path]


def _readable(jobs: Sequence[str]) -> list[str]:
    """The files that a worker's imports need.

    A folder that is on the path for the sake of our own code, or because we run there, holds more
    than code: the settings and the data of a working copy. Of it only the jobs' packages count.
    """
    packages = {__name__.partition(".")[0], *(job.partition(".")[0] for job in jobs)}
    found = [*_LIBRARIES, str(Path(sys.base_prefix, "lib"))]
    for entry in map(Path, _absolute(sys.path)):
        held = [str(entry / package) for package in packages if (entry / package).is_dir()]
        installed = entry.name in ("site-packages", "dist-packages")
        narrow = not installed and (held or entry == Path.cwd())
        found += held if narrow else [str(entry)]
    return found


def _failure(header: Mapping[str, Any]) -> MailagentError | None:
    """The error that an answer speaks of, its texts bounded: the child may be anybody's."""

    def text(name: str) -> str:
        return str(header.get(name, ""))[:500]

    match header.get("failed"):
        case None:
            return None
        case "Malformed":
            return Malformed(text("field"), text("problem"))
        case "NotFound":
            return NotFound(text("text"))
        case "memory":
            return SandboxFailure("memory", "the job needed more memory than a worker may have")
        case _:
            return SandboxFailure("crash", text("detail"))
