"""OpenAPI documents become tools: what is taken, what is told, what is refused and where."""

from __future__ import annotations

import copy
import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml
from sqlalchemy import select

from backend.abilities import openapi, openapi_document
from backend.abilities.openapi import Described, Wishes
from mailagent.agents.tools import checked, checked_schema
from mailagent.errors import Malformed
from mailagent.flow.tools.http_request import Place, made, without
from mailagent.sandbox import Sandbox
from mailagent.store import tables as t
from tests.backend.api_client import key, open_api
from tests.backend.mailroom import open_mailroom
from tests.backend.test_cli_trying import Terminal, mailagent

__all__ = ["mailagent"]  # a fixture

SHOP = (Path(__file__).parents[1] / "data/openapi/shop.yaml").read_text()
EVERY_CREDENTIAL = {
    "bearerAuth": "topsecret17",
    "basicAuth": "shop:topsecret18",
    "headerKey": "topsecret19",
    "queryKey": "topsecret20",
}
LINE = {
    "type": "object",
    "properties": {
        "sku": {"type": "string", "description": "(format: uuid)"},
        "count": {"type": "integer", "description": "(exclusiveMinimum: 0)"},
        "gift": {"type": "boolean", "description": "one of [True]"},
    },
    "required": ["sku", "count"],
    "additionalProperties": False,
}


def shop(**changes: Any) -> dict[str, Any]:
    """The document, with other values at places such as `paths./orders.get`."""
    document: dict[str, Any] = copy.deepcopy(yaml.safe_load(SHOP))
    for place, value in changes.items():
        *way, last = place.split(".")
        at = document
        for name in way:
            at = at[name]
        at[last] = value
    return document


def tools(document: Any, *operations: str, **wishes: Any) -> list[Described]:
    text = document if isinstance(document, str) else json.dumps(document)
    wishes = {"credentials": EVERY_CREDENTIAL, **wishes}
    return openapi.tools_of(openapi_document.read(text), Wishes(operations or ("*",), **wishes))


def one(name: str, document: Any = SHOP, **wishes: Any) -> Described:
    (found,) = tools(document, name, **wishes)
    return found


def property_of(schema: Mapping[str, Any], **more: Any) -> Described:
    """A tool whose query has one property of this schema."""
    parameter = {"name": "x", "in": "query", "required": True, "schema": schema}
    return one("listOrders", shop(**{"paths./orders.get.parameters": [parameter], **more}))


# --- what is taken ----------------------------------------------------------------------------


def test_an_operation_is_a_tool_with_its_parameters_in_their_places() -> None:
    found = one("getOrder")
    assert (found.name, found.method, found.effect) == ("get_order", "GET", "reads")
    assert found.url == "https://eu.shop.example/v1/orders/{order_id}"
    assert found.description == (
        "Looks an order up. Use it before you say anything about an order (GET /orders/{order-id})"
    )
    assert found.input_schema == {
        "type": "object",
        "properties": {
            "order_id": {"type": "string"},
            "fields__": {
                "type": "array",
                "items": {"type": "string", "enum": ["lines", "state"]},
            },
            "tags": {"type": "array", "items": {"type": "string"}},
            "X-Shop": {"type": "string", "maxLength": 20},
        },
        "required": ["order_id"],
        "additionalProperties": False,
    }
    assert found.places == {
        "fields__": Place("query", "fields[]"),
        "tags": Place("query", "tags", joined=True),
        "X-Shop": Place("header", "X-Shop", joined=True),
    }
    assert found.headers == {"Authorization": "Bearer topsecret17"}
    (cookie,) = found.left_out
    assert cookie == (
        "#/paths/~1orders~1{order-id}/get/parameters/4/in: 'cookie' cannot be sent:"
        " describe the operation by hand (mailagent tool add)"
    )


