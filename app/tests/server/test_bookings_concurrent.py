"""Nothing is double-booked by requests at the same time: bookings, sharing, taking back, assignments and passes on
several connections to a real PostgreSQL.

The stateful test sends them at once in any order and compares what is stored with a model that knows nothing of
windows: hours, and who may have them.
"""

import asyncio
import itertools
from collections.abc import Awaitable, Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import asyncpg
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test
from parkmesh.domain.sharing import Weekly
from parkmesh.domain.windows import Window
from parkmesh.server.db import database
from parkmesh.server.http.problems import Problem
from parkmesh.server.identity.principals import Principal
from parkmesh.server.reservations import assignments, bookings, sharing, visitor_passes
from parkmesh.server.spaces import spaces
from running_server import Database

MADRID = ZoneInfo("Europe/Madrid")
# Two days before the clock skips an hour.
BASE = datetime(2027, 3, 26, 12, tzinfo=UTC)
HOURS = 24 * 5
REACH = 60
BOOKINGS, PASSES = 3, 2
DESK = Principal(1, "desk@parkmesh.example", "Desk", True, {}, b"")

Act = Callable[[Any], Awaitable[Any]]
_numbers = itertools.count(1)


def hours(start: int, end: int) -> Window:
    return Window(BASE + timedelta(hours=start), BASE + timedelta(hours=end))


@dataclass
class Place:
    """A community of its own with the spaces s1, s2 (assigned), s3 (shared) and v1 (visitors') and two units."""

    pool: Any
    community: int
    units: list[int]

    async def act(self, act: Act) -> str:
        """Run an act in a transaction of its own; return ``done`` or why it was refused."""
        try:
            async with database.in_community(self.pool, self.community) as connection:
                await act(connection)
        except Problem as problem:
            return problem.kind or str(problem.status_code)
        return "done"

    async def rows(self, query: str) -> list[Any]:
        async with database.in_community(self.pool, self.community) as connection:
            found: list[Any] = await connection.fetch(query, self.community)
            return found

    def assign(self, space: str, unit: int, start: int, end: int | None) -> Act:
        until = None if end is None else BASE + timedelta(hours=end)
        return lambda connection: assignments.create(
            connection, DESK, self.community, space, unit, BASE + timedelta(hours=start), until, BASE
        )

    def share(self, space: str, unit: int | None, window: Window, now: datetime = BASE) -> Act:
        async def act(connection: Any) -> None:
            held = await sharing.hold(connection, self.community, space, unit, now)
            await sharing.share_once(connection, DESK, self.community, held, window, now)

        return act

    def take_back(self, space: str, unit: int | None, window: Window, now: datetime = BASE) -> Act:
        async def act(connection: Any) -> None:
            held = await sharing.hold(connection, self.community, space, unit, now)
            await sharing.take_back(connection, DESK, self.community, held, window, now)

        return act

    def book(self, space: str, unit: int, window: Window, now: datetime = BASE) -> Act:
        return lambda connection: bookings.create(
            connection, DESK, self.community, space=space, unit_id=unit, resident_id=None, window=window, now=now
        )

    def issue(self, unit: int, window: Window, space: str | None, now: datetime = BASE) -> Act:
        return lambda connection: visitor_passes.create(
            connection,
            DESK,
            self.community,
            unit_id=unit,
            resident_id=None,
            window=window,
            name=None,
            plate="1234BCD",
            space=space,
            now=now,
        )


async def make_place(owner: str, pool: Any) -> Place:
    connection = await asyncpg.connect(owner)
    try:
        async with connection.transaction():
            await database.set_scope(connection, "provision")
            community = await connection.fetchval(
                "INSERT INTO community (name, title, time_zone) VALUES ($1, $1, 'Europe/Madrid') RETURNING id",
                f"place-{next(_numbers)}",
            )
            await database.set_community(connection, community)
            units = await connection.fetch(
                "INSERT INTO unit (community_id, name) SELECT $1, unnest('{u1,u2}'::text[]) RETURNING id", community
            )
            await connection.execute(
                """
                INSERT INTO space (community_id, name, level, category) VALUES
                    ($1, 's1', 'P1', 'assigned'), ($1, 's2', 'P1', 'assigned'), ($1, 's3', 'P1', 'shared'),
                    ($1, 'v1', 'P1', 'visitor')
                """,
                community,
            )
            await connection.execute(
                """
                INSERT INTO community_rules (community_id, bookings_per_unit, visitor_passes_per_unit)
                VALUES ($1, $2, $3)
                """,
                community,
                BOOKINGS,
                PASSES,
            )
    finally:
        await connection.close()
    return Place(pool, community, [row["id"] for row in units])


