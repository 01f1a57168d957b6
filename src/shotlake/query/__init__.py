"""From a query's words to moments of video, out of the current generation and the rows that are newer than it."""