def test_a_body_is_merged_with_the_parameters_its_references_resolved() -> None:
    found = one("changeOrder")
    assert found.effect == "changes"
    assert found.input_schema["properties"] == {
        "order_id": {"type": "string"},
        "note": {"type": "string", "description": "For the customer."},
        "lines": {"type": "array", "items": LINE},
        "parent": {
            "type": "object",
            "properties": {"name": {"type": "string"}},
            "required": [],
            "additionalProperties": False,
        },
        "reason": {"type": "string", "minLength": 3, "description": "(pattern: ^[A-Z])"},
        "order-id": {"type": "string"},
    }
    # `note` may be null, so that nothing need be given.
    assert found.input_schema["required"] == ["order_id", "lines", "reason"]
    assert found.places["order-id"] == Place("body", "order-id")
    circle, choice = found.left_out
    assert circle.endswith("leads in a circle: #/components/schemas/Node holds itself")
    assert "extra/oneOf: lets choose between 2 forms" in choice


def test_a_body_that_is_no_object_is_one_property() -> None:
    found = one("POST /orders")
    assert found.name == "post_orders"
    assert found.input_schema["properties"] == {
        "body": {"type": "array", "items": LINE, "maxItems": 3}
    }
    assert found.places == {"body": Place("body", "")}


def test_json_and_yaml_and_the_older_version_say_the_same() -> None:
    older = shop(openapi="3.0.4")
    older["components"]["schemas"]["Change"]["properties"]["note"] = {
        "type": "string",
        "nullable": True,
        "description": "For the customer.",
    }
    assert tools(json.dumps(older)) == tools(SHOP) == tools(yaml.safe_dump(older, sort_keys=False))


@pytest.mark.parametrize(
    ("schema", "becomes"),
    [
        ({"type": "integer", "format": "int64"}, {"type": "integer"}),
        ({"type": "string", "format": "date"}, {"type": "string", "format": "date"}),
        ({"enum": ["a", "b", None]}, {"type": "string", "enum": ["a", "b"]}),
        ({"const": "a", "type": "string"}, {"type": "string", "enum": ["a"]}),
        ({"anyOf": [{"type": "integer"}, {"type": "null"}]}, {"type": "integer"}),
        ({"type": "number", "multipleOf": 5, "minimum": 0}, {
            "type": "number", "minimum": 0, "description": "(multipleOf: 5)"}),
        ({"type": "string", "title": "T", "example": "e", "x-internal": 1, "deprecated": True}, {
            "type": "string", "description": "T"}),
        ({"$ref": "#/components/schemas/Line/properties/sku", "description": "Ours."}, {
            "type": "string", "description": "Ours. (format: uuid)"}),
    ],
)  # fmt: skip
def test_a_schema_becomes_what_we_check_and_the_rest_is_said_in_words(
    schema: dict[str, Any], becomes: dict[str, Any]
) -> None:
    assert property_of(schema).input_schema["properties"]["x"] == becomes


def test_every_tool_of_a_document_can_be_saved() -> None:
    for found in tools(SHOP):
        checked_schema("input_schema", found.input_schema)
        assert len(found.description) >= 10


def test_a_prefix_another_base_and_other_effects_are_taken() -> None:
    found = one(
        "shop_cancel_order",
        prefix="shop_",
        base_url="https://test.shop.example/",
        effects={"cancelOrder": "sends"},
    )
    assert (found.name, found.effect) == ("shop_cancel_order", "sends")
    assert found.url == "https://test.shop.example/orders/{order_id}"


@pytest.mark.parametrize(
    ("operation", "credentials", "headers", "query"),
    [
        ("getOrder", {"bearerAuth": "t17"}, {"Authorization": "Bearer t17"}, {}),
        ("cancelOrder", {"basicAuth": "a:b"}, {"Authorization": "Basic YTpi"}, {}),
        ("cancelOrder", {}, {}, {}),
        ("listOrders", {"queryKey": "t20"}, {}, {"api_key": "t20"}),
        ("POST /orders", {"headerKey": "h", "queryKey": "q"}, {"X-Api-Key": "h"}, {"api_key": "q"}),
    ],
)
def test_a_credential_goes_where_its_scheme_says(
    operation: str,
    credentials: dict[str, str],
    headers: dict[str, str],
    query: dict[str, str],
) -> None:
    found = one(operation, credentials=credentials)
    assert (found.headers, found.query_secrets) == (headers, query)
    assert all(secret not in repr(found) for secret in credentials.values() if len(secret) > 2)


