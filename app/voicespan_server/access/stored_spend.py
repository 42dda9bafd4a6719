"""The day's spend of this host: what the store has of all its processes, taken over every few seconds."""

from __future__ import annotations

import asyncio
import logging
from datetime import UTC, datetime, time

from voicespan.sdk.database import StoreError
from voicespan.sdk.session_reading import StoredBill, sessions_of
from voicespan.sdk.store import Store
from voicespan_server.access.door import today
from voicespan_server.access.spend import Bill, Spend

logger = logging.getLogger(__name__)

EVERY_S = 10.0


class StoredSpend:
    """Reads on from the last bill that was read."""

    def __init__(self, store: Store, spend: Spend, *, simulated_too: bool) -> None:
        self._store = store
        self._spend = spend
        self._simulated_too = simulated_too
        self._last_record = 0

    async def absorb(self) -> None:
        """Take over what is new. A store that cannot be read is told of, and stops no call."""
        try:
            bills = await asyncio.to_thread(self._read)
        except (StoreError, FileNotFoundError) as error:
            logger.warning("what others spent today is not known: %s", error)
            return
        if bills:
            self._last_record = bills[-1].record
            self._spend.absorb([Bill(bill.trace_id, bill.key_id, bill.cost_usd) for bill in bills], today())

    async def watch(self) -> None:
        """Go on until cancelled."""
        while True:
            await asyncio.sleep(EVERY_S)
            await self.absorb()

    def _read(self) -> list[StoredBill]:
        midnight = datetime.combine(today(), time(), UTC)
        with sessions_of(self._store) as sessions:
            since_ns = int(midnight.timestamp()) * 1_000_000_000
            return sessions.bills(self._last_record, since_ns, simulated_too=self._simulated_too)
