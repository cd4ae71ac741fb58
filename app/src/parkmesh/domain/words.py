"""What people are told of a decision at a gate: the words of the application's pages and of the gateway's own page.

The English texts stand here, once. The catalogues of the pages translate them (``server/web/locale``), and the
gateway's page says them as the catalogues do (``gateway/page/words.py``; a test compares). docs/rules.md lists them.
"""

from parkmesh.domain.community_rules import N_

REASON = {
    "exact": N_("Known plate"),
    "fuzzy": N_("Known plate, not read exactly"),
    "command": N_("Opened by hand"),
    "no_plate": N_("No plate read"),
    "unknown_plate": N_("Unknown plate"),
    "revoked": N_("Access revoked"),
    "not_yet_valid": N_("Not valid yet"),
    "expired": N_("No longer valid"),
    "ambiguous": N_("More than one plate matches"),
    "stale": N_("Read arrived too late"),
    "anti_passback": N_("Already inside"),
    "lots_full": N_("Unit's car limit reached"),
    "barred": N_("Plate barred"),
    "clock_doubted": N_("Let in while the gateway's clock was wrong"),
    "unsure": N_("Read not sure enough"),
    "by_code": N_("QR code or PIN"),
    "unknown_code": N_("Unknown QR code or PIN"),
    "code_used": N_("QR code or PIN used already"),
    "codes_locked": N_("Too many wrong PINs"),
    "exit_is_free": N_("Let out, because exit is free"),
}
NOT_CONFIRMED = N_("The barrier did not confirm")
DECISION = {"granted": N_("Granted"), "denied": N_("Denied")}
DIRECTION = {"entry": N_("Entry"), "exit": N_("Exit"), "both": N_("Entry and exit")}
