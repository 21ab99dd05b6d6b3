"""The processor of SCENARIO: ordinary asyncio code, which runs here in virtual time.

Put your own handlers in place of this one, or name your own module there: `processor: my_service.jobs:processor`.
"""

from __future__ import annotations

import asyncio
import random
from typing import Any

from pydantic import BaseModel

from queuesim import Job, Processor

processor = Processor("mail")


class Mail(BaseModel):
    """The data of a job. What does not fit never reaches the handler, and is not retried."""

    to: str
    subject: str = "Hello"


@processor.job("send-mail", data=Mail, timeout=30.0)
async def send_mail(job: Job) -> dict[str, Any]:
    """Send a mail: it takes about a second, and now and then the mail server is not there."""
    # a seed for each attempt: it fares the same in every run, whatever runs beside it
    chance = random.Random(f"{job.id}/{job.attempts_made}")
    await asyncio.sleep(chance.uniform(0.5, 1.5))
    if chance.random() < 0.05:
        raise ConnectionError("the mail server does not answer")
    return {"sent_to": job.data.to}
