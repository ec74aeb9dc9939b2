"""The sender of webhooks: events become messages, one for many where many accounts are hit, and are delivered.

One process of the fleet sends at a time. Two at once would do no harm: a message has the same `webhook-id` however
often it is sent.
"""

from __future__ import annotations

import asyncio
import json
import math
from collections import Counter
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Any, Final
from urllib.parse import urlencode

from msgspec import Struct
from msgspec.structs import asdict

from models.label import read_labels
from models.tables.account import Status
from models.tables.outbox import Message, OutboxEvent
from worker.clock import Clock, draw_jitter
from worker.db.executor import DatabaseExecutor
from worker.db.fleet_locks import AsyncFleetLock
from worker.db.outbox import DeliveryOutcome, Outbox, Topic, new_id
from worker.log import log
from worker.notifications.webhook_client import DELIVERY_TIMEOUT_S, DeliveryResult, Endpoint, WebhookClient
from worker.policy.reasons import message_of
from worker.policy.webhook_batching import FOLD_WINDOW_S, Batching, gather, is_given_up, retry_after_s

LOCK: Final = "webhooks"
#: One run delivers for so long; what is left comes with the next.
RUN_S: Final = 20.0
#: A holder that is silent for longer is gone: a run, and its last deliveries.
LOCK_S: Final = RUN_S + DELIVERY_TIMEOUT_S + 5.0
#: Deliveries to one endpoint at a time. A receiver is a small thing, and nothing here is in a hurry.
AT_ONCE: Final = 8
#: Accounts that a folded message names: all of its own. More accounts are more messages.
NAMED_MAX: Final = 100
#: Types of events that are statuses, by which a list of accounts can be asked for.
_STATUSES: Final = frozenset(status.value for status in Status)
TEST: Final = "test"


class RunSummary(Struct):
    """Numbers of one run."""

    made: int = 0
    delivered: int = 0
    failed: int = 0
    dead_lettered: int = 0


class Fold(Struct, frozen=True):
    """Events that were folded together: their accounts, in however many messages, and the first one's time."""

    accounts: int
    since: float


class WebhookSender:
    """Turns events into messages, and delivers them."""

    def __init__(
        self,
        *,
        outbox: Outbox,
        endpoints: Sequence[Endpoint],
        client: WebhookClient | None,
        clock: Clock,
        executor: DatabaseExecutor,
        lock: AsyncFleetLock,
    ) -> None:
        self._outbox = outbox
        self._endpoints = endpoints
        self._client = client
        self._clock = clock
        self._sql = executor
        self._lock = lock

    async def tell(self) -> RunSummary | None:
        """Make and deliver the messages that are due; return None if another process is doing it.

        Raises:
            DatabaseUnreachable: it went away; messages that were sent and not noted are sent again, with the same id.
        """
        async with self._lock.hold() as held:
            if held is None:
                return None
            done = RunSummary(made=await self._sql(self._make))
            client = self._client
            if client is not None:
                ends = asyncio.get_running_loop().time() + RUN_S
                await asyncio.gather(*(self._deliver(client, one, done, ends) for one in self._endpoints))
            return done

    def _make(self) -> int:
        made = 0
        for topic in self._outbox.topics(FOLD_WINDOW_S):
            gathering = gather(topic.waiting, lately=topic.lately, oldest_s=topic.oldest_s)
            if gathering is not Batching.WAIT:
                made += self._outbox.make(topic, self._composer(topic, gathering))
        return made

    def _composer(self, topic: Topic, gathering: Batching) -> Callable[[list[OutboxEvent]], list[Message]]:
        def compose(found: list[OutboxEvent]) -> list[Message]:
            one_by_one = gathering is Batching.SINGLY or len(found) == 1
            groups = [[one] for one in found] if one_by_one else parts(found)
            all_of_them = len({one.account for one in found if one.account})
            since = min(one.at for one in found)
            return [
                message
                for group in groups
                for message in self._addressed(topic, group, Fold(all_of_them, since))
            ]

        return compose

    def _addressed(self, topic: Topic, group: list[OutboxEvent], fold: Fold) -> list[Message]:
        first, message_id = group[0], new_id("msg_", self._clock.now())
        alone = len(group) == 1
        body = _body(first.type, group[-1].at, _single(first) if alone else _folded(topic, group, fold))
        subject = f"account:{first.account}" if alone and first.account else f"topic:{topic.name}"
        return [
            Message(
                id=message_id,
                endpoint=one.name,
                type=topic.type,
                topic=topic.name,
                subject=subject,
                body=body,
                happenings=len(group),
            )
            for one in self._endpoints
        ]

    async def _deliver(
        self, client: WebhookClient, endpoint: Endpoint, done: RunSummary, ends: float
    ) -> None:
        """Deliver to one endpoint until no message is due, the time is over, or the endpoint takes none."""
        was_away = False
        while asyncio.get_running_loop().time() < ends:
            batch = await self._sql(self._outbox.ready, endpoint.name, AT_ONCE)
            if not batch:
                return
            taken = await asyncio.gather(*(client.send(endpoint, one.id, one.body) for one, _ in batch))
            outcomes = [
                _outcome(message, age_s, answer)
                for (message, age_s), answer in zip(batch, taken, strict=True)
            ]
            await self._sql(self._outbox.settle, outcomes)
            self._count(outcomes, done)
            delivered = sum(one.error is None for one in taken)
            if not delivered:
                return
            was_away = any(message.attempts and message.http_status is None for message, _ in batch)
            if was_away:
                await self._sql(self._outbox.hurry, endpoint.name)

    @staticmethod
    def _count(outcomes: Sequence[DeliveryOutcome], done: RunSummary) -> None:
        for one in outcomes:
            done.delivered += one.error is None
            done.failed += one.error is not None
            done.dead_lettered += one.given_up
            if one.error is not None:
                log.warning(
                    "webhook_dead_lettered" if one.given_up else "webhook_not_delivered",
                    webhook=one.id,
                    endpoint=one.endpoint,
                    http_status=one.http_status,
                    error=one.error,
                )


