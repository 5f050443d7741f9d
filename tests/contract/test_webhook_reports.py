"""What providers' webhooks say reaches the customers whose mails they name, once, and nobody else."""

import json
from datetime import timedelta

from tests.contract.reporting import DOMAIN, contact_of, intake_of, return_token, told
from tests.contract.shop import Shop
from tests.unit.feedback import webhook_samples as samples
from tests.unit.feedback.webhook_samples import NOW, TOKEN
from worker.feedback.webhooks import Call, Webhook, receive
from worker.models import Status
from worker.services.returning import Result

BOUNCE = samples.ses_bounce("Permanent", "NoEmail", "smtp; 550 5.1.1 user unknown", "5.1.1")


def taken(shop: Shop, webhook: Webhook, call: Call, minutes: int = 0) -> list[Result]:
    reports = receive(webhook, call, NOW + timedelta(minutes=minutes)).reports
    return [each.result for each in intake_of(shop).take([("", report) for report in reports], "ses")]


def suppressed(shop: Shop) -> dict[object, str]:
    rows = shop.ask("SELECT id, suppressed_why FROM contact WHERE suppressed_at IS NOT NULL", id="uuid")
    return {row.id: row.suppressed_why for row in rows}


def test_a_bounce_of_ses_suppresses_its_customer_once(shop: Shop) -> None:
    claim, other = told(shop, 2)
    call = samples.sns_call(json.dumps(BOUNCE).replace(TOKEN, return_token(claim)))
    assert taken(shop, samples.ses(), call) == [Result.ACTED]
    assert taken(shop, samples.ses(), call, minutes=30) == [Result.REPEATED]
    assert suppressed(shop) == {contact_of(shop, claim.id): "bounced"}
    assert shop.row(claim.id).status is Status.FAILED
    assert shop.row(other.id).status is Status.NOTIFICATION_SENT


def test_our_message_id_is_enough(shop: Shop) -> None:
    (claim,) = told(shop)
    event = samples.sendgrid_event("spamreport", stockbell="", **{"smtp-id": f"<{claim.id}@{DOMAIN}>"})
    assert taken(shop, samples.sendgrid(), samples.sendgrid_call([event])) == [Result.ACTED]
    assert suppressed(shop) == {contact_of(shop, claim.id): "complained"}


def test_an_address_alone_names_nobody(shop: Shop) -> None:
    (claim,) = told(shop)
    event = samples.brevo_event("hard_bounce", email=claim.email, reason="550 5.1.1 user unknown")
    event["X-Mailin-custom"] = f"stockbell:{'0' * len(TOKEN)}"
    assert taken(shop, samples.BREVO, samples.brevo_call(event)) == [Result.UNMATCHED]
    assert suppressed(shop) == {}


def test_a_full_call_of_events_is_taken_at_once(shop: Shop) -> None:
    claims = told(shop, 50)
    events = [
        samples.sendgrid_event("unsubscribe", stockbell=return_token(claim), sg_event_id=f"{claim.id} {number}")
        for claim in claims
        for number in range(20)
    ]
    results = taken(shop, samples.sendgrid(), samples.sendgrid_call(events))
    assert results.count(Result.ACTED) == len(suppressed(shop)) == len(claims)
