"""Webhooks: where events are sent, and what was sent. Standard Webhooks 1.0.0.

A community's webhooks and those of the operator's desk have the same routes: ``_add`` adds them for either ``Owner``.
"""

import re
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from datetime import timedelta
from functools import cache
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends, Path, Query, Request, Response
from pydantic import AwareDatetime, BaseModel, ConfigDict, Field

from parkmesh.server.db.database import Connection, Pool
from parkmesh.server.http import problems
from parkmesh.server.outbox import events
from parkmesh.server.settings import WebhookSettings
from parkmesh.server.web import preconditions
from parkmesh.server.web.answers import answers
from parkmesh.server.web.api import creating
from parkmesh.server.web.api.caller import Operator, SignedIn, Staff
from parkmesh.server.web.api.creating import Made
from parkmesh.server.web.fields import Body, Id
from parkmesh.server.web.paging import Page
from parkmesh.server.webhooks import deliveries, endpoints
from parkmesh.server.webhooks.endpoints import Wish

router = APIRouter(prefix="/desk", tags=["webhooks"], responses=answers(404))
in_community = APIRouter(tags=["webhooks"], responses=answers(403))

WebhookId = Annotated[Id, Path(description="The webhook's id.")]
DeliveryId = Annotated[Id, Path(description="The delivery's id.")]
Url = Annotated[
    str,
    Field(
        min_length=1,
        max_length=500,
        description="Where events are sent: an https:// address of the public internet.",
        examples=["https://integrator.example/parkmesh"],
    ),
]
Types = Annotated[
    list[Annotated[str, Field(max_length=60)]] | None,
    Field(
        min_length=1,
        max_length=200,
        description="Which events are sent: types listed under `webhooks` in this document. null: all, also those of "
        "later releases.",
        examples=[["booking.created", "booking.cancelled"]],
    ),
]
Include = Annotated[
    list[Literal["plate"]],
    Field(max_length=1, description="What events tell beside ids. Plates are personal data; the audit trail says so."),
]
Enabled = Annotated[
    bool, Field(description="Whether events are sent. Events that happen while it is off can be replayed.")
]


class NewWebhook(Body):
    """Where to send which events."""

    url: Url
    types: Types = None
    include: Include = []
    enabled: Enabled = True


class WebhookState(Body):
    """What can be changed of a webhook; all members are required."""

    url: Url
    types: Types
    include: Include
    enabled: Enabled


class Webhook(BaseModel):
    """Where events are sent, and whether they arrive."""

    model_config = ConfigDict(from_attributes=True)

    id: Annotated[int, Field(description="The webhook's number.")]
    url: Annotated[str, Field(description="Where events are sent.")]
    types: Annotated[list[str] | None, Field(description="Which events are sent. null: all.")]
    include: Annotated[list[Literal["plate"]], Field(description="What events tell beside ids.")]
    enabled: Enabled
    stopped_why: Annotated[
        Literal["failing", "gone"] | None,
        Field(description="Why the server switched it off: nothing was taken for 75 hours, or the answer was 410."),
    ]
    failing_since: Annotated[
        AwareDatetime | None, Field(description="The first failure since the last success. null: none.")
    ]
    previous_until: Annotated[
        AwareDatetime | None, Field(description="Until when requests are signed with the previous secret too.")
    ]
    made_by: Annotated[str, Field(description="Who made it, as the audit trail names them.")]
    created_at: Annotated[AwareDatetime, Field(description="When it was made.")]


class WebhookWithSecret(Webhook):
    """A webhook with its secret, shown once."""

    secret: Annotated[
        str | None,
        Field(
            description="What signatures are made with, `whsec_` and base64. A repeated answer has null.",
            examples=["whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"],
        ),
    ]


class Webhooks(BaseModel):
    """A page of webhooks."""

    items: Annotated[list[Webhook], Field(description="The webhooks of this page, the oldest first.")]
    next: Annotated[str | None, Field(description="`cursor` of the next page. null: this is the last one.")]


