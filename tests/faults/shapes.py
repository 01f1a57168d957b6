"""What kind of request one is, whatever the names in it: the alphabet in which stops are written."""

from __future__ import annotations

import re
from urllib.parse import parse_qsl, unquote

from tests.faults.memory_s3 import Request

MUTATIONS = ("PUT", "POST", "DELETE")
_NUMBERS = re.compile(r"[0-9a-f]{8,}|\d+")


def kind_of(request: Request) -> str:
    """Such as `PUT:tables/segments/log`: the request, which table or folder, and the shape of the name."""
    name = unquote(request.path).lstrip("/")
    bucket, _, key = name.partition("/")
    if key:
        return f"{request.method}:{shape(key)}"
    if request.method == "POST":
        keys = re.findall(r"<Key>([^<]*)</Key>", request.body.decode(errors="replace"))
        return f"DELETE:{shape(keys[0]) if keys else bucket}"
    query = dict(parse_qsl(request.query))
    return f"LIST:{shape(query.get('prefix', ''))}"


def is_mutation(kind: str) -> bool:
    """True if what is before such a request differs from what is after it."""
    return kind.partition(":")[0] in MUTATIONS


def shape(key: str) -> str:
    """The key with its table and kind of file, without ids and numbers; folders of the lake without the lake's name."""
    parts = key.split("/")
    if parts[0] != "lake":
        return "source"
    match parts[1:]:
        case ["tables", table, "_delta_log", *rest]:
            return f"tables/{table}/{_log_part(rest[-1] if rest else '')}"
        case ["tables", table, *rest]:
            return f"tables/{table}/{'data' if rest and rest[-1] else ''}"
        case ["leases", key, *rest] if key:
            whose = "maintenance" if key == "maintenance" else "pooled" if key.startswith("pooled") else "run"
            whose = "index" if key.startswith("index") else whose
            return "/".join(["leases", whose, *(_NUMBERS.sub("#", part) for part in rest[1:])])
        case _:
            return "/".join(_NUMBERS.sub("#", part) for part in parts[1:])


def _log_part(name: str) -> str:
    if "checkpoint" in name:
        return "last_checkpoint" if name.startswith("_last") else "checkpoint"
    return "log" if name else "logs"
