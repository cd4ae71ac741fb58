"""What pages say for the codes of the domain: reasons, states, roles, kinds of space, and what went wrong.

A text is marked here and translated where it is shown.
"""

from datetime import datetime
from zoneinfo import ZoneInfo

from parkmesh.domain.community_rules import RULES
from parkmesh.domain.words import DECISION, DIRECTION, NOT_CONFIRMED, REASON
from parkmesh.server.web.language import N_, Language

STATUS = {"free": N_("Free"), "occupied": N_("Occupied"), "unknown": N_("Unknown")}
PASSED = {"entry": N_("in"), "exit": N_("out")}
ROLE = {
    "operator": N_("Operator"),
    "administrator": N_("Administrator"),
    "auditor": N_("Auditor"),
    "resident": N_("Resident"),
}
CATEGORY = {
    "assigned": N_("Assigned"),
    "shared": N_("Shared"),
    "visitor": N_("Visitors"),
}
HEALTH = {
    "ok": N_("In order"),
    "offline": N_("Offline"),
    "behind": N_("Behind with events"),
    "outdated": N_("Old access list"),
    "skewed": N_("Clock is wrong"),
    "silent": N_("Camera sends nothing"),
    "devices": N_("Device needs care"),
}
RELEASE = {
    "wanted": N_("Fetches it at its next contact, and tries it"),
    "kept": N_("Took it"),
    "put back": N_("Put back what ran before"),
    "refused": N_("Refused it"),
}
DEVICE_FAULT = {
    "battery_low": N_("Battery is low"),
    "tilted": N_("Sensor is tilted"),
    "weak_signal": N_("Signal is weak"),
    "silent": N_("Sensor sends nothing"),
    "did_not_open": N_("Barrier didn't open"),
    "still_open": N_("Barrier stays open"),
    "forced_open": N_("Barrier was opened by something else"),
}
INVITATION = {
    "pending": N_("Open"),
    "accepted": N_("Accepted"),
    "revoked": N_("Revoked"),
    "expired": N_("Expired"),
}
OBJECT = {
    "api-key": N_("API keys"),
    "bar": N_("Barred plates"),
    "calendar": N_("Calendar"),
    "booking": N_("Bookings"),
    "community": N_("Community"),
    "credential": N_("Plates"),
    "gate": N_("Gates"),
    "gateway": N_("Gateways"),
    "invitation": N_("Invitations"),
    "level": N_("Levels"),
    "member": N_("Accounts"),
    "passkey": N_("Passkeys"),
    "password": N_("Passwords"),
    "permit": N_("Permits"),
    "presence": N_("Presence"),
    "report": N_("Reports"),
    "resident": N_("Residents"),
    "rules": N_("Rules"),
    "session": N_("Sessions"),
    "sharing": N_("Sharing"),
    "space": N_("Spaces"),
    "space-request": N_("Requests for a space"),
    "unit": N_("Units"),
    "violation": N_("Violations"),
    "visitor-nights": N_("Visitors' nights"),
    "visitor-pass": N_("Visitor passes"),
    "webhook": N_("Webhooks"),
    "waiting": N_("Waiting list"),
}
KEY_ROLE = {"reader": N_("May only read"), "administrator": N_("May read and change")}
HELD = {
    "accounts": N_("Accounts"),
    "residents": N_("Residents"),
    "units": N_("Units"),
    "plates": N_("Plates that may pass"),
    "spaces": N_("Spaces"),
    "gates": N_("Gates"),
    "gateways": N_("Gateways"),
    "api_keys": N_("API keys"),
    "bookings": N_("Future bookings"),
    "visitor_passes": N_("Future visitor passes"),
}
ERASED = {
    "credentials": N_("Plates"),
    "passages": N_("Passages"),
    "visitor_passes": N_("Visitor passes"),
    "bookings": N_("Bookings"),
    "invitations": N_("Invitations"),
    "audit_details": N_("Details in the audit trail"),
    "sessions": N_("Sessions"),
    "passkeys": N_("Passkeys"),
}
ERASED_ACCOUNT = {
    "none": N_("There was no account"),
    "erased": N_("Erased"),
    "kept": N_("Kept: it belongs to another community too"),
}
PASSBACK = {"off": N_("Off"), "soft": N_("Soft: let in and note it"), "hard": N_("Hard: refuse")}
MATCHING = {
    "exact": N_("Exact: open only for the plate as it is on the list"),
    "careful": N_("Careful: up to two look-alike characters may differ"),
    "generous": N_("Generous: also three, or a character too many or too few"),
}
RULE = {rule.name: rule.label for rule in RULES.values()}
ARRANGEMENT = {
    "copy": N_("Copy the places"),
    "left": N_("Align at the left"),
    "top": N_("Align at the top"),
    "across": N_("Equal distances from left to right"),
    "down": N_("Equal distances from top to bottom"),
}
LIST = {
    "units": N_("Units"),
    "residents": N_("Residents"),
    "people": N_("People"),
    "plates": N_("Plates"),
    "credentials": N_("Plates"),
    "spaces": N_("Spaces"),
    "places": N_("Places on the map"),
    "passages": N_("Passages"),
    "bookings": N_("Bookings"),
    "visitor-passes": N_("Visitor passes"),
    "audit": N_("Audit"),
    "stays": N_("Stays"),
}
MESSAGE = {
    "invitation": N_("Invitation"),
    "password-link": N_("Link for a new password"),
    "webhook-stopped": N_("Webhook switched off"),
}
EVENT = {
    "booking.cancelled": N_("A booking was cancelled, or its space was taken back."),
    "booking.created": N_("A space was booked."),
    "booking.moved": N_("A booking got another time."),
    "booking.no_show": N_("A booking ended because nobody came."),
    "credential.added": N_("A plate was registered."),
    "credential.restored": N_("A revoked plate is valid again."),
    "credential.revoked": N_("A plate was revoked: gates no longer open for it."),
    "gate.open_asked": N_("Somebody told a gate to open."),
    "gate.open_failed": N_("A gate was told to open, and the barrier did not confirm that it opened."),
    "gate.opened": N_("A gate that was told to open has opened."),
    "gateway.offline": N_("A gateway has sent nothing for 15 minutes."),
    "gateway.online": N_("A gateway that was offline is heard again."),
    "invitation.accepted": N_("A person accepted their invitation."),
    "invitation.created": N_("A person was invited."),
    "passage.denied": N_("A gate did not open for a vehicle."),
    "passage.granted": N_("A gate opened for a vehicle."),
    "passage.unconfirmed": N_("A vehicle was let in, but the barrier did not confirm that it opened."),
    "presence.corrected": N_("Staff corrected whether a vehicle is inside."),
    "resident.erasure_asked": N_("A person asks for their data to be erased."),
    "sharing.changed": N_("A space was shared, or its times changed."),
    "sharing.taken_back": N_("A shared space was taken back."),
    "space_request.assigned": N_("A unit got a space of its own by the waiting list."),
    "space_request.lapsed": N_("A unit did not answer in time when a space of its own was offered."),
    "space_request.offered": N_("The waiting list offers a unit a space of its own."),
    "stay.overstayed": N_("A car is still there after its pass or booking ended."),
    "violation.closed": N_("A violation of the rules of parking is closed."),
    "violation.opened": N_("A violation of the rules of parking was noticed."),
    "visitor_pass.cancelled": N_("A visitor's pass was cancelled."),
    "visitor_pass.changed": N_("A visitor's pass was changed."),
    "visitor_pass.created": N_("A visitor was invited."),
    "visitor_pass.first_used": N_("A visitor arrived for the first time with their pass."),
    "visitor_pass.plate_set": N_("A visitor's pass got a plate."),
    "waiting.claimed": N_("A unit took the space that the waiting list offered it."),
    "waiting.lapsed": N_("Nobody took an offer of the waiting list in time."),
    "waiting.offered": N_("The waiting list offers a unit a space."),
}
"""The sentences of ``outbox.events.TYPES``."""
STATE = {
    "open": N_("Running now"),
    "upcoming": N_("Upcoming"),
    "over": N_("Over"),
    "cancelled": N_("Cancelled"),
}
VIOLATION = {
    "overstay": N_("Stayed too long"),
    "expired_pass": N_("Pass no longer valid"),
    "no_pass": N_("No pass"),
    "in_others_space": N_("In another unit's space"),
    "resident_in_visitor_space": N_("Resident in a visitors' space"),
    "accessible_without_permit": N_("In an accessible space without a permit"),
    "passback": N_("Entered again without an exit"),
    "fire_lane": N_("In the fire lane"),
    "double_parked": N_("Double-parked"),
    "abandoned": N_("Abandoned"),
}
VIOLATION_STATE = {
    "open": N_("Open"),
    "warned": N_("Warned"),
    "appealed": N_("Appealed"),
    "closed": N_("Closed"),
}
NOTICED_BY = {
    "rule": N_("Noticed by a rule"),
    "staff": N_("Opened by staff"),
    "resident": N_("Reported by a resident"),
}
CHECK_BY = {
    "resident": N_("A resident's vehicle"),
    "pass": N_("A visitor's pass"),
    "booking": N_("A booking"),
    "none": N_("Nothing"),
}
CHECK_REASON = {
    "valid": N_("It may be here."),
    "grace": N_("Its time has ended. It may stay on for a little while."),
    "other_space": N_("It may be in the community, but not in this space."),
    "revoked": N_("Its access was revoked."),
    "ended": N_("Its time has ended."),
    "not_begun": N_("Its time hasn't begun."),
    "unknown": N_("Nobody registered this plate."),
}
PASSED_OVER = {
    "declined": N_("declined"),
    "lapsed": N_("not answered in time"),
    "staff": N_("given to others"),
}
CLOSED_BY = {
    "exit": N_("Exit"),
    "missed_exit": N_("Entered again, the exit was missed"),
    "correction": N_("Corrected by staff"),
    "timeout": N_("No exit within 30 days"),
}
REPORT = {
    "occupancy-by-hour": N_("Occupancy by hour"),
    "denied": N_("Denied at the gates"),
    "visitors": N_("Visitors by unit"),
    "gates": N_("Openings by gate"),
    "space-use": N_("Use of spaces"),
    "sharing-use": N_("Use of shared spaces"),
}
REPORT_ABOUT = {
    "occupancy-by-hour": N_("Cars inside by the gates, free spaces by the sensors."),
    "denied": N_("Reads that matched no plate are kept for 72 hours only."),
    "visitors": N_("A night counts when a visitor's car is inside at 4 in the morning."),
    "gates": N_("How often each gate opened, and how often its barrier did not confirm."),
    "space-use": N_("By the sensors. The share is of the time in which the state was known."),
    "sharing-use": N_("How long spaces were shared, and how much of that was booked."),
}
COLUMN = {
    "day": N_("Day"),
    "hour": N_("Hour"),
    "utc_offset": N_("Offset from UTC"),
    "inside_min": N_("Fewest inside"),
    "inside_max": N_("Most inside"),
    "inside_avg": N_("Inside on average"),
    "free_avg": N_("Free on average"),
    "unknown_share": N_("State unknown"),
    "plate": N_("Plate"),
    "gate": N_("Gate"),
    "reason": N_("Reason"),
    "count": N_("Times"),
    "first": N_("First"),
    "last": N_("Last"),
    "unit": N_("Unit"),
    "passes": N_("Passes"),
    "nights": N_("Nights"),
    "opened_by_plate": N_("For a plate"),
    "by_hand": N_("By hand"),
    "failed": N_("Not confirmed"),
    "space": N_("Space"),
    "occupied_minutes": N_("Occupied"),
    "share": N_("Share of time"),
    "offered_minutes": N_("Shared"),
    "booked_minutes": N_("Booked"),
}
TABLES = {
    "list": LIST,
    "rule": RULE,
    "health": HEALTH,
    "device-fault": DEVICE_FAULT,
    "release": RELEASE,
    "erased": ERASED,
    "erased-account": ERASED_ACCOUNT,
    "held": HELD,
    "invitation": INVITATION,
    "key-role": KEY_ROLE,
    "passback": PASSBACK,
    "matching": MATCHING,
    "object": OBJECT,
    "reason": REASON,
    "status": STATUS,
    "decision": DECISION,
    "passed": PASSED,
    "direction": DIRECTION,
    "role": ROLE,
    "category": CATEGORY,
    "arrangement": ARRANGEMENT,
    "message": MESSAGE,
    "state": STATE,
    "closed-by": CLOSED_BY,
    "violation": VIOLATION,
    "violation-state": VIOLATION_STATE,
    "noticed-by": NOTICED_BY,
    "check-by": CHECK_BY,
    "check-reason": CHECK_REASON,
    "passed-over": PASSED_OVER,
    "report": REPORT,
    "report-about": REPORT_ABOUT,
    "column": COLUMN,
    "event": {**EVENT, "webhook.test": N_("Test")},
}