@pytest.fixture
async def place(filled: Database) -> Any:
    async with database.create_pool(filled.app, "test", 16) as pool:
        yield await make_place(filled.owner, pool)


@pytest.mark.parametrize("space", ["s1", "s3"])
async def test_of_many_who_book_one_window_exactly_one_gets_it(place: Place, space: str) -> None:
    owner, other = place.units
    if space == "s1":
        assert await place.act(place.assign("s1", owner, -10, None)) == "done"
        assert await place.act(place.share("s1", owner, hours(0, 50))) == "done"
    # Overlapping by an hour, each a little different: what is compared is time, not equality.
    wishes = [hours(20 - n, 21 + n) for n in range(12)]
    outcomes = await asyncio.gather(*(place.act(place.book(space, other, wish)) for wish in wishes))
    assert sorted(outcomes) == ["done"] + ["overlap"] * 11


async def test_of_many_who_assign_one_space_exactly_one_gets_it(place: Place) -> None:
    acts = [place.assign("s1", place.units[n % 2], n, None if n % 3 else 50) for n in range(12)]
    outcomes = await asyncio.gather(*(place.act(act) for act in acts))
    assert sorted(outcomes) == ["done"] + ["overlap"] * 11


async def test_a_unit_that_asks_many_times_at_once_gets_its_quota(place: Place) -> None:
    unit = place.units[0]
    many = [place.book("s3", unit, hours(n, n + 1)) for n in range(12)]
    outcomes = await asyncio.gather(*(place.act(act) for act in many))
    assert sorted(outcomes) == ["done"] * BOOKINGS + ["quota"] * (12 - BOOKINGS)
    many = [place.issue(unit, hours(n, n + 1), "v1" if n % 2 else None) for n in range(12)]
    outcomes = await asyncio.gather(*(place.act(act) for act in many))
    assert sorted(outcomes) == ["done"] * PASSES + ["quota"] * (12 - PASSES)


async def after(place: Place, first: Act, second: Act) -> str:
    """Do ``first``, begin ``second`` before it commits, and return how the second one ended. It has to wait."""
    async with database.in_community(place.pool, place.community) as connection:
        await first(connection)
        waiting = asyncio.create_task(place.act(second))
        with suppress(TimeoutError):
            await asyncio.wait_for(asyncio.shield(waiting), 0.3)
        assert not waiting.done(), "the second act did not wait for the first one"
    return await waiting


async def test_who_comes_second_sees_what_the_first_did(place: Place) -> None:
    owner, other = place.units
    await place.act(place.assign("s1", owner, -10, None))
    await place.act(place.share("s1", owner, hours(0, 50)))
    book, back = place.book("s1", other, hours(10, 20)), place.take_back("s1", owner, hours(15, 16))
    assert await after(place, book, back) == "overlap"
    book, back = place.book("s1", other, hours(30, 40)), place.take_back("s1", owner, hours(35, 36))
    assert await after(place, back, book) == "not-available"
    assert await after(place, place.share("s1", owner, hours(35, 36)), book) == "done"
    (assignment,) = await place.rows("SELECT id FROM space_assignment WHERE community_id = $1")

    async def end(connection: Any) -> None:
        held = await assignments.hold(connection, place.community, assignment["id"])
        await assignments.delete(connection, DESK, place.community, held, BASE)

    assert await place.act(end) == "overlap"
    assert await after(place, place.book("s1", other, hours(41, 42)), end) == "overlap"
    for booking in await place.rows("SELECT id FROM booking WHERE community_id = $1"):
        seen = booking["id"]

        async def cancel(connection: Any, seen: int = seen) -> None:
            present = await bookings.get(connection, place.community, seen, for_change=True)
            await bookings.cancel(connection, DESK, place.community, present, None, BASE)

        assert await place.act(cancel) == "done"
    assert await after(place, end, place.book("s1", other, hours(45, 46))) == "not-available"
    only = BOOKINGS - 1
    for n in range(only):
        assert await place.act(place.book("s3", other, hours(n, n + 1))) == "done"
    assert await after(place, place.book("s3", other, hours(60, 61)), place.book("s3", other, hours(70, 71))) == "quota"


