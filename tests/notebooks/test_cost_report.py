"""The cost notebook runs on a lake as it was committed, and its numbers are those of the report."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import nbformat
import pyarrow as pa
import pytest
from nbclient import NotebookClient

from shotlake.config import ReportConfig
from shotlake.records import Usage
from shotlake.report.cost import run_cost
from shotlake.report.focus import Charged, cost_rows
from shotlake.report.prices import load_prices
from shotlake.table.lake import Lake
from shotlake.table.schemas import TABLES

NOTEBOOK = Path(__file__).parents[2] / "notebooks" / "cost_report.ipynb"
START = datetime(2026, 3, 1, tzinfo=UTC)


@pytest.fixture
def lake(tmp_path):
    """A lake whose tables say that two runs decoded and embedded half an hour of video."""
    lake = Lake.create_or_open(str(tmp_path / "lake"))
    book = load_prices(ReportConfig()).for_source("/data")
    stages = {"list": Usage(cpu_s=1), "decode": Usage(cpu_s=60, bytes_read=10**8), "embed": Usage(cpu_s=30)}
    rows = {"costs": [], "units": [], "videos": [{"video_id": "a", "video_codec": "h264"}]}
    for run_id in ("run-1", "run-2"):
        cost = run_cost(stages, 60.0, 2, 0.25, book, "local")
        charged = Charged(run_id, "key", "films", START, START + timedelta(minutes=1))
        rows["costs"] += cost_rows(cost, charged, {"startup": 3.0, "idle": 8.0, "head": 2.0})
        unit = {"run_id": run_id, "video_id": "a", "collection": "films", "status": "ok", "attempts": 1, "cpu_s": 60.0}
        rows["units"].append(unit | {"embed_key": "key"})
    for table, content in rows.items():
        lake.append(table, pa.Table.from_pylist(content, schema=TABLES[table]))
    return lake


def printed(notebook):
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    texts = [output["text"] for output in outputs if output["output_type"] == "stream"]
    return "\n".join(texts + [str(output.get("data", {}).get("text/html", "")) for output in outputs])


def test_it_runs_on_a_lake_and_prints_its_numbers(lake, monkeypatch):
    monkeypatch.setenv("SHOTLAKE_LAKE", lake.root)
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    NotebookClient(notebook, timeout=120, resources={"metadata": {"path": str(NOTEBOOK.parent)}}).execute()
    text = printed(notebook)
    usd = 120 / 3600 * 2 * 0.044625
    assert f"${usd:.4f} for 0.50 hours of video = ${usd / 0.5:.4f} an hour of video" in text
    assert "assumed price" in text
    assert all(word in text for word in ("run-2", "films", "h264", "unexplained"))


def test_it_is_kept_without_output():
    cells = [cell for cell in nbformat.read(NOTEBOOK, as_version=4).cells if cell.cell_type == "code"]
    assert cells
    assert not any(cell["outputs"] or cell["execution_count"] for cell in cells)
