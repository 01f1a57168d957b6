"""The cost notebook runs on the demo lake as it was committed, and its numbers are those of the run."""

import re
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

NOTEBOOK = Path(__file__).parents[2] / "notebooks" / "cost_report.ipynb"


def printed(notebook):
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    texts = [output["text"] for output in outputs if output["output_type"] == "stream"]
    return "\n".join(texts + [str(output.get("data", {}).get("text/html", "")) for output in outputs])


@pytest.mark.long
def test_it_runs_on_the_demo_lake_and_prints_the_cost_of_its_run(demo_lake, monkeypatch):
    monkeypatch.setenv("SHOTLAKE_LAKE", demo_lake.config.lake)
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    NotebookClient(notebook, timeout=120, resources={"metadata": {"path": str(NOTEBOOK.parent)}}).execute()
    text = printed(notebook)
    report = demo_lake.report
    rate = re.search(r"\$([\d.]+) for ([\d.]+) hours of video = \$([\d.]+) an hour", text)
    dollars, hours, hourly = map(float, rate.groups())
    assert hours == pytest.approx(report.video_hours, abs=0.006)
    assert dollars == pytest.approx(report.cost.usd, rel=0.2, abs=1e-4)  # the report was made a moment later
    assert hourly == pytest.approx(report.cost.usd_per_video_hour, rel=0.2)
    assert report.cost.price_basis in text
    assert all(word in text for word in (report.run_id, "h264", "decode", "unexplained"))


def test_it_is_kept_without_output():
    cells = [cell for cell in nbformat.read(NOTEBOOK, as_version=4).cells if cell.cell_type == "code"]
    assert cells
    assert not any(cell["outputs"] or cell["execution_count"] for cell in cells)