async def test_the_database_itself_refuses_what_overlaps(place: Place) -> None:
    """The tables refuse rows that overlap, whatever the application does."""
    statements = {
        "booking": "INSERT INTO booking (community_id, space_id, unit_id, starts_at, ends_at) {}",
        "shared_window": "INSERT INTO shared_window (community_id, space_id, unit_id, starts_at, ends_at) {}",
        "space_assignment": "INSERT INTO space_assignment (community_id, space_id, unit_id, starts_at, ends_at) {}",
    }
    select = """
        SELECT s.community_id, s.id, u.id, now() + $2 * interval '1 hour', now() + $3 * interval '1 hour'
        FROM space s JOIN unit u USING (community_id) WHERE s.community_id = $1 AND s.name = 's1' AND u.name = 'u1'
    """
    for table, statement in statements.items():
        async with database.in_community(place.pool, place.community) as connection:
            for start, end in ((0, 10), (10, 20), (-5, 0)):
                await connection.execute(statement.format(select), place.community, start, end)
            with pytest.raises(asyncpg.ExclusionViolationError, match=f"{table}_overlap"):
                await connection.execute(statement.format(select), place.community, 9, 11)


# The stateful test. Everything lies on whole hours, and an hour is the number of hours after BASE.


def reading(hour: int) -> datetime:
    """Return what the clock in Madrid shows at an hour."""
    return (BASE + timedelta(hours=hour)).astimezone(MADRID)