# --- what is refused, and where ---------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("[1]", "document: must be an OpenAPI document"),
        ("{", "document: is neither JSON nor YAML"),
        ("a: [", "document: is neither JSON nor YAML at line 1"),
        ("a: &x 1\nb: *x", "aliases (*name) are not taken"),
        ("[" * 100_000, "document: "),
        ('{"swagger": "2.0"}', "#/openapi: must be 3.0 or 3.1, and this is Swagger 2.0"),
        ("openapi: 3.2.0", "#/openapi: must be 3.0 or 3.1"),
        ("openapi: 3.1.0", "#/paths: holds no operation"),
        ("openapi: 3.1.0\npaths: []", "#/paths: must be an object"),
        (" " * (1024 * 1024 + 1), "document: has more than 1,048,576 octets"),
    ],
)
def test_a_text_that_is_no_such_document_is_told(text: str, told: str) -> None:
    with pytest.raises(Malformed) as error:
        tools(text)
    assert told in str(error.value)


@pytest.mark.parametrize(
    ("schema", "told"),
    [
        ({"$ref": "other.yaml#/X"}, "/schema/$ref: leads out of the document ('other.yaml#/X')"),
        ({"$ref": "https://evil.example/x.json"}, "/schema/$ref: leads out of the document"),
        ({"$ref": "#/components/schemas/None"}, "/schema/$ref: leads nowhere"),
        ({"$ref": "#/components/schemas/Loop"}, "holds itself"),
        ({"type": "array", "items": {"$ref": "#/components/schemas/Tree"}}, "holds itself"),
        ({}, "/schema: has no type: give it one"),
        ({"type": ["string", "integer"]}, "/schema: has several types"),
        ({"type": "file"}, "/schema/type: 'file' is no type"),
        ({"type": "object"}, "/schema: is an object without properties"),
        ({"type": "string", "not": {"enum": ["x"]}}, "/schema/not: cannot be said to a model"),
        ({"oneOf": [{"type": "string"}, {"type": "integer"}]}, "/schema/oneOf: lets choose"),
        ({"type": "string", "enum": ["a", True]}, "/schema/enum: holds what is no string"),
        ({"type": "integer", "minimum": "1"}, "/schema/minimum: must be a number"),
        ({"type": "object", "properties": {"a": {"type": "string"}}}, "is too deep for a query"),
        ("x", "/schema: must be an object"),
    ],
)
def test_what_cannot_be_said_is_refused_by_its_place(schema: Any, told: str) -> None:
    loop = {"allOf": [{"$ref": "#/components/schemas/Loop"}]}
    tree = {
        "type": "object",
        "required": ["child"],
        "properties": {"child": {"$ref": "#/components/schemas/Tree"}},
    }
    with pytest.raises(Malformed) as error:
        property_of(schema, **{"components.schemas.Loop": loop, "components.schemas.Tree": tree})
    assert told in str(error.value)
    assert str(error.value).startswith("#/")


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"servers": [{"url": "/v1"}]}, "#/servers/0/url: '/v1' is relative: say where it is"),
        ({"servers": []}, "#/servers: names no address"),
        ({"components.parameters": {}}, "leads nowhere: there is no #/components/parameters"),
        ({"components.parameters.OrderId.schema": {"type": "number"}}, "/schema: must be a string"),
        ({"components.parameters.OrderId.in": "query"}, "does not describe {order-id} of its path"),
        ({"components.securitySchemes.bearerAuth": {"type": "oauth2"}}, "'oauth2' is not taken"),
    ],
)  # fmt: skip
def test_an_operation_that_cannot_be_called_is_refused(changes: dict[str, Any], told: str) -> None:
    with pytest.raises(Malformed) as error:
        one("getOrder", shop(**changes))
    assert told in str(error.value)