class WebhookDelivery(BaseModel):
    """One event sent, or to be sent, to one webhook."""

    model_config = ConfigDict(from_attributes=True)

    id: Annotated[int, Field(description="The delivery's number.")]
    event_id: Annotated[str, Field(description="What the receiver knows the event by: the header `webhook-id`.")]
    type: Annotated[str, Field(description="The event's type.")]
    at: Annotated[AwareDatetime, Field(description="When it happened.")]
    state: Annotated[
        Literal["waiting", "delivered", "dead"], Field(description="Whether it waits, was taken, or was given up.")
    ]
    due_at: Annotated[AwareDatetime | None, Field(description="When it is tried next. null: it does not wait.")]
    attempts: Annotated[int, Field(description="How often it was tried.")]
    last_at: Annotated[AwareDatetime | None, Field(description="When it was tried last.")]
    last_status: Annotated[int | None, Field(description="The status of the last answer. null: there was none.")]
    last_error: Annotated[str | None, Field(description="Why there was no answer.")]
    delivered_at: Annotated[AwareDatetime | None, Field(description="When it was taken.")]
    dead_at: Annotated[AwareDatetime | None, Field(description="When it was given up.")]


class WebhookDeliveries(BaseModel):
    """A page of deliveries."""

    items: Annotated[list[WebhookDelivery], Field(description="The deliveries of this page, the latest first.")]
    next: Annotated[str | None, Field(description="`cursor` of the next page. null: this is the last one.")]


class SecretRotation(Body):
    """How a secret is replaced."""

    overlap_hours: Annotated[
        int, Field(ge=0, le=168, description="How long requests are signed with the previous secret too.")
    ] = 24


class ReplayAsked(Body):
    """The time whose events are sent again."""

    from_: Annotated[AwareDatetime, Field(alias="from", description="The first moment.")]
    until: Annotated[AwareDatetime, Field(description="The moment after the last one.")]


class Replayed(BaseModel):
    """What is sent again."""

    events: Annotated[int, Field(description="How many events are sent.")]


def _shown(delivery: deliveries.Delivery) -> WebhookDelivery:
    return WebhookDelivery(
        id=delivery.id,
        event_id=str(delivery.event_id),
        type=delivery.type,
        at=delivery.at,
        state=delivery.state,
        due_at=delivery.due_at if delivery.state == "waiting" else None,
        attempts=delivery.attempts,
        last_at=delivery.last_at,
        last_status=delivery.last_status,
        last_error=delivery.last_error,
        delivered_at=delivery.delivered_at,
        dead_at=delivery.dead_at,
    )


def _settings(request: Request) -> WebhookSettings:
    settings: WebhookSettings = request.app.state.settings.webhooks
    return settings


def _version(webhook: Webhook) -> WebhookState:
    """Return what If-Match is compared with: what people set. Failures come and go without them."""
    return WebhookState(url=webhook.url, types=webhook.types, include=webhook.include, enabled=webhook.enabled)


@dataclass(frozen=True)
class Owner:
    """Whose webhooks a request is about: a community's, or those of the desk (``community_id`` None)."""

    community_id: int | None
    pool: Pool

    def reading(self) -> AbstractAsyncContextManager[Connection]:
        """Open a read-only transaction."""
        return endpoints.reading(self.pool, self.community_id)

    def acting(self) -> AbstractAsyncContextManager[Connection]:
        """Open a transaction that may change them."""
        return endpoints.acting(self.pool, self.community_id)

    async def read(self, connection: Connection, webhook: int, *, lock: bool = False) -> endpoints.Endpoint:
        """Return one of the owner's webhooks; raise ``Problem`` 404."""
        found = await endpoints.read(connection, self.community_id, webhook, lock=lock)
        if found is None:
            raise problems.not_found()
        return found


async def _of_community(request: Request, member: Staff) -> Owner:
    return Owner(member.community_id, request.app.state.pool)


async def _of_desk(request: Request, operator: Operator) -> Owner:
    return Owner(None, request.app.state.pool)


