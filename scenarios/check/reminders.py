"""A processor that relies on job ids: a team gets one reminder, as long as the job of that reminder is kept."""

from __future__ import annotations

from queuesim import Job, Processor, Queue

TEAMS = 10

processor = Processor("task-processing", concurrency=5)


@processor.job("overdue-tasks-notification")
async def overdue_tasks_notification(job: Job) -> None:
    """Add a reminder for the team of each task."""
    queue = Queue(job.broker)
    for task in job.data["task_ids"]:
        team = task % TEAMS
        await queue.add("reminder", {"team": team}, job_id=f"reminder-{team}")


@processor.job("reminder")
async def reminder(job: Job) -> None:
    """Remind a team."""
