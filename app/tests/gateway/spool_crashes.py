"""Crash a gateway's spool at any system call of its write path, and judge what a start finds.

A run is a process that works on a spool (``spool_work``), chosen by a seed. Its system calls are written down, and in
many runs some of them fail: the disk is full, read-only or broken, for a while. Then the process is killed, or its
power is cut, at calls chosen by chance; the disk that is left (``disk_model``) is opened by the real spool, drained by
the real sync, and compared with what the world had been told. A second generation goes on from one of these disks, so
that starts after a crash are crashed, too.

With ``--damage`` bytes of what is left are changed, too, anywhere: bits that flip, sectors of rubbish, pages of zeros,
a file that ends early. Then records may be lost, but not without a gap; the spool starts, and takes and sends what
comes.

    python spool_crashes.py --crashes 10000          # prints its seed
    python spool_crashes.py --seed 7 --run 12        # all crashes of one run again
"""

import argparse
import errno
import logging
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import disk_model
from disk_model import Crash, Disk
from parkmesh.gateway.spool import Spool
from parkmesh.protocol.edge import Passage
from spool_work import GENERATION_MS, LATE, MAX_BYTES, START, passage, settle_left
from spool_world import Line, World, entries, run

STEPS = 60
CRASHES_OF_A_RUN = 100
TOLD_EACH = 500
"""Crashes after which the drill says how far it is: one that is ended early has shown something, too."""
_ERRORS = (errno.EIO, errno.ENOSPC, errno.EROFS)


class Left(NamedTuple):
    """What a crash left: the disk's files, and the ledger of what the world knew."""

    files: dict[str, bytes]
    ledger: bytes


class CrashFailure(AssertionError):
    """A crash lost or doubled something; the text says how to see it again."""


def faults(chance: random.Random, calls: int) -> str:
    """Choose which calls of a run fail, as ``disk_calls.c`` takes it: none in half of the runs."""
    chosen = []
    for _ in range(chance.choice((0, 0, 0, 1, 1, 3))):
        first = int(chance.triangular(1, calls, 1))
        length = chance.choice((1, 1, 3, 30, 300))
        short = ":short" if chance.random() < 0.2 else ""
        chosen.append(f"{first}-{first + length}:{chance.choice(_ERRORS)}{short}")
    return ",".join(chosen)


