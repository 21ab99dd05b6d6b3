"""Swagger UI on /docs: its scripts come from here, so that the page asks nobody else for anything."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path

from fastapi import APIRouter, Response
from fastapi.responses import FileResponse

from queuesim.extras import need

need("fastapi_offline", "admin", "the page of the admin API")

PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<title>queuesim admin</title>
<link rel="icon" href="data:,">
<link rel="stylesheet" href="/docs/swagger-ui.css">
</head>
<body>
<div id="swagger-ui"></div>
<script src="/docs/swagger-ui-bundle.js"></script>
<script src="/docs/start.js"></script>
</body>
</html>
"""
START = """SwaggerUIBundle({url: "/openapi.json", dom_id: "#swagger-ui", deepLinking: true, validatorUrl: null});
"""
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; "
    "connect-src 'self'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'"
)
"""Content-Security-Policy: nothing from elsewhere, and no script in the page itself."""
ASSETS = {"swagger-ui-bundle.js": "text/javascript", "swagger-ui.css": "text/css"}
"""Of the wheel fastapi-offline, which follows Swagger UI's releases."""


def routes() -> APIRouter:
    """The page, and what it loads. None of it is in the OpenAPI document."""
    router = APIRouter(include_in_schema=False)
    static = Path(str(files("fastapi_offline"))) / "static"

    @router.get("/docs")
    async def docs() -> Response:
        return Response(PAGE, media_type="text/html", headers={"content-security-policy": POLICY})

    @router.get("/docs/start.js")
    async def start() -> Response:
        return Response(START, media_type="text/javascript")

    for name, media_type in ASSETS.items():
        router.add_api_route(f"/docs/{name}", _sender(static / name, media_type), methods=["GET"])
    return router


def _sender(file: Path, media_type: str):  # type: ignore[no-untyped-def]
    async def send() -> FileResponse:
        return FileResponse(file, media_type=media_type)

    return send
