"""What all statements that claim requests have in common."""

from typing import Final

SUSPECT_AT: Final = 2
"""After this many rescues a request is claimed alone, because it may be the cause of the worker crashes."""
COLUMNS: Final = """id, waiting_list_id, claim_no, contact_id, email, item_url, locale, attempts, unknowns,
    policy_refusals, created_date, judged_from < (SELECT worked_at FROM relay WHERE id = 1) AS took_others, extras,
    ordered_at, seat, seat_wave"""
COLUMN_TYPES: Final = {
    "id": "uuid",
    "waiting_list_id": "uuid",
    "contact_id": "uuid",
    "created_date": "time",
    "ordered_at": "time",
}
SET_CLAIMED: Final = """status = 'PROCESSING', owner = :owner, claim_no = r.claim_no + 1, claimed_at = stockbell_now(0),
    handed_at = NULL"""
NOT_SUSPECT: Final = f"r.rescues < {SUSPECT_AT}"
SUSPECT: Final = f"r.rescues >= {SUSPECT_AT}"