def work(
    folder: Path, library: Path, name: str, start: Left, generation: int, chance: random.Random
) -> list[disk_model.Call]:
    """Let a process work on the files of ``start``; return its calls. It must end well, whatever of its disk fails."""
    where, trace = folder / "spool", folder / f"trace-{generation}"
    shutil.rmtree(where, ignore_errors=True)
    disk_model.lay_out(where, {**start.files, disk_model.LEDGER: start.ledger})
    environment = disk_model.environment(library, where, trace, faults(chance, 3_000))
    script = Path(__file__).with_name("spool_work.py")
    arguments = [str(where), str(chance.randrange(2**32)), str(generation), str(STEPS)]
    done = subprocess.run(
        [sys.executable, str(script), *arguments], env=environment, capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise CrashFailure(
            f"{name}, faults {environment['DISK_FAULTS']}: the gateway's work ended:\n{done.stderr[-3000:]}"
        )
    calls = disk_model.read(trace)
    trace.unlink()
    return calls


def crashes(
    calls: list[disk_model.Call], start: Left, count: int, chance: random.Random, *, only_kill: bool
) -> Iterator[tuple[str, Left]]:
    """Yield what crashes at some of the calls leave, with their names."""
    at = sorted(chance.sample(range(len(calls)), min(count, len(calls))))
    disk = Disk(chance, start.files)
    disk.ledger += start.ledger
    done = 0
    for number in at:
        for call in calls[done:number]:
            disk.apply(call)
        done = number
        # A power cut may take the marks' last minute, by which the loss of a damaged log is known.
        kind: Crash = "kill" if only_kill or chance.random() < 0.3 else "power"
        yield (
            f"{kind} at call {number} ({calls[number].what} {calls[number].name})",
            Left(disk.after(kind, chance), bytes(disk.ledger)),
        )


def judge(folder: Path, left: Left, generation: int) -> World:
    """Start the spool on what a crash left, and drain it. Raises AssertionError where something is lost or doubled."""
    disk_model.lay_out(folder, left.files)
    world = World(left.ledger)
    now = START + (generation + 1) * GENERATION_MS - 1
    spool = Spool(folder / "spool.db", now=now, max_bytes=MAX_BYTES)
    try:
        assert not spool.in_memory, spool.disk_error
        if not world.was_in_memory:
            assert not _was_set_aside(folder), "the spool was set aside"
        _judge_list(spool, world)
        for read in settle_left(spool, now):
            event = read.body.decode().split(" ")[0]
            if read.passage is None and not (world.in_memory or world.memory_died):
                assert not world.pulsed[event], f"{event}: its barrier opens a second time"
        line = Line(spool, world, lambda: now, lambda: False)
        run(line.drain)
    finally:
        spool.close()
    _judge_records(world)
    return world


def damage(files: dict[str, bytes], chance: random.Random) -> tuple[str, dict[str, bytes]]:
    """Change some bytes of one of the files; return what was done and the files.

    One only: a log and the marks that tell what it has lost aren't damaged together.
    """
    full = sorted(name for name in files if files[name])
    if not full:
        return "nothing is there", files
    name, how = chance.choice(full), chance.choice(("bits", "bits", "bytes", "sector", "page", "end"))
    content = bytearray(files[name])
    match how:
        case "bits":
            content[chance.randrange(len(content))] ^= 1 << chance.randrange(8)
        case "bytes":
            for _ in range(chance.randint(2, 30)):
                content[chance.randrange(len(content))] = chance.randrange(256)
        case "sector":
            _over(content, 512, chance.randbytes(512), chance)
        case "page":
            _over(content, 4096, bytes(4096), chance)
        case "end":
            del content[chance.randrange(len(content)) :]
    return f"{how} of {name}", {**files, name: bytes(content)}


def _over(content: bytearray, size: int, data: bytes, chance: random.Random) -> None:
    start = chance.randrange(0, len(content), size)
    content[start : start + size] = data[: len(content) - start]


def judge_damaged(folder: Path, left: Left, generation: int) -> World:
    """Start the spool on a damaged disk: what is lost must be told, and a new car's record must arrive, once.

    Some damage is only found when a record is read. Then the first new car may be among what is lost, the second isn't.
    """
    disk_model.lay_out(folder, left.files)
    world, now = World(left.ledger), START + (generation + 1) * GENERATION_MS - 1
    spool = Spool(folder / "spool.db", now=now, max_bytes=MAX_BYTES)
    try:
        spool.held(), spool.presence(), spool.state("recent/in")
        settle_left(spool, now)
        _pass_by(spool, world, "new", now)
        found_later = not world.events_told()["new"] and _was_set_aside(folder)
        if found_later:
            _pass_by(spool, world, "second", now)
    finally:
        spool.close()
    told, gaps, new = world.events_told(), world.gaps(), "second" if found_later else "new"
    assert told[new] == 1, f"the next car's record arrives {told[new]} times"
    lost = [event for event in world.kept | {"new"} if not told[event]]
    untold = gaps.keys() <= {"space_state"} and not world.was_in_memory
    assert not lost or not untold, f"lost, and not told: {lost}"
    # Nothing doubled isn't asked: a log that has lost its end forgets what was decided, and what a server has of it.
    return world


def _pass_by(spool: Spool, world: World, event: str, now: int) -> None:
    read = spool.receive("cam", now, event, f"{event} ".encode())
    assert read is not None
    spool.settle([read.id], passage(event, now))
    run(Line(spool, world, lambda: now, lambda: False).drain)


def _was_set_aside(folder: Path) -> bool:
    return any(".corrupt-" in path.name or ".salvage-" in path.name for path in folder.iterdir())


def _judge_list(spool: Spool, world: World) -> None:
    version, listed = spool.access_list()
    assert not version or sorted(listed, key=lambda e: e.credential_id) == entries(version), (
        f"list {version} isn't whole"
    )
    newest = world.listing
    assert version <= newest, "a list that nobody sent"
    assert version >= world.listed or world.was_in_memory, f"list {version} instead of {world.listed}"


def _judge_records(world: World) -> None:
    told, gaps = world.events_told(), world.gaps()
    lost = sorted(event for event in world.kept if not told[event])
    assert not lost, f"confirmed to a camera, and lost: {lost}; gaps {dict(gaps)}"
    states = world.states_told()
    doubled = sorted(one for one, times in (told + states).items() if times > 1)
    assert not doubled or world.in_memory or world.memory_died, f"doubled: {doubled}"
    if world.was_in_memory:
        return
    times = [event.times.received for event in world.took if isinstance(event, Passage) and event.reason != LATE]
    assert times == sorted(times), "passages out of order"
    missing = sum(not states[space] for space in world.states)
    assert set(gaps) <= {"space_state"}, f"losses that there are not: {dict(gaps)}"
    assert missing <= gaps["space_state"], f"{missing} states are missing, {gaps['space_state']} told"


def crash_run(folder: Path, library: Path, name: str, seed: str, count: int, damaged: bool) -> Counter[str]:
    """Do one run of two generations with about ``count`` crashes; return how many of which kind there were."""
    chance, start, seen = random.Random(seed), Left({}, b""), Counter[str]()
    for generation in (0, 1):
        calls = work(folder, library, name, start, generation, chance)
        seen["calls"] += len(calls)
        following = start
        chosen = chance.randrange(max(1, count // 2))
        for number, (what, left) in enumerate(crashes(calls, start, count // 2, chance, only_kill=damaged)):
            spot = folder / "crash"
            shutil.rmtree(spot, ignore_errors=True)
            try:
                if damaged:
                    how, files = damage(left.files, chance)
                    what += ", " + how
                    world = judge_damaged(spot, left._replace(files=files), generation)
                    seen["set aside"] += _was_set_aside(spot)
                else:
                    world = judge(spot, left, generation)
            except Exception as error:
                raise CrashFailure(
                    f"{name}, generation {generation}, {what}: {type(error).__name__}: {error}"
                ) from error
            seen[what.split(" ")[0]] += 1
            seen["with a disk that failed"] += world.was_in_memory
            seen["answered messages"] += len(world.kept)
            if number == chosen:
                following = left
        start = following
    return seen


@contextmanager
def scratch() -> Iterator[Path]:
    """Return a folder in memory, where there is one: the disk is a model, so the real one only takes time."""
    memory = Path("/dev/shm")
    folder = Path(tempfile.mkdtemp(prefix="parkmesh-crashes-", dir=memory if memory.is_dir() else None))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def crash(
    seed: int,
    count: int,
    only: int | None = None,
    *,
    damaged: bool = False,
    tell: Callable[[str], object] = lambda _: None,
) -> Counter[str]:
    """Crash ``count`` times, in runs that follow from ``seed``; ``tell`` hears how far it is. Raises CrashFailure at
    the first loss."""
    seen, number = Counter[str](), only or 0
    with scratch() as folder:
        library = disk_model.compiled(folder)
        while only is not None or seen["kill"] + seen["power"] < count:
            name = f"--seed {seed} --run {number}" + " --damage" * damaged
            wanted = min(CRASHES_OF_A_RUN, max(2, count - seen["kill"] - seen["power"]))
            wanted = CRASHES_OF_A_RUN if only is not None else wanted
            before = seen["kill"] + seen["power"]
            seen += crash_run(folder, library, name, f"{seed}/{number}", wanted, damaged)
            done = seen["kill"] + seen["power"]
            if done // TOLD_EACH > before // TOLD_EACH:
                tell(f"{done:,} crashes, no fault yet")
            number += 1
            if only is not None:
                break
    return seen


def main() -> None:
    parser = argparse.ArgumentParser(description="Crash a spool at any system call of its write path.")
    parser.add_argument("--crashes", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=random.randrange(2**32))
    parser.add_argument("--run", type=int, help="only this run of the seed, with all its crashes")
    parser.add_argument("--damage", action="store_true", help="change bytes of what each crash leaves")
    options = parser.parse_args()
    logging.disable(logging.ERROR)
    print(f"seed {options.seed}", flush=True)
    began = time.monotonic()
    seen = crash(
        options.seed,
        options.crashes,
        options.run,
        damaged=options.damage,
        tell=lambda text: print(text, flush=True),
    )
    print(
        f"{seen['kill'] + seen['power']:,} crashes in {time.monotonic() - began:.0f} s: "
        + ", ".join(f"{count:,} {what}" for what, count in sorted(seen.items()))
    )


if __name__ == "__main__":
    main()
