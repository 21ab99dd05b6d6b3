"""The source of a module of handlers, as a user has it, for processes that import it and may die of it."""

SOURCE = """\
import os
from pathlib import Path
from queuesim import Processor

def make():
    processor = Processor("mail", concurrency=2)

    @processor.job("mail")
    async def mail(job):
        import asyncio
        await asyncio.sleep(0.4)

    return processor

def make_and_die_once():
    if not Path("{flag}").exists():
        Path("{flag}").touch()
        os.kill(os.getpid(), 9)
    return make()
"""
"""`{flag}`: the file that says that a process has died already."""
