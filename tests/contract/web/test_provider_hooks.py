"""Providers' webhooks: what proves a call, what is answered when, and that what comes twice counts once."""

import json
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import pytest
from httpx2 import Response

from tests.contract.reporting import contact_of, return_token, told
from tests.contract.shop import Shop
from tests.contract.web.site import Site, site_over
from tests.unit.feedback import webhook_samples as samples
from tests.unit.feedback.webhook_samples import NOW, TOKEN
from worker.feedback.webhooks import MAX_BODY, Call
from worker.models import Report, Status
from worker.store import hooks
from worker.store.database import Database
from worker.web.errors import ApiError

Fetched = list[str]
SECRETS = {
    "ses": samples.TOPIC,
    "postmark": f"stockbell:{'x' * 20}",
    "sendgrid": samples.public_text(samples.ec_key()),
    "mailgun": "key-0123456789abcdef",
    "brevo": "a-token-that-we-chose",
}


def ses_call(event: object) -> Call:
    return samples.sns_call(json.dumps(event))


def mailgun_call(event: object) -> Call:
    return samples.mailgun_call(event, key=SECRETS["mailgun"])


def brevo_call(event: object) -> Call:
    return Call({"authorization": f"Bearer {SECRETS['brevo']}"}, json.dumps(event).encode())


DEAD = "550 5.1.1 user unknown"
SAYS: Mapping[str, tuple[Callable[[Any], Call], Mapping[str, Any]]] = {
    "ses": (ses_call, samples.ses_bounce("Permanent", "NoEmail", f"smtp; {DEAD}", "5.1.1")),
    "postmark": (samples.postmark_call, samples.postmark_bounce("HardBounce", f"smtp;{DEAD}")),
    "sendgrid": (samples.sendgrid_call, samples.sendgrid_event("bounce", type="bounce", reason=DEAD, status="5.1.1")),
    "mailgun": (
        mailgun_call,
        samples.mailgun_data(
            "failed", severity="permanent", reason="bounce", **{"delivery-status": {"code": 550, "message": DEAD}}
        ),
    ),
    "brevo": (brevo_call, samples.brevo_event("hard_bounce", reason=DEAD)),
}


@pytest.fixture
def fetched(monkeypatch: pytest.MonkeyPatch) -> Fetched:
    """The URLs that were fetched of SNS. It is the time of the samples."""
    urls: Fetched = []

    def get(url: str) -> bytes:
        urls.append(url)
        return samples.certificate()

    monkeypatch.setattr("worker.web.sns._get", get)
    monkeypatch.setattr("worker.web.provider_hooks._now", lambda: NOW)
    return urls


@pytest.fixture
def site(shop: Shop, fetched: Fetched) -> Iterator[Site]:
    with site_over(shop, secret_key="k" * 32, mail_from="Shop <shop@shop.example>") as opened:
        yield opened


def made(site: Site, provider: str, secret: str | None = None) -> str:
    hook_id = site.shop.write(hooks.create, provider, "test", secret or SECRETS[provider])
    return hooks.path(provider, hook_id)


def post(site: Site, path: str, call: Call) -> Response:
    reply: Response = site.client.post(path, content=call.body, headers=dict(call.headers))
    return reply


def about(provider: str, token: str) -> Call:
    make, event = SAYS[provider]
    return make(json.loads(json.dumps(event).replace(TOKEN, token)))


def suppressed(shop: Shop) -> dict[object, str]:
    rows = shop.ask("SELECT id, suppressed_why FROM contact WHERE suppressed_at IS NOT NULL", id="uuid")
    return {row.id: row.suppressed_why for row in rows}


def test_a_bounce_suppresses_its_customer_once(site: Site) -> None:
    other, *claims = told(site.shop, 1 + len(SECRETS))
    for provider, claim in zip(SECRETS, claims, strict=True):
        path, call = made(site, provider), about(provider, return_token(claim))
        for _ in range(2):
            reply = post(site, path, call)
            assert (provider, reply.status_code, reply.json()["reports"]) == (provider, 200, 1)
        assert site.shop.status(claim.id) is Status.FAILED
    assert suppressed(site.shop) == {contact_of(site.shop, claim.id): "bounced" for claim in claims}
    assert site.shop.count(Report) == len(SECRETS)
    assert site.shop.status(other.id) is Status.NOTIFICATION_SENT


def test_a_forged_call_and_one_that_cannot_be_read_change_nothing(site: Site) -> None:
    (claim,) = told(site.shop)
    paths = {provider: made(site, provider) for provider in SECRETS}
    for provider, path in paths.items():
        call = about(provider, return_token(claim))
        forged = [Call({}, json.dumps(SAYS[provider][1]).encode())]
        if provider in ("ses", "sendgrid"):  # only they sign what they say
            forged.append(Call(call.headers, call.body.replace(b"k", b"j")))
        unreadable = [Call(call.headers, body) for body in (b"", b"[", b"\xff", b"[" * 100_000, b"null")]
        for each in (*forged, *unreadable):
            assert post(site, path, each).status_code in (400, 403)
    assert suppressed(site.shop) == {}
    ids = {path.rpartition("/")[2] for path in paths.values()}
    assert [row.used_at for row in site.shop.database.read(hooks.each) if row.id in ids] == [None] * len(ids)