class Machine(RuleBasedStateMachine):
    """Several people act at the same time; whatever happened, the stored rows agree with a count of hours."""

    runner: asyncio.Runner
    database: Database
    pool: Any

    def __init__(self) -> None:
        super().__init__()
        self.place: Place = self.run(make_place(self.database.owner, self.pool))
        self.hour = 0
        # Something to quarrel about from the start.
        for n, unit in enumerate(self.place.units):
            self.run(self.place.act(self.place.assign(f"s{1 + n}", unit, -20, None)))
            self.run(self.place.act(self.place.share(f"s{1 + n}", unit, hours(0, 40))))
            self.run(self.place.act(self.share_weekly(n, 5, 20, 0)))

    def run(self, work: Any) -> Any:
        return self.runner.run(work)

    @property
    def now(self) -> datetime:
        return BASE + timedelta(hours=self.hour)

    def unit(self, m: int) -> int | None:
        """Return a unit, or None for the unit that has the space."""
        return self.place.units[m] if m < 2 else None

    # What people do. Each takes plain numbers and returns an act on the rows that are there by then.

    def assign(self, n: int, m: int, start: int, length: int) -> Act:
        return self.place.assign(
            f"s{1 + n % 2}", self.place.units[m % 2], start - 20, None if m > 3 else start + length
        )

    def change_assignment(self, n: int, m: int, start: int, length: int) -> Act:
        async def act(connection: Any) -> None:
            there = await assignments.page(connection, self.place.community, limit=10)
            if there:
                held = await assignments.hold(connection, self.place.community, there[n % len(there)].id)
                if m % 2:
                    await assignments.delete(connection, DESK, self.place.community, held, self.now)
                else:
                    from_, until = BASE + timedelta(hours=start - 20), BASE + timedelta(hours=start + length)
                    await assignments.change(connection, DESK, self.place.community, held, from_, until, self.now)

        return act

    def share_once(self, n: int, m: int, start: int, length: int) -> Act:
        window = hours(start, start + length)
        return self.place.share(f"s{1 + n % 2}", self.unit(m), window, self.now)

    def share_weekly(self, n: int, m: int, start: int, length: int) -> Act:
        async def act(connection: Any) -> None:
            held = await sharing.hold(connection, self.place.community, f"s{1 + n % 2}", self.unit(m), self.now)
            begins = reading(start)
            weekly = Weekly(
                frozenset({begins.weekday(), (begins.weekday() + m) % 7}),
                time(begins.hour),
                time((begins.hour + length) % 24),
                date(2027, 3, 26) if m % 3 else begins.date(),
                begins.date() + timedelta(days=m) if m % 2 else None,
            )
            await sharing.share_weekly(connection, DESK, self.place.community, held, weekly, self.now)

        return act

    def stop_sharing(self, n: int, m: int, start: int, length: int) -> Act:
        async def act(connection: Any) -> None:
            held = await sharing.hold(connection, self.place.community, f"s{1 + n % 2}", self.unit(m), self.now)
            there = await connection.fetch(
                """
                SELECT id FROM sharing_rule WHERE community_id = $1 AND space_id = $2 AND unit_id = $3 ORDER BY id
                """,
                self.place.community,
                held.space_id,
                held.unit_id,
            )
            if there:
                rule_id = there[start % len(there)]["id"]
                await sharing.stop(connection, DESK, self.place.community, held, rule_id, self.now)

        return act

    def take_back(self, n: int, m: int, start: int, length: int) -> Act:
        window = hours(start, start + length)
        return self.place.take_back(f"s{1 + n % 2}", self.unit(m), window, self.now)

    def block_day(self, n: int, m: int, start: int, length: int) -> Act:
        async def act(connection: Any) -> None:
            held = await sharing.hold(connection, self.place.community, f"s{1 + n % 2}", self.unit(m), self.now)
            change = sharing.unblock_day if m > 3 else sharing.block_day
            await change(connection, DESK, self.place.community, held, reading(start).date(), self.now)

        return act

    def book(self, n: int, m: int, start: int, length: int) -> Act:
        return self.place.book(f"s{1 + n % 3}", self.place.units[m % 2], hours(start, start + length), self.now)

    def cancel(self, n: int, m: int, start: int, length: int) -> Act:
        async def act(connection: Any) -> None:
            there = await bookings.page(connection, self.place.community, limit=20, status="active")
            if there:
                held = await bookings.get(
                    connection, self.place.community, there[start % len(there)].id, for_change=True
                )
                await bookings.cancel(connection, DESK, self.place.community, held, None, self.now)

        return act

    def issue_pass(self, n: int, m: int, start: int, length: int) -> Act:
        window = hours(start, start + length)
        return self.place.issue(self.place.units[m % 2], window, "v1" if n % 2 else None, self.now)

    def cancel_pass(self, n: int, m: int, start: int, length: int) -> Act:
        async def act(connection: Any) -> None:
            there = await visitor_passes.page(connection, self.place.community, limit=20)
            if there:
                held = await visitor_passes.get(
                    connection, self.place.community, there[start % len(there)].id, for_change=True
                )
                await visitor_passes.cancel(connection, DESK, self.place.community, held, None, self.now)

        return act

    def change_category(self, n: int, m: int, start: int, length: int) -> Act:
        wanted = spaces.Attributes(level="P1", category="shared" if m % 2 else "assigned")
        return lambda connection: spaces.change(
            connection, DESK, self.place.community, f"s{2 + n % 2}", wanted, self.now
        )

    acts = st.tuples(
        st.sampled_from(
            [
                *(assign, change_assignment, share_once, share_once, share_weekly, stop_sharing, take_back, block_day),
                *(book, book, book, cancel, issue_pass, cancel_pass, change_category),
            ]
        ),
        st.integers(0, 5),
        st.integers(0, 5),
        st.integers(0, REACH),
        st.integers(1, 18),
    )

    @rule(chosen=st.lists(acts, min_size=2, max_size=5))
    def people_act_at_once(self, chosen: list[Any]) -> None:
        self.all_act(chosen)

    def all_act(self, chosen: list[Any]) -> None:
        async def all_at_once() -> None:
            await asyncio.gather(*(self.place.act(make(self, *numbers)) for make, *numbers in chosen))

        self.run(all_at_once())

    @rule(
        n=st.integers(0, 1),
        start=st.integers(0, REACH),
        length=st.integers(1, 6),
        against=st.lists(
            st.sampled_from([take_back, stop_sharing, block_day, change_assignment, book, assign, change_category]),
            min_size=1,
            max_size=3,
        ),
        numbers=st.tuples(st.integers(0, 5), st.integers(0, 5)),
    )
    def somebody_books_what_is_being_taken_back(
        self, n: int, start: int, length: int, against: list[Any], numbers: tuple[int, int]
    ) -> None:
        chosen: list[Any] = [(Machine.book, n, 1 - n, start, length)]
        chosen += [(make, n, m, start, length) for make, m in zip(against, (*numbers, 2), strict=False)]
        self.all_act(chosen)

    @rule(n=st.integers(0, 2), m=st.integers(0, 1), start=st.integers(0, REACH), length=st.integers(1, 12))
    def somebody_books_alone(self, n: int, m: int, start: int, length: int) -> None:
        """Without others in between a booking is made exactly where the accountant has nothing against it."""
        space, unit = f"s{1 + n}", self.place.units[m]
        wanted = range(start, start + length)
        books = self.run(self.books())
        others = [hour for hour, owner in books.shared[space].items() if owner != unit]
        running = [item for item in books.bookings if item["unit_id"] == unit and item["visitor_pass_id"] is None]
        free = {
            "in time": wanted[-1] + 1 > self.hour and wanted[0] >= self.hour - 1,
            "shared": books.categories[space] == "shared" or set(wanted) <= set(others),
            "not booked": not any(item["name"] == space and overlaps(item, wanted) for item in books.bookings),
            "quota": sum(item["until"] > self.hour for item in running) < BOOKINGS,
        }
        # Past hours of a space that is shared are what they were when they passed: the accountant keeps no diary.
        if wanted[0] >= self.hour:
            outcome = self.run(self.place.act(self.place.book(space, unit, hours(start, start + length), self.now)))
            assert (outcome == "done") == all(free.values()), (outcome, free)

    @rule(by=st.integers(1, 8))
    def time_passes(self, by: int) -> None:
        self.hour = min(self.hour + by, HOURS - 40)

    @invariant()
    def the_books_are_in_order(self) -> None:
        books = self.run(self.books())
        for one, other in itertools.combinations(books.bookings, 2):
            assert one["name"] != other["name"] or not overlaps(one, range(other["from_"], other["until"]))
        for booking in books.bookings:
            if books.categories[booking["name"]] == "assigned":
                ahead = range(max(booking["from_"], self.hour), booking["until"])
                owners = {books.shared[booking["name"]].get(hour) for hour in ahead}
                assert None not in owners
                assert not ahead or booking["unit_id"] not in owners
        assert books.windows == {
            name: {hour: unit for hour, unit in shared.items() if hour >= self.hour}
            for name, shared in books.shared.items()
        }
        for unit in self.place.units:
            mine = [item for item in books.bookings if item["unit_id"] == unit and item["visitor_pass_id"] is None]
            assert sum(item["until"] > self.hour for item in mine) <= BOOKINGS
        for count in books.passes:
            assert count["used"] <= PASSES

    async def books(self) -> "Books":
        return await Books.read(self.place, self.hour)


