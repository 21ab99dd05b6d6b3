"""Swagger UI on /docs, in a browser that is let nowhere else."""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest
import uvicorn
from adminbench import AdminBench, token, with_bench

from queuesim.tasks.store import TaskStore

ASSETS = ("/docs/start.js", "/docs/swagger-ui-bundle.js", "/docs/swagger-ui.css")


def test_the_page_loads_only_what_we_serve() -> None:
    async def scene(desk: AdminBench) -> None:
        page = await desk.call("GET", "/docs", "")
        assert page.status_code == 200
        assert page.headers["content-security-policy"].startswith("default-src 'none'; script-src 'self'")
        loaded = re.findall(r'(?:src|href)="([^"]+)"', page.text)
        assert sorted(loaded) == sorted([*ASSETS, "data:,"])
        for asset in ASSETS:
            answer = await desk.call("GET", asset, "")
            assert (answer.status_code, bool(answer.content)) == (200, True)
            assert answer.headers["content-type"].startswith(("text/javascript", "text/css"))

    with_bench(scene)


@pytest.mark.parametrize("path", ["/docs/", "/docs/../tasks/admin/pause", "/docs/redoc.standalone.js", "/redoc"])
def test_nothing_beside_the_page_is_public(path: str) -> None:
    async def scene(desk: AdminBench) -> None:
        assert (await desk.call("GET", path, "")).status_code == 401

    with_bench(scene)


@pytest.fixture
def served() -> Iterator[str]:
    """The API's address, on the loopback interface."""
    with TaskStore().opened() as store:
        server = uvicorn.Server(uvicorn.Config(AdminBench(store).app, host="127.0.0.1", port=0, log_level="critical"))
        thread = threading.Thread(target=server.run)
        thread.start()
        while not server.started:
            time.sleep(0.01)
        yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
        server.should_exit = True
        thread.join()


def test_a_browser_shows_every_route_and_can_try_them(browser: Any, served: str) -> None:
    page = browser.new_page()
    asked: list[str] = []
    troubles: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.on("pageerror", lambda error: troubles.append(str(error)))
    page.on("console", lambda message: troubles.append(message.text) if message.type == "error" else None)
    page.goto(f"{served}/docs")
    page.wait_for_selector(".opblock")
    assert page.locator(".opblock").count() == 15
    page.locator("button.authorize").first.click()
    page.locator("input[aria-label='auth-bearer-value']").fill(token())
    page.locator(".auth-btn-wrapper button.authorize").click()
    page.locator(".btn-done").click()
    page.locator("#operations-admin-queue_metrics_tasks_admin_queue_metrics_get button.opblock-summary-control").click()
    page.locator(".try-out__btn").click()
    with page.expect_response("**/queue-metrics") as answer:
        page.locator(".execute").click()
    assert answer.value.status == 200
    assert troubles == []
    assert {url.removeprefix(served).split("?")[0] for url in asked if not url.startswith("data:")} == {
        "/docs", "/openapi.json", "/tasks/admin/queue-metrics", *ASSETS,
    }  # fmt: skip