NOTICE = {
    "booking-made": N_("A booking of yours is made or has a new time"),
    "booking-cancelled": N_("A booking of yours is cancelled by others"),
    "space-offered": N_("The waiting list offers you a space"),
    "visitor-arrived": N_("A visitor of yours arrives"),
    "plate-refused": N_("A gate refuses your plate or your visitor's"),
    "erasure-asked": N_("A person asks for their data to be erased"),
    "digest": N_("What happened the day before, every morning"),
    "gateway-offline": N_("A gateway is offline for 15 minutes"),
}
QUESTIONS = {
    "delete-unit": N_("Delete this unit?"),
    "delete-space": N_("Delete this space?"),
    "take-space": N_("Take the space from this unit?"),
    "delete-level": N_("Delete this level?"),
    "remove-plate": N_("Remove this plate? Gates will not open for it any more."),
    "reset-link": N_("Make a link for a new password?"),
    "cancel-booking": N_("Cancel this booking?"),
    "invite-all": N_("Send an e-mail to everybody without an account?"),
    "take-out": N_("Take this account out of the community?"),
    "revoke-key": N_("Revoke this key? The program that has it stops working at once."),
    "delete-gate": N_("Delete this gate? Passages keep its name."),
    "remove-lane": N_("Remove this lane?"),
    "new-pass-link": N_("Make a new link? The old link will stop working."),
    "cancel-pass": N_("Cancel this pass?"),
    "leave-space-requests": N_("Give up the place on the list?"),
    "withdraw-space-offer": N_("Take this offer back?"),
    "remove-permit": N_("Remove this permit?"),
    "remove-exception": N_("Remove this exception?"),
    "renew-code-key": N_(
        "Make a new key? Codes that visitors have already stay valid until their passes end. A gateway without a line "
        "takes new codes only when it is back."
    ),
    "delete-webhook": N_("Delete this webhook? Nothing more is sent to it."),
}
"""What is asked before something is done that is not easily undone: see ``pages.confirming``."""