def overlaps(booking: Any, wanted: range) -> bool:
    return bool(set(range(booking["from_"], booking["until"])) & set(wanted))


@dataclass
class Books:
    """What is stored, by hours. ``shared`` follows from what people said; ``windows`` is what was written out."""

    categories: dict[str, str]
    bookings: list[Any]
    shared: dict[str, dict[int, int]]
    windows: dict[str, dict[int, int]]
    passes: list[Any]

    @classmethod
    async def read(cls, place: Place, now: int) -> "Books":
        hour = f"(extract(epoch FROM {{}} - '{BASE.isoformat()}'::timestamptz) / 3600)::integer"
        span = f"{hour.format('t.starts_at')} AS from_, {hour.format('t.ends_at')} AS until"
        of_space = "JOIN space s ON s.community_id = t.community_id AND s.id = t.space_id WHERE t.community_id = $1"
        names = {
            row["name"]: row["category"]
            for row in await place.rows("SELECT name, category FROM space WHERE community_id = $1")
        }
        booked, owned, said, exceptions, written = [
            await place.rows(f"SELECT s.name, t.unit_id, {columns}{span} FROM {table} t {of_space}")  # noqa: S608
            for table, columns in (
                ("(SELECT * FROM booking WHERE status = 'active')", "t.visitor_pass_id, "),
                ("space_assignment", ""),
                ("sharing_rule", "t.days, t.starts_time, t.ends_time, t.first_day, t.last_day, "),
                ("sharing_exception", "t.day, "),
                ("shared_window", ""),
            )
        ]
        passes = await place.rows(
            """
            SELECT unit_id, month, count(*) AS used FROM visitor_pass
            WHERE community_id = $1 AND (status = 'active' OR cancelled_at >= starts_at) GROUP BY unit_id, month
            """
        )
        shared: dict[str, dict[int, int]] = {name: {} for name in names}
        windows: dict[str, dict[int, int]] = {name: {} for name in names}
        for hour_ in range(HOURS):
            for row in owned:
                until = HOURS if row["until"] is None else row["until"]
                mine = [item for item in said if (item["name"], item["unit_id"]) == (row["name"], row["unit_id"])]
                gone = [item for item in exceptions if (item["name"], item["unit_id"]) == (row["name"], row["unit_id"])]
                if (
                    row["from_"] <= hour_ < until
                    and any(offers(item, hour_) for item in mine)
                    and not any(withholds(item, hour_) for item in gone)
                ):
                    assert hour_ not in shared[row["name"]], "two units own a space at once"
                    shared[row["name"]][hour_] = row["unit_id"]
            for row in written:
                if row["from_"] <= hour_ < row["until"] and hour_ >= now:
                    assert hour_ not in windows[row["name"]], "two windows overlap"
                    windows[row["name"]][hour_] = row["unit_id"]
        return cls(names, booked, shared, windows, passes)


