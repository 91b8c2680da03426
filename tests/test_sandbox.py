"""The sandbox: whatever foreign bytes do to a worker, the caller gets an answer and goes on."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import sys
from collections.abc import AsyncIterator, Callable
from datetime import timedelta
from pathlib import Path

import pytest

from mailagent.errors import Malformed, NotFound, SandboxFailure
from mailagent.sandbox import Sandbox

JOBS = "tests.sandbox_jobs"
LINUX = sys.platform == "linux"


@pytest.fixture
async def sandbox() -> AsyncIterator[Sandbox]:
    sandbox = Sandbox(allowed=(JOBS,))
    yield sandbox
    await sandbox.close()


async def worker_pid(sandbox: Sandbox) -> int:
    return int(await sandbox.run(f"{JOBS}:pid", b"", {}))


def is_running(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(20):
        while not condition():
            await asyncio.sleep(0.005)


async def test_a_job_gets_bytes_and_arguments_and_gives_bytes(sandbox: Sandbox) -> None:
    result = await sandbox.run(f"{JOBS}:echo", b"\x00\xff mail", {"before": "é:"})
    assert result == "é:".encode() + b"\x00\xff mail"


async def test_a_mail_of_25_megabytes_comes_back_whole(sandbox: Sandbox) -> None:
    blob = os.urandom(1 << 20) * 25
    assert await sandbox.run(f"{JOBS}:echo", blob, {}) == blob


async def test_the_same_worker_serves_one_job_after_another(sandbox: Sandbox) -> None:
    assert await worker_pid(sandbox) == await worker_pid(sandbox)


async def test_what_a_job_prints_is_not_part_of_its_answer(sandbox: Sandbox) -> None:
    assert await sandbox.run(f"{JOBS}:prints", b"answer", {}) == b"answer"
    assert await sandbox.run(f"{JOBS}:echo", b"next", {}) == b"next"


async def test_a_hanging_regex_is_killed_at_the_deadline(sandbox: Sandbox) -> None:
    pid = await worker_pid(sandbox)
    with pytest.raises(SandboxFailure) as failure:
        await sandbox.run(f"{JOBS}:hang", b"", {}, deadline=timedelta(seconds=0.2))
    assert failure.value.cause == "deadline"
    await until(lambda: not is_running(pid))


async def test_a_segfault_is_a_crash_and_the_next_job_gets_a_fresh_worker(
    sandbox: Sandbox,
) -> None:
    with pytest.raises(SandboxFailure) as failure:
        await sandbox.run(f"{JOBS}:segfault", b"", {})
    assert failure.value.cause == "crash"
    assert await sandbox.run(f"{JOBS}:echo", b"well", {}) == b"well"


async def test_a_memory_bomb_fails_by_memory_and_costs_only_its_worker(sandbox: Sandbox) -> None:
    with pytest.raises(SandboxFailure) as failure:
        await sandbox.run(f"{JOBS}:memory_bomb", b"", {})
    assert failure.value.cause == "memory"
    assert await sandbox.run(f"{JOBS}:echo", b"well", {}) == b"well"


async def test_a_mail_larger_than_the_workers_memory_fails_by_memory() -> None:
    sandbox = Sandbox(allowed=(JOBS,), memory_bytes=128 << 20)
    with pytest.raises(SandboxFailure) as failure:
        await sandbox.run(f"{JOBS}:echo", bytes(256 << 20), {})
    assert failure.value.cause in {"memory", "crash"}
    assert await sandbox.run(f"{JOBS}:echo", b"small", {}) == b"small"
    await sandbox.close()


async def test_a_malformed_mail_keeps_its_field_and_problem(sandbox: Sandbox) -> None:
    with pytest.raises(Malformed) as error:
        await sandbox.run(f"{JOBS}:malformed", b"", {})
    assert (error.value.field, error.value.problem) == ("part", "there is no such part")


async def test_what_is_not_found_is_said_in_the_jobs_words(sandbox: Sandbox) -> None:
    with pytest.raises(NotFound, match=r"there is no part 1\.9"):
        await sandbox.run(f"{JOBS}:not_found", b"", {})


async def test_a_bug_in_a_job_is_a_crash_that_names_the_line_and_never_the_mail(
    sandbox: Sandbox,
) -> None:
    with pytest.raises(SandboxFailure) as failure:
        await sandbox.run(f"{JOBS}:bug", b"a private sentence", {})
    assert failure.value.cause == "crash"
    assert "KeyError at sandbox_jobs.py:" in str(failure.value)
    assert "private" not in str(failure.value)


async def test_a_worker_has_an_empty_environment(
    sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MAILAGENT_SECRET_KEY", "hush")
    there = json.loads(await sandbox.run(f"{JOBS}:environment", b"", {}))
    # CPython itself may set the locale it coerced to (PEP 538).
    assert set(there) <= {"LC_CTYPE"}


async def test_a_worker_has_no_descriptor_of_its_parent(sandbox: Sandbox) -> None:
    ours = os.open("/", os.O_RDONLY)
    os.set_inheritable(ours, True)
    try:
        assert json.loads(await sandbox.run(f"{JOBS}:descriptors", b"", {})) == []
    finally:
        os.close(ours)


async def test_the_sandbox_says_which_means_hold_its_workers(sandbox: Sandbox) -> None:
    await sandbox.warm()
    assert "rlimits" in sandbox.confinement or not LINUX
    assert "no_new_privs" in sandbox.confinement or not LINUX


async def test_a_worker_at_rest_has_not_imported_the_heavy_libraries(sandbox: Sandbox) -> None:
    imported = json.loads(await sandbox.run(f"{JOBS}:modules", b"", {}))
    heavy = {"pydantic", "sqlalchemy", "anthropic", "asyncio", "cryptography", "email"}
    assert heavy.isdisjoint(imported)


async def test_two_jobs_run_at_once_and_a_third_waits(tmp_path: Path) -> None:
    sandbox = Sandbox(allowed=(JOBS,), readable=(tmp_path,))
    pipes = [tmp_path / "one", tmp_path / "two"]
    for pipe in pipes:
        os.mkfifo(pipe)
    jobs = [
        asyncio.create_task(sandbox.run(f"{JOBS}:wait", b"", {"pipe": str(pipe)})) for pipe in pipes
    ]
    third = asyncio.create_task(sandbox.run(f"{JOBS}:echo", b"third", {}))
    # A pipe opens for writing only when its reader is there: from here on both jobs run.
    writers = [await asyncio.to_thread(pipe.open, "wb") for pipe in pipes]
    assert not third.done()
    for number, writer in enumerate(writers):
        with writer:
            writer.write(b"%d" % number)
    assert await asyncio.gather(*jobs, third) == [b"0", b"1", b"third"]
    await sandbox.close()


async def test_an_extra_worker_ends_after_its_idle_time_and_the_first_stays() -> None:
    sandbox = Sandbox(workers=2, allowed=(JOBS,), idle=timedelta(seconds=0.05))
    pids = {int(pid) for pid in await asyncio.gather(*(_busy(sandbox) for _ in range(2)))}
    assert len(pids) == 2
    await until(lambda: sum(is_running(pid) for pid in pids) == 1)
    assert await worker_pid(sandbox) in pids
    await sandbox.close()


async def _busy(sandbox: Sandbox) -> bytes:
    return await sandbox.run(f"{JOBS}:pid", bytes(4 << 20), {})


async def test_closing_leaves_no_child_even_when_a_job_hangs(sandbox: Sandbox) -> None:
    pid = await worker_pid(sandbox)
    hanging = asyncio.create_task(sandbox.run(f"{JOBS}:hang", b"", {}))
    await asyncio.sleep(0)
    await sandbox.close()
    with pytest.raises(SandboxFailure):
        await hanging
    assert not is_running(pid)


async def test_a_cancelled_call_takes_its_worker_with_it(sandbox: Sandbox) -> None:
    pid = await worker_pid(sandbox)
    hanging = asyncio.create_task(sandbox.run(f"{JOBS}:hang", b"", {}))
    await asyncio.sleep(0)
    hanging.cancel()
    with pytest.raises(asyncio.CancelledError):
        await hanging
    await until(lambda: not is_running(pid))
    assert await worker_pid(sandbox) != pid


async def test_a_worker_that_was_killed_between_jobs_is_replaced(sandbox: Sandbox) -> None:
    pid = await worker_pid(sandbox)
    os.kill(pid, signal.SIGKILL)
    await until(lambda: not is_running(pid))
    assert await worker_pid(sandbox) != pid


async def test_a_worker_that_died_before_the_event_loop_heard_of_it_is_replaced(
    sandbox: Sandbox,
) -> None:
    pid = await worker_pid(sandbox)
    os.kill(pid, signal.SIGKILL)
    with contextlib.suppress(ChildProcessError):  # asyncio's thread that waits for it was first
        os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)  # no await: the loop gets no turn
    assert await worker_pid(sandbox) != pid
    assert not any(sandbox.failures.values())


@pytest.mark.parametrize(
    "job", ["os:system", "mailagent.mimetic:x", "tests.sandbox_jobs", f"{JOBS}:", f"{JOBS}:a.b"]
)
async def test_a_job_that_is_not_on_the_list_is_refused(sandbox: Sandbox, job: str) -> None:
    with pytest.raises(ValueError, match="not a job"):
        await sandbox.run(job, b"", {})


@pytest.mark.parametrize(
    "answer",
    [
        b"\xff\xff\xff\xff",
        b"\x00\x00\x00\x02[]",
        b"\x00\x00\x00\x02{x",
        b"\x00\x00\x00\x15" + b'{"size": 99999999999}',
        b"\x00\x00\x00\x0c" + b'{"size": -1}',
        b"\x00\x00\x00\x0d" + b'{"size": "1"}',
    ],
)
async def test_a_worker_that_speaks_nonsense_is_a_crash(sandbox: Sandbox, answer: bytes) -> None:
    with pytest.raises(SandboxFailure) as failure:
        await sandbox.run(f"{JOBS}:garbage", answer, {})
    assert failure.value.cause == "crash"
    assert await sandbox.run(f"{JOBS}:echo", b"well", {}) == b"well"


async def test_a_worker_dies_with_its_parent() -> None:
    program = (
        "import asyncio, os, sys\n"
        "from mailagent.sandbox import Sandbox\n"
        "async def main():\n"
        f"    sandbox = Sandbox(allowed=('{JOBS}',))\n"
        f"    print((await sandbox.run('{JOBS}:pid', b'', {{}})).decode(), flush=True)\n"
        "    os.kill(os.getpid(), 9)\n"
        "asyncio.run(main())\n"
    )
    parent = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", program), stdout=asyncio.subprocess.PIPE, cwd=Path.cwd()
    )
    output, _ = await parent.communicate()
    pid = int(output)
    await until(lambda: not is_running(pid) or _is_zombie(pid))


def _is_zombie(pid: int) -> bool:
    """Nobody reaps orphans in a container without an init."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except FileNotFoundError:
        return True
