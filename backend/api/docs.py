"""What can the API do? A page made from its OpenAPI document, without a script or another host."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse
from jinja2 import Environment

__all__ = ["router"]

router = APIRouter(include_in_schema=False)

_PAGE = Environment(autoescape=True).from_string("""\
<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>{{ title }} API</title>
<style>
  body { font: 16px/1.5 system-ui; max-width: 60rem; margin: 2rem auto; padding: 0 1rem }
  summary { cursor: pointer } summary b { display: inline-block; width: 4.5rem }
  pre { overflow: auto; background: #f4f4f4; color: #222; padding: .7rem }
</style>
<h1>{{ title }} {{ version }}</h1>
<p>{{ description }}</p>
<p>For programs: <a href="openapi.json">openapi.json</a></p>
{% for tag, operations in groups %}
<h2>{{ tag }}</h2>
{% for one in operations %}
<details>
  <summary><b>{{ one.method }}</b> <code>{{ one.path }}</code> {{ one.summary }}</summary>
  {% if one.parameters %}<ul>{% for name, place, text in one.parameters %}
    <li><code>{{ name }}</code> ({{ place }}) {{ text }}</li>{% endfor %}</ul>{% endif %}
  {% if one.body %}<p>Body:</p><pre>{{ one.body }}</pre>{% endif %}
</details>
{% endfor %}
{% endfor %}
</html>
""")


@dataclass(frozen=True, slots=True)
class _Operation:
    tag: str
    method: str
    path: str
    summary: str
    parameters: tuple[tuple[str, str, str], ...]
    body: str


@router.get("/docs", response_class=HTMLResponse)
async def docs(request: Request) -> HTMLResponse:
    """Every operation with its parameters and body."""
    document = request.app.openapi()
    groups: dict[str, list[_Operation]] = {}
    for one in _operations(document):
        groups.setdefault(one.tag, []).append(one)
    return HTMLResponse(_PAGE.render(**document["info"], groups=groups.items()))


def _operations(document: dict[str, Any]) -> Iterator[_Operation]:
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            yield _Operation(
                tag=operation.get("tags", ["more"])[0],
                method=method.upper(),
                path=path,
                summary=operation.get("description", operation.get("summary", "")),
                parameters=tuple(
                    (one["name"], one["in"], one.get("description", ""))
                    for one in operation.get("parameters", [])
                ),
                body=_body(document, operation),
            )


def _body(document: dict[str, Any], operation: dict[str, Any]) -> str:
    content = operation.get("requestBody", {}).get("content", {})
    if "application/json" not in content:
        return ""
    schema = content["application/json"]["schema"]
    name = schema.get("$ref", "").rpartition("/")[2]
    return json.dumps(document["components"]["schemas"].get(name, schema), indent=2)