def offers(said: Any, hour: int) -> bool:
    """Tell whether a rule covers an hour, by what the clock shows in it."""
    if said["days"] is None:
        return bool(said["from_"] <= hour < said["until"])
    shown = reading(hour).replace(tzinfo=None)

    def begins(day: date) -> bool:
        within = said["first_day"] <= day <= (said["last_day"] or date.max)
        return within and bool(said["days"] >> day.weekday() & 1)

    if said["starts_time"] < said["ends_time"]:
        return begins(shown.date()) and said["starts_time"] <= shown.time() < said["ends_time"]
    tonight = begins(shown.date()) and shown.time() >= said["starts_time"]
    return tonight or (begins(shown.date() - timedelta(days=1)) and shown.time() < said["ends_time"])


def withholds(exception: Any, hour: int) -> bool:
    if exception["day"] is not None:
        return bool(exception["day"] == reading(hour).date())
    return bool(exception["from_"] <= hour < exception["until"])


@pytest.fixture
def machine(filled: Database) -> Iterator[type[Machine]]:
    with asyncio.Runner() as runner:
        pool = database.create_pool(filled.app, "test", 6)

        async def enter() -> None:
            await pool

        runner.run(enter())
        yield type("BoundMachine", (Machine,), {"runner": runner, "database": filled, "pool": pool})
        runner.run(pool.close())


def test_whatever_people_do_at_once_nothing_is_double_booked(machine: type[Machine]) -> None:
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=25,
            stateful_step_count=12,
            deadline=None,
            suppress_health_check=list(HealthCheck),
            print_blob=True,
        ),
    )
