"""How well a space answers: published annotation formats, retrieval metrics with intervals, a page to look at."""
