"""Measure what one decision costs with a long access list: by the index that gateways use, beside a walk through it.

Both answer the same reads of the same list, in turns, and must give the same decisions. The reads are what cameras
send: plates of the list, misreads of them, and plates that nobody knows. Also printed: what making the index anew
costs, which a gateway does at each change of its list, apart from its event loop.

Usage: python bench/decide.py [--plates 20000] [--reads 2000] [--scanned 100]
"""

import argparse
import random
import time
from collections.abc import Callable
from typing import get_args

from msgspec import convert
from parkmesh.domain import access
from parkmesh.domain.access import Decision, Listed
from parkmesh.domain.access_index import AccessIndex, scan
from parkmesh.domain.community_rules import GateRules, PlateMatching
from parkmesh.protocol.edge import AccessEntry

NOW = 1_700_000_000_000
LETTERS = "BCDFGHJKLMNPRSTVWXYZ"
CONFUSED = {"0": "D", "1": "I", "2": "Z", "5": "S", "8": "B", "6": "G", "D": "0", "S": "5", "B": "8", "Z": "2"}
LIMITS = {"refusal_hold_s": 5, "same_plate_window_s": 30, "anti_passback": "soft", "lots_per_unit": 2}


def listed(count: int, chance: random.Random) -> list[AccessEntry]:
    """Return ``count`` entries of Spanish plates, two to a unit; some are revoked or over."""
    plates = [f"{chance.randrange(10_000):04}{''.join(chance.choices(LETTERS, k=3))}" for _ in range(count)]
    return [
        AccessEntry(
            str(number),
            plate,
            "revoked" if number % 50 == 0 else "active",
            valid_until=NOW - 1 if number % 51 == 0 else None,
            unit=f"unit-{number // 2}",
        )
        for number, plate in enumerate(plates, 1)
    ]


def seen(entries: list[AccessEntry], count: int, chance: random.Random) -> list[str]:
    """Return reads: a third as they are in the list, a third misread, half of these with a strip, a third of nobody."""
    reads = []
    for number in range(count):
        plate = chance.choice(entries).plate
        if number % 3 == 1:
            place = chance.randrange(len(plate))
            plate = plate[:place] + CONFUSED.get(plate[place], plate[place]) + plate[place + 1 :]
            plate = "E" + plate if number % 2 else plate
        elif number % 3 == 2:
            plate = f"{chance.randrange(10_000):04}AEI"
        reads.append(plate)
    return reads


def timed(
    listed: Listed, reads: list[str], inside: dict[str, bool], rules: GateRules
) -> tuple[list[Decision], list[float]]:
    decisions, took = [], []
    for read in reads:
        start = time.perf_counter()
        decisions.append(access.judge(read, listed, NOW, "entry", rules, inside))
        took.append(time.perf_counter() - start)
    return decisions, took


def once(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def show(name: str, took: list[float]) -> None:
    took = sorted(took)
    median, late = took[len(took) // 2] * 1e6, took[int(len(took) * 0.99)] * 1e6
    print(f"{name:<28} p50 {median:10,.1f} µs   p99 {late:10,.1f} µs   {len(took) / sum(took):12,.0f} decisions/s")


def main() -> None:
    parser = argparse.ArgumentParser(description="Measure a gateway's decisions.")
    parser.add_argument("--plates", type=int, default=20_000)
    parser.add_argument("--reads", type=int, default=2_000)
    parser.add_argument("--scanned", type=int, default=100, help="how many of the reads the walk answers too")
    options = parser.parse_args()
    chance = random.Random(1)  # noqa: S311 the same list and reads at each run
    entries = listed(options.plates, chance)
    reads = seen(entries, options.reads, chance)
    inside = {entry.plate: chance.random() < 0.5 for entry in entries[::2]}
    index, walk = AccessIndex(entries), scan(entries)
    both = reads[: options.scanned]
    print(f"{options.plates:,} plates, {len(reads):,} reads; the {len(both)} that both answer must be decided alike")
    for matching in get_args(PlateMatching):
        rules = convert(LIMITS | {"plate_matching": matching}, GateRules)
        walked, slow = timed(walk, both, inside, rules)
        indexed, fast = timed(index, reads, inside, rules)
        if indexed[: len(both)] != walked:
            raise SystemExit("the index and the walk decided differently")
        show(f"{matching}: index", fast)
        show(f"{matching}: walk", slow)
    build = min(once(lambda: AccessIndex(entries)) for _ in range(5))
    print(f"{'making the index anew':<28} {build * 1e3:.1f} ms")


if __name__ == "__main__":
    main()