def _add(routes: APIRouter, found: Callable[..., Any], of: str) -> None:
    """Add the routes for the owner that the dependency ``found`` returns; ``of`` is a word in their names."""
    Found = Annotated[Owner, Depends(found)]

    def name(function: str) -> str:
        return function.replace("_webhook", f"{of}_webhook")

    @routes.get("/webhooks", name=name("list_webhooks"))
    async def list_webhooks(request: Request, owner: Found, page: Page) -> Webhooks:
        """List webhooks, the oldest first. Secrets are not shown."""
        after = page.after(int)
        async with owner.reading() as connection:
            found = await endpoints.listed(
                connection, owner.community_id, limit=page.fetch, after=after[0] if after else 0
            )
        items, following = page.cut(found, lambda endpoint: (endpoint.id,))
        return Webhooks(items=[Webhook.model_validate(endpoint) for endpoint in items], next=following)

    @routes.post("/webhooks", **creating.documented(WebhookWithSecret, 409), name=name("create_webhook"))
    async def create_webhook(request: Request, principal: SignedIn, owner: Found, body: NewWebhook) -> Response:
        """Have events sent to an address. Only this answer contains the secret that requests are signed with."""

        async def make(connection: Connection) -> Made:
            wish = Wish(body.url, body.types, list(body.include), body.enabled)
            endpoint, secret = await endpoints.create(
                connection, principal, owner.community_id, wish, _settings(request)
            )
            shown = Webhook.model_validate(endpoint)
            created = WebhookWithSecret(**shown.model_dump(), secret=secret)
            return Made(created, endpoint.id, version=_version(shown), secret={"secret"})

        async with owner.acting() as connection:
            part = endpoints.part_of_trail(owner.community_id)
            return await creating.within(connection, request, principal, part, body, make)

    @routes.get("/webhooks/{webhook}", responses=preconditions.READ, name=name("get_webhook"))
    async def get_webhook(request: Request, response: Response, owner: Found, webhook: WebhookId) -> Webhook:
        """Read a webhook. Its secret is not shown."""
        async with owner.reading() as connection:
            found = Webhook.model_validate(await owner.read(connection, webhook))
        preconditions.tag(response, _version(found))
        return found

    @routes.put("/webhooks/{webhook}", **preconditions.changing(), name=name("change_webhook"))
    async def change_webhook(
        request: Request, response: Response, principal: SignedIn, owner: Found, webhook: WebhookId, body: WebhookState
    ) -> Webhook:
        """Change where which events are sent, or switch it on or off. Switched on, what waited is sent."""
        async with owner.acting() as connection:
            present = await owner.read(connection, webhook, lock=True)
            preconditions.check(request, _version(Webhook.model_validate(present)))
            wish = Wish(body.url, body.types, list(body.include), body.enabled)
            changed = Webhook.model_validate(
                await endpoints.change(connection, principal, owner.community_id, present, wish, _settings(request))
            )
        preconditions.tag(response, _version(changed))
        return changed

    @routes.delete("/webhooks/{webhook}", **preconditions.deleting(), name=name("delete_webhook"))
    async def delete_webhook(request: Request, principal: SignedIn, owner: Found, webhook: WebhookId) -> Response:
        """Delete a webhook with its deliveries; what waits is not sent."""
        async with owner.acting() as connection:
            present = await owner.read(connection, webhook, lock=True)
            preconditions.check(request, _version(Webhook.model_validate(present)))
            await endpoints.delete(connection, principal, owner.community_id, present)
        return Response(status_code=204)

    @routes.post("/webhooks/{webhook}/test", status_code=202, responses=answers(409), name=name("test_webhook"))
    async def test_webhook(request: Request, principal: SignedIn, owner: Found, webhook: WebhookId) -> WebhookDelivery:
        """Send an event of the type `webhook.test`, which tells of nothing. The delivery says later what came of it."""
        async with owner.acting() as connection:
            present = await owner.read(connection, webhook)
            return _shown(await deliveries.test(connection, principal, owner.community_id, present))

    @routes.post("/webhooks/{webhook}/rotate-secret", name=name("rotate_webhook_secret"))
    async def rotate_webhook_secret(
        request: Request, principal: SignedIn, owner: Found, webhook: WebhookId, body: SecretRotation
    ) -> WebhookWithSecret:
        """Replace the secret. Only this answer contains the new one. Until the overlap ends, requests have two
        signatures."""
        overlap = timedelta(hours=body.overlap_hours)
        async with owner.acting() as connection:
            present = await owner.read(connection, webhook, lock=True)
            changed, secret = await endpoints.rotate(connection, principal, owner.community_id, present, overlap)
        return WebhookWithSecret(**Webhook.model_validate(changed).model_dump(), secret=secret)

    @routes.get("/webhooks/{webhook}/deliveries", name=name("list_webhook_deliveries"))
    async def list_webhook_deliveries(
        request: Request,
        owner: Found,
        webhook: WebhookId,
        page: Page,
        status: Annotated[
            deliveries.State | None, Query(description="Only those that wait, were taken, or were given up.")
        ] = None,
    ) -> WebhookDeliveries:
        """List what was and will be sent to a webhook, the latest first. Deliveries are kept for 30 days."""
        before = page.after(int)
        async with owner.reading() as connection:
            await owner.read(connection, webhook)
            found = await deliveries.listed(
                connection,
                owner.community_id,
                webhook,
                limit=page.fetch,
                before=before[0] if before else None,
                state=status,
            )
        items, following = page.cut(found, lambda delivery: (delivery.id,))
        return WebhookDeliveries(items=[_shown(delivery) for delivery in items], next=following)

    @routes.post(
        "/webhooks/{webhook}/deliveries/{delivery}/redeliver",
        status_code=202,
        responses=answers(409),
        name=name("redeliver_webhook"),
    )
    async def redeliver_webhook(
        request: Request, principal: SignedIn, owner: Found, webhook: WebhookId, delivery: DeliveryId
    ) -> WebhookDelivery:
        """Send an event once more, with the same `webhook-id`. One that waits is sent now."""
        async with owner.acting() as connection:
            present = await owner.read(connection, webhook)
            found = await deliveries.redeliver(connection, principal, owner.community_id, present, delivery)
        if found is None:
            raise problems.not_found()
        return _shown(found)

    @routes.post("/webhooks/{webhook}/replay", status_code=202, responses=answers(409), name=name("replay_webhook"))
    async def replay_webhook(
        request: Request, principal: SignedIn, owner: Found, webhook: WebhookId, body: ReplayAsked
    ) -> Replayed:
        """Send all events of a time that the webhook wants, up to 10,000, those that it got already too. Events are
        kept for 30 days."""
        async with owner.acting() as connection:
            present = await owner.read(connection, webhook)
            count = await deliveries.replay(connection, principal, owner.community_id, present, body.from_, body.until)
        return Replayed(events=count)


