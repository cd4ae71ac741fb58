"""People of a community: residents, plates, accounts, invitations."""

from starlette.responses import Response

from parkmesh.server.access import credentials
from parkmesh.server.http.problems import Problem
from parkmesh.server.identity.principals import Role
from parkmesh.server.people import invitations, members, residents, units
from parkmesh.server.reservations import bookings, permits, visitor_passes
from parkmesh.server.reservations.states import state_of
from parkmesh.server.web import links
from parkmesh.server.web.pages import exports, plate_notices, preconditions, unit_choice
from parkmesh.server.web.pages.confirming import asked
from parkmesh.server.web.pages.rendering import render
from parkmesh.server.web.pages.visit import Access, Visit, action, page

SHOWN = 50
UNITS_SHOWN = 12
LATEST = 20


async def show(
    visit: Visit, opening: invitations.Secrets | None = None, invited_address: str = "", new_unit: str = ""
) -> Response:
    """Show residents by pages; ``opening`` is the link and code just made, shown this once. ``new_unit`` is the name of
    a unit that the invitation's form offers to make."""
    identity, search = visit.member.community_id, visit.query("q")
    paged = visit.paged()
    place = paged.after(str, int)
    async with visit.reading() as connection:
        found = await residents.page(
            connection,
            identity,
            limit=paged.fetch,
            way=paged.way,
            after=(place[0], place[1]) if place else None,
            search=search,
        )
        first_units = await units.page(connection, identity, limit=UNITS_SHOWN)
        suggested = await unit_choice.suggested(visit, connection)
        invited = await invitations.page(connection, identity, limit=SHOWN)
        without_account = await residents.without_account(connection, identity)
        erasures = await residents.asking_for_erasure(connection, identity)
    shown, turns = visit.turned(paged, found, lambda item: (item.name, item.id))
    return render(
        visit,
        "people.html",
        residents=shown,
        units=first_units,
        suggested=suggested,
        invitations=[item for item in invited if item.state in ("pending", "expired")],
        search=search,
        export=exports.link(visit, "people", q=search),
        opening=opening,
        invited_address=invited_address,
        new_unit=new_unit,
        mails=visit.settings.mail is not None,
        without_account=without_account,
        erasures=erasures,
        link=links.absolute(visit.request, links.JOIN, opening.token) if opening else "",
        **turns,
    )


async def invite(visit: Visit) -> Response:
    form = visit.form
    email = form.text("email", most=254).lower()
    if "@" not in email[1:-1]:
        form.wrong("email", visit.language.gettext("Enter an e-mail address."))
    role = (
        Role(form.choice("role", ("resident", "administrator", "auditor")) or "resident")
        if not form.errors
        else Role.RESIDENT
    )
    async with visit.reading() as connection:
        unit = await unit_choice.chosen_or_new(visit, connection)
    if role is Role.AUDITOR and form.value(unit_choice.FIELD).strip():
        unit = unit_choice.Chosen()
        form.errors[unit_choice.FIELD] = visit.language.gettext("An auditor belongs to no unit.")
    if not form.errors:
        try:
            _, opening = await invitations.invite(
                visit.pool,
                visit.principal,
                visit.member,
                email,
                role,
                units.Named(unit.new, make=True) if unit.new else unit.id,
                mailed=visit.settings.mail is not None,
            )
        except Problem as problem:
            form.refused(problem, "email")
        else:
            form.sent = False
            return await show(visit, opening, email)
    return await show(visit, new_unit=unit.new)


async def resend(visit: Visit) -> Response:
    visit.form.sent = False
    try:
        invitation, opening = await invitations.resend(
            visit.pool,
            visit.principal,
            visit.member.community_id,
            visit.number("invitation"),
            mailed=visit.settings.mail is not None,
        )
        return await show(visit, opening, invitation.email)
    except Problem as problem:
        visit.form.refused(problem)
    return await show(visit)


async def invite_all(visit: Visit) -> Response:
    """Invite all people without an account, by mail."""
    if visit.settings.mail is None:
        raise invitations.no_mail()
    done = await invitations.invite_many(visit.pool, visit.principal, visit.member, None)
    return visit.go(f"{visit.base}/people", done="invited-all" if done.made else "invited-none")


async def revoke(visit: Visit) -> Response:
    visit.form.sent = False
    try:
        async with visit.acting() as connection:
            seen = await invitations.get(connection, visit.member.community_id, visit.number("invitation"), lock=True)
            await invitations.revoke(connection, visit.principal, visit.member.community_id, seen)
        return visit.go(f"{visit.base}/people", done="invitation-revoked")
    except Problem as problem:
        visit.form.refused(problem)
    return await show(visit)


async def show_person(visit: Visit) -> Response:
    identity, resident_id = visit.member.community_id, visit.number("resident")
    async with visit.reading() as connection:
        person = await residents.get(connection, identity, resident_id)
        vehicles = await credentials.page(connection, identity, limit=200, resident_id=resident_id, visitors=False)
        invited = await visitor_passes.page(connection, identity, limit=LATEST, resident_id=resident_id)
        booked = await bookings.page(connection, identity, limit=LATEST, resident_id=resident_id)
        permit = await permits.find(connection, identity, resident_id)
        suggested = await unit_choice.suggested(visit, connection)
    return render(
        visit,
        "person.html",
        person=person,
        permit=permit,
        vehicles=vehicles,
        passes=[(item, state_of(item.status, item.from_, item.until, visit.now)) for item in invited],
        bookings=[(item, state_of(item.status, item.from_, item.until, visit.now)) for item in booked],
        suggested=suggested,
        seen=preconditions.mark(person),
    )


