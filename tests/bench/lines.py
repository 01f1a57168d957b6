"""Values against their bounds as lines of JSON, the same from every benchmark."""

from __future__ import annotations

import json


def report(name: str, value: float, bound: float | None, sense: str = "max", **more: str) -> None:
    line = {"name": name, "file": more.get("file", ""), "value": round(value, 4), "bound": bound, "sense": sense}
    print(json.dumps(line | {"unit": more.get("unit", "CPU s / L"), "note": more.get("note", "")}), flush=True)


def absent(name: str, why: str) -> None:
    print(json.dumps({"name": name, "value": None, "bound": None, "note": f"not measured: {why}"}), flush=True)