DONE = {
    "vehicle-added": N_("The vehicle is added. The gates know it within seconds."),
    "vehicle-changed": N_("The vehicle is changed."),
    "vehicle-removed": N_("The vehicle is removed."),
    "booked": N_("The space is booked."),
    "booking-moved": N_("The booking has its new time."),
    "booking-cancelled": N_("The booking is cancelled."),
    "shared": N_("The space is shared at that time."),
    "share-stopped": N_("That time is your own again."),
    "share-rest-stopped": N_(
        "What nobody has booked is your own again. What stays, and until when, is under Booked by neighbours."
    ),
    "day-blocked": N_("On that day nothing is shared."),
    "day-unblocked": N_("On that day the space is shared again as usual."),
    "code-key-renewed": N_("The key is new. The gateways know it within seconds."),
    "pass-changed": N_("The pass is changed."),
    "pass-cancelled": N_("The pass is cancelled. Its link and plate no longer open a gate."),
    "session-ended": N_("That device is signed out."),
    "sessions-ended": N_("All other devices are signed out."),
    "password-changed": N_("The password is changed. All other devices are signed out."),
    "erasure-asked": N_("The administrators see your request to erase your data."),
    "erasure-taken-back": N_("Your request to erase your data is taken back."),
    "passkey-removed": N_("The passkey is removed."),
    "passkey-added": N_("The passkey is added. You can sign in with it from now on."),
    "saved": N_("Saved."),
    "added": N_("Added."),
    "placed": N_("The space has its place on the map."),
    "removed": N_("Removed."),
    "barred": N_("The plate is barred. Gates that are online refuse it within seconds."),
    "bar-lifted": N_("The bar is lifted. The plate passes again if it is registered."),
    "revoked": N_("The plate is revoked. Gates that are online refuse it within seconds."),
    "restored": N_("The plate may pass again."),
    "invited-all": N_("The invitations are on their way by e-mail."),
    "invited-none": N_("Nobody was invited: everybody without an account has an open invitation."),
    "password-link": N_(
        "If there is an account with this address, an e-mail with a link is on its way. It works for 30 minutes."
    ),
    "sent-again": N_("The message is sent again."),
    "invitation-revoked": N_("The invitation is revoked."),
    "corrected": N_("The correction is written down."),
    "imported": N_("The file is imported."),
    "offboarded": N_("The community is offboarded."),
    "community-deleted": N_("The community will be deleted. Until then it can be kept."),
    "community-kept": N_("The community is kept."),
    "webhook-sent": N_("It is on its way. What came of it is in the list in a moment."),
    "waiting": N_("You are on the waiting list. As soon as a space is free for you, it is offered to you here."),
    "space-asked": N_("Your unit is on the list for a space of its own. You see its place here."),
    "space-taken": N_("The space is your unit's from now on."),
    "space-declined": N_("The offer goes to the next. Your unit keeps its place on the list."),
    "space-left": N_("Your unit is no longer on the list."),
    "space-offered": N_("The space is offered. The unit has 7 days to answer."),
    "space-assigned": N_("The space belongs to the unit from now on."),
    "space-withdrawn": N_("The offer is taken back."),
    "left-waiting": N_("You don't wait for that time any more."),
    "calendar-ended": N_("The address is ended. It shows nothing any more."),
    "violation-opened": N_("The violation is open."),
    "violation-warned": N_("The unit was warned. They see it on their page."),
    "violation-appealed": N_("Your appeal is sent. Your administrators see it."),
    "violation-closed": N_("The violation is closed."),
    "key-revoked": N_("The key is revoked. It no longer works."),
}

