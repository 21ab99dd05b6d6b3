from __future__ import annotations

import time

from adminbench import AdminBench, token, with_bench


def test_metrics_count_what_became_of_jobs_until_they_are_reset() -> None:
    async def scene(desk: AdminBench) -> None:
        async with desk.working():
            for _ in range(3):
                await desk.service.create("t", "ann")
            await desk.queue.add("task-created", {"task_id": 99})
            await desk.ended(4)
        metrics = (await desk.call("GET", "/tasks/admin/queue-metrics")).json()
        assert (metrics["processed"], metrics["failed"], metrics["success_rate"]) == (3, 1, 0.75)
        assert 0 < metrics["average_processing_time"] < 5
        assert metrics["health"] == "healthy"
        text = (await desk.call("GET", "/metrics", token(roles=["metrics"]))).text
        assert 'queuesim_jobs_processed_total{queue="task-processing"} 3.0' in text
        assert (await desk.call("POST", "/tasks/admin/reset-queue-metrics")).json() == {"done": "reset", "count": 1}
        metrics = (await desk.call("GET", "/tasks/admin/queue-metrics")).json()
        assert (metrics["processed"], metrics["failed"], metrics["success_rate"]) == (0, 0, None)

    with_bench(scene)


def test_the_overdue_check_is_triggered_by_hand() -> None:
    async def scene(desk: AdminBench) -> None:
        for n in range(5):
            await desk.service.create(f"t{n}", "ann", time.time() - 60)
        (scan,) = (await desk.call("POST", "/tasks/admin/trigger-overdue-check")).json()
        assert (scan["trigger"], scan["found"], scan["enqueued"], scan["duplicates"]) == ("manual", 5, 5, 0)
        (again,) = (await desk.call("POST", "/tasks/admin/trigger-overdue-check")).json()
        assert (again["found"], again["enqueued"], again["duplicates"]) == (5, 0, 5)
        assert [row[0:2] for row in await desk.audit()] == [("ann", "done")] * 2

    with_bench(scene)


def test_pause_resume_and_bulk_status() -> None:
    async def scene(desk: AdminBench) -> None:
        assert (await desk.call("POST", "/tasks/admin/pause")).json()["done"] == "paused"
        assert (await desk.call("GET", "/tasks/admin/queue-metrics")).json()["health"] == "degraded"
        assert (await desk.call("POST", "/tasks/admin/resume")).status_code == 200
        assert not await desk.queue.is_paused()
        task = await desk.service.create("t", "ann")
        body = {"task_ids": [task.id], "status": "completed"}
        assert (await desk.call("POST", "/tasks/admin/bulk-status", json=body)).json() == {"done": "queued", "count": 1}
        body["task_ids"] = [task.id, 77]
        assert (await desk.call("POST", "/tasks/admin/bulk-status", json=body)).status_code == 404

    with_bench(scene)


def test_dead_letters_and_jobs() -> None:
    async def scene(desk: AdminBench) -> None:
        async with desk.working():
            failed, other = await desk.queue.add_bulk([("task-created", {"task_id": 99})] * 2)
            await desk.ended(2)
        job = (await desk.call("GET", f"/tasks/admin/jobs/{failed}")).json()
        assert (job["state"], job["failed_reason"]) == ("failed", "there is no task 99")
        _, letter = (await desk.call("GET", "/tasks/admin/dead-letters")).json()
        assert (letter["job_id"], letter["origin"], letter["redrives"], letter["unreadable"]) == (other, other, 0, "")
        assert (letter["job_id"], letter["history"][0]["type"]) == (other, "TaskMissingError")
        assert (await desk.call("POST", f"/tasks/admin/jobs/{failed}/retry", json={})).json()["done"] == "retried"
        assert (await desk.call("POST", f"/tasks/admin/jobs/{failed}/retry", json={})).status_code == 409
        # to retry the first settled its letter
        assert [row["id"] for row in (await desk.call("GET", "/tasks/admin/dead-letters")).json()] == [letter["id"]]
        ids = {"ids": [letter["id"]]}
        assert (await desk.call("POST", "/tasks/admin/dead-letters/redrive", json=ids)).json()["count"] == 1
        (redrive,) = (await desk.call("GET", "/tasks/admin/dead-letters/redrives")).json()
        assert (redrive["letter"], redrive["failed"], redrive["origin"]) == (letter["id"], other, other)
        assert (redrive["redrives"], redrive["status"] in {"waiting", "active", "dead again"}) == (1, True)
        assert (await desk.call("GET", "/tasks/admin/dead-letters/redrives?start=1")).json() == []
        assert (await desk.call("POST", "/tasks/admin/dead-letters/discard", json=ids)).status_code == 404
        assert (await desk.call("POST", "/tasks/admin/dead-letters/discard", json={})).status_code == 422
        everything = {"everything": True}
        assert (await desk.call("POST", "/tasks/admin/dead-letters/discard", json=everything)).json()["count"] == 0

    with_bench(scene)


def test_health_needs_no_token_and_the_document_has_examples() -> None:
    async def scene(desk: AdminBench) -> None:
        assert (await desk.call("GET", "/health", "")).json() == {"status": "ok"}
        document = (await desk.call("GET", "/openapi.json", "")).json()
        assert document["security"] == [{"token": []}]
        for name in ("BulkStatus", "DeadLetterIds", "Metrics", "Retry", "ErrorOut"):
            assert document["components"]["schemas"][name]["examples"]

    with_bench(scene)