def _person(visit: Visit) -> str:
    return f"{visit.base}/people/{visit.number('resident')}"


async def change_person(visit: Visit) -> Response:
    form, identity = visit.form, visit.member.community_id
    name = form.text("name", most=120)
    try:
        async with visit.acting() as connection:
            unit_id = await unit_choice.chosen(visit, connection)
            if not form.errors:
                present = await residents.get(connection, identity, visit.number("resident"), lock=True)
                preconditions.check(visit, present)
                changes = {"name": name, "unit_id": unit_id, "active": form.ticked("active")}
                await residents.change(connection, visit.principal, identity, present, changes)
                return visit.go(_person(visit), done="saved")
    except Problem as problem:
        preconditions.refused(visit, problem)
    return await show_person(visit)


async def add_plate(visit: Visit) -> Response:
    form, identity = visit.form, visit.member.community_id
    plate = form.plate()
    label = form.text("label", least=0, most=60)
    if plate and not form.errors:
        try:
            async with visit.acting() as connection:
                made = await credentials.add(
                    connection,
                    visit.principal,
                    identity,
                    resident_id=visit.number("resident"),
                    plate=plate,
                    label=label,
                    by_staff=True,
                )
                also = await plate_notices.of(visit, connection, plate, made.unit_id)
            return visit.go(_person(visit), done="vehicle-added", also=also)
        except Problem as problem:
            form.refused(problem, "plate")
    return await show_person(visit)


async def change_plate(visit: Visit) -> Response:
    """Revoke, restore or remove a plate."""
    identity, act = visit.member.community_id, visit.form.value("act")
    visit.form.sent = False
    try:
        async with visit.acting() as connection:
            seen = await credentials.get(connection, identity, visit.number("vehicle"), lock=True)
            if act == "remove":
                await credentials.remove(connection, visit.principal, identity, seen, by_staff=True)
            else:
                status = {"status": "revoked" if act == "revoke" else "active"}
                await credentials.change(connection, visit.principal, identity, seen, status, by_staff=True)
        return visit.go(_person(visit), done={"remove": "vehicle-removed", "revoke": "revoked"}.get(act, "restored"))
    except Problem as problem:
        visit.form.refused(problem)
    return await show_person(visit)


async def offer_reset(visit: Visit) -> Response:
    """Show, this once, a link with which a member sets a new password."""
    identity = visit.member.community_id
    visit.form.sent = False
    async with visit.reading() as connection:
        user_id = await residents.member_user(connection, identity, visit.number("resident"))
    if user_id is None:
        visit.form.wrong("", visit.language.gettext("This person has no account here."))
        return await show_person(visit)
    try:
        made = await invitations.offer_reset(visit.pool, visit.principal, visit.member, user_id)
    except Problem as problem:
        visit.form.refused(problem)
        return await show_person(visit)
    link = links.absolute(visit.request, links.RESET, made.token)
    return render(visit, "reset_made.html", link=link, code=made.code, back=_person(visit))


async def show_accounts(visit: Visit) -> Response:
    """Show accounts by pages."""
    paged = visit.paged()
    place = paged.after(str, int)
    async with visit.reading():
        pass
    async with members.with_accounts(visit.pool, visit.member.community_id) as connection:
        found = await members.page(
            connection,
            visit.member.community_id,
            limit=paged.fetch,
            way=paged.way,
            after=(place[0], place[1]) if place else None,
        )
    shown, turns = visit.turned(paged, found, lambda item: (item.email, item.id))
    return render(visit, "accounts.html", members=shown, **turns)


async def change_account(visit: Visit) -> Response:
    identity, act = visit.member.community_id, visit.form.value("act")
    visit.form.sent = False
    try:
        async with members.with_accounts(visit.pool, identity) as connection:
            seen = await members.get(connection, identity, visit.number("user"), lock=True)
            if act == "remove":
                await members.remove(connection, visit.principal, identity, seen)
            else:
                role = Role(act) if act in ("administrator", "auditor") else Role.RESIDENT
                await members.change_role(connection, visit.principal, identity, seen, role)
        return visit.go(f"{visit.base}/people/accounts", done="saved")
    except Problem as problem:
        visit.form.refused(problem)
    return await show_accounts(visit)


_PEOPLE = "/communities/{community}/people"
ROUTES = [
    page(_PEOPLE, Access.STAFF, show),
    action(f"{_PEOPLE}/invite", Access.STAFF, invite),
    action(f"{_PEOPLE}/invite-all", Access.STAFF, asked("invite-all", invite_all)),
    action(f"{_PEOPLE}/invitations/{{invitation}}/resend", Access.STAFF, resend),
    action(f"{_PEOPLE}/invitations/{{invitation}}/revoke", Access.STAFF, revoke),
    page(f"{_PEOPLE}/accounts", Access.STAFF, show_accounts),
    action(f"{_PEOPLE}/accounts/{{user}}", Access.STAFF, asked("take-out", change_account, act="remove")),
    page(f"{_PEOPLE}/{{resident}}", Access.STAFF, show_person),
    action(f"{_PEOPLE}/{{resident}}", Access.STAFF, change_person),
    action(f"{_PEOPLE}/{{resident}}/plates", Access.STAFF, add_plate),
    action(
        f"{_PEOPLE}/{{resident}}/plates/{{vehicle}}", Access.STAFF, asked("remove-plate", change_plate, act="remove")
    ),
    action(f"{_PEOPLE}/{{resident}}/reset", Access.STAFF, asked("reset-link", offer_reset)),
]