@pytest.mark.parametrize(
    ("operation", "wishes", "told"),
    [
        ("getorder", {}, "operations: 'getorder' is none of the document: it has getOrder"),
        ("getOrder", {"credentials": {}}, "#/security: needs a credential: give one for bear"),
        ("POST /orders", {"credentials": {"headerKey": "x"}}, "headerKey and queryKey"),
        ("getOrder", {"credentials": {"bearer": "x"}}, "credentials.bearer: is no security scheme"),
        ("cancelOrder", {"credentials": {"basicAuth": "x"}}, "must be user:password"),
        ("getOrder", {"effects": {"x": "reads"}}, "operations: 'x' is none"),
    ],
)  # fmt: skip
def test_a_wish_that_does_not_fit_the_document_is_told(
    operation: str, wishes: dict[str, Any], told: str
) -> None:
    with pytest.raises(Malformed) as error:
        one(operation, **wishes)
    assert told in str(error.value)


def test_a_form_as_body_is_refused() -> None:
    form = {"application/x-www-form-urlencoded": {"schema": {"type": "object"}}}
    changed = shop(**{"paths./orders.post.requestBody.content": form})
    with pytest.raises(Malformed, match="is application/x-www-form-urlencoded, and no JSON"):
        one("POST /orders", changed)


def test_two_operations_of_one_name_are_both_told() -> None:
    changed = shop(**{"paths./orders.get.operationId": "get_order"})
    with pytest.raises(Malformed, match="would both be the tool get_order"):
        tools(changed)


def test_references_that_make_a_small_document_endless_are_stopped_at_once() -> None:
    wide: dict[str, Any] = {"L0": {"type": "string"}}
    for level in range(1, 9):
        ref = {"$ref": f"#/components/schemas/L{level - 1}"}
        wide[f"L{level}"] = {
            "type": "object",
            "properties": {f"p{number}": ref for number in range(20)},
        }
    with pytest.raises(Malformed, match="leads to more than 100,000 places"):
        property_of(
            {"$ref": "#/components/schemas/L8"},
            **{f"components.schemas.{name}": one for name, one in wide.items()},
        )


def test_a_parameter_that_a_credential_sets_is_none_of_the_models() -> None:
    spoken = [
        {"name": "api_key", "in": "query", "required": True, "schema": {"type": "string"}},
        {"name": "limit", "in": "query", "schema": {"type": "integer"}},
    ]
    found = one("listOrders", shop(**{"paths./orders.get.parameters": spoken}))
    assert list(found.input_schema["properties"]) == ["limit"]


# --- the request ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("operation", "wish", "path", "headers", "body"),
    [
        (
            "getOrder",
            {"order_id": "A/17", "fields__": ["lines", "state"], "tags": ["a", "b"]},
            "/v1/orders/A%2F17?fields%5B%5D=lines&fields%5B%5D=state&tags=a%2Cb",
            {},
            b"",
        ),
        ("getOrder", {"order_id": "1", "X-Shop": "eu"}, "/v1/orders/1", {"X-Shop": "eu"}, b""),
        ("cancelOrder", {"order_id": "1"}, "/v1/orders/1", {}, b""),
        (
            "changeOrder",
            {"order_id": "1", "order-id": "2", "reason": "Why", "lines": [], "note": None},
            "/v1/orders/1",
            {"Content-Type": "application/json"},
            b'{"order-id": "2", "reason": "Why", "lines": [], "note": null}',
        ),
        (
            "POST /orders",
            {"body": [{"sku": "x", "count": 1}]},
            "/v1/orders",
            {"Content-Type": "application/json"},
            b'[{"sku": "x", "count": 1}]',
        ),
    ],
)
def test_a_wish_becomes_the_request_that_the_document_describes(
    operation: str,
    wish: dict[str, Any],
    path: str,
    headers: dict[str, str],
    body: bytes,
) -> None:
    tool = one(operation)
    request = made(tool.method, tool.url, checked(tool.input_schema, wish), tool.places)
    assert request.url.removeprefix("https://eu.shop.example") == path
    assert (request.headers, request.content) == (headers, body)