def test_a_call_is_refused_by_its_proof_and_not_by_its_form(site: Site) -> None:
    wrong = samples.postmark_call(SAYS["postmark"][1], password="y" * 20)
    reply = post(site, made(site, "postmark"), wrong)
    assert reply.status_code == 403
    assert reply.json()["details"]["applicationError"]["code"] == "PERMISSION_DENIED"
    right = samples.postmark_call("no event")
    assert post(site, made(site, "postmark"), right).status_code == 400


def test_only_open_hooks_of_this_provider_are_there(site: Site) -> None:
    (claim,) = told(site.shop)
    path, call = made(site, "postmark"), about("postmark", return_token(claim))
    hook_id = path.rpartition("/")[2]
    others = [f"/hooks/{kind}/{hook_id}" for kind in ("ses", "nobody", "shopify")]
    for gone in (*others, f"{path}x", "/hooks/postmark/x", "/hooks/postmark/%00", "/hooks/postmark/%ff"):
        assert post(site, gone, call).status_code == 404
    assert (
        post(site, f"{path}/", samples.postmark_call({"RecordType": "Open"})).status_code == 200
    )  # as some people paste it
    site.shop.write(hooks.revoke, hook_id)
    assert post(site, path, call).status_code == 404
    assert suppressed(site.shop) == {}


def test_brevo_may_have_no_secret_but_our_url(site: Site) -> None:
    (claim,) = told(site.shop)
    path = hooks.path("brevo", site.shop.write(hooks.create, "brevo", "test"))
    assert post(site, path, Call({}, about("brevo", return_token(claim)).body)).status_code == 200
    assert len(suppressed(site.shop)) == 1


def test_a_subscription_of_sns_is_confirmed_and_its_certificate_fetched_once(site: Site, fetched: Fetched) -> None:
    path = made(site, "ses")
    assert post(site, path, samples.sns_call("hello", type_="SubscriptionConfirmation")).status_code == 200
    assert fetched == [samples.CERTIFICATE_URL, samples.CONFIRM_URL]
    post(site, path, samples.sns_call("plain text"))
    assert fetched == [samples.CERTIFICATE_URL, samples.CONFIRM_URL]


@pytest.mark.parametrize(
    "fields",
    [
        {"SubscribeURL": "https://evil.example/?Action=ConfirmSubscription&Token=1"},
        {"SubscribeURL": "https://sns.eu-west-1.amazonaws.com.evil.example/?Action=ConfirmSubscription&Token=1"},
        {"SubscribeURL": "http://169.254.169.254/latest/meta-data"},
        {"TopicArn": "arn:aws:sns:eu-west-1:999999999999:bounces"},
        {"SigningCertURL": "https://evil.example/cert.pem"},
    ],
)
def test_no_url_but_those_of_sns_is_ever_fetched(site: Site, fetched: Fetched, fields: dict[str, str]) -> None:
    post(site, made(site, "ses"), samples.sns_call("hello", type_="SubscriptionConfirmation", **fields))
    assert set(fetched) <= {samples.CERTIFICATE_URL}


def test_sns_tries_again_if_it_does_not_answer(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    def away(_url: str) -> bytes:
        raise ApiError(503, "PROVIDER_AWAY", "SNS did not answer", headers={"Retry-After": "5"})

    monkeypatch.setattr("worker.web.sns._get", away)
    reply = post(site, made(site, "ses"), about("ses", TOKEN))
    assert (reply.status_code, reply.headers["retry-after"]) == (503, "5")


def test_200_is_answered_only_after_the_commit(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    (claim,) = told(site.shop)
    path, call = made(site, "postmark"), about("postmark", return_token(claim))
    write = Database.write
    monkeypatch.setattr(Database, "write", lambda *_args, **_kwargs: _raise_away())
    assert post(site, path, call).status_code == 503
    monkeypatch.setattr(Database, "write", write)
    assert suppressed(site.shop) == {}
    assert post(site, path, call).status_code == 200
    assert len(suppressed(site.shop)) == 1


def _raise_away() -> None:
    from worker.domain.errors import DatabaseAway

    raise DatabaseAway("gone")


def test_a_full_call_is_larger_than_other_bodies_may_be(site: Site) -> None:
    claims = told(site.shop, 3)
    events = [
        samples.sendgrid_event("unsubscribe", stockbell=return_token(claim), sg_event_id=f"{claim.id}{number}")
        for claim in claims
        for number in range(100)
    ]
    call = samples.sendgrid_call(events)
    assert len(call.body) > 64 * 1024
    assert post(site, made(site, "sendgrid"), call).status_code == 200
    assert len(suppressed(site.shop)) == len(claims)


def test_a_body_beyond_all_is_refused(site: Site) -> None:
    path = made(site, "sendgrid")
    assert site.client.post(path, content=b"[", headers={"Content-Length": str(MAX_BODY + 1)}).status_code == 413