def test_body(now: float) -> str:
    """Return the body of a test message."""
    return _body(TEST, now, _messages("A test of refreshd's webhooks. Nothing happened."))


def _outcome(message: Message, age_s: float, taken: DeliveryResult) -> DeliveryOutcome:
    if taken.error is None:
        return DeliveryOutcome(message.id, message.endpoint, taken.http_status, None, None)
    if is_given_up(age_s, taken.http_status):
        return DeliveryOutcome(
            message.id, message.endpoint, taken.http_status, taken.error, None, given_up=True
        )
    after_s = retry_after_s(message.attempts + 1, jitter=draw_jitter(), asked_s=taken.asked_s)
    return DeliveryOutcome(message.id, message.endpoint, taken.http_status, taken.error, after_s)


def _body(kind: str, at: float, data: dict[str, Any]) -> str:
    timestamp = datetime.fromtimestamp(at, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    return json.dumps({"type": kind, "timestamp": timestamp, "data": data}, ensure_ascii=False)


def _messages(text: str) -> dict[str, str]:
    """Return the field of a sentence, and beside it its name in the release before."""
    return {"message": text, "words": text}


def _single(one: OutboxEvent) -> dict[str, Any]:
    known = {
        "account": one.account,
        "provider": one.provider,
        "client": one.client or None,
        "generation": one.generation,
        "reason": one.reason,
        **_messages(message_of(one.reason)),
        "labels": read_labels(one.labels) or None,
        "expires_at": one.ends_at,
    }
    return {name: value for name, value in known.items() if value is not None}


def parts(found: Sequence[OutboxEvent]) -> list[list[OutboxEvent]]:
    """Return events in groups of up to `NAMED_MAX` accounts; each account is in one of them."""
    accounts = dict.fromkeys(one.account for one in found if one.account)
    place = {account: number // NAMED_MAX for number, account in enumerate(accounts)}
    groups: list[list[OutboxEvent]] = [[] for _ in range(max(place.values(), default=0) + 1)]
    for one in found:  # what is about the client or provider as a whole goes first
        groups[place.get(one.account or "", 0)].append(one)
    return groups


def _folded(topic: Topic, group: Sequence[OutboxEvent], fold: Fold) -> dict[str, Any]:
    last = {one.account: one for one in group if one.account}
    reasons = Counter(one.reason for one in group)
    common = reasons.most_common(1)[0][0]
    known = {
        "provider": topic.provider,
        "client": topic.client or None,
        "count": len(last),
        "total": fold.accounts,
        "accounts": list(last),
        "items": [_item(one) for one in last.values()],
        "reason": common,
        **_messages(message_of(common)),
        "reasons": dict(reasons.most_common()),
        "expires_at": min((one.ends_at for one in group if one.ends_at is not None), default=None),
        "next": _rest(topic, fold) if len(last) < fold.accounts else None,
    }
    return {name: value for name, value in known.items() if value is not None}


def _item(one: OutboxEvent) -> dict[str, Any]:
    known = {
        "account": one.account,
        "generation": one.generation,
        "reason": one.reason,
        "labels": read_labels(one.labels) or None,
        "at": round(one.at, 3),
        "expires_at": one.ends_at,
    }
    return {name: value for name, value in known.items() if value is not None}


def _rest(topic: Topic, fold: Fold) -> str:
    """Return where all accounts of a fold can be read in one list: a path of the API, behind REFRESHD_API_URL."""
    status = {"status": topic.type} if topic.type in _STATUSES else {}
    since = math.floor(fold.since * 1000) / 1000
    return "/v1/accounts?" + urlencode(status | {"provider": topic.provider, "changed_since": f"{since:.3f}"})


def summary(done: RunSummary) -> dict[str, int]:
    """Return the numbers of a run, as Flower shows them."""
    return asdict(done)