ALSO = {
    "reads-alike": N_("Another plate of the community reads alike. A gate may confuse the two."),
    "reads-alike-which": N_(
        "Another plate of the community reads alike. Gates may confuse them. The page of the plate shows which."
    ),
    "same-letters": N_("Another unit has a plate of the same letters and digits. A gate can't tell the two apart."),
    "import-alike": N_("Some of the new plates read like others. Gates may confuse them. Their pages show which."),
}
"""What a page says beside what was done."""

STATUS_CODE = {
    404: N_("This doesn't exist, or you may not see it."),
    405: N_("This can't be done here."),
}


def label(language: Language, table: str, code: str) -> str:
    """Return the text for a code; a code that is not in the table is shown as it is, made readable."""
    known = TABLES[table].get(code)
    return language.gettext(known) if known else code.replace("_", " ").replace("-", " ").capitalize()


def decision_chip(decision: str, opened: bool | None) -> str:
    """Return the kind of chip that shows a decision: good only where the car could pass."""
    if decision != "granted":
        return "bad"
    return "warn" if opened is False else "good"


def state_chip(state: str) -> str:
    """Return the kind of chip that shows the state of a booking or a pass."""
    return {"open": "good", "cancelled": "bad"}.get(state, "plain")


def reason(language: Language, reason: str, decision: str, opened: bool | None) -> str:
    """Return why a passage was decided as it was; a barrier that did not answer is said, not hidden."""
    text = label(language, "reason", reason)
    return f"{text}. {language.gettext(NOT_CONFIRMED)}" if decision == "granted" and opened is False else text


def table(language: Language, name: str) -> dict[str, str]:
    """Return a whole table in one language, for a page's script."""
    return {code: language.gettext(text) for code, text in TABLES[name].items()}


def reason_text(reason: str, decision: str, opened: bool | None) -> str:
    """Return the English text for a passage's reason."""
    text = REASON.get(reason, reason.replace("_", " ").capitalize())
    return f"{text}; the barrier did not confirm" if decision == "granted" and opened is False else text


def local_time(moment: datetime, zone: ZoneInfo) -> str:
    """Return the time of day at the community, to the second."""
    return moment.astimezone(zone).strftime("%H:%M:%S")


def local_day(moment: datetime, zone: ZoneInfo) -> str:
    """Return the day at the community, short."""
    return moment.astimezone(zone).strftime("%d %b %Y").lstrip("0")