@pytest.mark.parametrize("value", ["a\r\nHost: x", "é", "x" * 4_001])
def test_a_header_field_of_the_model_is_one_line_of_ascii(value: str) -> None:
    places = {"X-Shop": Place("header", "X-Shop")}
    with pytest.raises(Malformed, match="X-Shop: must be printable ASCII"):
        made("GET", "https://a.example/", {"X-Shop": value}, places)


def test_an_answer_that_repeats_a_password_is_shown_without_it() -> None:
    said = "c2hvcDp0b3BzZWNyZXQxOA== shop:topsecret18 topsecret18 topsecret20"
    secrets: Sequence[str] = ["Basic c2hvcDp0b3BzZWNyZXQxOA==", "topsecret20"]
    assert without(said, secrets) == "… … … …"


# --- API and shell ----------------------------------------------------------------------------


async def test_operations_are_listed_and_imported_once_by_the_api(
    database_url: str,
) -> None:
    sandbox = Sandbox(workers=1)
    async with open_mailroom(database_url, sandbox) as room, open_api(room, await key(room)) as api:
        at = "/workspaces/shop/agents/hello/http-tools"
        listed = (await api.post(f"{at}/operations", json={"document": SHOP})).json()
        assert [found["id"] for found in listed][:2] == ["getOrder", "changeOrder"]
        assert [found["problem"] for found in listed] == [""] * 5
        wish = {
            "document": SHOP,
            "operations": ["getOrder", "listOrders"],
            "credentials": EVERY_CREDENTIAL,
            "least": "correspondent",
        }
        headers = {"Idempotency-Key": "one"}
        first = await api.post(f"{at}/import", json=wish, headers=headers)
        again = await api.post(f"{at}/import", json=wish, headers=headers)
        assert (first.status_code, again.json()) == (201, first.json())
        assert [one["tool"]["name"] for one in first.json()] == ["get_order", "list_orders"]
        assert (await api.post(f"{at}/import", json=wish)).status_code == 409
        bad = await api.post(f"{at}/import", json={**wish, "operations": ["nothing"]})
        assert (bad.status_code, bad.json()["detail"][:10]) == (422, "operations")
        inside = {**wish, "operations": ["cancelOrder"], "base_url": "http://127.0.0.1/"}
        assert (await api.post(f"{at}/import", json=inside)).status_code == 422
        shown = (await api.get(at)).text + first.text
        assert (await api.get("/workspaces/shop/agents/hello/abilities")).json()["secrets"] == [
            "tool:list_orders"
        ]
        assert not [one for one in EVERY_CREDENTIAL.values() if one in shown]
        await api.delete(f"{at}/list_orders")
        assert await room.rows(select(t.agent_secrets.c.name)) == []
    await sandbox.close()


def test_the_shell_lists_and_imports(mailagent: Terminal) -> None:
    Path("shop.yaml").write_text(SHOP)
    Path("keys.json").write_text(json.dumps(EVERY_CREDENTIAL))
    listed = mailagent("tool", "import", "hello", "shop.yaml", "-w", "shop")
    assert "changeOrder   PATCH   /orders/{order-id}  Changes an order" in listed
    wanted = ("--operation", "getOrder", "--operation", "cancelOrder")
    told = mailagent("tool", "import", "hello", "shop.yaml", *wanted, "-w", "shop", code=1)
    assert "needs a credential: give one for bearerAuth" in told
    done = mailagent(
        *("tool", "import", "hello", "shop.yaml", *wanted, "--credentials", "keys.json"),
        *("--effect", "cancelOrder=sends", "--prefix", "s_", "-w", "shop"),
    )
    assert "added s_get_order: GET https://eu.shop.example/v1/orders/{order_id}" in done
    assert "left out of s_get_order: #/paths/~1orders~1{order-id}/get/parameters/4/in" in done
    shown = mailagent("tool", "show", "hello", "-w", "shop")
    assert re.search(r"s_cancel_order +sends", shown)
