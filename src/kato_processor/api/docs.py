"""The OpenAPI document and the pages that show it."""

from starlette.requests import Request
from starlette.responses import HTMLResponse

from kato_processor.api.replies import Reply

_SWAGGER = """<!DOCTYPE html>
<html>
<head>
<title>KATO API</title>
<link rel="stylesheet" href="https://cdn.jsdelivr.net/npm/swagger-ui-dist@5/swagger-ui.css">
</head>
<body>
<div id="swagger-ui"></div>
<noscript>The document itself: <a href="{document}">openapi.json</a></noscript>
<script src="https://cdn.jsdelivr.net/npm/swagger-ui-dist@5/swagger-ui-bundle.js"></script>
<script>SwaggerUIBundle({{url: "{document}", dom_id: "#swagger-ui"}})</script>
</body>
</html>
"""
_REDOC = """<!DOCTYPE html>
<html>
<head><title>KATO API</title><meta charset="utf-8"></head>
<body>
<redoc spec-url="{document}"></redoc>
<script src="https://cdn.jsdelivr.net/npm/redoc@2/bundles/redoc.standalone.js"></script>
</body>
</html>
"""


async def openapi(_request: Request) -> Reply:
    from kato_processor.api.openapi import document

    return Reply(document())


async def swagger(_request: Request) -> HTMLResponse:
    """The document's address is relative, so that the page works behind a path prefix."""
    return HTMLResponse(_SWAGGER.format(document="openapi.json"))


async def redoc(_request: Request) -> HTMLResponse:
    return HTMLResponse(_REDOC.format(document="openapi.json"))