_add(in_community, _of_community, "")
_add(router, _of_desk, "_desk")


class WebhookEvent(BaseModel):
    """What is sent: signed by Standard Webhooks 1.0.0, in the headers `webhook-id`, `webhook-timestamp` and
    `webhook-signature`."""

    type: Annotated[str, Field(description="The event's type.", examples=["passage.denied"])]
    timestamp: Annotated[AwareDatetime, Field(description="When it happened.")]
    data: Annotated[
        dict[str, object],
        Field(
            description="The community's name, and the ids of what it is about.",
            examples=[{"community": "olivos", "passage": 24, "gate": "main-in", "direction": "entry"}],
        ),
    ]


@cache
def described_events() -> APIRouter:
    """Return all types of events as the API's document describes them: as its ``webhooks``."""
    described = APIRouter()

    def receive(body: WebhookEvent) -> None:
        """Take the event: answer 2xx within 20 seconds. Any other answer has it sent again later; 410 ends it."""

    for type_, means in {**events.TYPES, deliveries.TEST: "Somebody tries the webhook."}.items():
        described.post(
            type_,
            summary=means,
            tags=["webhooks"],
            operation_id="on" + re.sub("[._]", " ", type_).title().replace(" ", ""),
            status_code=204,
            responses={422: {"description": "The receiver does not take it."}},
        )(receive)
    return described
